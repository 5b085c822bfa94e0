"""Other tools to measure against: those on PATH, and those of PyPI in virtual environments of their own."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from cloud import cache

from .figures import Sample


def venv(*packages: str) -> Path | None:
    """The `bin` of an environment with these packages, made below the cache directory on first use; None if pip cannot.

    An environment of their own, since their dependencies (awscli's botocore, say) differ from ours.
    """
    name = re.sub(r"[^a-z0-9.]+", "-", " ".join(packages).lower())
    home = cache.path("bench").with_suffix("") / name
    done = home / "done"
    if not done.exists():
        print(f"installing {' '.join(packages)} (once)", file=sys.stderr)
        shutil.rmtree(home, ignore_errors=True)
        subprocess.run([sys.executable, "-m", "venv", home], check=True)
        install = [
            str(home / "bin/python"),
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
            *packages,
        ]
        if subprocess.run(install, check=False).returncode:
            return None
        done.touch()
    return home / "bin"


def version(bin: Path | None, package: str) -> str:
    """A package's version in an environment, or in this one's if `bin` is this one's."""
    if bin is None:
        return "not installed"
    code = f"from importlib.metadata import version; print(version({package!r}))"
    return subprocess.run([bin / "python", "-c", code], check=True, capture_output=True, text=True).stdout.strip()


def own_version(package: str) -> str:
    """A package's version in the environment of this process."""
    return version(Path(sys.executable).parent, package)


def program_version(*command: str) -> str:
    """The first number like 1.2.3 in what a command such as `git --version` prints."""
    said = subprocess.run(command, check=False, capture_output=True, text=True, env={**os.environ, "LC_ALL": "C"})
    found = re.search(r"\d+(\.\d+)+", said.stdout)
    return found[0] if found else "unknown"


def beside(found: Mapping[str, Sample], *names: str) -> tuple[Sample, ...]:
    """The samples of these peers in this order; without values for one that was not measured."""
    return tuple(found.get(name, Sample(name)) for name in names)

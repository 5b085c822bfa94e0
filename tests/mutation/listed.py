"""Changes of our own, in changes.yaml: to bash, to the programs of userdata/, and to what mutmut leaves alone."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import yaml

from cloud.errors import CloudError

from .tree import Verdict, copied

CHANGES = Path(__file__).with_name("changes.yaml")
LIMIT = 300
"""Seconds for the tests of one change."""


@dataclass(frozen=True)
class Change:
    """One small change."""

    file: str
    text: str
    """What is there; once in the file."""
    to: str
    """What is put in its place."""
    tests: str
    """Words for pytest: those that must fail."""

    def __str__(self) -> str:
        return f"- {self.text.strip()}\n+ {self.to.strip()}"


def changes() -> list[Change]:
    """All of them, file by file."""
    files = yaml.safe_load(CHANGES.read_text())
    return [
        Change(file, one["text"], one.get("to", ""), one["tests"]) for file, every in files.items() for one in every
    ]


def judge(file: str) -> Verdict:
    """Make each change of the list to a file, and have its tests run; raises CloudError if they fail without it."""
    verdict = Verdict(file)
    with copied() as tree:
        path = tree / file
        whole = path.read_text()

        @cache
        def fine(tests: str) -> bool:
            return _run(tree, tests) == 0

        for one in changes():
            if one.file != file:
                continue
            if not fine(one.tests):
                raise CloudError(f"these fail before anything is changed: {one.tests}")
            path.write_text(whole.replace(one.text, one.to))
            code = _run(tree, one.tests)
            path.write_text(whole)
            if code is None:
                verdict.timed_out += 1
            elif code == 1:
                verdict.noticed += 1
            elif code == 0:
                verdict.survivors.append(str(one))
            else:
                raise CloudError(f"pytest {one.tests} ended with {code}", fix="does it select any test?")
            print(".!"[code == 0], end="", flush=True, file=sys.stderr)
    print(file=sys.stderr)
    return verdict


def _run(tree: Path, tests: str) -> int | None:
    """pytest's exit code, 1 if a test failed; None if it did not end."""
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *shlex.split(tests)]
    # What was compiled a moment ago looks like what is there now, if neither size nor second has changed.
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    try:
        return subprocess.run(
            command,
            cwd=tree,
            env=environment,
            check=False,
            timeout=LIMIT,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        ).returncode
    except subprocess.TimeoutExpired:
        return None

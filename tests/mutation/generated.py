"""Changes that mutmut makes to the functions of a module of cloud/: to comparisons, constants, arguments, conditions.

It leaves alone what is outside functions and what is decorated (properties, context managers); for those, there is
changes.yaml. https://mutmut.readthedocs.io
"""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import yaml

from cloud.errors import CloudError

from .judges import JUDGES
from .tree import Verdict, copied

WORDS = (r"with aws_errors\(",)
"""Lines that are not changed: what was being done, as an error of AWS says it."""
EXPLAINED = Path(__file__).with_name("explained.yaml")


def explained(file: str) -> set[str]:
    """The diffs of a file of which explained.yaml says why no test can notice them."""
    return {one["diff"].strip() for one in yaml.safe_load(EXPLAINED.read_text()) or [] if one["file"] == file}


def judge(file: str) -> Verdict:
    """Make every change to a module that mutmut knows, and have its tests run on each.

    Raises CloudError if mutmut is missing, or the tests fail before anything is changed.
    """
    if find_spec("mutmut") is None:
        raise CloudError("mutmut is not installed", fix=".venv/bin/pip install 'mutmut>=3.8,<4'")
    with copied() as tree:
        (tree / "setup.cfg").write_text(_configuration(tree, file))
        done = subprocess.run([sys.executable, "-m", "mutmut", "run"], cwd=tree, check=False, stdout=sys.stderr)
        if done.returncode:
            raise CloudError(f"mutmut failed on {file} ({done.returncode})", fix="what it said is above")
        verdict, known = Verdict(file), explained(file)
        for line in _mutmut(tree, "results", "--all", "true"):
            name, _, status = line.strip().partition(": ")
            if status == "killed":
                verdict.noticed += 1
            elif status == "timeout":
                verdict.timed_out += 1
            elif (diff := _diff(tree, name)) in known:
                verdict.explained += 1
            else:
                verdict.survivors.append(diff)
    return verdict


def _configuration(tree: Path, file: str) -> str:
    """Of mutmut, which reads setup.cfg if pyproject.toml has nothing for it. What is not changed is copied as it is."""
    others = sorted(one.name for one in tree.iterdir() if one.name not in ("cloud", "tests", "pyproject.toml"))
    lists = {
        "source_paths": ["cloud"],
        "only_mutate": [file],
        "also_copy": others,
        "do_not_mutate_patterns": WORDS,
        "pytest_add_cli_args_test_selection": [f"tests/{test}" for test in JUDGES[file]],
    }
    lines = [f"{key}=\n" + "".join(f"    {value}\n" for value in values) for key, values in lists.items()]
    return "[mutmut]\n" + "".join(lines) + "track_dependencies=false\nuse_git_change_detection=false\n"


def _mutmut(tree: Path, *words: str) -> list[str]:
    command = [sys.executable, "-m", "mutmut", *words]
    return subprocess.run(command, cwd=tree, check=True, capture_output=True, text=True).stdout.splitlines()


def _diff(tree: Path, name: str) -> str:
    """The lines that a change takes away and puts there."""
    lines = _mutmut(tree, "show", name)
    return "\n".join(
        f"{line[0]} {line[1:].strip()}" for line in lines if line[:1] in "+-" and line[:3] not in ("+++", "---")
    )

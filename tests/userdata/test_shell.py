"""The scripts as text: what shellcheck, bash's pitfalls and cloud-init ask of them."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from cloud import bake, runner
from cloud.config import PACKAGE
from cloud.userdata import SCRIPTS

EVERY = {*SCRIPTS, *bake.SCRIPTS, *runner.SCRIPTS}
USERDATA = PACKAGE / "userdata"
FAKES = Path(__file__).parent / "fakes"
SHELLCHECK = shutil.which("shellcheck") or str(Path(sys.executable).with_name("shellcheck"))


@pytest.mark.parametrize("directory", [USERDATA, FAKES], ids=["userdata", "fakes"])
def test_shellcheck_finds_nothing(directory: Path) -> None:
    scripts = [path for path in directory.iterdir() if path.suffix == ".sh" or directory == FAKES]
    found = subprocess.run(
        [SHELLCHECK, "-x", "-P", "SCRIPTDIR", *map(str, scripts)], capture_output=True, text=True, check=False
    )
    assert (found.returncode, found.stdout) == (0, "")


@pytest.mark.parametrize("scripts", [SCRIPTS, runner.SCRIPTS], ids=["job", "child"])
def test_shellcheck_finds_nothing_in_the_whole_either(scripts: tuple[str, ...]) -> None:
    """As one script, a variable that nobody uses or sets is found, too."""
    lines = [line for name in scripts for line in (USERDATA / name).read_text().splitlines()]
    whole = "\n".join(["#!/bin/bash", *(line for line in lines if not line.startswith("# shellcheck"))])
    found = subprocess.run([SHELLCHECK, "-"], input=whole, capture_output=True, text=True, check=False)
    assert (found.returncode, found.stdout) == (0, "")


def test_every_script_is_part_of_the_whole() -> None:
    assert {path.name for path in USERDATA.glob("*.sh")} == EVERY


@pytest.mark.parametrize("path", sorted(USERDATA.iterdir()), ids=lambda path: path.name)
def test_cloud_init_can_carry_it(path: Path) -> None:
    """A part of a 7-bit message: ASCII, and no line that would end it."""
    text = path.read_text()
    assert text.isascii()
    assert not [line for line in text.splitlines() if line.startswith("--//")]


@pytest.mark.parametrize("name", sorted(EVERY))
def test_return_and_exit_name_their_status(name: str) -> None:
    """Without one, within a trap, they give the status from before the trap."""
    assert re.findall(r"^.*\b(?:return|exit)\s*(?:;.*)?$", (USERDATA / name).read_text(), re.MULTILINE) == []

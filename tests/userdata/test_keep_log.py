"""keep_log.py and what sync.sh makes of its parts: a log's beginning and end, and how much is missing between."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from cloud.userdata import assignment, joined, programs

SIZE = 1000


class Log:
    """The log of a trainer that has been started some times."""

    def __init__(self, root: Path) -> None:
        self.path = root / "logs/trainer.log"
        for name in ("logs", "state"):
            (root / name).mkdir()
        given = [assignment("SOLVER_HOME", str(root)), assignment("JOB_REGION", ""), *programs()]
        trap = "trap 'rm -rf \"$WORK\"' EXIT"
        self.script = (
            joined(given, ("steps.sh", "aws.sh", "sync.sh")) + f"\n{trap}\nLOG_PART={SIZE}\nkeep_log; gather_log\n"
        )
        (root / "script").write_text(self.script)
        self.program = root / "script"

    def add(self, text: str) -> bytes:
        """The trainer prints, and ends; returns the log."""
        subprocess.run(["bash", self.program], input=text.encode(), check=True)
        return self.path.read_bytes()


@pytest.fixture
def log(tmp_path: Path) -> Log:
    return Log(tmp_path)


def lines(first: int, last: int) -> str:
    return "".join(f"line {number}\n" for number in range(first, last))


def test_what_is_not_much_is_kept_to_the_letter(log: Log) -> None:
    assert log.add("one\r\ntwo, without an end") == b"one\r\ntwo, without an end"
    assert log.add(", and three\n") == b"one\r\ntwo, without an end, and three\n"


@pytest.mark.parametrize("size", [0, 1, SIZE - 1, SIZE, SIZE + 1, 3 * SIZE, 3 * SIZE + 1, 10 * SIZE, 11 * SIZE + 7])
@pytest.mark.parametrize("starts", [1, 2, 5])
def test_the_beginning_and_the_end_stay_and_what_is_missing_is_counted(log: Log, size: int, starts: int) -> None:
    """Over starts, too: the line in the middle is counted on, not kept."""
    text = lines(0, 10 + starts * size)[: starts * size]
    for start in range(starts):
        kept = log.add(text[start * size : (start + 1) * size])
    assert len(kept) <= 3 * SIZE + 60
    missing = re.findall(rb"\n\[(\d+) bytes are missing here\]\n", kept)
    assert len(missing) == (len(text) > 3 * SIZE)
    if missing:
        beginning, end = re.split(rb"\n\[\d+ bytes are missing here\]\n", kept)
        assert beginning == text[:SIZE].encode()
        assert SIZE < len(end) <= 2 * SIZE
        assert text.encode().endswith(end)
        assert int(missing[0]) == len(text) - len(beginning) - len(end)
    else:
        assert kept == text.encode()


def test_a_trainer_is_not_kept_waiting_by_what_cannot_be_written(log: Log) -> None:
    """As on a full disk: what comes is read to its end all the same."""
    log.program.write_text(log.script.replace('"$WORK/trainer.log"', "/nowhere/trainer.log"))
    log.path.write_text("before\n")
    assert log.add("x" * 1_000_000) == b"before\n"

"""invoke's parser with our additions, driven as a user types."""

from __future__ import annotations

import pytest
from invoke import Collection, Context, Program, task

from cloud.arguments import OptionalJobTask


@task(klass=OptionalJobTask, positional=["job"])
def status(c: Context, job: str | None = None, json_: bool = False) -> None:
    print(f"status {job} {json_}")


@task(positional=["job"])
def wait(c: Context, job: str) -> None:
    print(f"wait {job}")


PROGRAM = Program(namespace=Collection(status, wait), binary="inv")


def run(line: str) -> int:
    try:
        PROGRAM.run(["inv", *line.split()])
    except SystemExit as end:
        return int(end.code or 0)
    return 0


@pytest.mark.parametrize(
    ("line", "printed"),
    [
        ("status", "status None False"),
        ("status i-1", "status i-1 False"),
        ("status --json", "status None True"),
        ("status --json i-1", "status i-1 True"),
        ("status i-1 wait i-2", "status i-1 False\nwait i-2"),
        ("status --job i-1", "status i-1 False"),
    ],
)
def test_a_job_may_be_left_out(line: str, printed: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(line) == 0
    assert capsys.readouterr().out.strip() == printed


@pytest.mark.parametrize("line", ["wait", "wait --bogus", "status --bogus", "bogus", "status a b", "--bogus"])
def test_wrong_usage_ends_with_2_and_one_line(line: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(line) == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 1


@pytest.mark.parametrize("line", ["wait --help", "status --help", "--help wait", "wait i-1 --help"])
def test_help_is_help_and_not_a_job(line: str, capsys: pytest.CaptureFixture[str]) -> None:
    run(line)
    assert "Usage: inv" in capsys.readouterr().out

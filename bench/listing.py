"""How long `inv --list` takes, beside the least that invoke can do: a file of one task."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

from .figures import Figure, Goal, alternate, check, run
from .peers import beside, own_version, venv, version
from .user import environment, inv

ONE = "a one-task file"
ONE_TASK = '''from invoke import task


@task
def hello(c):
    """Say hello."""
    print("hello")
'''


def measure(runs: int = 30, scale: float = 1) -> list[Figure]:
    """`inv --list` of all our tasks; there is no data, so `scale` changes nothing."""
    spotty, aws = venv("spotty", "setuptools<81"), venv("awscli")
    with tempfile.TemporaryDirectory() as name:
        home = Path(name)
        (home / "tasks.py").write_text(ONE_TASK)
        theirs = [inv()[0], "--search-root", name, "--list"]

        def runs_with(command: list[str], word: str) -> Callable[[], float]:
            def action() -> float:
                done = run(command, cwd=home, environment=environment(home))
                check(word in done.stdout, f"`{' '.join(command)}` printed no {word!r}")
                return done.seconds

            return action

        actions = {"ours": runs_with(inv("--list"), "launch"), ONE: runs_with(theirs, "hello")}
        if spotty:
            actions["spotty --help"] = runs_with([str(spotty / "spotty"), "--help"], "usage")
        if aws:
            actions["aws --version"] = runs_with([str(aws / "aws"), "--version"], "aws-cli")
        found = alternate(runs, actions)
    return [
        Figure(
            "`inv --list`",
            "s",
            found["ours"],
            beside(found, ONE, "spotty --help", "aws --version"),
            Goal(1.1, ONE),
            "inv --list",
            {"invoke": own_version("invoke"), "spotty": version(spotty, "spotty"), "awscli": version(aws, "awscli")},
        )
    ]

"""How long `inv --list` takes, beside the least that invoke can do: a file of one task."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

from cloud.config import PACKAGE

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

BARE = "a file of as many tasks, options and collections, which do nothing"


def bare() -> str:
    """A tasks.py with our collections, their tasks' names, options and first lines: what invoke takes for them."""
    import tasks

    lines = ["from invoke import Collection, task", "ns = Collection()"]
    for place in tasks.ns.collections:
        lines += [f"{place} = Collection()", f"ns.add_collection({place}, name={place!r})"]
    for path in tasks.ns.task_names:
        place, _, name = path.rpartition(".")
        one = tasks.ns[path]
        options = "".join(f", {argument.attr_name or argument.name}=None" for argument in one.get_arguments())
        lines += [f"@task(name={name!r}, auto_shortflags=False)", f"def one(c{options}):"]
        lines += [f"    {(one.__doc__ or '').strip().splitlines()[0]!r}", f"{place or 'ns'}.add_task(one)"]
    return "\n".join(lines) + "\n"


def measure(runs: int = 30, scale: float = 1) -> list[Figure]:
    """`inv --list` of all our tasks; there is no data, so `scale` changes nothing."""
    spotty, aws = venv("spotty", "setuptools<81"), venv("awscli")
    with tempfile.TemporaryDirectory() as name:
        home = Path(name)
        peers = {ONE: (ONE_TASK, "hello"), BARE: (bare(), "launch")}
        for number, (text, _) in enumerate(peers.values()):
            (home / str(number)).mkdir()
            (home / str(number) / "tasks.py").write_text(text)

        def runs_with(command: list[str], word: str) -> Callable[[], float]:
            def action() -> float:
                done = run(command, cwd=home, environment=environment(home))
                check(word in done.stdout, f"`{' '.join(command)}` printed no {word!r}")
                return done.seconds

            return action

        for tasks in (PACKAGE, home / "0", home / "1"):  # compiled once, as `./inv` does it
            words = [inv()[0], "--write-pyc", "--search-root", str(tasks), "--list"]
            run(words, cwd=home, environment=environment(home))
        actions = {"ours": runs_with(inv("--list"), "launch")}
        for number, (peer, (_, word)) in enumerate(peers.items()):
            actions[peer] = runs_with([inv()[0], "--search-root", f"{name}/{number}", "--list"], word)
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
            beside(found, ONE, BARE, "spotty --help", "aws --version"),
            Goal(1.1, ONE),
            "inv --list",
            {"invoke": own_version("invoke"), "spotty": version(spotty, "spotty"), "awscli": version(aws, "awscli")},
        )
    ]

"""Someone at a shell, with a home directory of their own, in which the local cloud is up and set up."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from cloud.aws import Aws
from cloud.config import PACKAGE, Settings

from .figures import Ended, run

EXAMPLE = PACKAGE / "examples" / "trainer"


@dataclass(frozen=True)
class User:
    """A home directory and the environment of commands that are run there."""

    home: Path
    environment: dict[str, str]

    def inv(self, *words: str) -> Ended:
        """`inv WORDS`, as typed in the home directory; WrongResultError if it fails."""
        return run(inv(*words), cwd=self.home, environment=self.environment)

    def launch(self, source: Path = EXAMPLE, output: str = "~/model", **config: object) -> str:
        """Start a job of a trainer's workspace; returns its id."""
        return self.inv(*self.launch_words(source, output, **config)).stdout.strip()

    def launch_words(self, source: Path = EXAMPLE, output: str = "~/model", **config: object) -> list[str]:
        """What to type after `inv` for a job whose config has these values."""
        values = {"game": "leduc", "algorithm": "cfr+", "iterations": 2000, "seed": 7}
        values |= {"report_every": 500, "checkpoint_every": 1000}
        path = self.home / f"{output.rpartition('/')[2]}.yaml"
        path.write_text("".join(f"{key}: {value}\n" for key, value in (values | config).items()))
        given = {"instance": "c7i.4xlarge", "config": path, "output": output, "source": source}
        return ["launch", *(word for name, value in given.items() for word in (f"--{name}", str(value)))]

    def aws(self) -> Aws:
        """Their account, for this process."""
        os.environ["AWS_CONFIG_FILE"] = str(self.home / ".aws" / "config")
        return Aws(Settings.from_context({}, profile="local"))


def inv(*words: str) -> list[str]:
    """The command line of `inv WORDS`, with this repository's tasks."""
    return [str(Path(sys.executable).with_name("inv")), "--search-root", str(PACKAGE), *words]


def environment(home: Path, **more: str) -> dict[str, str]:
    """This process's environment, but of someone whose home is there, with no settings for AWS, invoke and Python.

    A machine for tests may tell Python to keep no compiled modules, which costs our own alone: packages have theirs.
    """
    ours = ("AWS_", "INVOKE_", "XDG_", "PYTHON")
    return {key: value for key, value in os.environ.items() if not key.startswith(ours)} | {"HOME": str(home)} | more


@contextmanager
def on_local_cloud(**more: str) -> Iterator[User]:
    """A user with a local cloud that is set up; it and the home directory are gone after the block.

    more: variables of the environment.
    """
    with tempfile.TemporaryDirectory(prefix="solver-cloud-bench-") as name:
        user = User(Path(name), environment(Path(name), AWS_PROFILE="local", **more))
        user.inv("local.up")
        try:
            user.inv("setup")
            yield user
        finally:
            user.inv("local.down")

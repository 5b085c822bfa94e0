"""A copy of the working tree in which code can be broken, and who has noticed."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from cloud.config import PACKAGE


@dataclass
class Verdict:
    """What the tests say of the changes to one file."""

    file: str
    noticed: int = 0
    timed_out: int = 0
    """Changes with which the tests do not end; counted apart, since a slow machine can do that, too."""
    explained: int = 0
    """Changes that nobody can notice, or that change nothing but words; explained.yaml says why."""
    survivors: list[str] = field(default_factory=list)
    """The others, as lines of a diff."""

    @property
    def changes(self) -> int:
        return self.noticed + self.timed_out + self.explained + len(self.survivors)

    def __str__(self) -> str:
        share = 1 - len(self.survivors) / self.changes if self.changes else 1
        return (
            f"{self.file}: {self.changes} changes, {self.noticed} noticed, {self.timed_out} timed out, "
            f"{self.explained} explained, {len(self.survivors)} not noticed ({share:.1%})"
        )


@contextmanager
def copied() -> Iterator[Path]:
    """The files that git has or would take, in a directory of their own."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=PACKAGE,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    with TemporaryDirectory(prefix="mutation-") as directory:
        for name in filter(None, listed.split("\0")):
            if (PACKAGE / name).is_file():
                (Path(directory) / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(PACKAGE / name, Path(directory) / name)
        yield Path(directory)

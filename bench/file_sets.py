"""The files that are moved in the rows of downloads and uploads, and whether all of them have arrived."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from cloud.records import File

from .figures import Goal, check

ODD = "an odd name, naïve +%2F ~"
"""Not with a line feed, which s5cmd cannot upload."""
BLOCK = 1_000_000


@dataclass(frozen=True)
class FileSet:
    """A directory of files, no two alike; goal: for whatever moves them."""

    title: str
    goal: Goal
    directory: Path
    files: tuple[File, ...]

    @property
    def gigabytes(self) -> float:
        return sum(file.size for file in self.files) / 1e9


def file_sets(directory: Path, scale: float) -> Iterator[FileSet]:
    """The two sets that the figures are about: one file of 2 GB, and 10,000 of 100 KB."""
    shapes = {
        "one big file": (1, int(2e9 * scale), Goal(1.11, "s5cmd")),
        "many small files": (max(1, int(10_000 * scale)), 100_000, Goal(0.33, "aws")),
    }
    for title, (count, size, goal) in shapes.items():
        place = directory / title.replace(" ", "-")
        yield FileSet(title, goal, place, make(place, count, size))


def make(directory: Path, count: int, size: int) -> tuple[File, ...]:
    """So many files, no two alike; the first has an odd name."""
    generator = random.Random(size)
    made = []
    for number in range(count):
        path = directory / f"{number // 100}" / (ODD if number == 0 else f"{number}.bin")
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as out:
            for begin in range(0, size, BLOCK):
                out.write(generator.randbytes(min(BLOCK, size - begin)))
        made.append(File(path.relative_to(directory).as_posix(), size, sha256(path)))
    return tuple(made)


def sha256(path: Path) -> str:
    with path.open("rb") as data:
        return hashlib.file_digest(data, "sha256").hexdigest()


def same(found: set[File], files: Sequence[File], tool: str) -> None:
    """Raise WrongResultError unless a tool has moved exactly these files."""
    wrong = sorted(file.path for file in found ^ set(files))
    check(not wrong, f"{tool}: {len(wrong)} files are missing, wrong or too many, such as {wrong[:1]}")

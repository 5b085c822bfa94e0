"""What this machine knows of a directory that bundles were put into: what downloads put there, and what is whole."""

from __future__ import annotations

import functools
import hashlib
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import cache

Stamp = tuple[int, int, int, int]
"""Size, inode and the times of last change of a file: nobody who changes a file can set ctime back."""

BEFORE = "before"
"""In the place of a start of the machine: what was known at earlier ones."""


@dataclass(frozen=True, slots=True)
class Known:
    """A name in the directory: what it was when it was last looked at."""

    stamp: Stamp
    content: str
    """The sha256 of a file; of a link, as `as_content` has it."""
    put: bool
    """Whether a download put it there; or else it was there, and the same."""


class Index:
    """What is known of the names in one directory.

    That something is whole counts until this machine is started anew: a power failure may spoil files that had not
    reached the disk yet. An fsync for each of 10,000 files would take a fifth of their download. What was put there by
    a download is known for good; losing it costs the user a question.
    """

    def __init__(self, root: Path) -> None:
        self._name = name(root)
        kept = {start: _read(names) for start, names in cache.load(self._name).items()}
        self._verified = kept.pop(boot(), {})
        self._before = {path: known for names in kept.values() for path, known in names.items()}
        self._changed = False

    def is_whole(self, path: str, stamp: Stamp, content: str) -> bool:
        """Whether this very content was seen since this machine was started, and not changed since."""
        known = self._verified.get(path)
        return known is not None and (known.stamp, known.content) == (stamp, content)

    def put(self, path: str) -> Known | None:
        """What a download put there; None if none did."""
        known = self._verified.get(path) or self._before.get(path)
        return known if known and known.put else None

    def note_put(self, path: str, stamp: Stamp, content: str) -> None:
        """A download has put it there."""
        self._verified[path] = Known(stamp, content, put=True)
        self._changed = True

    def note_found(self, path: str, stamp: Stamp, content: str) -> None:
        """It was there, and is what it should be."""
        before = self.put(path)
        self._verified[path] = Known(stamp, content, put=before is not None and before.content == content)
        self._changed = True

    def remember(self) -> None:
        """Write it down. That it cannot be written costs a reading and a question, and no more."""
        if self._changed:
            before = {path: known for path, known in self._before.items() if path not in self._verified}
            kept = {boot(): self._verified, BEFORE: before}
            cache.keep(self._name, {start: _as_json(names) for start, names in kept.items()})


def as_content(target: str) -> str:
    """A link's target, as it is told apart from a file's sha256."""
    return f"-> {target}"


def name(root: Path) -> str:
    """Under which name it is kept: not in the directory, which has the model and nothing else."""
    return f"downloads/{hashlib.sha256(os.fsencode(root)).hexdigest()[:32]}"


def _as_json(names: dict[str, Known]) -> dict[str, list[Any]]:
    return {path: [known.stamp, known.content, known.put] for path, known in names.items()}


def _read(names: Any) -> dict[str, Known]:
    """What was kept; nothing when it cannot be read. An earlier version knew of what it had put only."""
    try:
        return {
            path: Known(_as_stamp(stamp), str(content), put=put == [] or put == [True])
            for path, (stamp, content, *put) in names.items()
        }
    except (ValueError, TypeError, AttributeError):
        return {}


def _as_stamp(numbers: list[int]) -> Stamp:
    size, inode, changed, touched = numbers
    return size, inode, changed, touched


@functools.cache
def boot() -> str:
    """What tells this start of the machine from all others, of Linux (random(4)) or else of macOS (sysctl(3))."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except FileNotFoundError:
        asked = ["sysctl", "-n", "kern.bootsessionuuid"]
        return subprocess.run(asked, check=True, capture_output=True, text=True).stdout.strip()

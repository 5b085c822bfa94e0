"""Keeps the beginning and the end of what it reads, in parts of one size by number: NAME.000000, and the last two.

It begins with the log that there was before, as `gather_log` of sync.sh has made it. What cannot be written is lost:
whoever prints is never kept waiting. Standard library of Python 3.9 only.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import sys
from pathlib import Path

MISSING = re.compile(rb"\n\[(\d+) bytes are missing here\]\n")


class Parts:
    """The parts, and the one that is being written. size: of each, in bytes."""

    def __init__(self, name: str, size: int) -> None:
        self._name, self._size = name, size
        self._begin(0)

    def _begin(self, number: int) -> None:
        self._number, self._room = number, self._size
        try:
            self._out = io.FileIO(self._path(number), "w")
        except OSError:
            self._out = io.FileIO(os.devnull, "w")

    def _path(self, number: int) -> str:
        return f"{self._name}.{number:06}"

    def write(self, data: bytes) -> None:
        """Add to the last part, and to more of them."""
        while data:
            if self._room <= 0:
                self._begin(self._number + 1)
                if self._number > 2:
                    Path(self._path(self._number - 2)).unlink(missing_ok=True)
            with contextlib.suppress(OSError):
                self._out.write(data[: self._room])
            data, self._room = data[self._room :], self._room - len(data)

    def go_on(self, log: bytes) -> None:
        """Take up a log, in which something may be missing behind the first part."""
        self.write(log[: self._size])
        if missing := MISSING.match(log, self._size):
            self._begin(1 + int(missing[1]) // self._size)
        self.write(log[missing.end() if missing else self._size :])


if __name__ == "__main__":
    parts = Parts(sys.argv[2], int(sys.argv[3]))
    before = Path(sys.argv[1])
    if before.exists():
        parts.go_on(before.read_bytes())
    while data := os.read(0, 1 << 16):
        parts.write(data)

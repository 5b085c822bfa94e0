"""What a trainer has printed, on stdout: byte for byte into a file or pipe; on a terminal its text and colours only.

A progress bar may go back to the beginning of its line; what else a terminal would obey is as text.py says.
"""

from __future__ import annotations

import codecs
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from .text import CONTROL, SEQUENCE

COLOURS_OFF = "\x1b[0m"
LONGEST = 4096
"""Characters of the longest sequence that is waited for; of a longer one only its beginning is taken away."""

OBEYED = re.compile(rf"(?P<colour>\x1b\[[0-9:;]*m)|{SEQUENCE}|(?!\r){CONTROL}")
BEGUN = re.compile(r"\x1b(?:\[[0-?]*[ -/]*|\][^\x07\x1b\n]*\x1b?|[PX^_][^\x1b\n]*\x1b?|[ -/]*)\Z")
"""The beginning of a sequence, at the end of what has come."""


@contextmanager
def output() -> Iterator[Callable[[bytes], None]]:
    """A function that writes bytes to stdout, at once."""
    out = sys.stdout
    out.flush()
    text = Text() if out.isatty() else None

    def write(chunk: bytes) -> None:
        out.buffer.write(text.shown(chunk).encode(out.encoding, errors="replace") if text else chunk)
        out.buffer.flush()

    try:
        yield write
    finally:
        if text:
            out.buffer.write(text.end().encode(out.encoding, errors="replace"))
            out.buffer.flush()


class Text:
    """Bytes of UTF-8 that come bit by bit, as text that a terminal may be given."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._begun = ""
        self._coloured = False

    def shown(self, chunk: bytes, *, last: bool = False) -> str:
        """What can be shown once a chunk has come; the beginning of a sequence waits for its end."""
        text = self._begun + self._decoder.decode(chunk, last)
        begun = None if last else BEGUN.search(text, max(0, len(text) - LONGEST))
        whole = len(text) if begun is None else begun.start()
        text, self._begun = text[:whole], text[whole:]
        return OBEYED.sub(self._kept, text)

    def end(self) -> str:
        """What is left when no more comes; it ends the colours."""
        return self.shown(b"", last=True) + (COLOURS_OFF if self._coloured else "")

    def _kept(self, match: re.Match[str]) -> str:
        self._coloured |= bool(match["colour"])
        return match["colour"] or ""

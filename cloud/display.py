"""What a user sees: data on stdout, progress on stderr, and neither colour nor boxes where nobody looks.

Whatever came from elsewhere is text here: neither a terminal's commands nor rich's markup.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import PurePath
from typing import Any

from .errors import UsageError
from .text import one_line, plain


def say(text: str) -> None:
    """One line of progress."""
    print(plain(text), file=sys.stderr, flush=True)


def show(what: str | PurePath) -> None:
    """A line of what a command is for, on stdout: an id, a directory."""
    print(plain(str(what)), flush=True)


def facts(known: Mapping[str, str]) -> None:
    """Facts on stdout, one a line behind its heading."""
    for heading, value in known.items():
        print(f"{heading:<10} {one_line(value)}")


def agreed(question: str, *, otherwise: str) -> bool:
    """Ask on the terminal; raises UsageError where there is none.

    otherwise: what to type instead, without a terminal.
    """
    if not sys.stdin.isatty():
        raise UsageError(f"{question} nobody is here to say yes", fix=f"without a terminal: {otherwise}")
    print(f"{plain(question)} [y/N] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def table(headings: Sequence[str], rows: Sequence[Sequence[str]], *, spare: Sequence[str] = ()) -> None:
    """Rows as a table on a terminal, or tab-separated for a script, as `gh` does.

    spare: headings of the columns that a narrow terminal does without, the first to go first.
    """
    rows = [[one_line(cell) for cell in row] for row in rows]
    if not sys.stdout.isatty():
        for row in rows:
            print("\t".join(row))
        return
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(highlight=False)
    for gone in range(len(spare) + 1):
        shown = [index for index, heading in enumerate(headings) if heading not in spare[:gone]]
        drawn = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
        for index in shown:
            drawn.add_column(Text(one_line(headings[index])), no_wrap=index == shown[0])
        for row in rows:
            drawn.add_row(*(Text(row[index]) for index in shown))
        wanted = console.measure(drawn, options=console.options.update(max_width=1000)).maximum
        if wanted <= console.width:
            break
    console.print(drawn)


@contextmanager
def byte_progress(what: str, total: int) -> Iterator[Callable[[int], None]]:
    """A progress bar on a terminal, nothing elsewhere. Yields the function that is told of each chunk's bytes."""
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

    columns = (TextColumn("{task.description}", markup=False), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(one_line(what), total=total)
        yield lambda size: progress.advance(task, size)


def duration(span: timedelta) -> str:
    """`3d 4h`, `4h 05m`, `5m 07s` or `7s`."""
    seconds = max(0, int(span.total_seconds()))
    days, hours, minutes = seconds // 86400, seconds // 3600 % 24, seconds // 60 % 60
    if days:
        return f"{days}d {hours}h"
    if hours:
        return f"{hours}h {minutes:02}m"
    return f"{minutes}m {seconds % 60:02}s" if minutes else f"{seconds}s"


def last_line(text: str) -> str:
    """The last line with something on it that a terminal would show; progress bars rewrite theirs after a \\r."""
    lines = [plain(line).strip() for line in re.split(r"[\r\n]+", text)]
    return next((line for line in reversed(lines) if line), "")


def dollars(amount: float | None) -> str:
    """An amount of money to the cent, or to the hundredth of one where that is all there is; `unknown` if it is."""
    if amount is None:
        return "unknown"
    return f"${amount:,.2f}" if amount >= 0.1 or amount == 0 else f"${amount:.4f}"


def print_json(data: Any) -> None:
    """JSON on stdout, as a script reads it: a list has a line for each of its items, anything else is indented.

    data: a dictionary, a list, or an iterator, which is a list whose items need not be there at once.
    Indented JSON is written by Python code, which takes seconds for ten thousand jobs.
    """
    if not isinstance(data, (list, Iterator)):
        print(_printable(json.dumps(data, indent=2, default=_as_json)))
    else:
        # Nothing of ours holds itself; to look for that takes a tenth of the time.
        encode = json.JSONEncoder(default=_as_json, check_circular=False).encode
        lines = ",\n".join(f"  {_printable(encode(item))}" for item in data)
        print(f"[\n{lines}\n]" if lines else "[]")


def _printable(encoded: str) -> str:
    """JSON as it is, but for the one control character that Python's encoder leaves: DEL."""
    return encoded.replace("\x7f", "\\u007f")


def _as_json(value: Any) -> Any:
    """What JSON has no form for. Not `asdict`: it would copy all that is in a job, which takes long for thousands."""
    if isinstance(value, datetime):
        return value.isoformat()
    return str(value) if isinstance(value, PurePath) else vars(value)

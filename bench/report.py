"""Figures as they are kept and shown: JSON, a table on a terminal, and the tables in docs/performance.md."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

from .figures import Figure, Goal, Sample, WrongResultError

BEGIN, END = "<!-- figures: `inv bench --write` writes these -->", "<!-- end of figures -->"
NOT_INSTALLED = "not installed"


@dataclass(frozen=True)
class Row:
    """The figures of one row, with the day and the machine they were taken on."""

    name: str
    date: str
    machine: str
    figures: tuple[Figure, ...]

    @classmethod
    def taken(cls, name: str, figures: Callable[[], Iterable[Figure]]) -> Self:
        """A row that is measured now, on this machine; what load it has before is noted, as it says what else ran."""
        load = os.getloadavg()[0]
        return cls(name, datetime.now(UTC).date().isoformat(), f"{machine()}, load {load:.1f} before", tuple(figures()))

    @classmethod
    def parse(cls, data: dict[str, Any]) -> Self:
        """A row as JSON has it."""
        figures = (
            Figure(
                **{
                    **one,
                    "ours": Sample(**_tuple(one["ours"])),
                    "peers": tuple(Sample(**_tuple(peer)) for peer in one["peers"]),
                    "goal": Goal(**one["goal"]) if one["goal"] else None,
                }
            )
            for one in data["figures"]
        )
        return cls(data["name"], data["date"], data["machine"], tuple(figures))


def _tuple(sample: dict[str, Any]) -> dict[str, Any]:
    return {**sample, "values": tuple(sample["values"])}


def machine() -> str:
    """This machine in a few words: processors it may use, memory, kernel, Python."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    cores = len(os.sched_getaffinity(0))
    return f"{cores} cores, {memory:.0f} GiB, Linux {platform.release()}, Python {platform.python_version()}"


def load(path: Path) -> dict[str, Row]:
    """The rows kept in a file by name; none if there is no file."""
    if not path.exists():
        return {}
    return {one["name"]: Row.parse(one) for one in json.loads(path.read_text())}


def keep(path: Path, rows: Iterable[Row]) -> None:
    """Keep rows in a file, instead of what it had of the same name."""
    found = {**load(path), **{row.name: row for row in rows}}
    path.write_text(json.dumps([asdict(found[name]) for name in sorted(found)], indent=1) + "\n")


def number(value: float) -> str:
    """A value to three digits, without an exponent."""
    return f"{value:,.0f}" if abs(value) >= 100 or value == int(value) else f"{value:.3g}"


def values(sample: Sample, unit: str) -> str:
    """A sample's median, and its range if its runs differ."""
    if sample.median is None:
        return NOT_INSTALLED
    low, high = number(min(sample.values)), number(max(sample.values))
    return f"{number(sample.median)} {unit}" + (f" ({low}–{high})" if low != high else "")


def peers(figure: Figure) -> list[str]:
    """A line for each peer: its name, its values, and ours in multiples of them."""
    return [
        f"{peer.name}: {values(peer, figure.unit)}" + (f" = {ratio:.3g} ×" if (ratio := figure.ratio(peer)) else "")
        for peer in figure.peers
    ]


def goal(figure: Figure) -> str:
    """The goal with its unit, `-` without one."""
    if not figure.goal:
        return "-"
    return str(figure.goal) if figure.goal.peer else f"{figure.goal} {figure.unit}"


def verdict(figure: Figure) -> str:
    """Whether the goal is met, in a word."""
    return "-" if figure.met is None else "yes" if figure.met else "**no**"


def markdown(rows: dict[str, Row]) -> str:
    """All rows as one table, and below it what each was measured on and by."""
    lines = ["| what | here | peers, and here in multiples of them | goal | met |", "|---|---|---|---|---|"]
    for row in rows.values():
        for one in row.figures:
            beside = "<br>".join(peers(one)) or "-"
            cells = (one.what, values(one.ours, one.unit), beside, goal(one), verdict(one))
            lines.append(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |")
    lines.append("")
    for row in rows.values():
        commands = "; ".join(dict.fromkeys(f"`{one.command}`" for one in row.figures if one.command))
        used = {name: version for one in row.figures for name, version in one.versions.items()}
        versions = ", ".join(f"{name} {version}" for name, version in used.items())
        about = "; ".join(part for part in (row.date, row.machine, versions) if part)
        lines.append(f"- `inv bench --only {row.name}`: {commands} ({about})")
    return "\n".join(lines)


def write(document: Path, rows: dict[str, Row]) -> None:
    """Put the rows between a document's markers, in place of what was there.

    Raises WrongResultError if the document has no markers.
    """
    before, begin, rest = document.read_text().partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise WrongResultError(f"{document} lacks the line {(END if begin else BEGIN)!r}")
    document.write_text(f"{before}{BEGIN}\n\n{markdown(rows)}\n\n{END}{after}")


def show(rows: Iterable[Row]) -> None:
    """Print rows as a table on stdout."""
    from rich.console import Console
    from rich.table import Table

    console = Console()
    table = Table("what", "here", "peers, and here in multiples of them", "goal", "met", show_lines=True)
    for row in rows:
        for one in row.figures:
            beside = "\n".join(peers(one))
            word = verdict(one).strip("*")
            table.add_row(one.what, values(one.ours, one.unit), beside, goal(one), word)
    if not console.is_terminal:
        console.width = 160
    console.print(table)

"""`python -m bench [--only NAME,…] [--runs N] [--write]`: measure, print a table, keep bench/results.json.

A row is a module with `measure(runs=…, scale=…) -> Iterable[Figure]`: `runs` of every command, on data of `scale` times
the size the figure is about. It raises WrongResultError if a result is wrong; being slow ends nothing.
"""

from __future__ import annotations

import argparse
import sys
from importlib import import_module
from pathlib import Path

from . import report
from .figures import WrongResultError

ROWS = {
    "list": "bench.listing",
    "status": "bench.status",
    "many-jobs": "bench.many_jobs",
    "hash": "bench.hash",
    "context": "bench.context",
    "rebuild": "bench.rebuild",
    "launch": "bench.launch",
    "boot": "bench.boot",
    "download": "bench.download",
    "upload": "bench.upload",
    "sync": "bench.loss",
    "memory": "bench.memory",
}
"""The rows by name, with the module that measures each."""

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results.json"
DOCUMENT = HERE.parent / "docs" / "performance.md"


def measure(name: str, runs: int | None, scale: float) -> report.Row:
    """Measure one row of the registry; raises WrongResultError."""
    module = import_module(ROWS[name])
    how = {} if runs is None else {"runs": runs}
    return report.Row.taken(name, lambda: module.measure(scale=scale, **how))


def main(arguments: list[str] | None = None) -> int:
    """Measure what was asked for; returns 0, or 1 if a result was wrong."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--only", help=f"rows, separated by commas (empty: none), of: {', '.join(ROWS)}")
    parser.add_argument("--runs", type=int, help="of each command; otherwise what suits the row")
    parser.add_argument("--scale", type=float, default=1.0, help="of the data; unless it is 1, nothing is kept")
    parser.add_argument("--write", action="store_true", help="write docs/performance.md from what is kept")
    given = parser.parse_args(arguments)
    names = list(ROWS) if given.only is None else [name for name in given.only.split(",") if name]
    if unknown := [name for name in names if name not in ROWS]:
        parser.error(f"no row {unknown[0]!r}; there are: {', '.join(ROWS)}")
    code = 0
    rows = []
    for name in names:
        print(f"measuring {name}", file=sys.stderr)
        try:
            rows.append(measure(name, given.runs, given.scale))
        except WrongResultError as error:
            print(f"{name}: wrong result: {error}", file=sys.stderr)
            code = 1
            continue
        if given.scale == 1:
            report.keep(RESULTS, rows[-1:])
    if rows:
        report.show(rows)
    if given.write:
        kept = report.load(RESULTS)
        report.write(DOCUMENT, {name: kept[name] for name in ROWS if name in kept})
    return code


if __name__ == "__main__":
    sys.exit(main())

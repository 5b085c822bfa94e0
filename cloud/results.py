"""What a sweep has found: the metrics that trainers leave in `metrics.json` in their bundles, beside the parameters."""

from __future__ import annotations

import csv
import hashlib
import json
import math
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO, TypeGuard

from . import storage
from .aws import Aws, aws_errors
from .child import Child, Unreadable, read_record
from .errors import CloudError, UsageError
from .scalars import Value
from .sweep_record import Sweep
from .text import plain

METRICS = "metrics.json"

MOST_BYTES = 10_000_000
"""Of metrics that are shown: a row of a table has room for less."""


@dataclass(frozen=True)
class Result:
    """What one child was given, and what it has found."""

    index: int
    parameters: dict[str, Value]
    """The configuration's name among them, if there are several."""
    metrics: dict[str, Value]
    problem: str = ""
    """Why its metrics cannot be read."""


@dataclass(frozen=True)
class Table:
    """Results, one a row; a name that both sides have is told apart by where it is from."""

    parameters: tuple[str, ...]
    metrics: tuple[str, ...]
    results: tuple[Result, ...]

    @property
    def headings(self) -> tuple[str, ...]:
        both = set(self.parameters) & set(self.metrics)
        metrics = (f"metrics.{name}" if name in both else name for name in self.metrics)
        return ("child", *self.parameters, *metrics, *(("problem",) if self.has_problems else ()))

    @property
    def has_problems(self) -> bool:
        """Whether there is a child whose metrics cannot be read."""
        return any(one.problem for one in self.results)

    @property
    def constant(self) -> tuple[str, ...]:
        """The headings of what is the same for all."""
        return tuple(name for name, *column in zip(self.headings, *self.rows, strict=True) if len(set(column)) == 1)

    @property
    def rows(self) -> list[tuple[Value, ...]]:
        """Under the headings; None for a metric that a child has not left."""
        return [
            (
                one.index,
                *(one.parameters.get(name) for name in self.parameters),
                *(one.metrics.get(name) for name in self.metrics),
                *((one.problem,) if self.has_problems else ()),
            )
            for one in self.results
        ]


def look(aws: Aws, sweep: Sweep, children: Sequence[Child]) -> Table:
    """The results of those children that are complete. Raises CloudError if none is."""
    complete = [child for child in children if child.state == "complete"]
    if not complete:
        raise CloudError(f"no child of {sweep.id} is complete", fix=f"inv status {sweep.id}")
    _ = aws.s3, aws.bucket  # made before the threads that use them
    with ThreadPoolExecutor(32) as threads:
        metrics = list(threads.map(lambda child: _metrics(aws, sweep, child), complete))
    named = len({child.asked.config for child in children}) > 1
    results = [
        Result(child.index, {**({"config": child.asked.config} if named else {}), **child.asked.parameters}, *found)
        for child, found in zip(complete, metrics, strict=True)
    ]
    return Table(_names(one.parameters for one in results), _names(one.metrics for one in results), tuple(results))


def _names(rows: Iterable[dict[str, Value]]) -> tuple[str, ...]:
    """All names, in the order in which they first come."""
    return tuple(dict.fromkeys(name for row in rows for name in row))


def _metrics(aws: Aws, sweep: Sweep, child: Child) -> tuple[dict[str, Value], str]:
    """What a child has left, and why it cannot be read; neither if its trainer leaves none."""
    try:
        record = read_record(aws, sweep, child.index)
    except Unreadable as error:
        return {}, error.problem
    file = next((file for file in record.bundle if file.path == METRICS), None) if record else None
    if file is None:
        return {}, "" if record else "it has no record in S3"
    with aws_errors(f"read the metrics of {child.id}"):
        try:
            body = storage.read(aws, f"{child.prefix}bundle/{METRICS}", most=MOST_BYTES)[0]
            if hashlib.sha256(body).hexdigest() != file.sha256:
                return {}, f"{METRICS} is not what the record says (sha256 differs)"
            found = json.loads(body)
        except aws.s3.exceptions.NoSuchKey:
            return {}, f"{METRICS} is missing in S3"
        except json.JSONDecodeError as error:
            return {}, f"{METRICS} is no JSON: {error}"
        except (ValueError, RecursionError) as error:
            return {}, f"{METRICS}: {error}"
    if not isinstance(found, dict):
        return {}, f'{METRICS} is no JSON object, as {{"exploitability": 0.01}} is'
    return {name: value for name, value in found.items() if isinstance(value, Value)}, ""


def write_csv(table: Table, out: TextIO) -> None:
    """The table as CSV, with a line of headings."""
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(map(plain, table.headings))
    writer.writerows([plain(cell) if isinstance(cell, str) else cell for cell in row] for row in table.rows)


def plot(table: Table, file: Path, metric: str | None, against: str | None) -> None:
    """Draw a metric against a parameter as a PNG: a line for each combination of the other parameters.

    metric, against: the first number that there is, if not given. Raises UsageError for a name that there is not.
    """
    metric = _chosen("--metric", metric, _numbers(table.metrics, [one.metrics for one in table.results]))
    against = _chosen("--against", against, _numbers(table.parameters, [one.parameters for one in table.results]))
    varied = {name for name in table.parameters if len({one.parameters.get(name) for one in table.results}) > 1}
    lines: dict[str, list[tuple[float, float]]] = {}
    for one in table.results:
        x, y = one.parameters.get(against), one.metrics.get(metric)
        if _is_finite(x) and _is_finite(y):
            others = [f"{name} {value}" for name, value in one.parameters.items() if name in varied - {against}]
            lines.setdefault(", ".join(others), []).append((float(x), float(y)))
    if not lines:
        raise CloudError(f"no child has both a finite {metric} and {against}")
    _draw(lines, file, metric, against)


def _is_finite(value: Value) -> TypeGuard[int | float]:
    """Whether a value can be drawn; what a training that has diverged leaves cannot."""
    try:
        return isinstance(value, int | float) and math.isfinite(value)
    except OverflowError:  # an int beyond all floats
        return False


def _numbers(names: Iterable[str], rows: Sequence[dict[str, Value]]) -> list[str]:
    return [name for name in names if any(isinstance(row.get(name), int | float) for row in rows)]


def _chosen(option: str, name: str | None, names: list[str]) -> str:
    if name is None and names:
        return names[0]
    if name not in names or name is None:
        raise UsageError(
            f"{option} {name}: there is no such number" if name else f"there is no number for {option}",
            fix=f"there are {', '.join(names)}" if names else None,
        )
    return name


def _draw(lines: dict[str, list[tuple[float, float]]], file: Path, metric: str, against: str) -> None:
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise CloudError("matplotlib is not installed", fix="pip install 'solver-cloud[plot]'") from None
    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.add_subplot()
    for label, points in lines.items():
        axes.plot(*zip(*sorted(points), strict=True), marker="o", label=label or None)
    points = [point for line in lines.values() for point in line]
    for numbers, set_scale in zip(zip(*points, strict=True), (axes.set_xscale, axes.set_yscale), strict=False):
        if min(numbers) > 0 and max(numbers) > 100 * min(numbers):
            set_scale("log")
    axes.set_xlabel(against)
    axes.set_ylabel(metric)
    if len(lines) > 1:
        axes.legend()
    try:
        figure.savefig(file, format="png", dpi=150)
    except OSError as error:
        raise CloudError(f"cannot write {file}: {error.strerror}") from None

"""A child of a sweep as it is now, and what S3 has of it."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import datetime

from . import display, storage
from .aws import Aws, aws_errors
from .bundle import Bundle
from .errors import CloudError
from .records import FINAL, Record
from .sweeps import Asked, Sweep

MOST_LOOKED_UP = 100
"""Of how many children the latest lines are looked up, each by a call."""

ORDER = ("queued", "starting", "running", "complete", "failed", "terminated")


@dataclass(frozen=True)
class Child:
    """A child as it is now."""

    sweep: str
    index: int
    asked: Asked
    state: str
    """One of ORDER."""
    attempts: int
    started_at: datetime | None
    ended_at: datetime | None
    seconds: float
    """For which its attempts ran."""
    exit_code: int | None = None
    reason: str = ""
    dollars: float | None = None
    exact: bool = True
    """Whether `dollars` is what it has counted itself, and not reckoned from its time."""
    latest: str = ""
    """The trainer's latest line, if it was looked up."""

    @property
    def id(self) -> str:
        return f"{self.sweep}/{self.index}"

    @property
    def prefix(self) -> str:
        """Where in the bucket all of it is."""
        return f"sweeps/{self.id}/"


def with_latest(aws: Aws, children: Sequence[Child]) -> Sequence[Child]:
    """The same children with the latest line of those that train or have failed, unless there are very many."""
    if len(children) > MOST_LOOKED_UP:
        return children
    _ = aws.s3, aws.bucket  # made before the threads that use them

    def looked_up(child: Child) -> Child:
        if child.state not in ("running", "failed"):
            return child
        return replace(child, latest=display.last_line(storage.tail(aws, f"{child.prefix}logs/trainer.log")))

    with ThreadPoolExecutor(16) as threads:
        return list(threads.map(looked_up, children))


def bundles(aws: Aws, children: Sequence[Child]) -> Bundle:
    """The bundles of complete children as one: each child's is in a directory that is called as its parameters are."""
    _ = aws.s3, aws.bucket  # made before the threads that use them

    def record(child: Child) -> Record:
        found = _record(aws, child.prefix)
        if found is None:
            raise CloudError(f"{child.id} is complete, but has no record in S3", fix=f"inv retry {child.sweep}")
        return found

    with ThreadPoolExecutor(32) as threads:
        found = list(zip(children, threads.map(record, children), strict=True))
    files = [(f"{child.asked.name}/{file.path}", child, file) for child, one in found for file in one.bundle]
    return Bundle(
        f"sweeps/{children[0].sweep}/",
        tuple(replace(file, path=path) for path, _, file in files),
        {f"{child.asked.name}/{path}": target for child, one in found for path, target in one.links.items()},
        tuple(f"{child.asked.name}/{path}" for child, one in found for path in one.directories),
        tuple(f"{child.id}: {warning}" for child, one in found for warning in one.warnings),
        {path: f"{child.index}/bundle/{file.path}" for path, child, file in files},
    )


def kept(aws: Aws, sweep: Sweep, index: int) -> Child:
    """A child that Batch has forgotten, from its record."""
    record = _record(aws, f"sweeps/{sweep.id}/{index}/")
    final = record is not None and record.status in FINAL
    attempts = record.attempts if record else ()
    dollars = [one.dollars for one in attempts]
    return Child(
        sweep=sweep.id,
        index=index,
        asked=sweep.children[index],
        state=record.status if record and final else "failed",
        attempts=len(attempts),
        started_at=record.started_at if record else None,
        ended_at=record.ended_at if record else None,
        seconds=sum(one.seconds for one in attempts),
        exit_code=record.exit_code if record else None,
        reason=record.reason if record and final else "AWS Batch has forgotten it, and it has left no last word",
        dollars=None if None in dollars else sum(one for one in dollars if one is not None),
    )


def _record(aws: Aws, prefix: str) -> Record | None:
    with aws_errors(f"read the record below {prefix}"):
        try:
            return Record.parse(storage.read(aws, f"{prefix}job.json")[0])
        except aws.s3.exceptions.NoSuchKey:
            return None

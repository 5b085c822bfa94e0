"""A child of a sweep as it is now, and what S3 has of it."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import datetime

from . import bundle, display, signatures, storage
from .aws import Aws, aws_errors
from .bundle import Bundle
from .errors import CloudError
from .parsing import decode, mapping
from .records import FINAL, Record
from .sweep_record import Asked, Sweep

MOST_LOOKED_UP = 100
"""Of how many children the latest lines are looked up, each by a call."""

MOST_BYTES = 32 << 20
"""Of a record: one with a bundle of 100,000 files has some 15 MB."""

ORDER = ("queued", "starting", "running", "complete", "failed", "terminated", "unsubmitted")


@dataclass(frozen=True)
class Child:
    """A child as it is now."""

    sweep: str
    index: int
    asked: Asked
    state: str
    """One of ORDER, or a word of Batch's that is new."""
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
    log_stream: str = ""
    """What its container has printed last, in CloudWatch Logs; "" if there is none."""

    @property
    def id(self) -> str:
        return f"{self.sweep}/{self.index}"

    @property
    def prefix(self) -> str:
        """Where in the bucket all of it is."""
        return f"sweeps/{self.id}/"


class Unreadable(CloudError):
    """A child's record is there, and is of no use."""


def with_latest(aws: Aws, sweep: Sweep, children: Sequence[Child]) -> Sequence[Child]:
    """The same children with the latest line of those that train or have failed, and with the reason that the latter
    have given themselves, unless there are very many."""
    if len(children) > MOST_LOOKED_UP:
        return children
    _ = aws.s3, aws.bucket  # made before the threads that use them

    def looked_up(child: Child) -> Child:
        if child.state not in ("running", "failed"):
            return child
        latest = display.last_line(storage.tail(aws, f"{child.prefix}logs/trainer.log"))
        return replace(child, latest=latest, reason=_own_reason(aws, sweep, child))

    with ThreadPoolExecutor(16) as threads:
        return list(threads.map(looked_up, children))


def _own_reason(aws: Aws, sweep: Sweep, child: Child) -> str:
    """Why a child says that it has failed; Batch knows no more than its exit code."""
    if child.state != "failed":
        return child.reason
    try:
        record = read_record(aws, sweep, child.index)
    except Unreadable as error:
        return f"{child.reason}; {error.problem}" if error.problem not in child.reason else child.reason
    return record.reason if record and record.status == "failed" and record.reason else child.reason


def bundles(aws: Aws, sweep: Sweep, children: Sequence[Child]) -> tuple[Bundle, tuple[str, ...]]:
    """The bundles of complete children as one, and why others cannot be had, a line for each.

    Each child's is in a directory that is called as its parameters are. One whose record is of no use does not take
    the others.
    """
    _ = aws.s3, aws.bucket  # made before the threads that use them
    problems = []

    def record(child: Child) -> Record | None:
        try:
            found = read_record(aws, sweep, child.index)
            if found is None:
                raise Unreadable("it has no record in S3")
            bundle.check(Bundle("", found.bundle, found.links, found.directories))
        except CloudError as error:
            problems.append((child.index, f"{child.id}: {error.problem}"))
            return None
        return found

    with ThreadPoolExecutor(32) as threads:
        records = list(threads.map(record, children))
    found = [(child, one) for child, one in zip(children, records, strict=True) if one]
    files = [(f"{child.asked.name}/{file.path}", child, file) for child, one in found for file in one.bundle]
    whole = Bundle(
        sweep.prefix,
        tuple(replace(file, path=path) for path, _, file in files),
        {f"{child.asked.name}/{path}": target for child, one in found for path, target in one.links.items()},
        tuple(f"{child.asked.name}/{path}" for child, one in found for path in one.directories),
        tuple(f"{child.id}: {warning}" for child, one in found for warning in one.warnings),
        {path: f"{child.index}/bundle/{file.path}" for path, child, file in files},
    )
    return whole, tuple(problem for _, problem in sorted(problems))


def kept(aws: Aws, sweep: Sweep, index: int) -> Child:
    """A child that Batch has forgotten, from its record."""
    record, forgotten = None, "AWS Batch has forgotten it, and it has left no last word"
    try:
        record = read_record(aws, sweep, index)
    except Unreadable as error:
        forgotten = f"AWS Batch has forgotten it; {error.problem}"
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
        reason=record.reason if record and final else forgotten,
        dollars=None if None in dollars else sum(one for one in dollars if one is not None),
    )


def read_record(aws: Aws, sweep: Sweep, index: int) -> Record | None:
    """What a child says of itself; None if it has said nothing. Raises Unreadable.

    Children of other sweeps may write there, too: it counts only with the signature of its sweep.
    """
    child = f"{sweep.id}/{index}"
    with aws_errors(f"read the record of {child}"):
        try:
            data = mapping(decode(storage.read(aws, f"sweeps/{child}/job.json", most=MOST_BYTES)[0]), "it")
            if not signatures.is_signed(data, sweep.key):
                raise ValueError("it is not signed by its sweep")
            record = Record.of(data)
            if record.job != child:
                raise ValueError(f"it is of {record.job}")
        except aws.s3.exceptions.NoSuchKey:
            return None
        except KeyError as error:
            raise Unreadable(f"record unreadable: it has no {error}") from None
        except (ValueError, TypeError, AttributeError, OverflowError, RecursionError) as error:
            raise Unreadable(f"record unreadable: {error}") from None
    return record

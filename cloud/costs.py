"""What a job has cost, in dollars, from its record and the prices in it, and what keeping its results costs.

What is not known stays unknown.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from . import prices
from .aws import Aws, aws_errors, pages
from .display import dollars
from .jobs import GONE, Job
from .records import Attempt


@dataclass(frozen=True)
class Cost:
    """Dollars; None for what is not known."""

    machine: float | None
    """All attempts together: EC2 bills a machine from each start to each stop."""
    disk: float | None
    """From launch to end, also while the machine is stopped."""
    before: float | None = 0.0
    """What the jobs cost that this one goes on from."""

    @property
    def total(self) -> float | None:
        """All of it, unless a part is not known."""
        parts = (self.machine, self.disk, self.before)
        return None if None in parts else sum(part for part in parts if part is not None)


def so_far(job: Job, now: datetime | None = None) -> Cost:
    """What a job has cost until now, or until its end."""
    now = now or datetime.now(UTC)
    lived = (job.ended_at if job.ended_at and job.state in GONE else now) - job.launched_at
    disk = None if job.disk_price is None else job.disk_price * _hours(lived)
    runs = attempts(job, now)
    ran_unseen = job.ended and not runs  # its record has been lost
    return Cost(None if ran_unseen else _sum(one.dollars for one in runs), disk, job.spent_before)


def attempts(job: Job, now: datetime) -> list[Attempt]:
    """The times that a job's machine ran, the present one up to now.

    The record has those before, and of the present one what was known when it was last written. A machine that runs
    is paid for, whatever its record says.
    """
    if job.state in GONE or job.waiting or job.running_since is None:
        return list(job.attempts)
    seconds = int((now - job.running_since).total_seconds())
    present = Attempt(job.running_since, seconds, None if job.price is None else job.price * seconds / 3600)
    return [*(one for one in job.attempts if one.started_at < job.running_since), present]


def at_most(job: Job) -> float | None:
    """What a job costs if it runs until its limit, at the price that it was launched at; None if that is not known."""
    if job.price is None or job.disk_price is None or job.spent_before is None:
        return job.max_cost
    most = job.spent_before + (job.price + job.disk_price) * job.max_hours
    return most if job.max_cost is None else min(most, job.max_cost)


@dataclass(frozen=True)
class Kept:
    """What there is in S3."""

    bytes: int
    monthly: float | None
    """Dollars a month for keeping it; None if that is not known."""

    def __str__(self) -> str:
        if not self.bytes:
            return "nothing"
        size = f"{self.bytes / prices.GB:,.1f} GB" if self.bytes >= prices.GB / 10 else f"{self.bytes / 2**20:,.1f} MB"
        if self.monthly is None:
            return f"{size}, at a price that is unknown"
        return f"{size}, {'less than $0.01' if self.monthly < 0.01 else dollars(self.monthly)} a month"


def kept(aws: Aws, jobs: Sequence[Job]) -> dict[str, Kept]:
    """What each job has in S3 now, by id: its model, and its output and logs too, which stay as well.

    S3 is asked, because records know only of models, and not whether someone has deleted them.
    """
    _ = aws.s3, aws.pricing, aws.bucket  # clients are made before the threads that use them
    with ThreadPoolExecutor(16) as pool:
        pricing = pool.submit(prices.storage, aws)
        sizes = dict(zip([job.id for job in jobs], pool.map(lambda job: _size(aws, job), jobs), strict=True))
        price = pricing.result()
    return {id: Kept(size, None if price is None else price * size / prices.GB) for id, size in sizes.items()}


def in_all(kept: Iterable[Kept]) -> Kept:
    """All of it together; what it costs is unknown if that of a part is."""
    kept = list(kept)
    return Kept(sum(one.bytes for one in kept), _sum(one.monthly for one in kept))


def _size(aws: Aws, job: Job) -> int:
    with aws_errors(f"look at what {job.id} has in S3"):
        found = pages(aws.s3, "list_objects_v2", "Contents", Bucket=aws.bucket, Prefix=f"jobs/{job.id}/")
    return sum(file["Size"] for file in found)


def _sum(amounts: Iterable[float | None]) -> float | None:
    total = 0.0
    for one in amounts:
        if one is None:
            return None
        total += one
    return total


def _hours(span: timedelta) -> float:
    return max(0.0, span.total_seconds() / 3600)

"""Following a job until it has ended."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from . import display, jobs, storage
from .aws import Aws
from .jobs import Job

POLL_SECONDS = 5.0
"""EC2 tells nobody when an instance or a tag changes; asking is the only way, and this often is well within limits."""


SILENCE = timedelta(minutes=5)
"""How long an instance at work may be silent; a sync of much takes its time."""


@dataclass(frozen=True)
class Sight:
    """What was seen of a job at one moment: the job and its trainer's latest line."""

    job: Job
    latest: str

    @property
    def line(self) -> str:
        """The moment in one line: the phase, and what the trainer says while it trains."""
        if self.job.ended:
            return self.job.status + (f": {self.job.reason}" if self.job.reason else "")
        if self.job.phase == "training" and self.latest:
            return f"training: {self.latest}"
        return self.job.phase or self.job.status


def latest_line(aws: Aws, job: str) -> str:
    """The trainer's latest line, as of the last sync to S3."""
    return display.last_line(storage.tail(aws, f"jobs/{job}/logs/trainer.log"))


@dataclass(frozen=True)
class Details:
    """What `status JOB` looks up besides the job itself.

    latest: the trainer's latest line, as of the last sync to S3.
    waiting_since: when EC2 interrupted it, while it waits for capacity.
    silent_since: the instance's last sign of life, if that is too long ago for one at work.
    """

    latest: str = ""
    waiting_since: datetime | None = None
    silent_since: datetime | None = None


def details(aws: Aws, job: Job) -> Details:
    """Look up what there is to say about a job right now."""
    return Details(latest_line(aws, job.id), jobs.waiting_since(aws, job), _silent_since(aws, job))


def _silent_since(aws: Aws, job: Job) -> datetime | None:
    """Every sync writes the boot's log, which has a line of each: its time is the instance's heartbeat."""
    if job.status != "running":
        return None
    heard = storage.written_at(aws, f"jobs/{job.id}/logs/boot.log") or job.started_at or job.launched_at
    return heard if datetime.now(UTC) - heard > max(SILENCE, 3 * timedelta(seconds=job.sync_seconds)) else None


def until_ended(aws: Aws, job: Job, *, poll: float = POLL_SECONDS, trainer: bool = True) -> Iterator[Sight]:
    """Yield each change of a job until it has ended; the last one yielded is of the ended job.

    poll: seconds between looks. trainer: look at what the trainer prints, too.
    """
    before = None
    while True:
        training = job.phase == "training" and not job.ended
        sight = Sight(job, latest_line(aws, job.id) if trainer and training else "")
        if sight.line != before:
            before = sight.line
            yield sight
        if job.ended:
            return
        time.sleep(poll)
        job = jobs.find(aws, job.id)

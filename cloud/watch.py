"""Following a job until it has ended."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from . import display, jobs, storage, syncs
from .asked import ID
from .aws import Aws
from .jobs import Job
from .syncs import Sync

Say = Callable[[str], None]

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
    synced_at: when the output was last brought to S3.
    warnings: what could not be, and why.
    """

    latest: str = ""
    waiting_since: datetime | None = None
    silent_since: datetime | None = None
    synced_at: datetime | None = None
    warnings: tuple[str, ...] = ()


def look(aws: Aws, reference: str, say: Say) -> tuple[Job, Details]:
    """The job that a user means, or the one as which it goes on, and what there is to say about it right now.

    All of it is asked for at once if the reference is a whole id. say: told of each link that was followed.
    """
    _ = aws.s3, aws.bucket  # made before the threads that use it; EC2's client takes 0.1 s, while S3 is being asked
    with ThreadPoolExecutor(4) as pool:

        def ask(job: str) -> tuple[Future[str], Future[datetime | None], Future[Sync]]:
            heard = pool.submit(storage.written_at, aws, f"jobs/{job}/logs/boot.log")
            return pool.submit(latest_line, aws, job), heard, pool.submit(syncs.read, aws, job)

        asked = ask(reference) if ID.fullmatch(reference) else None
        job = successor(aws, jobs.find(aws, reference), say)
        if asked is None or job.id != reference:
            asked = ask(job.id)
        latest, heard, synced = asked
        sync = synced.result()
        silent = _silent_since(job, heard.result())
        warnings = job.warnings if job.ended else sync.warnings
        return job, Details(latest.result(), jobs.waiting_since(aws, job), silent, sync.at, warnings)


def successor(aws: Aws, job: Job, say: Say) -> Job:
    """The job as which a job goes on, at the end of the chain; the job itself if it was not resumed.

    say: told of each link, and of one that leads back, or to no job: there the chain ends.
    """
    seen = {job.id}
    while job.resumed_by:
        following = None if job.resumed_by in seen else jobs.by_id(aws, job.resumed_by)
        if following is None:
            say(f"{job.id} is said to go on as {job.resumed_by}, which is no further job")
            break
        say(f"{job.id} goes on as {following.id}")
        seen.add(following.id)
        job = following
    return job


def _silent_since(job: Job, heard: datetime | None) -> datetime | None:
    """Every sync writes the boot's log, which has a line of each: its time is the instance's heartbeat."""
    if job.status != "running":
        return None
    heard = heard or job.started_at or job.launched_at
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

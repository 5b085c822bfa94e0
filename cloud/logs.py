"""The trainer's output: over ssh while it runs, from S3 afterwards."""

from __future__ import annotations

import time

from . import batch_logs, children, jobs, session, storage, terminal
from .aws import Aws
from .child import Child
from .display import say
from .errors import CloudError
from .jobs import Job
from .records import FINAL
from .sweep_record import Sweep
from .watch import POLL_SECONDS


def print_log(aws: Aws, job: Job, *, follow: bool) -> None:
    """Print a job's log to stdout; with `follow`, until it has ended.

    Before the trainer has printed anything, the boot's own log is printed instead. Raises CloudError when there is
    nothing at all; with `follow`, when the machine that answers is not to be trusted, or the connection breaks off.
    """
    while not job.ended:
        try:
            if session.print_live_log(aws, job, follow=follow):
                return
        except CloudError as error:
            if not follow:
                say(f"{error.problem}; this is what has come to S3 so far")
            elif not isinstance(error, session.NotYet):
                raise
        if not follow:
            break
        time.sleep(POLL_SECONDS)
        job = jobs.find(aws, job.id)
    _print_stored_log(aws, job)


def print_child_log(aws: Aws, sweep: Sweep, index: int, *, follow: bool) -> None:
    """Print the log of a sweep's child to stdout, as of its last sync; with `follow`, what comes until it has ended.

    Raises CloudError when there is nothing.
    """
    printed = 0
    while True:
        child = children.look_at(aws, sweep, index)
        printed += _print_stored(aws, f"{child.prefix}logs/trainer.log", printed)
        if not follow or child.state in FINAL:
            break
        time.sleep(POLL_SECONDS)
    if not printed:
        say("the trainer has printed nothing; this is its script's own log")
        if not _print_stored(aws, f"{child.prefix}logs/boot.log"):
            _print_last_words(aws, child)


def _print_last_words(aws: Aws, child: Child) -> None:
    """Print what Batch has kept of a child that has left nothing in S3. Raises CloudError when that is nothing, too."""
    lines = batch_logs.last_words(aws, child)
    why = ": ".join(filter(None, (child.state, child.reason)))
    if not lines:
        raise CloudError(f"{child.id} has no log ({why})", fix=f"inv status {child.id}")
    say(f"it has left no log in S3 ({why}); this is what its container has printed last")
    for line in lines:
        print(line)


def _print_stored_log(aws: Aws, job: Job) -> None:
    if _print_stored(aws, f"jobs/{job.id}/logs/trainer.log"):
        return
    say("the trainer has printed nothing; this is the boot's own log")
    if not _print_stored(aws, f"jobs/{job.id}/logs/boot.log"):
        raise CloudError(f"{job.id} has no log yet ({job.phase or job.status})", fix=f"inv status {job.id}")


def _print_stored(aws: Aws, key: str, start: int = 0) -> int:
    """Print what an object has from `start` on; returns how many bytes that is."""
    printed = 0

    def count(chunk: bytes) -> None:
        nonlocal printed
        write(chunk)
        printed += len(chunk)

    with terminal.output() as write:
        storage.stream(aws, key, count, start)
    return printed

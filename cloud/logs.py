"""The trainer's output: over ssh while it runs, from S3 afterwards."""

from __future__ import annotations

import sys
import time

from . import jobs, session, storage
from .aws import Aws
from .display import say
from .errors import CloudError
from .jobs import Job
from .watch import POLL_SECONDS


def print_log(aws: Aws, job: Job, *, follow: bool) -> None:
    """Print a job's log to stdout; with `follow`, until it has ended.

    Before the trainer has printed anything, the boot's own log is printed instead. Raises CloudError when there is
    nothing at all.
    """
    while not job.ended:
        try:
            if session.print_live_log(aws, job, follow=follow):
                return
        except CloudError as error:
            if not follow:
                say(f"{error.problem}; this is what has come to S3 so far")
        if not follow:
            break
        time.sleep(POLL_SECONDS)
        job = jobs.find(aws, job.id)
    _print_stored_log(aws, job)


def _print_stored_log(aws: Aws, job: Job) -> None:
    def write(chunk: bytes) -> None:
        sys.stdout.buffer.write(chunk)

    sys.stdout.flush()
    try:
        if storage.stream(aws, f"jobs/{job.id}/logs/trainer.log", write):
            return
        say("the trainer has printed nothing; this is the boot's own log")
        if not storage.stream(aws, f"jobs/{job.id}/logs/boot.log", write):
            raise CloudError(f"{job.id} has no log yet ({job.phase or job.status})", fix=f"inv status {job.id}")
    finally:
        sys.stdout.buffer.flush()

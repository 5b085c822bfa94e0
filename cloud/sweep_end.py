"""The end of sweeps before their time: only jobs of a sweep's own names are ended, and all of those."""

from __future__ import annotations

from collections.abc import Iterable

from . import batch_jobs, children, pool, sweeps
from .aws import Aws, aws_errors
from .errors import CloudError
from .sweep_record import Sweep, run_name


def all_jobs(aws: Aws, id: str) -> bool:
    """End all jobs of a sweep that have not ended; returns whether there was any.

    They are known by their names, so that a record which is missing or unreadable keeps none from being ended. An array
    job's end is that of all its children: https://docs.aws.amazon.com/batch/latest/userguide/array_jobs.html
    Raises CloudError if it cannot be said that all have ended.
    """
    sweep, unreadable = None, None
    try:
        sweep = sweeps.read(aws, id)
    except CloudError as error:
        unreadable = error
    queues = {queue["jobQueueName"] for queue in pool.queues(aws)} | ({sweep.queue} if sweep else set())
    found = {job for queue in queues for job in batch_jobs.named(aws, queue, run_name(id, "*"))}
    found |= {run.job for run in sweep.runs} if sweep else set()
    known = [job for job in batch_jobs.describe(aws, sorted(found)) if job.name.rpartition("-")[0] == id]
    living = [job.id for job in known if not job.over]
    if not living:
        if unreadable:
            raise unreadable
        if sweep is None and not known:
            raise sweeps.missing(aws, id)
        if sweep and sweep.runs[-1].name not in {job.name for job in known}:
            _check_forgotten(aws, sweep)
    _end(aws, id, living)
    return bool(living)


def _check_forgotten(aws: Aws, sweep: Sweep) -> None:
    """Raise CloudError if Batch may still come to know a job of which it knows nothing now."""
    last = children.look_at(aws, sweep, sweep.numbers(sweep.runs[-1])[0])
    if last.state == "unsubmitted":
        raise CloudError(f"{sweep.id} was never submitted: {last.reason}", fix="there is nothing to end")
    if last.state not in children.ENDED:
        raise CloudError(
            f"AWS Batch does not know the job {sweep.runs[-1].name} yet", fix="run the command again in a minute"
        )


def child(aws: Aws, sweep: Sweep, index: int) -> bool:
    """End one child; returns whether it had not ended. Raises CloudError if Batch does not know it yet."""
    sweep = children.located(aws, sweep)
    found = children.describe(aws, sweep, [children.job_of(sweep, index)[1]])
    if not found:
        there = children.look_at(aws, sweep, index)
        if there.state not in children.ENDED:
            raise CloudError(f"AWS Batch does not know {there.id} yet", fix="run the command again in a minute")
    living = [job.id for job in found if not job.over]
    _end(aws, f"{sweep.id}/{index}", living)
    return bool(living)


def _end(aws: Aws, what: str, jobs: Iterable[str]) -> None:
    """Terminate jobs. One that Batch refuses does not keep the others."""
    problem = None
    for job in jobs:
        try:
            with aws_errors(f"terminate {what}"):
                aws.batch.terminate_job(jobId=job, reason=children.TERMINATED)
        except CloudError as error:
            problem = error
    if problem:
        raise problem

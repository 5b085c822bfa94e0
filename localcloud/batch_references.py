"""Jobs of Batch as users of `inv local.…` name them, and what they are told of them."""

from __future__ import annotations

from typing import Any

from . import batch
from .batch_jobs import AnyJob, ArrayJob, Job, jobs_of
from .batch_task import TaskEnd
from .errors import LocalCloudError
from .instances import LocalInstance


def told() -> list[dict[str, Any]]:
    """The jobs that are not over: id, name, and how many of each are in which state."""
    return [
        {"id": job.id, "name": job.request.name, "counts": _counts(job)}
        for backend in batch.backends()
        for job in backend.jobs.values()
        if not job.over
    ]


def _counts(job: AnyJob) -> dict[str, int]:
    if isinstance(job, ArrayJob):
        return {status: count for status, count in job.counts.items() if count}
    return {job.status: 1}


def instance(reference: str) -> LocalInstance | None:
    """The instance of a running job; None for what names no job.

    reference: a job's id or a beginning of it, of an array with `:INDEX`; or NAME/INDEX, where the name may lack the
    end after a hyphen: of several runs of the same, the first one that has the child running is meant.
    Raises LocalCloudError for a job that does not run, or more than one.
    """
    arrays = _named(reference)
    if not arrays:
        return None
    jobs = [job for job in arrays if job.status == "RUNNING"]
    if not jobs:
        states = ", ".join(f"{job.id} is {job.status}" for job in arrays)
        raise LocalCloudError(f"{reference!r} does not run: {states}", fix="`aws batch list-jobs` shows which do")
    if "/" not in reference and len(jobs) > 1:
        ids = ", ".join(job.id for job in jobs)
        raise LocalCloudError(f"{reference!r} is the beginning of more than one job", fix=f"give more of it: {ids}")
    attempt = jobs[0].attempts[-1]
    for backend in batch.backends():
        if found := backend.ec2.living_instance(attempt.instance_id):
            return found
    raise LocalCloudError(f"the instance of {jobs[0].id}, {attempt.instance_id}, has ended")


def _named(reference: str) -> list[Job]:
    """The jobs that a reference can mean, the likeliest first."""
    every = [job for backend in batch.backends() for job in backend.jobs.values()]
    if "/" in reference:
        name, _, index = reference.rpartition("/")
        runs = [job for job in every if job.request.name == name or job.request.name.startswith(f"{name}-")]
        found = sorted(runs, key=lambda job: (job.request.name, -job.created_at))
    else:
        id, _, index = reference.partition(":")
        found = [job for job in every if id and job.id.startswith(id)]
    return [one for job in found if (one := _child(job, index))]


def _child(job: AnyJob, index: str) -> Job | None:
    if isinstance(job, Job):
        return None if index else job
    return job.children[int(index)] if index.isdecimal() and int(index) < len(job.children) else None


def finish(asked: dict[str, str]) -> int:
    """Have attempts end by decree, for tests whose machines exist in name only; returns how many jobs that was.

    asked: `job`, an id with or without `:INDEX`, or `:FIRST-LAST` of an array; `exit`, the exit code (0); `reason`,
    the container's.
    """
    id, _, indexes = asked.get("job", "").partition(":")
    first, _, last = indexes.partition("-")
    end = TaskEnd(int(asked.get("exit", "0")), asked.get("reason", ""))
    for backend in batch.backends():
        if job := backend.job(id):
            chosen = jobs_of(job)[int(first) : int(last or first) + 1] if first else jobs_of(job)
            with backend.scheduler.lock:  # or its thread would look at everything after each
                for one in chosen:
                    backend.scheduler.attempts.finish(one, end)
            return len(chosen)
    raise LocalCloudError(f"there is no Batch job {id!r}")

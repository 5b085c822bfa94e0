"""The children of a sweep as they are now: what AWS Batch says of them, and what they have counted as their cost."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from . import batch, batch_jobs, signatures
from .aws import Aws, aws_errors, pages
from .batch_jobs import Attempt, BatchJob
from .child import ORDER, Child, kept
from .errors import CloudError
from .records import FINAL
from .sweep_record import Run, Sweep

SETTLED = timedelta(hours=1)
"""After which Batch knows every child of a sweep, until it forgets them, a week after their end or later:
https://docs.aws.amazon.com/batch/latest/userguide/job_states.html"""

SETTLING = timedelta(minutes=2)
"""How long a job that was submitted may be unknown to ListJobs, and longer than SubmitJob is waited for."""

STATES = {
    "SUBMITTED": "queued",
    "PENDING": "queued",
    "RUNNABLE": "queued",
    "STARTING": "starting",
    "RUNNING": "running",
    "SUCCEEDED": "complete",
    "FAILED": "failed",
}
"""Our word for each of Batch's: https://docs.aws.amazon.com/batch/latest/userguide/job_states.html"""

TERMINATED = "ended by `terminate`"
"""The reason that `terminate` gives to Batch, by which a child that was ended is told from one that failed."""

ENDED = (*FINAL, "unsubmitted")
"""The states of which nothing more comes by itself."""


def look(aws: Aws, sweep: Sweep) -> list[Child]:
    """Every child of a sweep as it is now: a call for each hundred, and one for what each thousand has cost."""
    _ = aws.batch, aws.s3, aws.bucket  # clients are made before the threads that use them
    sweep = located(aws, sweep)
    jobs = jobs_of(sweep)
    with ThreadPoolExecutor(8) as threads:
        counting = threads.submit(_costs, aws, sweep)
        described = {one.id: one for one in describe(aws, sweep, sorted({job for _, job in jobs.values()}))}
        costs = counting.result()
        now = datetime.now(UTC)
        forgotten = [index for index, (run, job) in jobs.items() if job not in described and _is_old(run, now)]
        known = dict(zip(forgotten, threads.map(lambda index: kept(aws, sweep, index), forgotten), strict=True))
    return [
        known.get(index) or _child(sweep, index, described.get(job) or _unknown(run, now), costs.get(index), now)
        for index, (run, job) in jobs.items()
    ]


def look_at(aws: Aws, sweep: Sweep, index: int) -> Child:
    """One child as it is now. Raises CloudError when there is none of that number."""
    sweep = located(aws, sweep)
    run, job = job_of(sweep, index)
    described = describe(aws, sweep, [job])
    now = datetime.now(UTC)
    if not described and _is_old(run, now):
        return kept(aws, sweep, index)
    costs = _costs(aws, sweep, f"{index}/")
    return _child(sweep, index, described[0] if described else _unknown(run, now), costs.get(index), now)


def _is_old(run: Run, now: datetime) -> bool:
    """Whether a job that Batch does not know is one that it has forgotten, and not one that it has still to make."""
    return bool(run.job) and now - run.since > SETTLED


def _unknown(run: Run, now: datetime) -> BatchJob:
    """What is to be thought of a job that Batch does not know, which is so before it has made an array's children."""
    return batch_jobs.of({"status": "SUBMITTED" if run.job or now - run.since <= SETTLING else "UNSUBMITTED"})


def located(aws: Aws, sweep: Sweep) -> Sweep:
    """A sweep with the jobs of all its runs. One of which the record does not say so may have been submitted all the
    same, by a launcher that was killed: then Batch has it by its name."""
    return replace(sweep, runs=tuple(run if run.job else _found(aws, sweep, run) for run in sweep.runs))


def _found(aws: Aws, sweep: Sweep, run: Run) -> Run:
    found = batch_jobs.named(aws, sweep.queue, run.name)
    return replace(run, job=found[0] if found else "")


def jobs_of(sweep: Sweep) -> dict[int, tuple[Run, str]]:
    """The last run that has each child, and Batch's id of the child in it; "" while that is not submitted."""
    jobs: dict[int, tuple[Run, str]] = {}
    for run in sweep.runs:
        numbers = sweep.numbers(run)
        ids = batch.child_ids(run.job, len(numbers)) if run.job else [""] * len(numbers)
        jobs |= {number: (run, id) for number, id in zip(numbers, ids, strict=True)}
    return dict(sorted(jobs.items()))


def job_of(sweep: Sweep, index: int) -> tuple[Run, str]:
    """The same of one child. Raises CloudError when there is none of that number."""
    if index >= len(sweep.children):
        raise CloudError(f"{sweep.id} has no child {index}", fix=f"its children are 0 to {len(sweep.children) - 1}")
    return jobs_of(sweep)[index]


def describe(aws: Aws, sweep: Sweep, ids: Sequence[str]) -> list[BatchJob]:
    """What Batch says of a sweep's jobs. A job of another name is not the sweep's, whatever a record says."""
    names = {run.name for run in sweep.runs}
    return [job for job in batch_jobs.describe(aws, ids) if job.name in names]


COST_KEY = re.compile(r".*/([0-9]{1,9})/([^/]*)", re.DOTALL)


def _costs(aws: Aws, sweep: Sweep, only: str = "") -> dict[int, float]:
    """What each child has counted as its cost, in dollars; the name of an object says it. Costs only grow.

    What is not signed by the sweep, or has another name, is none.
    """
    with aws_errors("look at what the children have cost"):
        found = pages(aws.s3, "list_objects_v2", "Contents", Bucket=aws.bucket, Prefix=f"{sweep.prefix}costs/{only}")
    costs: dict[int, float] = {}
    for one in found:
        if key := COST_KEY.fullmatch(one["Key"]):
            index = int(key[1])
            dollars = signatures.cost(key[2], f"{sweep.id}/{index}", sweep.key)
            if dollars is not None:
                costs[index] = max(dollars, costs.get(index, 0))
    return costs


def _child(sweep: Sweep, index: int, job: BatchJob, cost: float | None, now: datetime) -> Child:
    """A child, from what Batch says of it and what it has counted itself."""
    state = STATES.get(job.status, job.status.lower())
    seconds = sum(_seconds(one.started_at, one.stopped_at, now) for one in job.attempts)
    if state == "running":
        seconds += _seconds(job.started_at, None, now)
    if job.reason == TERMINATED and state == "failed":
        state = "terminated"
    reckoned = seconds / 3600 * sweep.shares[0][3] if sweep.shares else None
    exact = cost is not None and state in FINAL
    last = job.attempts[-1] if job.attempts else None
    return Child(
        sweep=sweep.id,
        index=index,
        asked=sweep.children[index],
        state=state,
        attempts=len(job.attempts) + (state in ("starting", "running")),
        started_at=job.started_at,
        ended_at=job.stopped_at if state in FINAL else None,
        seconds=seconds,
        exit_code=last.exit_code if last else None,
        reason=_reason(sweep, state, job, last),
        dollars=cost if exact else reckoned if seconds else None if reckoned is None else 0.0,
        exact=exact,
        log_stream=last.log_stream if last else "",
    )


def _seconds(start: datetime | None, end: datetime | None, now: datetime) -> float:
    return max(0.0, ((end or now) - start).total_seconds()) if start else 0.0


def _reason(sweep: Sweep, state: str, job: BatchJob, last: Attempt | None) -> str:
    """Why a child is in its state: Batch says no more of a trainer's failure than that its container has exited."""
    if state == "unsubmitted":
        return f"its launcher was killed before it submitted it; `inv retry {sweep.id}` goes on"
    if state == "terminated":
        return job.reason
    if state != "failed":
        return ""
    if last and last.reason:
        return last.reason
    return f"exit code {last.exit_code}" if last and last.exit_code is not None else job.reason


def counted(children: Iterable[Child]) -> str:
    """`3 queued, 8 running, 1 failed`."""
    return _in_words(Counter(child.state for child in children))


def _in_words(counts: Counter[str]) -> str:
    others = sorted(counts.keys() - set(ORDER))
    return ", ".join(f"{counts[state]} {state}" for state in (*ORDER, *others) if counts[state])


def summaries(aws: Aws, sweeps: Sequence[Sweep]) -> dict[str, str]:
    """How many children of the last run of each sweep are in which state, in words, by the sweep's id."""
    told, jobs = {}, {}
    for sweep in sweeps:
        run = sweep.runs[-1] if sweep.runs[-1].job else _found(aws, sweep, sweep.runs[-1])
        if run.job:
            jobs[run.job] = sweep.id, run
        else:
            state = STATES.get(status := _unknown(run, datetime.now(UTC)).status, status.lower())
            told[sweep.id] = f"{len(sweep.numbers(run))} {state}"
    for one in batch_jobs.describe(aws, list(jobs)):
        if one.id not in jobs or one.name != jobs[one.id][1].name:
            continue
        counts: Counter[str] = Counter()
        for status, number in (one.counts or {one.status: 1}).items():
            counts[STATES.get(status, status.lower())] += number
        told[jobs[one.id][0]] = _in_words(counts)
    return told


def over(aws: Aws, sweep: Sweep, run: Run) -> bool:
    """Whether a run that was submitted has ended, all its children with it."""
    found = describe(aws, sweep, [run.job])
    return found[0].over if found else _is_old(run, datetime.now(UTC))

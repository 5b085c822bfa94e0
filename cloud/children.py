"""The children of a sweep as they are now: what AWS Batch says of them, and what they have counted as their cost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from . import batch
from .aws import Aws, aws_errors, pages
from .child import ORDER, Child, kept
from .errors import CloudError
from .records import FINAL
from .sweeps import Run, Sweep

if TYPE_CHECKING:
    from mypy_boto3_batch.type_defs import JobDetailTypeDef

MOST_DESCRIBED = 100
"""How many jobs DescribeJobs takes: https://docs.aws.amazon.com/batch/latest/APIReference/API_DescribeJobs.html"""

SETTLED = timedelta(hours=1)
"""After which Batch knows every child of a sweep, until it forgets them, a week after their end or later:
https://docs.aws.amazon.com/batch/latest/userguide/job_states.html"""

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

OVER = ("SUCCEEDED", "FAILED")
"""Batch's words for a job that has ended."""

TERMINATED = "ended by `terminate`"
"""The reason that `terminate` gives to Batch, by which a child that was ended is told from one that failed."""


def look(aws: Aws, sweep: Sweep) -> list[Child]:
    """Every child of a sweep as it is now: a call for each hundred, and one for what each thousand has cost."""
    _ = aws.batch, aws.s3, aws.bucket  # clients are made before the threads that use them
    jobs = jobs_of(sweep)
    with ThreadPoolExecutor(8) as threads:
        counting = threads.submit(_costs, aws, sweep)
        described = {one["jobId"]: one for one in describe(aws, sorted(set(jobs.values())))}
        costs = counting.result()
        now = datetime.now(UTC)
        forgotten = [index for index, job in jobs.items() if job not in described and _is_old(sweep, now)]
        known = dict(zip(forgotten, threads.map(lambda index: kept(aws, sweep, index), forgotten), strict=True))
    return [
        known.get(index) or _child(sweep, index, described.get(jobs[index]), costs.get(index), now) for index in jobs
    ]


def look_at(aws: Aws, sweep: Sweep, index: int) -> Child:
    """One child as it is now. Raises CloudError when there is none of that number."""
    if index >= len(sweep.children):
        raise CloudError(f"{sweep.id} has no child {index}", fix=f"its children are 0 to {len(sweep.children) - 1}")
    job = jobs_of(sweep)[index]
    described = describe(aws, [job])
    now = datetime.now(UTC)
    if not described and _is_old(sweep, now):
        return kept(aws, sweep, index)
    costs = _costs(aws, sweep, f"{index}/")
    return _child(sweep, index, described[0] if described else None, costs.get(index), now)


def _is_old(sweep: Sweep, now: datetime) -> bool:
    """Whether a job that Batch does not know is one that it has forgotten, and not one that it has still to make."""
    return now - sweep.submitted_at > SETTLED


def jobs_of(sweep: Sweep) -> dict[int, str]:
    """Batch's id of each child: that of the last run which has it; "" while that is not submitted."""
    jobs: dict[int, str] = {}
    for run in sweep.runs:
        numbers: Sequence[int] = run.children or range(len(sweep.children))
        ids = batch.child_ids(run.job, len(numbers)) if run.job else [""] * len(numbers)
        jobs |= dict(zip(numbers, ids, strict=True))
    return jobs


def describe(aws: Aws, ids: list[str]) -> list[JobDetailTypeDef]:
    """What Batch says of some jobs, a hundred with each call; of one that it does not know (yet, or any more), nothing.

    ids: "" is one that is not submitted.
    """
    _ = aws.batch  # made before the threads that use it
    wanted = [id for id in ids if id]

    def part(start: int) -> list[JobDetailTypeDef]:
        return aws.batch.describe_jobs(jobs=wanted[start : start + MOST_DESCRIBED])["jobs"]

    with aws_errors("look at the jobs of AWS Batch"), ThreadPoolExecutor(8) as threads:
        return [one for found in threads.map(part, range(0, len(wanted), MOST_DESCRIBED)) for one in found]


def _costs(aws: Aws, sweep: Sweep, only: str = "") -> dict[int, float]:
    """What each child has counted as its cost, in dollars; the name of an object says it. Costs only grow."""
    with aws_errors("look at what the children have cost"):
        found = pages(aws.s3, "list_objects_v2", "Contents", Bucket=aws.bucket, Prefix=f"{sweep.prefix}costs/{only}")
    costs: dict[int, float] = {}
    for one in found:
        index, micro = one["Key"].split("/")[-2:]
        if micro.isdigit():
            costs[int(index)] = max(int(micro) / 1_000_000, costs.get(int(index), 0))
    return costs


def _child(sweep: Sweep, index: int, job: Any, cost: float | None, now: datetime) -> Child:
    """A child, from what Batch says of it and what it has counted itself.

    job: as DescribeJobs has it; None if Batch does not know it, which is so before it has made the array's children.
    """
    job = job or {"status": "SUBMITTED"}
    state, attempts = STATES[job["status"]], job.get("attempts", [])
    seconds = sum(_seconds(one, now) for one in attempts if "startedAt" in one)
    if state == "running":
        seconds += _seconds({"startedAt": job["startedAt"]}, now)
    last = attempts[-1] if attempts else {}
    reason = job.get("statusReason", "") if state == "failed" else ""
    if reason == TERMINATED:
        state = "terminated"
    reckoned = seconds / 3600 * sweep.shares[0][3] if sweep.shares else None
    exact = cost is not None and state in FINAL
    return Child(
        sweep=sweep.id,
        index=index,
        asked=sweep.children[index],
        state=state,
        attempts=len(attempts) + (state in ("starting", "running")),
        started_at=_moment(job.get("startedAt")),
        ended_at=_moment(job.get("stoppedAt")) if state in FINAL else None,
        seconds=seconds,
        exit_code=last.get("container", {}).get("exitCode"),
        reason=_reason(reason, last) if state == "failed" else reason,
        dollars=cost if exact else reckoned if seconds else None if reckoned is None else 0.0,
        exact=exact,
    )


def _seconds(attempt: Any, now: datetime) -> float:
    return float(attempt.get("stoppedAt", now.timestamp() * 1000) - attempt["startedAt"]) / 1000


def _moment(milliseconds: int | None) -> datetime | None:
    return None if milliseconds is None else datetime.fromtimestamp(milliseconds / 1000, UTC)


def _reason(reason: str, attempt: Any) -> str:
    """Why a child failed: Batch says no more of a trainer's failure than that its container has exited."""
    container = attempt.get("container", {})
    if said := container.get("reason"):
        return str(said)
    code = container.get("exitCode")
    return reason if code is None else f"exit code {code}"


def counted(children: Iterable[Child]) -> str:
    """`3 queued, 8 running, 1 failed`."""
    return _in_words(Counter(child.state for child in children))


def _in_words(counts: Counter[str]) -> str:
    return ", ".join(f"{counts[state]} {state}" for state in ORDER if counts[state])


def summaries(aws: Aws, sweeps: Sequence[Sweep]) -> dict[str, str]:
    """How many children of the last run of each sweep are in which state, in words, by the sweep's id."""
    jobs = {sweep.runs[-1].job: sweep.id for sweep in sweeps if sweep.runs[-1].job}
    found: list[Any] = describe(aws, list(jobs))
    told = {}
    for one in found:
        counts: Counter[str] = Counter()
        for status, number in (one.get("arrayProperties", {}).get("statusSummary") or {one["status"]: 1}).items():
            counts[STATES[status]] += number
        told[jobs[one["jobId"]]] = _in_words(counts)
    return told


def over(aws: Aws, run: Run) -> bool:
    """Whether a run that was submitted has ended, all its children with it."""
    found = describe(aws, [run.job])
    return not found or found[0]["status"] in OVER

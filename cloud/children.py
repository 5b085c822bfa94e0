"""The children of a sweep as they are now: what AWS Batch says of them, and what they have counted as their cost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from . import batch, display, storage
from .aws import Aws, aws_errors, pages
from .errors import CloudError
from .records import File, Record
from .sweeps import Asked, Run, Sweep

if TYPE_CHECKING:
    from mypy_boto3_batch.type_defs import JobDetailTypeDef

MOST_DESCRIBED = 100
"""How many jobs DescribeJobs takes: https://docs.aws.amazon.com/batch/latest/APIReference/API_DescribeJobs.html"""

MOST_LOOKED_UP = 100
"""Of how many children the latest lines are looked up, each by a call."""

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

ORDER = ("queued", "starting", "running", "complete", "failed", "terminated")
FINAL = ("complete", "failed", "terminated")

TERMINATED = "ended by `terminate`"
"""The reason that `terminate` gives to Batch, by which a child that was ended is told from one that failed."""


@dataclass(frozen=True)
class Child:
    """A child as it is now."""

    sweep: str
    index: int
    asked: Asked
    state: str
    """One of ORDER."""
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

    @property
    def id(self) -> str:
        return f"{self.sweep}/{self.index}"

    @property
    def prefix(self) -> str:
        """Where in the bucket all of it is."""
        return f"sweeps/{self.id}/"


def look(aws: Aws, sweep: Sweep) -> list[Child]:
    """Every child of a sweep as it is now: a call for each hundred, and one for what each thousand has cost."""
    _ = aws.batch, aws.s3, aws.bucket  # clients are made before the threads that use them
    jobs = jobs_of(sweep)
    wanted = sorted(set(jobs.values()))
    with ThreadPoolExecutor(8) as threads:
        counting = threads.submit(_costs, aws, sweep)
        parts = [wanted[start : start + MOST_DESCRIBED] for start in range(0, len(wanted), MOST_DESCRIBED)]
        described = {one["jobId"]: one for part in threads.map(lambda part: describe(aws, part), parts) for one in part}
        costs = counting.result()
    now = datetime.now(UTC)
    return [_child(sweep, index, described.get(jobs[index]), costs.get(index), now) for index in jobs]


def look_at(aws: Aws, sweep: Sweep, index: int) -> Child:
    """One child as it is now. Raises CloudError when there is none of that number."""
    if index >= len(sweep.children):
        raise CloudError(f"{sweep.id} has no child {index}", fix=f"its children are 0 to {len(sweep.children) - 1}")
    job = jobs_of(sweep)[index]
    described = describe(aws, [job]) if job else []
    costs = _costs(aws, sweep, f"{index}/")
    return _child(sweep, index, described[0] if described else None, costs.get(index), datetime.now(UTC))


def jobs_of(sweep: Sweep) -> dict[int, str]:
    """Batch's id of each child: that of the last run which has it; "" while that is not submitted."""
    jobs: dict[int, str] = {}
    for run in sweep.runs:
        numbers: Sequence[int] = run.children or range(len(sweep.children))
        ids = batch.child_ids(run.job, len(numbers)) if run.job else [""] * len(numbers)
        jobs |= dict(zip(numbers, ids, strict=True))
    return jobs


def describe(aws: Aws, ids: list[str]) -> list[JobDetailTypeDef]:
    """What Batch says of some jobs; of one that it does not know (yet, or for a week now), nothing."""
    if ids == [""]:
        return []
    with aws_errors("look at the jobs of AWS Batch"):
        return aws.batch.describe_jobs(jobs=ids)["jobs"]


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


def with_latest(aws: Aws, children: Sequence[Child]) -> Sequence[Child]:
    """The same children with the latest line of those that train or have failed, unless there are very many."""
    if len(children) > MOST_LOOKED_UP:
        return children
    _ = aws.s3, aws.bucket  # made before the threads that use them

    def looked_up(child: Child) -> Child:
        if child.state not in ("running", "failed"):
            return child
        return replace(child, latest=display.last_line(storage.tail(aws, f"{child.prefix}logs/trainer.log")))

    with ThreadPoolExecutor(16) as threads:
        return list(threads.map(looked_up, children))


def bundles(aws: Aws, children: Sequence[Child]) -> tuple[tuple[File, ...], dict[str, str]]:
    """The files of the bundles of complete children, and where below the sweep each is.

    Each child's files are in a directory that is called as its parameters are.
    """
    _ = aws.s3, aws.bucket  # made before the threads that use them

    def files(child: Child) -> list[tuple[File, str]]:
        with aws_errors(f"read the record of {child.id}"):
            record = Record.parse(storage.read(aws, f"{child.prefix}job.json")[0])
        return [
            (replace(file, path=f"{child.asked.name}/{file.path}"), f"{child.index}/bundle/{file.path}")
            for file in record.bundle
        ]

    with ThreadPoolExecutor(32) as threads:
        found = [pair for pairs in threads.map(files, children) for pair in pairs]
    return tuple(file for file, _ in found), {file.path: key for file, key in found}


def counted(children: Iterable[Child]) -> str:
    """`3 queued, 8 running, 1 failed`."""
    counts = Counter(child.state for child in children)
    return ", ".join(f"{counts[state]} {state}" for state in ORDER if counts[state])


def over(aws: Aws, run: Run) -> bool:
    """Whether a run that was submitted has ended, all its children with it."""
    found = describe(aws, [run.job])
    return not found or found[0]["status"] in ("SUCCEEDED", "FAILED")

"""What AWS Batch says of its jobs, read so that nothing that is missing or new in it stops a command."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from .aws import Aws, aws_errors, pages

MOST_DESCRIBED = 100
"""How many jobs DescribeJobs takes: https://docs.aws.amazon.com/batch/latest/APIReference/API_DescribeJobs.html"""

OVER = ("SUCCEEDED", "FAILED")
"""Batch's words for a job that has ended."""


@dataclass(frozen=True)
class Attempt:
    """One time that a job was placed on a machine."""

    started_at: datetime | None
    stopped_at: datetime | None
    exit_code: int | None
    reason: str
    """What Batch says of the container, such as that it could not be pulled."""
    log_stream: str
    """Of CloudWatch Logs; "" if there is none."""


@dataclass(frozen=True)
class BatchJob:
    """A job as DescribeJobs has it."""

    id: str
    name: str
    status: str
    reason: str
    started_at: datetime | None
    stopped_at: datetime | None
    attempts: tuple[Attempt, ...]
    counts: dict[str, int]
    """Of an array: how many children are in which state."""

    @property
    def over(self) -> bool:
        """Whether it has ended, all its children with it."""
        return self.status in OVER


def of(data: Any) -> BatchJob:
    """A job from one answer of DescribeJobs; what is not there or of no use is left empty."""
    data = _mapping(data)
    attempts = data.get("attempts")
    counts = _mapping(_mapping(data.get("arrayProperties")).get("statusSummary"))
    return BatchJob(
        id=_text(data.get("jobId")),
        name=_text(data.get("jobName")),
        status=_text(data.get("status")) or "UNKNOWN",
        reason=_text(data.get("statusReason")),
        started_at=_moment(data.get("startedAt")),
        stopped_at=_moment(data.get("stoppedAt")),
        attempts=tuple(map(_attempt, attempts if isinstance(attempts, list) else [])),
        counts={status: number for status, number in counts.items() if isinstance(number, int) and number > 0},
    )


def _attempt(data: Any) -> Attempt:
    data = _mapping(data)
    container = _mapping(data.get("container"))
    code = container.get("exitCode")
    return Attempt(
        started_at=_moment(data.get("startedAt")),
        stopped_at=_moment(data.get("stoppedAt")),
        exit_code=code if isinstance(code, int) else None,
        reason=_text(container.get("reason")),
        log_stream=_text(container.get("logStreamName")),
    )


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _moment(milliseconds: Any) -> datetime | None:
    """Batch's moments are milliseconds since 1970."""
    try:
        return datetime.fromtimestamp(milliseconds / 1000, UTC)
    except (TypeError, ValueError, OverflowError, OSError):
        return None


def describe(aws: Aws, ids: Sequence[str]) -> list[BatchJob]:
    """What Batch says of some jobs, a hundred with each call; of one that it does not know (yet, or any more), nothing.

    ids: "" is one that is not submitted.
    """
    _ = aws.batch  # made before the threads that use it
    wanted = [id for id in ids if id]

    def part(start: int) -> list[BatchJob]:
        return list(map(of, aws.batch.describe_jobs(jobs=wanted[start : start + MOST_DESCRIBED]).get("jobs", [])))

    with aws_errors("look at the jobs of AWS Batch"), ThreadPoolExecutor(8) as threads:
        return [one for found in threads.map(part, range(0, len(wanted), MOST_DESCRIBED)) for one in found]


def named(aws: Aws, queue: str, name: str) -> list[str]:
    """The ids of the jobs of a name in a queue, whatever has become of them. With * at its end, of all that begin so.

    A queue that is gone has none. https://docs.aws.amazon.com/batch/latest/APIReference/API_ListJobs.html (filters)
    """
    wanted = [{"name": "JOB_NAME", "values": [name]}]
    with aws_errors(f"look for the job {name}"):
        try:
            found = pages(aws.batch, "list_jobs", "jobSummaryList", jobQueue=queue, filters=wanted)
        except aws.batch.exceptions.ClientException as error:
            if "does not exist" not in str(error):
                raise
            return []
    return [str(one["jobId"]) for one in found if "jobId" in one]

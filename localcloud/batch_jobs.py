"""Jobs of Batch: single ones, arrays and their children, with their states and attempts.

https://docs.aws.amazon.com/batch/latest/userguide/job_states.html
https://docs.aws.amazon.com/batch/latest/userguide/array_jobs.html
"""

from __future__ import annotations

import time
import uuid
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Status = Literal["SUBMITTED", "PENDING", "RUNNABLE", "STARTING", "RUNNING", "SUCCEEDED", "FAILED"]
STATUSES: tuple[Status, ...] = ("SUBMITTED", "PENDING", "RUNNABLE", "STARTING", "RUNNING", "SUCCEEDED", "FAILED")
OVER = ("SUCCEEDED", "FAILED")


@dataclass(frozen=True)
class Request:
    """What a SubmitJob asked for, with the job definition's part; the children of an array share it."""

    name: str
    queue: str
    """ARN."""
    definition: str
    """ARN."""
    definition_name: str
    image: str
    command: tuple[str, ...]
    environment: Mapping[str, str]
    role_arn: str | None
    vcpus: float
    memory: int
    """MiB."""
    init: bool
    retry: Mapping[str, Any]
    timeout: int | None
    """Seconds that one attempt may take."""
    container: Mapping[str, Any]
    """The part of DescribeJobs' `container` that is known beforehand."""
    user: str = ""
    """Whose container it is; the image says so if this is empty."""
    tags: Mapping[str, str] = field(default_factory=dict)
    propagate_tags: bool = False

    @property
    def shape(self) -> tuple[str, float, int]:
        """Jobs that have this in common find room in the same places."""
        return self.queue, self.vcpus, self.memory


@dataclass
class Attempt:
    """One time that a job was placed on an instance."""

    number: int
    """From 1."""
    instance_id: str
    environment: str
    """Name of the compute environment."""
    container_instance: str
    task_arn: str
    log_stream: str
    task_id: str = field(default_factory=lambda: uuid.uuid4().hex)
    started_at: float | None = None
    stopped_at: float | None = None
    exit_code: int | None = None
    reason: str = ""
    status_reason: str = ""


class Job:
    """A job that runs: a single one, or one child of an array."""

    def __init__(self, request: Request, id: str, arn: str, parent: ArrayJob | None = None, index: int | None = None):
        self.request, self.id, self.arn = request, id, arn
        self.parent, self.index = parent, index
        self.created_at = time.time()
        self.status: Status = "RUNNABLE"
        self.status_reason = ""
        self.attempts: list[Attempt] = []
        self.ending: str | None = None
        """Why it is being ended by Batch or its user, once it is; it is not retried then."""
        self.is_terminated = self.is_cancelled = False
        self.stopped_at: float | None = None

    @property
    def over(self) -> bool:
        return self.status in OVER

    @property
    def attempt(self) -> Attempt | None:
        """The attempt that is being made."""
        active = self.status in ("STARTING", "RUNNING")
        return self.attempts[-1] if active else None

    @property
    def started_at(self) -> float | None:
        """When the attempt that runs, or was the last, has started."""
        return self.attempts[-1].started_at if self.attempts and self.status != "RUNNABLE" else None

    def enter(self, status: Status, reason: str = "") -> None:
        before, self.status, self.status_reason = self.status, status, reason
        if self.over:
            self.stopped_at = time.time()
        if self.parent:
            self.parent.child_changed(before, status)

    def overdue_at(self) -> float | None:
        """When the attempt that runs has taken as long as it may."""
        attempt = self.attempt
        if self.request.timeout is None or self.ending or not attempt or attempt.started_at is None:
            return None
        return attempt.started_at + self.request.timeout


class ArrayJob:
    """The parent of the children of an array: it runs nothing itself."""

    def __init__(self, request: Request, id: str, arn: str, size: int) -> None:
        self.request, self.id, self.arn = request, id, arn
        self.created_at = time.time()
        self.status_reason = ""
        self.is_terminated = self.is_cancelled = False
        self.children = [Job(request, f"{id}:{index}", f"{arn}:{index}", self, index) for index in range(size)]
        self.counts: Counter[str] = Counter({"RUNNABLE": size})
        self.stopped_at: float | None = None

    @property
    def status(self) -> Status:
        """PENDING until all children are over."""
        if not self.over:
            return "PENDING"
        return "FAILED" if self.counts["FAILED"] else "SUCCEEDED"

    @property
    def over(self) -> bool:
        return self.counts["SUCCEEDED"] + self.counts["FAILED"] == len(self.children)

    @property
    def started_at(self) -> float | None:
        return None

    def child_changed(self, before: Status, after: Status) -> None:
        """Count a child's change of state."""
        self.counts[before] -= 1
        self.counts[after] += 1
        if self.over:
            self.stopped_at = time.time()
            if self.counts["FAILED"] and not self.status_reason:
                self.status_reason = "Array Child Job failed"


AnyJob = Job | ArrayJob


def jobs_of(job: AnyJob) -> list[Job]:
    """What runs of a job: its children, or itself."""
    return job.children if isinstance(job, ArrayJob) else [job]

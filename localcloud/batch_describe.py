"""Jobs as DescribeJobs and ListJobs show them.

https://docs.aws.amazon.com/batch/latest/APIReference/API_JobDetail.html
https://docs.aws.amazon.com/batch/latest/APIReference/API_JobSummary.html
"""

from __future__ import annotations

from typing import Any

from .batch_jobs import STATUSES, AnyJob, ArrayJob, Attempt, Job


def summary(job: AnyJob) -> dict[str, Any]:
    """One job of ListJobs."""
    shown = _common(job)
    if isinstance(job, ArrayJob):
        return {**shown, "arrayProperties": {"size": len(job.children)}}
    if job.index is not None:
        shown["arrayProperties"] = {"index": job.index}
    if job.attempts and job.status != "RUNNABLE":
        last = job.attempts[-1]
        shown["container"] = _present(exitCode=last.exit_code, reason=last.reason or None)
    return shown


def detail(job: AnyJob) -> dict[str, Any]:
    """One job of DescribeJobs."""
    request = job.request
    shown = {
        **_common(job),
        "jobQueue": request.queue,
        "retryStrategy": request.retry or {"attempts": 1, "evaluateOnExit": []},
        "dependsOn": [],
        "parameters": {},
        "attempts": [],
        "tags": dict(request.tags),
        "propagateTags": request.propagate_tags,
        "platformCapabilities": ["EC2"],
        "eksAttempts": [],
        "isCancelled": job.is_cancelled,
        "isTerminated": job.is_terminated,
    }
    if request.timeout is not None:
        shown["timeout"] = {"attemptDurationSeconds": request.timeout}
    if isinstance(job, ArrayJob):
        counts = {status: job.counts[status] for status in STATUSES}
        return {
            **shown,
            "container": request.container,
            "arrayProperties": {"size": len(job.children), "statusSummary": counts},
        }
    if job.index is not None:
        shown["arrayProperties"] = {"index": job.index, "statusSummary": {}}
    shown["attempts"] = [_attempt(one) for one in job.attempts if one.stopped_at is not None]
    shown["container"] = _container(job)
    return shown


def _common(job: AnyJob) -> dict[str, Any]:
    return {
        "jobArn": job.arn,
        "jobId": job.id,
        "jobName": job.request.name,
        "jobDefinition": job.request.definition,
        "status": job.status,
        "createdAt": _milliseconds(job.created_at),
        **_present(
            statusReason=job.status_reason or None,
            startedAt=_milliseconds(job.started_at),
            stoppedAt=_milliseconds(job.stopped_at),
        ),
    }


def _container(job: Job) -> dict[str, Any]:
    """With what is known of the attempt that is being made, or was the last."""
    if not job.attempts or job.status == "RUNNABLE":
        return dict(job.request.container)
    return {**job.request.container, **_of_attempt(job.attempts[-1])}


def _attempt(attempt: Attempt) -> dict[str, Any]:
    return {
        "container": {"networkInterfaces": [], **_of_attempt(attempt)},
        **_present(
            startedAt=_milliseconds(attempt.started_at),
            stoppedAt=_milliseconds(attempt.stopped_at),
            statusReason=attempt.status_reason or None,
        ),
    }


def _of_attempt(attempt: Attempt) -> dict[str, Any]:
    return _present(
        containerInstanceArn=attempt.container_instance,
        taskArn=attempt.task_arn,
        logStreamName=attempt.log_stream,
        exitCode=attempt.exit_code,
        reason=attempt.reason or None,
    )


def _present(**values: Any) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def _milliseconds(at: float | None) -> int | None:
    return None if at is None else int(at * 1000)

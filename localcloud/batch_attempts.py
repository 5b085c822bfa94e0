"""The attempts of Batch's jobs: a container's life, and what the job becomes by it.

https://docs.aws.amazon.com/batch/latest/userguide/job_states.html
"""

from __future__ import annotations

import logging
import threading
import time
import uuid
from typing import TYPE_CHECKING, Literal

from . import batch_retries
from .batch_hosts import Host
from .batch_jobs import Attempt, Job
from .batch_task import TaskEnd, TaskSpec
from .instances import background

if TYPE_CHECKING:
    from .batch import LocalBatchBackend
    from .batch_scheduler import Scheduler

log = logging.getLogger(__name__)

EXITED = "Essential container in task exited"
NOT_STARTED = "Task failed to start"
"""https://docs.aws.amazon.com/batch/latest/userguide/troubleshooting.html"""
CANCELLABLE = ("SUBMITTED", "PENDING", "RUNNABLE")


class Attempts:
    """Begins, follows and ends the attempts of one region's jobs."""

    def __init__(self, backend: LocalBatchBackend, scheduler: Scheduler) -> None:
        self._backend, self._scheduler = backend, scheduler

    def begin(self, job: Job, host: Host) -> None:
        """Start a job on an instance; to be called with the scheduler's lock held."""
        id, backend = uuid.uuid4().hex, self._backend
        attempt = Attempt(
            number=len(job.attempts) + 1,
            instance_id=host.instance.id,
            environment=host.environment.name,
            container_instance=host.arn,
            task_arn=f"{host.arn.rpartition('/')[0].replace(':container-instance/', ':task/')}/{id}",
            log_stream=f"{job.request.definition_name}/default/{id}",
            task_id=id,
        )
        job.attempts.append(attempt)
        job.enter("STARTING")
        spec = self._spec(job, attempt)
        threading.Thread(target=self._follow, args=(job, attempt, host, spec), name=job.id, daemon=True).start()
        log.info("%s starts on %s, attempt %s of %s", job.id, host.instance.id, attempt.number, backend.region_name)

    def _spec(self, job: Job, attempt: Attempt) -> TaskSpec:
        """https://docs.aws.amazon.com/batch/latest/userguide/job_env_vars.html"""
        request = job.request
        environment = {
            **request.environment,
            "AWS_BATCH_CE_NAME": attempt.environment,
            "AWS_BATCH_JOB_ATTEMPT": str(attempt.number),
            "AWS_BATCH_JOB_ID": job.id,
            "AWS_BATCH_JQ_NAME": request.queue.rpartition("/")[2],
            "AWS_EXECUTION_ENV": "AWS_ECS_EC2",
        }
        if job.parent:
            environment["AWS_BATCH_JOB_ARRAY_INDEX"] = str(job.index)
            environment["AWS_BATCH_JOB_ARRAY_SIZE"] = str(len(job.parent.children))
        return TaskSpec(
            id=attempt.task_id,
            image=request.image,
            command=request.command,
            environment=environment,
            role_arn=request.role_arn,
            vcpus=request.vcpus,
            memory=request.memory,
            init=request.init,
            user=request.user,
        )

    def _follow(self, job: Job, attempt: Attempt, host: Host, spec: TaskSpec) -> None:
        def started() -> None:
            with self._scheduler.lock:
                if attempt.stopped_at is None:
                    attempt.started_at = time.time()
                    job.enter("RUNNING")
                unwanted = job.ending is not None or attempt.stopped_at is not None
            if unwanted:  # it was ended before there was anything to stop
                background(self._backend.ec2.cloud.machines.stop_task, attempt.instance_id, attempt.task_id)
            self._scheduler.wake()  # its timeout begins

        try:
            end = self._backend.ec2.cloud.machines.run_task(host.instance.id, spec, started)
        except Exception as error:
            log.exception("%s does not run", job.id)
            end = TaskEnd(reason=f"CannotStartContainerError: {error}")
        self._backend.keep_log(attempt.log_stream, end.log)
        self.ended(job, attempt, host, end)

    def ended(self, job: Job, attempt: Attempt, host: Host | None, end: TaskEnd) -> None:
        """A container has ended, or did not start: the job succeeds, fails, or waits for its next attempt."""
        with self._scheduler.lock:
            if attempt.stopped_at is not None:
                return
            attempt.stopped_at = time.time()
            host_ended = end.host_ended
            if host:
                host_ended |= host.instance.state != "running"
                host.lost |= host_ended
                host.release(job)
            attempt.reason = "" if host_ended else end.reason
            attempt.exit_code = None if host_ended else end.exit_code
            attempt.status_reason = job.ending or self._why(attempt, host_ended)
            self._decide(job, attempt)
        self._scheduler.wake()

    def _why(self, attempt: Attempt, host_ended: bool) -> str:
        """https://docs.aws.amazon.com/batch/latest/userguide/job_retries.html (the reason for a reclaimed instance)"""
        if host_ended:
            return f"Host EC2 (instance {attempt.instance_id}) terminated."
        return NOT_STARTED if attempt.exit_code is None else EXITED

    def _decide(self, job: Job, attempt: Attempt) -> None:
        if job.ending is not None:
            job.enter("FAILED", job.ending)
        elif attempt.exit_code == 0:
            job.enter("SUCCEEDED", attempt.status_reason)
        elif batch_retries.retries(job.request.retry, attempt):
            job.enter("RUNNABLE", attempt.status_reason)
            self._scheduler.waiting[job] = None
        else:
            job.enter("FAILED", attempt.status_reason)

    def finish(self, job: Job, end: TaskEnd) -> None:
        """Have a job's attempt end in this way, whatever its container does; one that waits gets such an attempt."""
        with self._scheduler.lock:
            if job.over:
                return
            host = next((host for host in self._scheduler.hosts if job in host.jobs), None)
            attempt = job.attempt
            if attempt is None:
                attempt = Attempt(len(job.attempts) + 1, "", "", "", "", "")
                job.attempts.append(attempt)
                del self._scheduler.waiting[job]
                job.enter("STARTING")
            if attempt.started_at is None:
                attempt.started_at = time.time()
                job.enter("RUNNING")
        self.ended(job, attempt, host, end)
        if host:
            background(self._backend.ec2.cloud.machines.stop_task, attempt.instance_id, attempt.task_id)

    def end(self, job: Job, reason: str, *, by: Literal["terminate", "cancel"] | None = None) -> None:
        """End a job for good, if it is not over: at once if it waits, else with SIGTERM, and SIGKILL later.

        by: what its user has called, if it was the user; who cancels leaves alone what has started.
        """
        with self._scheduler.lock:
            if job.over or job.ending is not None or (by == "cancel" and job.status not in CANCELLABLE):
                return
            job.ending = reason
            job.is_terminated, job.is_cancelled = by == "terminate", by == "cancel"
            attempt = job.attempt
            if attempt is None:
                self._scheduler.waiting.pop(job, None)
                job.enter("FAILED", reason)
        if attempt:
            background(self._backend.ec2.cloud.machines.stop_task, attempt.instance_id, attempt.task_id)

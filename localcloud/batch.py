"""AWS Batch in one region: its job definitions, and the jobs with the scheduler that runs them.

https://docs.aws.amazon.com/batch/latest/APIReference/Welcome.html
"""

# mypy: allow-subclassing-any
from __future__ import annotations

import uuid
from collections.abc import Iterator
from datetime import datetime
from typing import Any, ClassVar

from moto.batch import models, urls
from moto.batch.exceptions import ClientException
from moto.batch.models import ComputeEnvironment, JobDefinition, JobQueue, batch_backends
from moto.batch.utils import make_arn_for_job

from . import batch_requests, batch_retries
from .batch_answers import LocalBatchResponse
from .batch_environments import EnvironmentBackend
from .batch_hosts import Host
from .batch_jobs import AnyJob, ArrayJob, Job, jobs_of
from .batch_scheduler import Scheduler
from .instances import LocalInstance
from .routes import routed

LOG_GROUP = "/aws/batch/job"
"""https://docs.aws.amazon.com/batch/latest/userguide/using_cloudwatch_logs.html"""


def install(endpoint: str, key: str) -> None:
    """Make moto's Batch this cloud's; before the first request.

    endpoint: of this cloud's API, where it launches instances as everybody does. key: of whoever may.
    """
    models.InvalidParameterValueException = ClientException  # Batch has but two errors, and this is the caller's
    LocalBatchBackend.endpoint, LocalBatchBackend.key = endpoint, key
    batch_backends.backend = LocalBatchBackend
    LocalInstance.watchers.append(instances_changed)


def instances_changed() -> None:
    """Tell all schedulers that an instance has changed its state."""
    for backend in backends():
        backend.scheduler.wake()


def market_changed() -> None:
    """Tell all schedulers that there may be capacity again."""
    for backend in backends():
        backend.scheduler.market_changed()


def backends() -> Iterator[LocalBatchBackend]:
    """Batch of every account and region that was spoken to."""
    for _, _, backend in list(batch_backends.iter_backends()):
        yield backend


class LocalBatchBackend(EnvironmentBackend):
    endpoint: ClassVar[str]
    key: ClassVar[str]

    def __init__(self, region_name: str, account_id: str) -> None:
        super().__init__(region_name, account_id)
        self.jobs: dict[str, AnyJob] = {}
        self._client: Any = None
        self.scheduler = Scheduler(self, self._ec2_client)

    @property
    def _url_module(self) -> Any:
        return routed(urls, LocalBatchResponse)

    def vcpus(self, environment: ComputeEnvironment) -> int:
        return self.scheduler.vcpus(environment)

    def environments_changed(self) -> None:
        self.scheduler.market_changed()

    def queue_deleted(self, queue: JobQueue) -> None:
        for job in [job for job in self.jobs.values() if job.request.queue == queue.arn]:
            self._end(job, "The job queue was deleted", by="terminate")

    def _ec2_client(self) -> Any:
        """Batch calls EC2 as its customers do, so that EC2's rules hold for it too."""
        if self._client is None:
            import boto3
            from botocore.config import Config

            session = boto3.Session(aws_access_key_id=self.key, aws_secret_access_key="-", region_name=self.region_name)
            config = Config(retries={"total_max_attempts": 1}, proxies={})
            self._client = session.client("ec2", endpoint_url=self.endpoint, config=config)
        return self._client

    def register_job_definition(self, *args: Any, **kwargs: Any) -> JobDefinition:
        batch_retries.check(kwargs.get("retry_strategy"))
        batch_requests.check_timeout(kwargs.get("timeout"))
        if "FARGATE" in (kwargs.get("platform_capabilities") or []) or kwargs.get("_type") != "container":
            raise ClientException("The local cloud runs container jobs on EC2 only.")
        batch_requests.check_container(kwargs.get("container_properties") or {})
        return super().register_job_definition(*args, **kwargs)

    def submit(self, asked: dict[str, Any]) -> AnyJob:
        """SubmitJob. There is no client token: the same request again is another job."""
        definition = self._definition(asked.get("jobDefinition") or "")
        queue = self.get_job_queue(asked.get("jobQueue") or "")
        if queue is None:
            raise ClientException(f"Job queue {asked.get('jobQueue')} does not exist")
        request = batch_requests.read(asked, queue, definition)
        size = batch_requests.array_size(asked)
        id = str(uuid.uuid4())
        arn = make_arn_for_job(self.account_id, id, self.region_name)
        job: AnyJob = ArrayJob(request, id, arn, size) if size else Job(request, id, arn)
        self.jobs[id] = job
        self.tag_resource(arn, dict(request.tags))
        self.scheduler.add(jobs_of(job))
        return job

    def _definition(self, named: str) -> JobDefinition:
        """By ARN, name:revision, or name alone, which is its latest active revision."""
        revisions = [one for one in self._job_definitions.values() if one.name == named and one.status == "ACTIVE"]
        if revisions:
            return max(revisions, key=lambda one: one.revision)
        found = self._job_definitions.get(named)
        name, _, revision = named.rpartition(":")
        if found is None and name and revision.isdecimal():
            found = self.get_job_definition_by_name_revision(name, revision)
        if found is None:
            raise ClientException(f"Job definition {named} does not exist")
        return found

    def job(self, id: str) -> AnyJob | None:
        """By id or ARN; a child is PARENT:INDEX."""
        id = id.rpartition("job/")[2]
        if id in self.jobs:
            return self.jobs[id]
        parent_id, _, index = id.rpartition(":")
        parent = self.jobs.get(parent_id)
        if isinstance(parent, ArrayJob) and index.isdecimal() and int(index) < len(parent.children):
            return parent.children[int(index)]
        return None

    def end_job(self, id: str, reason: str, by: Any) -> None:
        """TerminateJob and CancelJob, of an array with all its children."""
        if not id or not reason:
            raise ClientException(f"{'reason' if id else 'jobId'} is a required field")
        job = self.job(id)
        if job is None:
            raise ClientException(f"Job {id} does not exist")
        self._end(job, reason, by)

    def _end(self, job: AnyJob, reason: str, by: Any) -> None:
        if isinstance(job, ArrayJob) and not job.over:
            job.status_reason = reason
            job.is_terminated, job.is_cancelled = by == "terminate", by == "cancel"
        for one in jobs_of(job):
            self.scheduler.attempts.end(one, reason, by=by)
        self.scheduler.wake()

    def register(self, environment: ComputeEnvironment, instance: LocalInstance) -> Host:
        """Make an instance one of the environment's container instances in ECS."""
        registered = self.ecs_backend.register_container_instance(environment.ecs_name, instance.id)
        return Host(instance, environment, registered.container_instance_arn)

    def deregister(self, host: Host) -> None:
        registered = self.ecs_backend.container_instances.get(host.environment.ecs_name, {})
        registered.pop(host.arn.rpartition("/")[2], None)

    def keep_log(self, stream: str, lines: tuple[tuple[datetime, str], ...]) -> None:
        """Put what a container has printed into CloudWatch Logs."""
        logs = self.logs_backend
        logs.ensure_log_group(LOG_GROUP)
        logs.ensure_log_stream(LOG_GROUP, stream)
        events = [{"timestamp": int(at.timestamp() * 1000), "message": text} for at, text in sorted(lines)]
        if events:
            logs.put_log_events(LOG_GROUP, stream, events)

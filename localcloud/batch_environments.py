"""Compute environments and job queues of AWS Batch: moto's, by AWS's rules.

https://docs.aws.amazon.com/batch/latest/userguide/compute_environments.html
https://docs.aws.amazon.com/batch/latest/userguide/job_queues.html
"""

# mypy: allow-subclassing-any
from __future__ import annotations

from typing import Any

from moto.batch.exceptions import ClientException
from moto.batch.models import BatchBackend, ComputeEnvironment, JobQueue
from moto.ec2.models import ec2_backends

from . import batch_launch
from .ec2 import Region

SERVICE = "batch.amazonaws.com"
ROLE = "AWSServiceRoleForBatch"
"""https://docs.aws.amazon.com/batch/latest/userguide/using-service-linked-roles.html"""
MOST_ENVIRONMENTS = 3
"""Of one queue: https://docs.aws.amazon.com/batch/latest/userguide/service_limits.html"""
UPDATABLE = ("maxvCpus", "tags", "instanceTypes", "launchTemplate", "subnets", "securityGroupIds", "instanceRole")


class EnvironmentBackend(BatchBackend):
    """Batch in one region, without its jobs."""

    def __init__(self, region_name: str, account_id: str) -> None:
        super().__init__(region_name, account_id)
        self._templates: dict[str, dict[str, Any]] = {}

    @property
    def ec2(self) -> Region:
        region: Region = ec2_backends[self.account_id][self.region_name]
        return region

    def vcpus(self, environment: ComputeEnvironment) -> int:
        """What the instances of an environment have in all."""
        return 0

    def environments_changed(self) -> None:
        """Called when an environment or a queue is not as it was."""

    def create_compute_environment(
        self,
        compute_environment_name: str,
        _type: str,
        state: str | None,
        compute_resources: dict[str, Any],
        service_role: str | None,
        tags: dict[str, str] | None = None,
    ) -> ComputeEnvironment:
        """https://docs.aws.amazon.com/batch/latest/APIReference/API_CreateComputeEnvironment.html"""
        resources = {**(compute_resources or {}), "desiredvCpus": 0}
        if _type != "MANAGED" or resources.get("type") not in ("EC2", "SPOT"):
            raise ClientException("The local cloud has compute environments of type MANAGED, on EC2 or SPOT, only.")
        if resources.get("minvCpus"):
            raise ClientException("The local cloud's compute environments have no minvCpus but 0.")
        for name in ("subnets", "securityGroupIds", "instanceTypes", "instanceRole", "maxvCpus"):
            if not resources.get(name):
                raise ClientException(f"Error executing request, Exception : {name} is required.")
        environment = super().create_compute_environment(
            compute_environment_name,
            _type,
            state or "ENABLED",
            {"minvCpus": 0, **resources},
            service_role or self._service_role(),
            tags,
        )
        try:
            self._resolve_template(environment)
        except Exception as error:
            super().delete_compute_environment(environment.arn)
            raise ClientException(f"Launch template of {environment.name}: {error}") from None
        return environment

    def _service_role(self) -> str:
        """The ARN of Batch's own role, which Batch makes when there is none."""
        if ROLE not in [role.name for role in self.iam_backend.roles.values()]:
            self.iam_backend.create_service_linked_role(SERVICE, "", "")
        return str(self.iam_backend.get_role(ROLE).arn)

    def _resolve_template(self, environment: ComputeEnvironment) -> None:
        """The version of the launch template stays what it is now, until the environment is updated.

        https://docs.aws.amazon.com/batch/latest/userguide/launch-templates.html
        """
        self._templates[environment.arn] = batch_launch.template_data(self.ec2, environment)

    def template(self, environment: ComputeEnvironment) -> dict[str, Any]:
        """What the launch template of an environment says."""
        return self._templates.get(environment.arn, {})

    def describe_compute_environments(self, environments: list[str] | None = None) -> list[dict[str, Any]]:
        for environment in self._compute_environments.values():
            environment.compute_resources["desiredvCpus"] = self.vcpus(environment)
        shown: list[dict[str, Any]] = super().describe_compute_environments(environments or None)
        return [{**one, "containerOrchestrationType": "ECS"} for one in shown]

    def update_compute_environment(
        self,
        compute_environment_name: str,
        state: str | None,
        compute_resources: dict[str, Any] | None,
        service_role: str | None,
    ) -> tuple[str, str]:
        environment = self.get_compute_environment(compute_environment_name)
        if environment is None:
            raise ClientException(f"Compute environment {compute_environment_name} does not exist")
        given = {key: value for key, value in (compute_resources or {}).items() if key in UPDATABLE}
        changed = {**environment.compute_resources, **given}
        self._validate_compute_resources(changed)
        name, arn = super().update_compute_environment(compute_environment_name, state, None, service_role)
        environment.compute_resources = changed
        if "launchTemplate" in given:
            self._resolve_template(environment)
        self.environments_changed()
        return name, arn

    def delete_compute_environment(self, compute_environment_name: str) -> None:
        environment = self.get_compute_environment(compute_environment_name)
        if environment is None:
            return
        if environment.state != "DISABLED":
            raise ClientException("Cannot delete, compute environment must be DISABLED.")
        if any(environment in queue.environments for queue in self._job_queues.values()):
            raise ClientException("Cannot delete, found existing JobQueue relationship")
        super().delete_compute_environment(compute_environment_name)
        self._templates.pop(environment.arn, None)

    def create_job_queue(
        self,
        queue_name: str,
        priority: Any,
        schedule_policy: str | None,
        state: str | None,
        compute_env_order: list[dict[str, Any]],
        tags: dict[str, str] | None = None,
    ) -> JobQueue:
        order = self._order(compute_env_order)
        return super().create_job_queue(queue_name, priority, schedule_policy, state or "ENABLED", order, tags)

    def update_job_queue(
        self,
        queue_name: str,
        priority: Any,
        state: str | None,
        compute_env_order: list[dict[str, Any]] | None,
        schedule_policy: str | None,
    ) -> tuple[str, str]:
        order = self._order(compute_env_order) if compute_env_order is not None else None
        name, arn = super().update_job_queue(queue_name, priority, state, order, schedule_policy)
        self.environments_changed()
        return name, arn

    def _order(self, asked: list[dict[str, Any]] | None) -> list[dict[str, Any]]:
        """The environments of a queue, by ARN."""
        if len(asked or []) > MOST_ENVIRONMENTS:
            raise ClientException(f"A job queue can have at most {MOST_ENVIRONMENTS} compute environments.")
        found = [(one, self.get_compute_environment(one["computeEnvironment"])) for one in asked or []]
        for one, environment in found:
            if environment is None:
                raise ClientException(f"Compute environment {one['computeEnvironment']} does not exist")
        return [{**one, "computeEnvironment": environment.arn} for one, environment in found if environment]

    def delete_job_queue(self, queue_name: str) -> None:
        """https://docs.aws.amazon.com/batch/latest/APIReference/API_DeleteJobQueue.html: its jobs are terminated."""
        queue = self.get_job_queue(queue_name)
        if queue is None:
            return
        if queue.state != "DISABLED":
            raise ClientException("Cannot delete, job queue must be DISABLED.")
        super().delete_job_queue(queue_name)
        self.queue_deleted(queue)

    def queue_deleted(self, queue: JobQueue) -> None:
        """Called when there is no such queue any more."""

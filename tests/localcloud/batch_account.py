"""An account that has what Batch needs: roles, a launch template, compute environments, a queue, a definition."""

from __future__ import annotations

import base64
import json
import uuid
from typing import Any

from .conftest import FakeCloud, eventually

OVER = ("SUCCEEDED", "FAILED")
USER_DATA = """\
MIME-Version: 1.0
Content-Type: multipart/mixed; boundary="=="

--==
Content-Type: text/x-shellscript; charset="us-ascii"

#!/bin/bash
echo ECS_CONTAINER_STOP_TIMEOUT=2s >> /etc/ecs/ecs.config
--==--
"""


class BatchAccount:
    """A queue with a spot and an on-demand environment, in a cloud that others may use too."""

    def __init__(self, cloud: FakeCloud, *, types: tuple[str, ...] = ("c7i.large",), max_vcpus: int = 8) -> None:
        self.cloud = cloud
        self.name = f"batch-{uuid.uuid4().hex[:8]}"
        self.batch, self.ec2, self.iam = (cloud.client(service) for service in ("batch", "ec2", "iam"))
        self.role = self._role()
        self._launch_template()
        self.network = self.ec2.describe_subnets(Filters=[{"Name": "default-for-az", "Values": ["true"]}])["Subnets"]
        self.group = self.ec2.create_security_group(GroupName=self.name, Description="of a test")["GroupId"]
        self.spot = self.environment("spot", "SPOT", types, max_vcpus)
        self.on_demand = self.environment("on-demand", "EC2", types, max_vcpus)
        self.queue = self.batch.create_job_queue(
            jobQueueName=self.name,
            priority=1,
            state="ENABLED",
            computeEnvironmentOrder=[
                {"order": 1, "computeEnvironment": self.spot},
                {"order": 2, "computeEnvironment": self.on_demand},
            ],
        )["jobQueueArn"]

    def _role(self) -> str:
        """A role for the jobs, with an instance profile of the same name."""
        trust = {"Version": "2012-10-17", "Statement": []}
        arn = self.iam.create_role(RoleName=self.name, AssumeRolePolicyDocument=json.dumps(trust))["Role"]["Arn"]
        self.iam.create_instance_profile(InstanceProfileName=self.name)
        self.iam.add_role_to_instance_profile(InstanceProfileName=self.name, RoleName=self.name)
        return str(arn)

    def _launch_template(self) -> None:
        disk = {"DeviceName": "/dev/xvda", "Ebs": {"VolumeSize": 40, "VolumeType": "gp3", "Encrypted": True}}
        self.ec2.create_launch_template(
            LaunchTemplateName=self.name,
            TagSpecifications=[{"ResourceType": "launch-template", "Tags": [{"Key": "of", "Value": "template"}]}],
            LaunchTemplateData={
                "UserData": base64.b64encode(USER_DATA.encode()).decode(),
                "MetadataOptions": {"HttpTokens": "required", "HttpPutResponseHopLimit": 1},
                "BlockDeviceMappings": [disk],
                "TagSpecifications": [{"ResourceType": "volume", "Tags": [{"Key": "of", "Value": self.name}]}],
            },
        )

    def environment(self, name: str, kind: str, types: tuple[str, ...], max_vcpus: int, **changes: Any) -> str:
        """Create a compute environment; returns its name."""
        name = f"{self.name}-{name}"
        strategy = "SPOT_PRICE_CAPACITY_OPTIMIZED" if kind == "SPOT" else "BEST_FIT_PROGRESSIVE"
        resources = {
            "type": kind,
            "allocationStrategy": strategy,
            "minvCpus": 0,
            "maxvCpus": max_vcpus,
            "instanceTypes": list(types),
            "subnets": [subnet["SubnetId"] for subnet in self.network],
            "securityGroupIds": [self.group],
            "instanceRole": self.iam.get_instance_profile(InstanceProfileName=self.name)["InstanceProfile"]["Arn"],
            "launchTemplate": {"launchTemplateName": self.name, "version": "$Latest"},
            "tags": {"solver:batch": self.name},
        }
        self.batch.create_compute_environment(
            computeEnvironmentName=name, type="MANAGED", state="ENABLED", computeResources={**resources, **changes}
        )
        return name

    def definition(self, image: str, *command: str, vcpus: int = 1, memory: int = 64, **changes: Any) -> str:
        """Register a revision of a job definition; returns its ARN."""
        needs = [{"type": "VCPU", "value": str(vcpus)}, {"type": "MEMORY", "value": str(memory)}]
        properties = {
            "image": image,
            "command": list(command),
            "jobRoleArn": self.role,
            "resourceRequirements": needs,
            "linuxParameters": {"initProcessEnabled": True},
            "environment": [{"name": "AWS_DEFAULT_REGION", "value": "us-east-1"}, {"name": "WHO", "value": "defined"}],
        }
        answer = self.batch.register_job_definition(
            jobDefinitionName=self.name,
            type="container",
            platformCapabilities=["EC2"],
            **{"containerProperties": properties, **changes},
        )
        return str(answer["jobDefinitionArn"])

    def submit(self, definition: str, size: int | None = None, **changes: Any) -> str:
        """Submit a job; returns its id."""
        array = {"arrayProperties": {"size": size}} if size else {}
        request = {"jobName": f"{self.name}-0", "jobQueue": self.name, "jobDefinition": definition, **array, **changes}
        return str(self.batch.submit_job(**request)["jobId"])

    def look(self, *ids: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.batch.describe_jobs(jobs=list(ids))["jobs"]
        return found

    def children(self, parent: str) -> list[dict[str, Any]]:
        size = self.look(parent)[0]["arrayProperties"]["size"]
        return self.look(*(f"{parent}:{index}" for index in range(size)))

    def reaches(self, job: str, *states: str, seconds: float = 60) -> dict[str, Any]:
        """The job once it is in one of these states."""

        def there() -> dict[str, Any] | None:
            found = self.look(job)[0]
            return found if found["status"] in states else None

        found: dict[str, Any] = eventually(there, seconds)
        return found

    def over(self, job: str, seconds: float = 60) -> dict[str, Any]:
        return self.reaches(job, *OVER, seconds=seconds)

    def instances(self, *states: str) -> list[dict[str, Any]]:
        """The instances of its environments, in these states, or all."""
        filters = [{"Name": "tag:solver:batch", "Values": [self.name]}]
        found = self.ec2.describe_instances(Filters=filters)["Reservations"]
        every = [instance for reservation in found for instance in reservation["Instances"]]
        return [one for one in every if not states or one["State"]["Name"] in states]

    def log(self, job: dict[str, Any]) -> list[str]:
        """What the last attempt of a job has printed."""
        stream = job["container"]["logStreamName"]
        events = self.cloud.client("logs").get_log_events(logGroupName="/aws/batch/job", logStreamName=stream)["events"]
        return [event["message"] for event in events]

    def instance_of(self, job: dict[str, Any]) -> str:
        """The instance on which the last attempt of a job was made."""
        arn = job["container"]["containerInstanceArn"]
        cluster = arn.split("/")[-2]
        found = self.cloud.client("ecs").describe_container_instances(cluster=cluster, containerInstances=[arn])
        return str(found["containerInstances"][0]["ec2InstanceId"])

    def interrupt(self, job: str, notice: float = 0) -> None:
        self.cloud.post(f"interrupt?job={job}&notice={notice}")

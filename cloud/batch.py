"""The requests of AWS Batch that a sweep is made of: pure functions, dict out.

The machines of a sweep belong to a pool: a launch template, a compute environment on spot and one on demand, and queues
for one, for the other, and for the one before the other. A pool's name is a hash of what decides its machines, so that
sweeps with equal wishes share one, and others get one of their own: of an environment, little can be changed.

Batch goes on to a queue's second environment not only for want of spot capacity, but also when the first has as many
vCPUs as it may. So only who says `--fallback on-demand` gets the queue that has both.
https://docs.aws.amazon.com/batch/latest/userguide/compute_environments.html
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from .config import Settings
from .policies import OURS
from .runner import KEY, RETRY, START
from .tags import specification

BATCH = "solver:batch"
"""Tag of machines and disks of a pool; its value is the setting `name`. They are no jobs: those have `solver:cloud`."""

ROOT_DEVICE = "/dev/xvda"
"""Of the ECS-optimized Amazon Linux that Batch takes:
https://docs.aws.amazon.com/batch/latest/userguide/batch-ami-spec.html"""

STOP_TIMEOUT = "2m"
"""How long a container that is told to stop has for a checkpoint and a last sync; ECS's own 30 s are too short:
https://docs.aws.amazon.com/AmazonECS/latest/developerguide/ecs-agent-config.html"""

USER = "0"
"""Root, whatever the image's USER is: a child's files are in /solver, which only root can make. As a number it needs no
/etc/passwd: https://docs.aws.amazon.com/batch/latest/APIReference/API_ContainerProperties.html"""

TIMEOUT_GRACE = 3600
"""Seconds from a child's own deadline to Batch's, so that the child has the last word."""

USER_DATA = f"""\
Content-Type: multipart/mixed; boundary="//"
MIME-Version: 1.0

--//
Content-Type: text/x-shellscript; charset="us-ascii"
MIME-Version: 1.0

#!/bin/bash
mkdir -p /etc/ecs
echo ECS_CONTAINER_STOP_TIMEOUT={STOP_TIMEOUT} >>/etc/ecs/ecs.config
echo ECS_ENABLE_SPOT_INSTANCE_DRAINING=true >>/etc/ecs/ecs.config
--//--
"""
"""A machine that is about to be reclaimed gets no more children; those that it has are let be. Batch adds to this, and
so wants it in parts: https://docs.aws.amazon.com/batch/latest/userguide/launch-templates.html"""

RETRIES = (
    {"onStatusReason": "Host EC2*", "action": "RETRY"},
    {"onExitCode": str(RETRY), "action": "RETRY"},
    {"onReason": "*", "action": "EXIT"},
)
"""A machine that was reclaimed is no failure of the child, nor is what its script asks another attempt for:
https://docs.aws.amazon.com/batch/latest/userguide/best-practices.html (EC2 Spot)"""


@dataclass(frozen=True)
class Pool:
    """What decides the machines of a sweep."""

    types: tuple[str, ...]
    max_vcpus: int
    disk: dict[str, Any]
    """As BlockDeviceMappings has it."""
    subnets: tuple[str, ...]
    security_group: str
    instance_profile: str
    """Its ARN."""

    def name(self, settings: Settings) -> str:
        """What the launch template is called and, with the markets behind it, environments and queues."""
        wishes = json.dumps([self.types, self.max_vcpus, self.disk, self.subnets, self.security_group, USER_DATA])
        return f"{settings.name}-{hashlib.sha256(wishes.encode()).hexdigest()[:12]}"


@dataclass(frozen=True)
class Definition:
    """What all children of a sweep have in common, and Batch has to know."""

    image: str
    """Repository URI with tag."""
    role: str
    """ARN of the role that the children have."""
    vcpus: int
    memory_gib: float


def launch_template(settings: Settings, pool: Pool) -> dict[str, Any]:
    """CreateLaunchTemplate."""
    return {
        "LaunchTemplateName": pool.name(settings),
        "TagSpecifications": [specification("launch-template", {OURS: settings.name})],
        "LaunchTemplateData": {
            "BlockDeviceMappings": [{"DeviceName": ROOT_DEVICE, "Ebs": pool.disk}],
            # Children share the machine's network, so they reach its metadata, and see a spot notice, all the same:
            # https://docs.aws.amazon.com/batch/latest/userguide/networking-modes-jobs.html
            "MetadataOptions": {"HttpTokens": "required", "HttpPutResponseHopLimit": 1},
            "UserData": base64.b64encode(USER_DATA.encode()).decode(),
            "TagSpecifications": [specification("volume", {BATCH: settings.name})],
        },
    }


MARKETS = {
    "spot": {"type": "SPOT", "allocationStrategy": "SPOT_PRICE_CAPACITY_OPTIMIZED"},
    "on-demand": {"type": "EC2", "allocationStrategy": "BEST_FIT_PROGRESSIVE"},
}
"""The environments of a pool. The strategies are those that Batch advises:
https://docs.aws.amazon.com/batch/latest/userguide/allocation-strategies.html"""


def compute_environment(settings: Settings, pool: Pool, market: str) -> dict[str, Any]:
    """CreateComputeEnvironment. Its role is the service's own, AWSServiceRoleForBatch."""
    return {
        "computeEnvironmentName": f"{pool.name(settings)}-{market}",
        "type": "MANAGED",
        "state": "ENABLED",
        "computeResources": {
            **MARKETS[market],
            "minvCpus": 0,
            "desiredvCpus": 0,
            "maxvCpus": pool.max_vcpus,
            "instanceTypes": list(pool.types),
            "subnets": list(pool.subnets),
            "securityGroupIds": [pool.security_group],
            "instanceRole": pool.instance_profile,
            "launchTemplate": {"launchTemplateName": pool.name(settings), "version": "$Latest"},
            "tags": {"Name": f"{settings.name} sweep", BATCH: settings.name},
        },
        "tags": {OURS: settings.name},
    }


QUEUES = (("spot",), ("spot", "on-demand"), ("on-demand",))
"""The markets of each queue of a pool, as `Settings.markets` has them."""


def queue_name(settings: Settings, pool: Pool, markets: Sequence[str]) -> str:
    """What the queue for these markets is called."""
    return "-".join([pool.name(settings), *markets])


def job_queue(settings: Settings, pool: Pool, markets: Sequence[str]) -> dict[str, Any]:
    """CreateJobQueue."""
    order = [
        {"order": place, "computeEnvironment": f"{pool.name(settings)}-{market}"}
        for place, market in enumerate(markets, 1)
    ]
    return {
        "jobQueueName": queue_name(settings, pool, markets),
        "state": "ENABLED",
        "priority": 1,
        "computeEnvironmentOrder": order,
        "tags": {OURS: settings.name},
    }


def job_definition(settings: Settings, definition: Definition) -> dict[str, Any]:
    """RegisterJobDefinition. What differs from sweep to sweep, a submission replaces."""
    return {
        "jobDefinitionName": settings.name,
        "type": "container",
        "platformCapabilities": ["EC2"],
        "containerProperties": {
            "image": definition.image,
            "command": ["bash", "-c", START],
            "user": USER,
            "jobRoleArn": definition.role,
            "resourceRequirements": [
                {"type": "VCPU", "value": str(definition.vcpus)},
                {"type": "MEMORY", "value": str(round(definition.memory_gib * 1024))},
            ],
            "linuxParameters": {"initProcessEnabled": True},
        },
        "tags": {OURS: settings.name},
    }


def submission(
    *, name: str, queue: str, definition: str, size: int, runner: str, key: str, attempts: int, max_seconds: int
) -> dict[str, Any]:
    """SubmitJob: an array job, or a plain one of a single child.

    definition: its ARN. size: number of children. runner: s3:// path of their script. key: what they sign with.
    max_seconds: that each may run.
    """
    return {
        "jobName": name,
        "jobQueue": queue,
        "jobDefinition": definition,
        **({"arrayProperties": {"size": size}} if size > 1 else {}),
        "containerOverrides": {
            "environment": [
                {"name": "SOLVER_RUNNER", "value": runner},
                *([{"name": KEY, "value": key}] if key else []),
            ]
        },
        "retryStrategy": {"attempts": attempts, "evaluateOnExit": list(RETRIES)},
        "timeout": {"attemptDurationSeconds": max_seconds + TIMEOUT_GRACE},
    }


def child_ids(job: str, size: int) -> Sequence[str]:
    """The ids of the children of an array job, in their order; the one of a plain job is the job."""
    return [f"{job}:{index}" for index in range(size)] if size > 1 else [job]

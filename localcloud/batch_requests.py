"""SubmitJob: what it may ask for, and what becomes of it together with the job definition.

https://docs.aws.amazon.com/batch/latest/APIReference/API_SubmitJob.html
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from moto.batch.exceptions import ClientException
from moto.batch.models import JOB_NAME_REGEX, JobDefinition, JobQueue

from . import batch_retries
from .batch_jobs import Request

PAYLOAD_BYTES = 30 * 1024
"""https://docs.aws.amazon.com/batch/latest/userguide/service_limits.html"""
SHORTEST_TIMEOUT = 60
"""https://docs.aws.amazon.com/batch/latest/userguide/job_timeouts.html"""
LEAST_MEMORY = 4
"""MiB: https://docs.aws.amazon.com/batch/latest/APIReference/API_ResourceRequirement.html"""
ARRAY_SIZES = range(2, 10001)
CONTAINER = (
    "image",
    "command",
    "environment",
    "jobRoleArn",
    "executionRoleArn",
    "linuxParameters",
    "resourceRequirements",
    "user",
    "vcpus",
    "memory",
)
"""What a job definition may say of its container."""
UNSUPPORTED = (
    "dependsOn",
    "parameters",
    "nodeOverrides",
    "eksPropertiesOverride",
    "ecsPropertiesOverride",
    "consumableResourcePropertiesOverride",
    "shareIdentifier",
)


def check_container(properties: Mapping[str, Any]) -> None:
    """Raise ClientException for a job definition's container that would not be here what it is on AWS."""
    others = [name for name, value in properties.items() if value and name not in CONTAINER]
    others += [name for name in properties.get("linuxParameters") or {} if name != "initProcessEnabled"]
    if "GPU" in _needs(properties):
        others.append("GPU")
    if others:
        raise ClientException(f"The local cloud does not support {', '.join(others)} of a container.")


def check_timeout(timeout: Mapping[str, int] | None) -> None:
    """Raise ClientException for a timeout that is too short."""
    seconds = (timeout or {}).get("attemptDurationSeconds")
    if seconds is not None and seconds < SHORTEST_TIMEOUT:
        raise ClientException(f"Timeout attemptDurationSeconds must be at least {SHORTEST_TIMEOUT} seconds.")


def array_size(asked: Mapping[str, Any]) -> int | None:
    """How many children a job gets; None for a single job."""
    size = (asked.get("arrayProperties") or {}).get("size")
    if size is None:
        return None
    if size not in ARRAY_SIZES:
        raise ClientException(
            f"Error executing request, Exception : Array size must be between {ARRAY_SIZES[0]} and {ARRAY_SIZES[-1]}."
        )
    return int(size)


def read(asked: Mapping[str, Any], queue: JobQueue, definition: JobDefinition) -> Request:
    """The job that a SubmitJob asks for; raises ClientException."""
    if unsupported := [name for name in UNSUPPORTED if asked.get(name)]:
        raise ClientException(f"The local cloud does not support {', '.join(unsupported)} of SubmitJob.")
    if len(json.dumps(asked)) > PAYLOAD_BYTES:
        raise ClientException(f"The job payload is larger than {PAYLOAD_BYTES} bytes.")
    if not JOB_NAME_REGEX.match(asked.get("jobName") or ""):
        raise ClientException("Job name should match valid pattern")
    if queue.state != "ENABLED":
        raise ClientException(f"Job queue {queue.name} is not ENABLED.")
    if definition.status != "ACTIVE":
        raise ClientException(f"Job definition {definition.arn} is not ACTIVE.")
    batch_retries.check(asked.get("retryStrategy"))
    check_timeout(asked.get("timeout"))
    own: dict[str, Any] = definition.container_properties or {}
    overrides: dict[str, Any] = asked.get("containerOverrides") or {}
    needs = {**_needs(own), **_needs(overrides)}
    try:
        vcpus, memory = float(needs["VCPU"]), int(needs["MEMORY"])
    except ValueError:
        raise ClientException("resourceRequirements of VCPU and MEMORY are numbers.") from None
    if vcpus <= 0 or memory < LEAST_MEMORY:
        raise ClientException(f"A container needs a VCPU above 0, and {LEAST_MEMORY} MiB of MEMORY at least.")
    environment = {**_environment(own), **_environment(overrides)}
    command = overrides.get("command") or own.get("command") or []
    timeout = asked.get("timeout") or definition.timeout or {}
    return Request(
        name=asked["jobName"],
        queue=queue.arn,
        definition=definition.arn,
        definition_name=definition.name,
        image=own["image"],
        command=tuple(command),
        environment=environment,
        role_arn=own.get("jobRoleArn"),
        vcpus=vcpus,
        memory=memory,
        user=own.get("user") or "",
        init=bool((own.get("linuxParameters") or {}).get("initProcessEnabled")),
        retry=asked.get("retryStrategy") or definition.retry_strategy or {},
        timeout=timeout.get("attemptDurationSeconds"),
        container=_container(own, command, environment, needs),
        tags=asked.get("tags") or {},
        propagate_tags=bool(asked.get("propagateTags")),
    )


def _environment(properties: Mapping[str, Any]) -> dict[str, str]:
    return {one["name"]: one.get("value", "") for one in properties.get("environment") or []}


def _needs(properties: Mapping[str, Any]) -> dict[str, str]:
    """VCPU, MEMORY and GPU; also from the fields that these were before there were resourceRequirements."""
    older = {"VCPU": properties.get("vcpus"), "MEMORY": properties.get("memory")}
    newer = {one["type"]: one["value"] for one in properties.get("resourceRequirements") or []}
    return {**{kind: str(value) for kind, value in older.items() if value is not None}, **newer}


def _container(
    own: Mapping[str, Any], command: list[str], environment: Mapping[str, str], needs: Mapping[str, str]
) -> dict[str, Any]:
    """What DescribeJobs shows of the container, as far as it is known before it runs."""
    kept = ("image", "user", "jobRoleArn", "executionRoleArn", "linuxParameters", "logConfiguration")
    return {
        **{name: own[name] for name in kept if own.get(name)},
        "command": command,
        "environment": [{"name": name, "value": value} for name, value in environment.items()],
        "resourceRequirements": [{"type": kind, "value": value} for kind, value in needs.items()],
        "volumes": [],
        "mountPoints": [],
        "ulimits": [],
        "networkInterfaces": [],
        "secrets": [],
    }

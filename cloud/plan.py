"""What a launch is, decided before anything is asked of EC2."""

from __future__ import annotations

import hashlib
import time
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from .config import Settings, TrainerConfig, trainer_arguments
from .errors import UsageError

if TYPE_CHECKING:
    from .machine import Machine

TAG_VALUE_LIMIT = 256


@dataclass(frozen=True)
class Resumed:
    """A job to go on from, and the launch that was claimed for that."""

    job: str
    origin: str
    """The job whose output is the latest there is: `job`, or one before it in the chain."""
    token: str
    launched_at: datetime


@dataclass(frozen=True)
class Plan:
    """One launch, all decided: what goes into the request and what stays with the record."""

    token: str
    """Client token: 32 hex digits; RunInstances with it makes one instance, however often it is sent."""
    machine: Machine
    image: str
    config_key: str
    config_name: str
    config_sha256: str
    output: str
    launched_at: datetime
    deadline: datetime
    trainer: tuple[str, ...]
    asked: dict[str, Any]
    origin: str = ""
    """The job whose output in S3 the trainer starts from."""


def decide(
    settings: Settings,
    machine: Machine,
    image: str,
    config: TrainerConfig,
    output: str,
    *,
    bucket: str,
    resumes: Resumed | None = None,
) -> Plan:
    """Decide one launch. Pure but for the clock and the token, which come from `resumes` if it is given.

    image: repository URI with tag. resumes: the job to go on from.
    Raises UsageError for what does not fit into a tag or onto the disk.
    """
    for what, value in (("config file's name", config.name), ("output directory", output)):
        if len(value) > TAG_VALUE_LIMIT:
            raise UsageError(f"the {what} has {len(value)} characters; a tag holds {TAG_VALUE_LIMIT}")
    if settings.disk_gb < machine.root_gb:
        raise UsageError(
            f"solver.disk_gb is {settings.disk_gb}, but the machine image alone has {machine.root_gb} GB",
            fix=f"set it to {machine.root_gb + 20} or more",
        )
    now = int(resumes.launched_at.timestamp() if resumes else time.time())
    sha256 = hashlib.sha256(config.data).hexdigest()
    key = f"configs/{sha256}/{config.name}"
    return Plan(
        token=resumes.token if resumes else uuid.uuid4().hex,
        machine=machine,
        image=image,
        config_key=key,
        config_name=config.name,
        config_sha256=sha256,
        output=output,
        launched_at=datetime.fromtimestamp(now, UTC),
        deadline=datetime.fromtimestamp(now + settings.max_hours * 3600, UTC),
        trainer=tuple(
            trainer_arguments(settings.trainer, config=f"/solver/config/{config.name}", output="/solver/output")
        ),
        asked={
            "instance_type": machine.type,
            "market": "on-demand" if settings.on_demand else "spot",
            "region": settings.region,
            "config": f"s3://{bucket}/{key}",
            "config_name": config.name,
            "config_sha256": sha256,
            "output": output,
            "image": image,
            "trainer": settings.trainer,
            "max_hours": settings.max_hours,
            "keep_on_failure": settings.keep_on_failure,
            "sync_seconds": settings.sync_seconds,
            **({"resumes": resumes.job} if resumes else {}),
        },
        origin=resumes.origin if resumes else "",
    )

"""What a container of Batch has to be, how it ended, and what the ECS agent is configured to do about it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

LOG_LINES = 200
"""Of what a container has printed, so many last lines are kept."""
STOP_SECONDS = 30
"""What a container has between SIGTERM and SIGKILL, unless the agent's configuration says otherwise:
https://docs.aws.amazon.com/AmazonECS/latest/developerguide/ecs-agent-config.html (ECS_CONTAINER_STOP_TIMEOUT)"""
UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}


@dataclass(frozen=True)
class TaskSpec:
    """What a container has to be."""

    id: str
    image: str
    command: tuple[str, ...]
    environment: Mapping[str, str]
    role_arn: str | None
    vcpus: float
    memory: int
    """MiB."""
    init: bool = False
    user: str = ""


@dataclass(frozen=True)
class TaskEnd:
    """How a container ended, or why there was none."""

    exit_code: int | None = None
    reason: str = ""
    host_ended: bool = False
    """Whether its machine went away, or was about to."""
    log: tuple[tuple[datetime, str], ...] = ()
    """The last lines it printed."""


def drains(config: str) -> bool:
    """Whether an agent takes no more containers once a spot interruption is announced; by default it does.

    https://docs.aws.amazon.com/AmazonECS/latest/developerguide/spot-instance-draining-linux-container.html
    """
    return bool(re.search(r"^ECS_ENABLE_SPOT_INSTANCE_DRAINING=true\s*$", config, re.MULTILINE))


def stop_timeout(config: str) -> float:
    """Seconds of ECS_CONTAINER_STOP_TIMEOUT, a duration as Go writes it, in an agent's configuration."""
    values = re.findall(r"^ECS_CONTAINER_STOP_TIMEOUT=(.*)$", config, re.MULTILINE)
    parts = re.findall(r"([\d.]+)(ms|h|m|s)", values[-1]) if values else []
    return sum(float(number) * UNITS[unit] for number, unit in parts) or STOP_SECONDS


def lines(printed: Iterable[bytes]) -> tuple[tuple[datetime, str], ...]:
    """The engine's lines, each with the moment in front."""
    lines = b"".join(printed).decode(errors="replace").splitlines()[-LOG_LINES:]
    parted = (line.partition(" ") for line in lines)
    return tuple((_moment(when), text) for when, _, text in parted if when)


def _moment(text: str) -> datetime:
    """The engine writes nanoseconds."""
    try:
        return datetime.fromisoformat(re.sub(r"(\.\d{1,6})\d*Z$", r"\1+00:00", text))
    except ValueError:
        return datetime.now(UTC)

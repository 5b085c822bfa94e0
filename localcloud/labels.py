"""The labels by which containers, volumes and networks of a local cloud are known."""

from __future__ import annotations

CLOUD = "solver-cloud.local"
"""On everything: the name of the cloud."""
MACHINE = "solver-cloud.local.machine"
"""On a container that is an instance: the instance id."""
INSTANCE = "solver-cloud.local.instance"
"""On what an instance has made with Docker: the instance id."""
TASK = "solver-cloud.local.task"
"""On a container that Batch runs on an instance: the id of its task."""
ADDRESS = "solver-cloud.local.address"
"""On a container that is an instance: its public address."""


def labels(cloud: str, key: str, value: str) -> dict[str, str]:
    """The cloud's label and one more."""
    return {CLOUD: cloud, key: value}

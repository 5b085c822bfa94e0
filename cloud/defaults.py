"""The settings' defaults: apart from the rest of config, since invoke needs nothing else for `inv --list`."""

from __future__ import annotations

import os
from typing import Any

DEFAULTS: dict[str, Any] = {
    "name": "solver-cloud",
    "profile": None,
    "region": None,
    "bucket": None,
    "repository": None,
    "source": ".",
    "dockerfile": None,
    "builder_image": "rust:1.85",
    "runtime_image": "debian:bookworm-slim",
    "trainer": "poker-solver-trainer train --config {config} --output {output}",
    "instance": None,
    "on_demand": False,
    "fallback": None,
    "disk_gb": 50,
    "disk_type": "gp3",
    "disk_iops": None,
    "disk_throughput": None,
    "sync_seconds": 60,
    "max_hours": 24,
    "max_cost": None,
    "max_price": None,
    "ask_above": 100,
    "keep_on_failure": None,
    "sweep_instance": "c7i.2xlarge,c7i.4xlarge,c6i.2xlarge,c6i.4xlarge,c7a.2xlarge,c7a.4xlarge,c6a.2xlarge,c6a.4xlarge,"
    "m7i.2xlarge,m7i.4xlarge,m6i.2xlarge,m6i.4xlarge",
    "sweep_max_vcpus": 64,
    "sweep_vcpus": 2,
    "sweep_memory": None,
    "sweep_attempts": 10,
    "image_parameter": "/aws/service/ecs/optimized-ami/amazon-linux-2023/{variant}/image_id",
    "login_user": "ec2-user",
    "caller_address_url": "https://checkip.amazonaws.com",
}
"""Every setting with its default; docs/settings.yaml explains each."""


def of_environment(prefix: str = "INVOKE_") -> dict[str, str]:
    """The settings that the environment gives, as text, by name: INVOKE_SOLVER_MAX_HOURS=12."""
    prefix += "SOLVER_"
    return {name.removeprefix(prefix).lower(): text for name, text in os.environ.items() if name.startswith(prefix)}

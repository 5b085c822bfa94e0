"""GPU machines: the AMI with the driver, and an end at once where there is none."""

from __future__ import annotations

import dataclasses

import pytest

from .conftest import EXAMPLE, User
from .test_bake import boot_log

WITHOUT_DRIVER = "/aws/service/ecs/optimized-ami/amazon-linux-2023/recommended/image_id"


def launch(user: User, **settings: str) -> str:
    someone = dataclasses.replace(user, environment={**user.environment, **settings})
    return someone.run(
        *("launch", "--instance", "p3.2xlarge", "--config", str(user.config("gpu.yaml")), "--output", "~/models/gpu"),
        *("--source", str(EXAMPLE)),
    ).stdout.strip()


def test_a_gpu_machine_has_a_driver_and_trains(user: User) -> None:
    job = launch(user)
    user.run("wait", job)
    found = user.status(job)
    assert (found["status"], found["type"]) == ("complete", "p3.2xlarge")
    log = boot_log(user, job)
    assert "asking the GPU's driver\nNVIDIA V100\n" in log


@pytest.mark.long
def test_a_machine_image_without_a_driver_ends_the_job_at_once(user: User) -> None:
    job = launch(user, INVOKE_SOLVER_IMAGE_PARAMETER=WITHOUT_DRIVER)
    said = user.run("wait", job, code=1).stderr
    assert f"{job} failed: asking the GPU's driver: " in said
    assert "nvidia-smi" in said

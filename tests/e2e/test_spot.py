"""Spot reclaims: nothing is lost, with notice and without, and the model is the one of an undisturbed run."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from cloud.aws import instances

from .conftest import User, gone, training
from .test_story import trained_by_hand, tree

Train = Callable[[str], dict[str, bytes]]


def config(user: User) -> Path:
    """Some ten seconds of training, most of them at rest: whatever else runs, it lasts long enough to be disturbed."""
    return user.config("spot.yaml", iterations=20_000, report_every=200, checkpoint_every=200, rest_milliseconds=100)


@pytest.fixture(scope="module")
def undisturbed(user: User, tmp_path_factory: pytest.TempPathFactory) -> Train:
    """What the trainer of an image leaves when nothing happens to it."""

    @cache
    def train(image: str) -> dict[str, bytes]:
        return trained_by_hand(image, config(user), tmp_path_factory.mktemp("by-hand") / "model")

    return train


def saved(user: User, job: str) -> bool:
    """Whether a checkpoint of a job has come to S3."""
    listed = user.aws.s3.list_objects_v2(Bucket=user.aws.bucket, Prefix=f"jobs/{job}/output/checkpoint")
    return bool(listed["KeyCount"])


def downloaded(user: User, job: str, directory: Path) -> dict[str, bytes]:
    user.run("download", job, "--output", str(directory))
    return tree(directory)


def stopped(found: dict[str, Any]) -> bool:
    return bool(found["state"] == "stopped")


@pytest.mark.parametrize("notice", ["10", pytest.param("0", marks=pytest.mark.long)])
def test_an_interrupted_job_goes_on_as_itself(user: User, undisturbed: Train, notice: str, tmp_path: Path) -> None:
    job, _ = user.launch(config(user), "~/models/spot")
    user.until(job, training)
    user.run("local.capacity", "c7i.4xlarge", "none")
    try:
        user.run("local.interrupt", job, "--notice", notice)
        found = user.until(job, stopped)
        assert (found["status"], found["phase"]) == ("interrupted", "waiting for capacity")
        shown = user.run("status", job).stdout
        assert "only its disk costs meanwhile" in shown
    finally:
        user.run("local.capacity", "c7i.4xlarge", "back")
    user.run("wait", job)
    found = user.until(job, gone)
    assert (found["id"], found["status"], found["exit_code"]) == (job, "complete", 0)
    assert downloaded(user, job, tmp_path / "model") == undisturbed(found["image"])


def test_a_terminated_job_is_resumed_by_another(user: User, undisturbed: Train, tmp_path: Path) -> None:
    old, _ = user.launch(config(user), "~/models/resumed")
    user.until(old, lambda _: saved(user, old))
    assert f"{old} is at work (training)" in user.run("resume", old, code=1).stderr
    user.run("terminate", old)
    resumed = user.run("resume", old, "--instance", "c7i.8xlarge", "--on-demand")
    new = resumed.stdout.strip()
    assert "building" not in resumed.stderr
    user.run("wait", old)  # which follows the link
    found = user.until(new, gone)
    assert (found["type"], found["market"], found["resumes"]) == ("c7i.8xlarge", "on-demand", old)
    followed = user.run("status", old)
    assert f"{old} goes on as {new}" in followed.stderr
    assert f"job        {new}" in followed.stdout
    assert f"{new} is complete" in user.run("resume", old, code=1).stderr
    assert "resum" in user.run("logs", old).stdout
    assert downloaded(user, old, tmp_path / "model") == undisturbed(found["image"])


def test_two_resumes_at_once_make_one_job(user: User) -> None:
    old, _ = user.launch(config(user), "~/models/twice")
    user.run("terminate", old)
    both = [user.start("resume", old) for _ in range(2)]
    ended = [(*process.communicate(timeout=120), process.returncode) for process in both]
    new = {out.strip() for out, _, code in ended if code == 0}
    assert len(new) == 1
    (job,) = new
    for _, said, code in ended:  # the later one says which job it is by now
        assert code == 0 or job in said
    user.run("terminate", job)


def living(user: User, request: str) -> list[str]:
    """Instances of a spot request that are not terminated."""
    asked = [
        {"Name": "spot-instance-request-id", "Values": [request]},
        {"Name": "instance-state-name", "Values": ["pending", "running", "stopping", "stopped"]},
    ]
    return [instance["InstanceId"] for instance in instances(user.aws, asked)]


def test_an_instance_that_takes_the_place_of_one_terminated_by_hand_ends_itself(user: User) -> None:
    """EC2 fulfils a persistent request again when its instance is terminated without cancelling it."""
    job, _ = user.launch(config(user), "~/models/by-hand")
    request = user.until(job, training)["spot_request"]
    client = user.aws.ec2
    client.terminate_instances(InstanceIds=[job])

    def state() -> str:
        found = client.describe_spot_instance_requests(SpotInstanceRequestIds=[request])["SpotInstanceRequests"]
        return str(found[0]["State"])

    user.until(job, lambda _: state() == "cancelled")  # by the second instance, which finds the launch taken
    user.until(job, lambda _: not living(user, request))
    assert user.status(job)["status"] == "terminated"


def test_nothing_is_left_over_after_all_that(user: User) -> None:
    assert "nothing is left over" in user.run("gc").stderr

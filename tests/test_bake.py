"""Machine images of our own: made by a builder that ends in any case, used while they fit, collected when they do not.

On the local cloud's API; what the builder does is played here, and real in tests/e2e/test_bake.py.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from cloud import bake, claims, cleanup, jobs, leftovers, machine, machine_images, registry, resume, teardown, userdata
from cloud.aws import Aws
from cloud.errors import CloudError
from cloud.leftovers import Leftover
from cloud.machine import Machine

from .localcloud.conftest import eventually, in_state
from .test_leftovers import push
from .test_resume import remember

TAG = "a" * 20
IMAGE = f"registry:5000/solver:{TAG}"


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bake, "POLL", 1)


@pytest.fixture
def kind(ready: Aws) -> Machine:
    return machine.look(ready, ("c7i.large",))


class Builder:
    """What happens on the builder once it is up, told by bake's lines of progress."""

    def __init__(self, aws: Aws, act: Callable[[Aws, str], object]) -> None:
        self.aws, self.act, self.id = aws, act, ""

    def __call__(self, line: str) -> None:
        if line.startswith("the builder "):
            self.id = line.split()[2]
            in_state(self.aws.ec2, self.id, "running")
            self.act(self.aws, self.id)


def finish(aws: Aws, id: str) -> None:
    aws.ec2.create_tags(Resources=[id], Tags=[{"Key": "solver:phase", "Value": "baked"}])
    aws.ec2.stop_instances(InstanceIds=[id])
    in_state(aws.ec2, id, "stopped")


def builders(aws: Aws) -> list[dict[str, Any]]:
    """Every builder that there has been."""
    by_tag: Any = [{"Name": "tag:solver:builder", "Values": [aws.settings.name]}]
    groups = aws.ec2.describe_instances(Filters=by_tag)["Reservations"]
    return [dict(one) for group in groups for one in group["Instances"]]


def baked(aws: Aws, kind: Machine, image: str = IMAGE) -> str:
    made = bake.bake(aws, kind, image, Builder(aws, finish))
    assert made.made
    return made.ami


def test_the_image_is_tagged_and_encrypted_and_its_builder_ends(ready: Aws, kind: Machine) -> None:
    ami = baked(ready, kind)
    (image,) = machine_images.ours(ready)
    assert (image["ImageId"], image["State"], image["RootDeviceName"]) == (ami, "available", kind.root_device)
    disk = image["BlockDeviceMappings"][0]["Ebs"]
    assert (disk["Encrypted"], disk["VolumeSize"]) == (True, kind.root_gb)
    tags = {"solver:cloud": ready.settings.name, "solver:image": IMAGE, "solver:base": kind.ami}
    (snapshot,) = ready.ec2.describe_snapshots(SnapshotIds=[disk["SnapshotId"]])["Snapshots"]
    for tagged in (image, snapshot):
        assert {one["Key"]: one["Value"] for one in tagged["Tags"]}.items() >= tags.items()
    (builder,) = builders(ready)
    in_state(ready.ec2, builder["InstanceId"], "terminated")


def test_what_is_baked_is_not_baked_again(ready: Aws, kind: Machine) -> None:
    ami = baked(ready, kind)
    assert bake.bake(ready, kind, IMAGE, print) == bake.Baked(ami, made=False)
    assert len(builders(ready)) == 1
    baked(ready, kind, IMAGE.replace("a", "b"))
    assert len(builders(ready)) == 2


def fail(aws: Aws, id: str) -> None:
    aws.ec2.create_tags(Resources=[id], Tags=[{"Key": "solver:phase", "Value": "pulling image"}])
    aws.ec2.stop_instances(InstanceIds=[id])


def vanish(aws: Aws, id: str) -> None:
    aws.ec2.terminate_instances(InstanceIds=[id])


def interrupt(aws: Aws, id: str) -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("act", "line"),
    [
        (fail, r"has failed \(pulling image\)\n.*get-console-output"),
        (vanish, r"has failed \(booting\)"),
        (interrupt, "interrupted; the builder is terminated"),
    ],
)
def test_a_bake_that_fails_leaves_neither_builder_nor_image(
    ready: Aws, kind: Machine, act: Callable[[Aws, str], object], line: str
) -> None:
    with pytest.raises(CloudError, match=line):
        bake.bake(ready, kind, IMAGE, Builder(ready, act))
    (builder,) = builders(ready)
    in_state(ready.ec2, builder["InstanceId"], "terminated")
    assert machine_images.ours(ready) == []
    baked(ready, kind)  # and the same again works


def test_the_builder_of_a_killed_bake_is_taken_up(ready: Aws, kind: Machine) -> None:
    claim = claims.claim(ready, claims.key_of({"bake": IMAGE, "base": kind.ami}))
    left = ready.ec2.run_instances(**bake.request(ready, kind, IMAGE, claim))["Instances"][0]["InstanceId"]
    builder = Builder(ready, finish)
    assert bake.bake(ready, kind, IMAGE, builder).made
    assert (builder.id, len(builders(ready))) == (left, 1)


def test_a_bake_that_another_has_overtaken_takes_its_image(ready: Aws, kind: Machine) -> None:
    def and_other(aws: Aws, id: str) -> None:
        finish(aws, id)
        assert bake._make_image(aws, kind, IMAGE, id)

    bake.bake(ready, kind, IMAGE, Builder(ready, and_other))
    assert len(machine_images.ours(ready)) == 1


def test_a_launch_uses_it_while_trainer_and_base_are_the_same(ready: Aws, kind: Machine) -> None:
    ami = baked(ready, kind)
    ours = machine_images.ours(ready)
    assert machine.with_image(kind, ours, IMAGE).ami == ami
    assert machine.with_image(kind, ours, IMAGE.replace("a", "b")) == kind
    arm = machine.look(ready, ("c7g.large",))
    assert machine.with_image(arm, ours, IMAGE) == arm
    assert machine.with_image(kind, [], IMAGE) == kind


def test_a_resume_uses_it_too(ready: Aws, kind: Machine) -> None:
    push(ready, TAG)
    repository = registry.repository_uri(ready, ready.settings.repository)
    old = remember(ready, asked={"image": f"{repository}:{TAG}"})
    assert resume.plan(ready, old, ("c7i.large",)).machine == kind
    ami = baked(ready, kind, f"{repository}:{TAG}")
    assert resume.plan(ready, old, ("c7i.large",)).machine.ami == ami
    push(ready, "b" * 20, layers=[])
    other = remember(ready, "i-0bbbbbbbbbbbbbbbb", asked={"image": f"{repository}:" + "b" * 20})
    assert resume.plan(ready, other, ("c7i.large",)).machine == kind


def test_the_builder_is_no_job(ready: Aws, kind: Machine) -> None:
    claim = claims.claim(ready, "claims/bake")
    ready.ec2.run_instances(**bake.request(ready, kind, IMAGE, claim))
    assert jobs.list_jobs(ready) == []
    with pytest.raises(CloudError, match="not while a machine image is baked: i-"):
        teardown.look(ready, bucket_too=False)


def left(aws: Aws, **span: float) -> list[Leftover]:
    return leftovers.find(aws, datetime.now(UTC) + timedelta(**span))


def test_an_abandoned_builder_is_left_over_after_an_hour(ready: Aws, kind: Machine) -> None:
    claim = claims.claim(ready, "claims/bake")
    id = ready.ec2.run_instances(**bake.request(ready, kind, IMAGE, claim))["Instances"][0]["InstanceId"]
    assert left(ready, minutes=59) == []
    (one,) = left(ready, minutes=61)
    assert (one.kind, one.id) == ("builder", id)
    cleanup.end(ready, one)
    in_state(ready.ec2, id, "terminated")
    assert left(ready, minutes=61) == []


def test_a_machine_image_that_no_launch_needs_goes_with_its_snapshot(ready: Aws, kind: Machine) -> None:
    push(ready, TAG, config={"size": 1}, layers=[])
    push(ready, "b" * 20, config={"size": 2}, layers=[])
    old = baked(ready, kind)
    assert left(ready) == []
    (image,) = machine_images.ours(ready)
    snapshot, created = image["BlockDeviceMappings"][0]["Ebs"]["SnapshotId"], image["CreationDate"]
    eventually(
        lambda: datetime.now(UTC) - datetime.fromisoformat(created) > timedelta(seconds=1)
    )  # what EC2 tells apart
    new = baked(ready, kind, f"registry:5000/solver:{'b' * 20}")
    (one,) = left(ready)
    assert (one.kind, one.id, one.why) == ("machine image", old, "a newer one has taken its place")
    assert one.costs == "at most $1.50 a month"
    cleanup.end(ready, one)
    cleanup.end(ready, one)  # gone meanwhile
    assert [image["ImageId"] for image in machine_images.ours(ready)] == [new]
    snapshots = ready.ec2.describe_snapshots(OwnerIds=["self"])["Snapshots"]
    assert snapshot not in [one["SnapshotId"] for one in snapshots]


def ami(id: str, *, variant: str = "recommended", state: str = "available", tag: str = TAG) -> Any:
    tags = {"solver:variant": variant, "solver:image": f"registry/solver:{tag}"}
    return {"ImageId": id, "State": state, "Tags": [{"Key": key, "Value": value} for key, value in tags.items()]}


def test_the_newest_of_each_variant_stays_and_what_a_job_was_started_from() -> None:
    images = [
        *(ami("pending", state="pending"), ami("newest"), ami("arm", variant="arm64/recommended")),
        *(ami("used"), ami("old"), ami("failed", state="failed"), ami("pruned", variant="gpu", tag="gone")),
    ]
    assert dict(machine_images.over(images, {"used"}, {TAG})) == {
        "old": "a newer one has taken its place",
        "failed": "it is failed",
        "pruned": "the trainer's image on it is gone from ECR",
    }


def test_teardown_takes_the_machine_images_along(ready: Aws, kind: Machine) -> None:
    baked(ready, kind)
    in_state(ready.ec2, builders(ready)[0]["InstanceId"], "terminated")
    for one in teardown.look(ready, bucket_too=True):
        teardown.remove(one)
    assert machine_images.ours(ready) == []
    assert teardown.look(ready, bucket_too=True) == []


def test_its_script_is_one_that_shellcheck_accepts(aws: Aws, tmp_path: Path) -> None:
    whole = tmp_path / "bake.sh"
    deadline = datetime.now(UTC)
    whole.write_text(bake.script(aws, IMAGE, deadline))
    program = shutil.which("shellcheck") or str(Path(sys.executable).with_name("shellcheck"))
    # Unused (SC2034) and unset (SC2154) are what the parts do for a job, which bakes nothing.
    found = subprocess.run([program, "-e", "SC2034,SC2154", whole], capture_output=True, text=True, check=False)
    assert (found.stdout, found.returncode) == ("", 0)
    assert len(userdata.packed(bake.script(aws, IMAGE, deadline))) <= userdata.LIMIT

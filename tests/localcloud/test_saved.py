"""Machine images of one's own: what EC2 says of them, and that a machine boots from the disk of another."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

import docker
import pytest

from localcloud.engine_allowed import Refused
from localcloud.engine_rules import Scope
from localcloud.machines import Machines

from .conftest import eventually, in_state, refusal
from .real_machines import Cloud

Run = Callable[..., dict[str, Any]]


def image(ec2: Any, id: str) -> dict[str, Any]:
    found: dict[str, Any] = ec2.describe_images(ImageIds=[id])["Images"][0]
    return found


@pytest.fixture
def stopped(ec2: Any, run: Run) -> str:
    """An instance with a disk of its own size, stopped."""
    disk = {"VolumeSize": 40, "VolumeType": "gp3", "Encrypted": True}
    id = str(run(BlockDeviceMappings=[{"DeviceName": "/dev/xvda", "Ebs": disk}])["InstanceId"])
    in_state(ec2, id, "running")
    ec2.stop_instances(InstanceIds=[id])
    in_state(ec2, id, "stopped")
    return id


def test_an_image_has_the_disk_of_its_instance_and_boots(ec2: Any, run: Run, stopped: str) -> None:
    name = f"mine {uuid.uuid4().hex}"
    tags = [{"ResourceType": kind, "Tags": [{"Key": "of", "Value": kind}]} for kind in ("image", "snapshot")]
    id = ec2.create_image(InstanceId=stopped, Name=name, TagSpecifications=tags)["ImageId"]
    eventually(lambda: image(ec2, id)["State"] == "available")
    by_tag = ec2.describe_images(Owners=["self"], Filters=[{"Name": "tag:of", "Values": ["image"]}])["Images"]
    assert id in [one["ImageId"] for one in by_tag]
    ebs = image(ec2, id)["BlockDeviceMappings"][0]["Ebs"]
    assert (ebs["VolumeSize"], ebs["VolumeType"], ebs["Encrypted"]) == (40, "gp3", True)
    (snapshot,) = ec2.describe_snapshots(SnapshotIds=[ebs["SnapshotId"]])["Snapshots"]
    assert (snapshot["VolumeSize"], snapshot["Encrypted"]) == (40, True)
    assert snapshot["Tags"] == [{"Key": "of", "Value": "snapshot"}]
    ec2.terminate_instances(InstanceIds=[stopped])
    in_state(ec2, run(ImageId=id)["InstanceId"], "running")
    assert refusal(ec2.delete_snapshot, SnapshotId=ebs["SnapshotId"])[0] == "InvalidSnapshot.InUse"


def test_what_ec2_makes_no_image_of(ec2: Any, run: Run, stopped: str) -> None:
    running = run()["InstanceId"]
    in_state(ec2, running, "running")
    assert refusal(ec2.create_image, InstanceId=running, Name="running")[0] == "IncorrectInstanceState"
    assert refusal(ec2.create_image, InstanceId="i-0aaaaaaa", Name="nobody")[0] == "InvalidInstanceID.NotFound"
    name = f"mine {uuid.uuid4().hex}"
    first = ec2.create_image(InstanceId=stopped, Name=name)["ImageId"]
    code, message = refusal(ec2.create_image, InstanceId=stopped, Name=name)
    assert (code, first in message) == ("InvalidAMIName.Duplicate", True)


@pytest.mark.parametrize("snapshots_too", [False, True])
def test_a_deregistered_image_is_gone_and_its_snapshot_if_asked_for(
    ec2: Any, run: Run, stopped: str, snapshots_too: bool
) -> None:
    id = ec2.create_image(InstanceId=stopped, Name=f"mine {uuid.uuid4().hex}")["ImageId"]
    eventually(lambda: image(ec2, id)["State"] == "available")
    snapshot = image(ec2, id)["BlockDeviceMappings"][0]["Ebs"]["SnapshotId"]
    ec2.deregister_image(ImageId=id, DeleteAssociatedSnapshots=snapshots_too)
    assert ec2.describe_images(Owners=["self"], Filters=[{"Name": "image-id", "Values": [id]}])["Images"] == []
    left = [one["SnapshotId"] for one in ec2.describe_snapshots(OwnerIds=["self"])["Snapshots"]]
    assert (snapshot in left) is not snapshots_too
    assert refusal(run, ImageId=id)[0] == "InvalidAMIID.Unavailable"


@pytest.mark.long  # in the quick set `bake` does: tests/e2e/test_bake.py
def test_a_machine_boots_from_the_disk_of_another(real_cloud: Cloud, engine: Any) -> None:
    first = real_cloud.boot("#!/bin/bash\necho first >> /var/lib/boots\n")
    first.wait_for("/var/lib/boots")
    first.run("echo kept > /etc/kept; rm -rf /var/lib/cloud /etc/ssh/ssh_host_*")
    machines: Machines = real_cloud.machines
    machines.stop(first.id)
    machines.save(first.id, "ami-0aaaaaaa")
    machines.terminate(first.id)
    second = real_cloud.boot("#!/bin/bash\necho second >> /var/lib/boots\n", image_id="ami-0aaaaaaa")
    eventually(lambda: second.run("cat /var/lib/boots") == "first\nsecond")
    assert second.run("cat /etc/kept") == "kept"
    assert second.ssh("whoami").stdout == "ec2-user\n"  # with host keys of its own
    machines.terminate(second.id)
    machines.discard("ami-0aaaaaaa")
    machines.discard("ami-0aaaaaaa")
    with pytest.raises(docker.errors.ImageNotFound):
        engine.images.get("solver-local/saved:ami-0aaaaaaa")


def test_an_instance_has_only_the_images_of_a_registry_that_it_has_pulled(engine: Any) -> None:
    own: set[str] = set()
    scope = Scope(engine, cloud="c", instance_id="i-1", network="n", container="i-1", volume="v", images=own)
    with pytest.raises(Refused, match="No such image"):
        scope.image("127.0.0.1:5000/solver:abc")
    scope.image("solver-local/debian:bookworm")
    scope.image("sha256:0123")
    scope.pulls("127.0.0.1:5000/solver", "abc")
    scope.image("127.0.0.1:5000/solver:abc")
    assert own == {"127.0.0.1:5000/solver:abc"}

"""bake: a machine image that has the trainer's image already, made by a builder instance that ends itself.

The builder is no job, so its tags are others: solver:builder is the setting `name`, solver:launch its claim. It stops
when it is done; the launcher makes the image of its disk and terminates it, whatever happens. If the launcher dies, the
same bake again takes the builder up, or `gc` ends it: its shutdown timer has it stopped by then.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from . import claims, launch, machine_images, provision, records, userdata
from .aws import Aws, aws_errors, error_code, instances
from .claims import Claim
from .errors import CloudError, interruptible
from .machine import Machine, variant
from .machine_images import BUILDER
from .policies import OURS
from .tags import specification, tags_of

if TYPE_CHECKING:
    from mypy_boto3_ec2.type_defs import FilterTypeDef, InstanceTypeDef

Say = Callable[[str], None]

LASTS = timedelta(minutes=30)
"""What a builder has: it installs nothing on the ECS-optimized image, and pulls one image."""
BUILDERS = {"x86_64": "m6i.large", "arm64": "m6g.large"}
"""The type of the builder, by architecture; with a GPU's driver, too, it boots without the GPU."""
SCRIPTS = ("steps.sh", "aws.sh", "instance.sh", "machine.sh", "container.sh", "bake.sh")
POLL = 5
"""Seconds."""
UNDER_WAY = ("pending", "running", "stopping", "shutting-down")


@dataclass(frozen=True)
class Baked:
    """A machine image with the trainer's image on it."""

    ami: str
    made: bool
    """By this bake."""


def bake(aws: Aws, machine: Machine, image: str, say: Say) -> Baked:
    """Make a machine image with the trainer's image on it, unless there is one.

    machine: whose AMI to build on. image: repository URI with tag, as ECR has it. say: gets lines of progress.
    Raises CloudError when the builder fails; it is terminated in any case.
    """
    if found := machine_images.fitting(machine_images.ours(aws), machine.ami, image):
        return Baked(found["ImageId"], made=False)
    claim = claims.claim(aws, claims.key_of({"bake": image, "base": machine.ami}))
    try:
        with interruptible("the builder is terminated"):
            builder = claim.instance or _start(aws, machine, image, claim)
            say(f"the builder {builder} pulls the image, and stops")
            _await_stop(aws, builder)
            say("making a machine image of its disk")
            ami = _make_image(aws, machine, image, builder)
    finally:
        launch.end_launch(aws, claim.token)
    return Baked(ami, made=True)


def _start(aws: Aws, machine: Machine, image: str, claim: Claim) -> str:
    with aws_errors("start a builder"):
        return str(aws.ec2.run_instances(**request(aws, machine, image, claim))["Instances"][0]["InstanceId"])


def request(aws: Aws, machine: Machine, image: str, claim: Claim) -> dict[str, Any]:
    """The call that starts a builder. Its shutdown stops it: an image is made of a disk at rest."""
    name = aws.settings.name
    tags = {
        "Name": f"{name} builder",
        BUILDER: name,
        "solver:launch": claim.token,
        "solver:launched-at": records.iso(claim.launched_at),
        "solver:image": image,
    }
    disk = {"VolumeSize": machine.root_gb, "VolumeType": "gp3", "Encrypted": True, "DeleteOnTermination": True}
    return {
        "ClientToken": claim.token,
        "MinCount": 1,
        "MaxCount": 1,
        "InstanceType": BUILDERS[machine.architecture],
        "ImageId": machine.ami,
        "KeyName": name,
        "SecurityGroupIds": [machine.security_group],
        "IamInstanceProfile": {"Name": provision.role_name(aws)},
        "MetadataOptions": {"HttpTokens": "required", "HttpPutResponseHopLimit": 1},
        "BlockDeviceMappings": [{"DeviceName": machine.root_device, "Ebs": disk}],
        "UserData": userdata.packed(script(aws, image, claim.launched_at + LASTS)),
        "TagSpecifications": [specification("instance", tags), specification("volume", {OURS: name})],
        "InstanceInitiatedShutdownBehavior": "stop",
    }


def script(aws: Aws, image: str, deadline: datetime) -> str:
    """What the builder runs."""
    values: dict[str, str | int] = {
        "JOB_BUCKET": aws.bucket,
        "JOB_REGION": aws.settings.region,
        "JOB_IMAGE": image,
        "JOB_REGISTRY": image.split("/")[0],
        "JOB_DEADLINE": int(deadline.timestamp()),
    }
    return userdata.joined((userdata.assignment(name, value) for name, value in values.items()), SCRIPTS)


def _await_stop(aws: Aws, builder: str) -> None:
    """Raises CloudError unless the builder has stopped by itself, the image on its disk.

    Of boto3's waiters, the one for `stopped` takes `pending` for a failure, and the one for `running` never ends if
    nobody has seen it run.
    """
    tries = int(LASTS.total_seconds()) // POLL
    with aws_errors("wait for the builder"):
        while (found := _look(aws, builder))["State"]["Name"] in UNDER_WAY and (tries := tries - 1):
            time.sleep(POLL)
    tags = tags_of(found)
    if tags.get("solver:phase") != "baked":
        raise CloudError(
            f"the builder {builder} has failed ({tags.get('solver:phase', 'booting')})",
            fix=f"what it printed: aws ec2 get-console-output --latest --output text --instance-id {builder}",
        )


def _look(aws: Aws, builder: str) -> InstanceTypeDef:
    """The builder as EC2 shows it, which may take a moment after it was started."""
    found = instances(aws, [{"Name": "instance-id", "Values": [builder]}])
    return found[0] if found else {"State": {"Name": "pending"}}


def _make_image(aws: Aws, machine: Machine, image: str, builder: str) -> str:
    """The snapshot is encrypted as the builder's disk is.

    https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_CreateImage.html
    """
    name = f"{aws.settings.name} {image.rpartition(':')[2]} {machine.ami}"
    tags = {
        OURS: aws.settings.name,
        "solver:image": image,
        "solver:base": machine.ami,
        "solver:variant": variant(machine.types[0]),
    }
    with aws_errors("make a machine image"):
        try:
            ami = aws.ec2.create_image(
                InstanceId=builder,
                Name=name,
                Description="solver-cloud: an ECS-optimized AMI with the trainer's image",
                TagSpecifications=[specification("image", tags), specification("snapshot", tags)],  # type: ignore[list-item]
            )["ImageId"]
        except aws.ec2.exceptions.ClientError as error:
            if error_code(error) != "InvalidAMIName.Duplicate":  # another bake of this image was faster
                raise
            by_name: list[FilterTypeDef] = [{"Name": "name", "Values": [name]}]
            ami = aws.ec2.describe_images(Owners=["self"], Filters=by_name)["Images"][0]["ImageId"]
        aws.ec2.get_waiter("image_available").wait(
            ImageIds=[ami], WaiterConfig={"Delay": POLL, "MaxAttempts": 3600 // POLL}
        )
    return ami

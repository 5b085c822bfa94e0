"""Our own machine images, which `bake` makes: the one for a launch, and those that no launch needs any more."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from .aws import Aws, aws_errors, instances
from .policies import OURS
from .tags import tags_of

if TYPE_CHECKING:
    from mypy_boto3_ec2.type_defs import FilterTypeDef, ImageTypeDef, InstanceTypeDef

BUILDER = "solver:builder"
"""Tag of the instance that bakes; its value is the setting `name`. Such an instance is no job, and has not our tag."""
BUILDER_AGE = timedelta(hours=1)
"""A builder has half an hour, and the launcher needs it until the image of its disk is made."""
SNAPSHOT = 0.05
"""Dollars for a GB and month in us-east-1: https://aws.amazon.com/ebs/pricing/ (snapshots, standard)."""


def ours(aws: Aws) -> list[ImageTypeDef]:
    """Our own machine images, newest first."""
    filters: list[FilterTypeDef] = [{"Name": f"tag:{OURS}", "Values": [aws.settings.name]}]
    with aws_errors("look for our own machine images"):
        found = aws.ec2.describe_images(Owners=["self"], Filters=filters)["Images"]
    return sorted(found, key=lambda one: one["CreationDate"], reverse=True)


def fitting(images: Iterable[ImageTypeDef], base: str, image: str) -> ImageTypeDef | None:
    """The first of our machine images with a trainer's image on it; None when there is none.

    base: the AMI that it was made from, and so its architecture. image: repository URI with tag.
    """
    wanted = {"solver:base": base, "solver:image": image}
    return next((one for one in images if one["State"] == "available" and tags_of(one).items() >= wanted.items()), None)


def builders(aws: Aws) -> list[InstanceTypeDef]:
    """Instances that bake, or that a bake which was killed has left."""
    filters = [
        {"Name": f"tag:{BUILDER}", "Values": [aws.settings.name]},
        {"Name": "instance-state-name", "Values": ["pending", "running", "stopping", "stopped"]},
    ]
    with aws_errors("look for builders"):
        return instances(aws, filters)


def over(images: Iterable[ImageTypeDef], needed: Collection[str], pushed: Collection[str]) -> Iterator[tuple[str, str]]:
    """The id of each machine image that no launch needs, and why.

    images: ours, newest first. needed: ids of those that a living instance was started from. pushed: tags in ECR.
    """
    newest: set[str] = set()
    for image in images:
        id, tags = image["ImageId"], tags_of(image)
        replaced = tags.get("solver:variant", "") in newest
        if image["State"] == "available":
            newest.add(tags.get("solver:variant", ""))
        if id in needed or image["State"] == "pending":
            continue
        if image["State"] != "available":
            yield id, f"it is {image['State']}"
        elif replaced:
            yield id, "a newer one has taken its place"
        elif tags.get("solver:image", "").rpartition(":")[2] not in pushed:
            yield id, "the trainer's image on it is gone from ECR"


def abandoned(builder: InstanceTypeDef, now: datetime) -> bool:
    """Whether whoever started a builder has had all the time that a bake takes."""
    return now - builder["LaunchTime"] > BUILDER_AGE


def gigabytes(image: ImageTypeDef) -> int:
    """Size of the disk that its snapshot is of: the most that the snapshot can have."""
    return sum(disk["Ebs"].get("VolumeSize", 0) for disk in image["BlockDeviceMappings"] if "Ebs" in disk)


def delete(aws: Aws, id: str) -> None:
    """Deregister one of ours, and delete its snapshot; nothing happens if it has gone. Jobs started from it go on.

    https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DeregisterImage.html
    """
    if any(one["ImageId"] == id for one in ours(aws)):
        with aws_errors(f"deregister {id}"):
            aws.ec2.deregister_image(ImageId=id, DeleteAssociatedSnapshots=True)

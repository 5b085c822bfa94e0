"""teardown: undo setup. All is looked at first; what was removed by a run that did not end is not there for the next.

What sweeps have goes first, since it has the security group; that goes before the rest, since EC2 refuses to delete it
while any instance has it, and `launch` without it asks for setup.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from . import bucket, firewall, keypair, machine_images, older, pool_remains, provision, roles
from .aws import Aws, aws_errors, instances, pages
from .errors import CloudError
from .jobs import GONE
from .leftovers import CANCELLABLE, CONTENT_HASH, images
from .policies import OURS

if TYPE_CHECKING:
    from mypy_boto3_ec2.type_defs import WaiterConfigTypeDef
    from mypy_boto3_s3.type_defs import ObjectIdentifierTypeDef

PREFIXES = ("asked/", "claims/", "configs/", "jobs/", "launches/", "runners/", "sweeps/")
"""Of the keys in the bucket that are ours; older versions had `launches/`."""

POLL: WaiterConfigTypeDef = {"Delay": 3, "MaxAttempts": 200}
"""Seconds, and how often: an instance takes a minute or two to end."""


@dataclass(frozen=True)
class Remainder:
    """One thing that setup has made and that is still there."""

    kind: str
    name: str
    holds: str
    """What is lost with it; "" for nothing."""
    steps: Sequence[Callable[[], object]]
    """What removes each part of it, in the order in which they have to go."""
    stays: str = ""
    """Why it is to stay; "" if it is to go."""


def look(aws: Aws, *, bucket_too: bool) -> list[Remainder]:
    """What there is of setup's pieces, in the order in which they have to go.

    bucket_too: whether the bucket is to go as well, with the output and the model of every job.
    The spot service's role is the account's, and not among them.
    Raises CloudError while a job lives.
    """
    _check_no_job_lives(aws)
    pool_remains.check_no_sweep_lives(aws)
    pools = [Remainder(kind, name, "", steps) for kind, name, steps in pool_remains.look(aws)]
    first, baked = (_security_group(aws), _instance_profile(aws), *_roles(aws), _key_pair(aws)), _machine_images(aws)
    return [one for one in (*pools, *first, *baked, _repository(aws), _bucket(aws, bucket_too=bucket_too)) if one]


def remove(remainder: Remainder) -> None:
    """Remove one of them. Raises CloudError when AWS refuses; a later look then finds the parts that are left."""
    for step in remainder.steps:
        step()


def _check_no_job_lives(aws: Aws) -> None:
    """Requests before instances: one that is fulfilled in between is seen twice rather than not at all."""
    ours = [{"Name": f"tag:{OURS}", "Values": [aws.settings.name]}]
    with aws_errors("look for jobs"):
        requests = pages(aws.ec2, "describe_spot_instance_requests", "SpotInstanceRequests", Filters=ours)
        living = [one for one in instances(aws, ours) if one["State"]["Name"] not in GONE]
    if living:
        named = ", ".join(f"{one['InstanceId']} ({one['State']['Name']})" for one in living)
        end = " && ".join(f"inv terminate {one['InstanceId']}" for one in living)
        raise CloudError(f"not while a job lives: {named}", fix=f"{end}, then the same again")
    if baking := [one["InstanceId"] for one in machine_images.builders(aws)]:
        fix = "wait for its end; if nobody bakes: aws ec2 terminate-instances --instance-ids " + " ".join(baking)
        raise CloudError(f"not while a machine image is baked: {', '.join(baking)}", fix=fix)
    if open_ := [one["SpotInstanceRequestId"] for one in requests if one["State"] in CANCELLABLE]:
        fix = "`inv gc` ends them, then the same again"
        raise CloudError(f"not while a spot request may start an instance: {', '.join(open_)}", fix=fix)


def _security_group(aws: Aws) -> Remainder | None:
    group = firewall.find(aws)
    if group is None:
        return None
    steps = [partial(_await_last_instances, aws, group["GroupId"]), partial(_delete_group, aws, group["GroupId"])]
    return Remainder("security group", aws.settings.name, "", steps)


def _await_last_instances(aws: Aws, group: str) -> None:
    """Until it is terminated, an instance has its security groups.

    https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DeleteSecurityGroup.html
    """
    with aws_errors("wait for the last instances to end"):
        having = [
            {"Name": "instance.group-id", "Values": [group]},
            {"Name": "instance-state-name", "Values": ["shutting-down"]},
        ]
        if ids := [one["InstanceId"] for one in instances(aws, having)]:
            aws.ec2.get_waiter("instance_terminated").wait(InstanceIds=ids, WaiterConfig=POLL)


def _delete_group(aws: Aws, group: str) -> None:
    with aws_errors("delete the security group"):
        aws.ec2.delete_security_group(GroupId=group)


def _instance_profile(aws: Aws) -> Remainder | None:
    steps = roles.profile_remains(aws, provision.role_name(aws))
    return Remainder("instance profile", provision.role_name(aws), "", steps) if steps else None


def _roles(aws: Aws) -> list[Remainder]:
    named = ("jobs' role", provision.job_role(aws)), ("role", provision.role_name(aws))
    return [Remainder(kind, name, "", steps) for kind, name in named if (steps := roles.remains(aws, name))]


def _key_pair(aws: Aws) -> Remainder | None:
    steps = keypair.remains(aws)
    return Remainder("key pair", aws.settings.name, "the private key in SSM and here", steps) if steps else None


def _machine_images(aws: Aws) -> list[Remainder]:
    ids = [one["ImageId"] for one in machine_images.ours(aws)]
    return [Remainder("machine image", id, "and its snapshot", [partial(machine_images.delete, aws, id)]) for id in ids]


def _repository(aws: Aws) -> Remainder | None:
    if not provision.repository_exists(aws):
        return None
    with aws_errors("list the images in the repository"):
        pushed = images(aws)
    tags = [tag for image in pushed for tag in image.get("imageTags", [])]
    theirs = [tag for tag in tags if not CONTENT_HASH.fullmatch(tag)]
    total = sum(image["imageSizeInBytes"] for image in pushed)
    return Remainder(
        "repository",
        aws.settings.repository,
        f"{_many(len(pushed), 'image')}, {total:,} bytes" if pushed else "",
        [partial(_delete_repository, aws)],
        f"`launch` did not push all of its images: {', '.join(theirs)}" if theirs else "",
    )


def _delete_repository(aws: Aws) -> None:
    with aws_errors("delete the repository"):
        aws.ecr.delete_repository(repositoryName=aws.settings.repository, force=True)


def _bucket(aws: Aws, *, bucket_too: bool) -> Remainder | None:
    if not bucket.exists(aws):
        return None
    with aws_errors(f"list what is in the bucket {aws.bucket}"):
        found = pages(aws.s3, "list_object_versions", "Versions", Bucket=aws.bucket)
    objects = [one for one in found if one["Key"] != older.SINCE]  # of `setup` itself
    total = sum(one["Size"] for one in objects)
    jobs, sweeps = (
        {one["Key"].split("/")[1] for one in objects if one["Key"].startswith(kind)} for kind in ("jobs/", "sweeps/")
    )
    theirs = sorted(one["Key"] for one in objects if not one["Key"].startswith(PREFIXES))
    swept = f" and {_many(len(sweeps), 'sweep')}" if sweeps else ""
    stays = f"there is more in it than jobs: {theirs[0]}" if theirs else ""
    return Remainder(
        "bucket",
        aws.bucket,
        f"{_many(len(jobs), 'job')}{swept} with output and models, {total:,} bytes" if objects else "",
        [partial(_empty, aws), partial(_delete_bucket, aws)],
        stays if bucket_too else "--bucket-too removes it as well",
    )


def _many(number: int, what: str) -> str:
    return f"{number} {what}" + ("" if number == 1 else "s")


def _empty(aws: Aws) -> None:
    """Versions, too, and what marks an object of a versioned bucket as deleted; a page has as many as one call takes.

    https://docs.aws.amazon.com/AmazonS3/latest/API/API_DeleteObjects.html
    """
    with aws_errors(f"empty the bucket {aws.bucket}"):
        while listed := _first_page(aws):
            answer = aws.s3.delete_objects(Bucket=aws.bucket, Delete={"Objects": listed, "Quiet": True})
            for failure in answer.get("Errors", []):
                raise CloudError(f"cannot delete {failure.get('Key')}: {failure.get('Message')}")


def _first_page(aws: Aws) -> list[ObjectIdentifierTypeDef]:
    page = aws.s3.list_object_versions(Bucket=aws.bucket)
    listed = (*page.get("Versions", []), *page.get("DeleteMarkers", []))
    return [{"Key": one["Key"], "VersionId": one["VersionId"]} for one in listed]


def _delete_bucket(aws: Aws) -> None:
    with aws_errors(f"delete the bucket {aws.bucket}"):
        aws.s3.delete_bucket(Bucket=aws.bucket)

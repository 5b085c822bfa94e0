"""What of solver-cloud is left in the account and costs money.

The facts are gathered first, in a few calls; functions that call nothing decide what they mean.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal

from . import history, machine_images, older, pool, records
from .aws import Aws, aws_errors, gone_is_fine, instances, pages
from .config import Settings
from .display import duration
from .history import History
from .image import TAG_LENGTH
from .jobs import GONE, STOPPED
from .policies import OURS
from .tags import hours_of, is_ours, moment_of, status_of, tags_of

if TYPE_CHECKING:
    from mypy_boto3_ec2.type_defs import ImageTypeDef, InstanceTypeDef, SpotInstanceRequestTypeDef, VolumeTypeDef
    from mypy_boto3_ecr.type_defs import ImageDetailTypeDef
    from mypy_boto3_s3.type_defs import MultipartUploadTypeDef

GRACE = timedelta(minutes=20)
"""From a job's deadline on: its shutdown timer lets it save what it has for ten minutes."""
SETTLING = timedelta(minutes=15)
"""How long a spot request may be without its instance; EC2's answers are only eventually consistent:
https://docs.aws.amazon.com/ec2/latest/devguide/eventual-consistency.html"""
UPLOAD_AGE, IMAGE_AGE, IMAGES_KEPT = timedelta(days=1), timedelta(days=30), 3
EBS, ECR, S3 = 0.08, 0.10, 0.023
"""Dollars for a GB and month in us-east-1: https://aws.amazon.com/ebs/pricing/ (gp3), https://aws.amazon.com/ecr/pricing/,
https://aws.amazon.com/s3/pricing/ (Standard)."""
CANCELLABLE = ("open", "active", "disabled")
"""https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/using-spot-instances-cancel.html"""
ENDED = {"complete": "its job is complete", "failed": "its job failed", "terminated": "its job was terminated"}
CONTENT_HASH = re.compile(f"[0-9a-f]{{{TAG_LENGTH}}}")
"""Tag of an image that `launch` pushed; the repository may have others, which are not ours to judge."""
JOBS, UPLOAD_ID = "jobs/", "?uploadId="


@dataclass(frozen=True)
class Leftover:
    """One thing that no job needs any more and that costs money."""

    kind: Literal["instance", "spot request", "volume", "image", "upload", "builder", "machine image"]
    id: str
    why: str
    costs: str
    stopped: bool = False
    """Of an instance, whether it is, and so costs its disk only."""


@dataclass(frozen=True)
class Facts:
    """What the account has of ours."""

    settings: Settings
    images: list[ImageDetailTypeDef]
    uploads: list[MultipartUploadTypeDef]
    volumes: list[VolumeTypeDef]
    requests: list[SpotInstanceRequestTypeDef]
    instances: dict[str, InstanceTypeDef]
    """By id: those with our tag, and those of our spot requests, which have no tags if EC2 launched them anew."""
    history: dict[str, History]
    """What S3 has of each job that is registered."""
    builders: list[InstanceTypeDef]
    machine_images: list[ImageTypeDef]
    swept: set[str]
    """The images that sweeps run, or will when they are tried again: repository URI with tag."""


def find(aws: Aws, now: datetime) -> list[Leftover]:
    """Everything of ours that costs money and serves no job under way; spot requests before instances.

    now: the moment to judge by, with its time zone. Raises CloudError when AWS refuses, or there has been no setup.
    """
    facts = _gather(aws)
    judged = {id: _why_over(one, facts, now) for id, one in facts.instances.items() if _lives(one)}
    over = {id: why for id, why in judged.items() if why}
    under_way = judged.keys() - over.keys()
    old = [upload for upload in facts.uploads if now - upload["Initiated"] > UPLOAD_AGE]
    return [
        *_request_leftovers(facts, over, now),
        *(_instance_leftover(facts, id, why) for id, why in over.items()),
        *(
            Leftover("volume", disk["VolumeId"], "no instance has it", _monthly(disk["Size"] * EBS))
            for disk in facts.volumes
            if disk["State"] == "available"
        ),
        *_image_leftovers(facts, judged.keys(), now),
        *(_upload_leftover(aws, one) for one in old if one["Key"].split("/")[1] not in under_way),
        *_bake_leftovers(facts, judged.keys(), now),
    ]


def _gather(aws: Aws) -> Facts:
    """Images before jobs, and requests before instances: a launch in between is not seen, or seen with its instance."""
    ours = [{"Name": f"tag:{OURS}", "Values": [aws.settings.name]}]
    with aws_errors("look for what is left"):
        pushed = images(aws)
        requests = pages(aws.ec2, "describe_spot_instance_requests", "SpotInstanceRequests", Filters=ours)
        instances = _instances(aws, ours)
        ids = [request["SpotInstanceRequestId"] for request in requests]
        # A filter takes 200 values: https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/Using_Filtering.html
        for start in range(0, len(ids), 200):
            instances |= _instances(aws, [{"Name": "spot-instance-request-id", "Values": ids[start : start + 200]}])
        known = history.read_all(aws)
        if any(_lives(one) and is_ours(one, aws.settings) and id not in known for id, one in instances.items()):
            for register in older.look(aws).missing:  # the deadline of a job of an older version is in its record
                register()
                known = history.read_all(aws)
        return Facts(
            settings=aws.settings,
            images=pushed,
            swept={one.get("containerProperties", {}).get("image", "") for one in pool.definitions(aws)},
            uploads=pages(aws.s3, "list_multipart_uploads", "Uploads", Bucket=aws.bucket, Prefix=JOBS),
            volumes=pages(aws.ec2, "describe_volumes", "Volumes", Filters=ours),
            requests=requests,
            instances=instances,
            history=known,
            builders=machine_images.builders(aws),
            machine_images=machine_images.ours(aws),
        )


def images(aws: Aws) -> list[ImageDetailTypeDef]:
    """Every image in the repository."""
    return pages(aws.ecr, "describe_images", "imageDetails", repositoryName=aws.settings.repository)


def _instances(aws: Aws, filters: list[dict[str, Any]]) -> dict[str, InstanceTypeDef]:
    return {instance["InstanceId"]: instance for instance in instances(aws, filters)}


def _lives(instance: InstanceTypeDef) -> bool:
    return instance["State"]["Name"] not in GONE


def _why_over(instance: InstanceTypeDef, facts: Facts, now: datetime) -> str | None:
    """Why no job needs a living instance; None while one may. What is not known speaks for the job.

    A persistent request whose instance is terminated launches another, without the tags of RunInstances, which ends
    itself: https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/spot-request-status.html
    LaunchTime is that of the last start: one that EC2 starts after the deadline still has time to save what it has.
    https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_Instance.html
    What the instance may write itself, its status and until when it is kept for a look, never gives it more time than
    its job was launched for.
    """
    tags, known = tags_of(instance), facts.history.get(instance["InstanceId"], History())
    if not is_ours(instance, facts.settings):
        return "launched in place of another, whose job it was"
    last = max(_deadline(instance, known, facts), instance["LaunchTime"]) + GRACE
    status = _last_word(tags, known)
    if status:
        kept = moment_of(tags, "solver:kept-until")
        return None if kept and now < min(kept, last) else ENDED[status]
    return f"past its deadline for {duration(now - last + GRACE)}" if now > last else None


def _last_word(tags: dict[str, str], known: History) -> str:
    """How a job has ended, as its record, the registry or its tags tell; "" while it has not."""
    if known.final:
        return known.final.status
    if known.entry and known.entry.ended:
        return "terminated"
    return status if (status := status_of(tags)) in records.FINAL else ""


def _deadline(instance: InstanceTypeDef | None, known: History, facts: Facts) -> datetime:
    """Until when a job runs at most, as the registry or its tags tell; the settings, if neither does."""
    tags = tags_of(instance or {})
    hours = known.asked.get("max_hours") or hours_of(tags) or facts.settings.max_hours
    tagged = moment_of(tags, "solver:launched-at") or (instance["LaunchTime"] if instance else NEVER)
    return (known.entry.launched_at if known.entry else tagged) + timedelta(hours=hours)


NEVER = datetime(2000, 1, 1, tzinfo=UTC)


def _instance_leftover(facts: Facts, id: str, why: str) -> Leftover:
    """A stopped one costs its disk: https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/Stop_Start.html"""
    if facts.instances[id]["State"]["Name"] not in STOPPED:
        return Leftover("instance", id, why, "its hourly price")
    sizes = [disk["Size"] for disk in facts.volumes if any(to["InstanceId"] == id for to in disk["Attachments"])]
    return Leftover("instance", id, why, _monthly(sum(sizes) * EBS) if sizes else "its disk's price", stopped=True)


def _request_leftovers(facts: Facts, over: dict[str, str], now: datetime) -> Iterator[Leftover]:
    """Requests that may launch an instance and have none that a job needs."""
    for request in facts.requests:
        id, last = request["SpotInstanceRequestId"], request.get("InstanceId")
        mine = {
            key: one for key, one in facts.instances.items() if key == last or one.get("SpotInstanceRequestId") == id
        }
        living = [key for key, one in mine.items() if _lives(one)]
        settling = not mine and now - request["CreateTime"] < SETTLING
        if request["State"] in CANCELLABLE and not settling and all(key in over for key in living):
            gone = f"its instance {last} has ended" if last else "request without an instance"
            yield Leftover("spot request", id, over[living[0]] if living else gone, "the price of what it launches")


def _image_leftovers(facts: Facts, living: Collection[str], now: datetime) -> Iterator[Leftover]:
    """Old images that no job needs, but for the newest few."""
    used = {
        one.asked.get("image")
        for id, one in facts.history.items()
        if id in living or (not _last_word({}, one) and now < _deadline(facts.instances.get(id), one, facts) + GRACE)
    }
    used |= {tags_of(facts.instances[id]).get("solver:image") for id in living}
    used |= facts.swept
    tags = {str(uri).rpartition(":")[2] for uri in used}
    images = [image for image in facts.images if all(map(CONTENT_HASH.fullmatch, image.get("imageTags") or ["-"]))]
    for image in sorted(images, key=lambda image: image["imagePushedAt"], reverse=True)[IMAGES_KEPT:]:
        age = now - image["imagePushedAt"]
        if age > IMAGE_AGE and tags.isdisjoint(image["imageTags"]):
            costs = _monthly(image["imageSizeInBytes"] / 2**30 * ECR)
            yield Leftover("image", image["imageTags"][0], f"unused, pushed {age.days} days ago", costs)


def _upload_leftover(aws: Aws, upload: MultipartUploadTypeDef) -> Leftover:
    """Its parts are paid for: https://docs.aws.amazon.com/AmazonS3/latest/userguide/mpuoverview.html"""
    parts: list[Any] = []
    key, id = upload["Key"], upload["UploadId"]
    with aws_errors(f"look at the upload of {key}"), gone_is_fine():
        parts = pages(aws.s3, "list_parts", "Parts", Bucket=aws.bucket, Key=key, UploadId=id)
    costs = _monthly(sum(part["Size"] for part in parts) / 2**30 * S3)
    return Leftover("upload", f"{key}{UPLOAD_ID}{id}", f"not completed since {upload['Initiated']:%Y-%m-%d}", costs)


def _bake_leftovers(facts: Facts, living: Collection[str], now: datetime) -> Iterator[Leftover]:
    """Builders that nobody waits for, and machine images that no launch needs."""
    for one in facts.builders:
        if machine_images.abandoned(one, now):
            yield Leftover("builder", one["InstanceId"], "its bake has not ended it", "its hourly price, or its disk's")
    needed = {facts.instances[id]["ImageId"] for id in living}
    pushed = {tag for image in facts.images for tag in image.get("imageTags", [])}
    sizes = {one["ImageId"]: machine_images.gigabytes(one) for one in facts.machine_images}
    for id, why in machine_images.over(facts.machine_images, needed, pushed):
        yield Leftover("machine image", id, why, f"at most {_monthly(sizes[id] * machine_images.SNAPSHOT)}")


def _monthly(dollars: float) -> str:
    return f"${dollars:.2f} a month" if dollars >= 0.01 else "less than $0.01 a month"

"""resume: a job that ended before it was complete goes on as a new one, from what its last sync left in S3."""

from __future__ import annotations

from pathlib import Path

from . import asked, claims, costs, instance_types, jobs, machine, machine_images, offers, prices, registry, storage
from .aws import Aws, aws_errors
from .claims import Claim
from .errors import CloudError
from .jobs import Job
from .machine import Machine
from .plan import Plan, Resumed, decide
from .trainer_config import TrainerConfig


def check(job: Job) -> None:
    """Raises CloudError unless the job can be resumed: it has ended without a bundle, or waits for capacity."""
    if job.status == "complete":
        raise CloudError(f"{job.id} is complete", fix=f"its model: inv download {job.id}")
    if not job.ended and not job.waiting:
        raise CloudError(
            f"{job.id} is at work ({job.phase or job.status})",
            fix=f"to go on elsewhere, end it first: inv terminate {job.id}",
        )


def plan(aws: Aws, job: Job, types: tuple[str, ...]) -> Plan:
    """Decide the launch that resumes a job, on the same image with the same config.

    types: of instances, in no order. Raises CloudError when the job cannot be resumed, or its image or config is gone.
    """
    check(job)
    if not (job.trainer and job.config and job.config_url and job.image):
        raise CloudError(
            f"the registry does not tell all of what was asked of {job.id}, so there is nothing to resume",
            fix=f"what it wrote: aws s3 sync {job.s3_path}output/ DIRECTORY",
        )
    settings = aws.settings.with_(trainer=job.trainer, on_demand=aws.settings.on_demand or job.market == "on-demand")
    found = machine.look(aws, types)
    image = _image(aws, job, found)
    limits = offers.Limits(settings.max_price, settings.max_cost)
    market = offers.find(aws, list(found.types), settings.markets, limits)
    market.check()
    origin, size = _origin(aws, job)
    return decide(
        settings,
        machine.with_image(found, machine_images.ours(aws), job.image),
        market,
        job.image,
        _trainer_config(aws, job),
        job.output,
        bucket=aws.bucket,
        disk_price=prices.disk(aws, prices.Disk.of(settings)),
        image_bytes=image.bytes,
        resumes=Resumed(job.id, origin, costs.so_far(job).total, size),
    )


def _image(aws: Aws, job: Job, on: Machine) -> registry.Pushed:
    """The job's image; raises CloudError when it is not of our repository, ECR no longer has it, or those machines
    cannot run it."""
    if instance_types.named(aws, (job.type,))[0].architecture != on.architecture:
        raise CloudError(
            f"the image of {job.id} is for another processor than {on.types[0].name} has",
            fix="choose a type like " + job.type,
        )
    repository, _, tag = job.image.rpartition(":")
    if repository != registry.repository_uri(aws, aws.settings.repository):
        raise CloudError(
            f"{job.image} is not an image of {aws.settings.repository}, this account's own repository",
            fix="only what `inv launch` has pushed there is resumed",
        )
    found = registry.pushed(aws, aws.settings.repository, tag)
    if not found:
        raise CloudError(f"the image of {job.id} is no longer in ECR", fix="`inv launch` builds a new one")
    return found


def _origin(aws: Aws, job: Job) -> tuple[str, int]:
    """The job whose output to go on from, and its bytes: this one's, or that of the one before if it wrote nothing."""
    seen = set()
    while True:
        pages = aws.s3.get_paginator("list_objects_v2").paginate(Bucket=aws.bucket, Prefix=f"jobs/{job.id}/output/")
        with aws_errors(f"look at the output of {job.id}"):
            sizes = [file["Size"] for page in pages for file in page.get("Contents", [])]
        seen.add(job.id)
        before = jobs.by_id(aws, job.resumes) if job.resumes and job.resumes not in seen and not sizes else None
        if before is None:
            return job.id, sum(sizes)
        job = before


def _trainer_config(aws: Aws, job: Job) -> TrainerConfig:
    """The config that a job was launched with, from S3."""
    with aws_errors(f"fetch the config of {job.id}"):
        data, _ = storage.read(aws, job.config_url.removeprefix(f"s3://{aws.bucket}/"))
    return TrainerConfig(Path(job.config), data)


def claim(aws: Aws, job: Job) -> Claim:
    """Claim the right to resume a job, or take up the claim of a `resume` that has not come to its end.

    A job that waits for capacity is ended first. Raises CloudError when it has been resumed already.
    """
    if job.waiting:
        jobs.terminate(aws, job)
    found = claims.claim(aws, asked.resume_key(job.id), once=True)
    if found.instance:
        link(aws, job, found.instance)
        raise CloudError(
            f"{job.id} has been resumed already, as {found.instance}", fix=f"how it goes: inv status {found.instance}"
        )
    return found


def link(aws: Aws, job: Job, successor: str) -> None:
    """Let a job say as what it goes on, in the registry and, while EC2 shows it, in a tag."""
    asked.add_successor(aws, job.id, successor)
    if job.state != "gone":
        with aws_errors(f"tag {job.id}"):
            aws.ec2.create_tags(Resources=[job.id], Tags=[{"Key": "solver:resumed-by", "Value": successor}])

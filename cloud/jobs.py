"""Jobs: listed, found by what a user types, and ended."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from . import asked, history, older
from .asked import ID
from .aws import Aws, aws_errors, error_code, gone_is_fine, instances
from .errors import CloudError
from .history import History
from .job import GONE, SETTLING, STOPPED, Job
from .policies import OURS
from .tags import is_ours

if TYPE_CHECKING:
    from mypy_boto3_ec2.type_defs import InstanceTypeDef

__all__ = ["GONE", "STOPPED", "Job"]


def waiting_since(aws: Aws, job: Job) -> datetime | None:
    """When EC2 interrupted a job that waits for capacity; None when it does not say.

    https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/spot-request-status.html
    """
    if not (job.waiting and job.spot_request):
        return None
    with aws_errors(f"look at {job.spot_request}"):
        found = aws.ec2.describe_spot_instance_requests(SpotInstanceRequestIds=[job.spot_request])
    return next((one.get("Status", {}).get("UpdateTime") for one in found["SpotInstanceRequests"]), None)


def list_jobs(aws: Aws, *, whole: bool = False) -> list[Job]:
    """Every job of this account and region, newest first; a living one as its tags tell it, without a call of its own.

    whole: with what S3 has of the living ones, too.
    Raises CloudError when there are only jobs that have never been registered.
    """
    found = {instance["InstanceId"]: instance for instance in _instances(aws)}
    living = () if whole else {id for id, one in found.items() if one["State"]["Name"] not in GONE}
    known = history.read_all(aws, but=living)
    jobs = [Job.joined(id, found.get(id), known.get(id, History()), aws.bucket) for id in found.keys() | known.keys()]
    if not jobs:
        older.check(aws)
    _register(aws, [job for job in jobs if job.id not in known])
    return sorted(jobs, key=lambda job: (job.launched_at, job.id), reverse=True)


def _register(aws: Aws, jobs: Iterable[Job]) -> None:
    """Register jobs whose launcher died before it could: while EC2 shows them, their tags, which no role may write,
    tell what there is to register. Who may only look at jobs cannot, and need not."""
    for job in jobs:
        if datetime.now(UTC) - job.launched_at > SETTLING:
            with suppress(CloudError):
                asked.register(aws, job.id, asked=what_is_known(job), launched_at=job.launched_at)


def what_is_known(job: Job) -> dict[str, Any]:
    """What was asked of a job, as far as EC2 knows it."""
    wanted = {"instance_type": job.type, "market": job.market, "max_hours": job.max_hours, "resumes": job.resumes}
    wanted |= {"config_name": job.config, "output": job.output, "image": job.image}
    return {name: value for name, value in wanted.items() if value}


def find(aws: Aws, reference: str) -> Job:
    """The job that a user means by an instance id, a unique beginning of one, or `latest`.

    Raises CloudError when there is none, or more than one.
    """
    if ID.fullmatch(reference) and (job := by_id(aws, reference)):
        return job
    jobs = list_jobs(aws)
    if not jobs:
        raise CloudError(f"no job {reference!r}: there are no jobs yet", fix="`inv launch` starts one")
    matching = jobs[:1] if reference == "latest" else [job for job in jobs if job.id.startswith(reference)]
    if len(matching) == 1:
        return by_id(aws, matching[0].id) or matching[0]
    if matching:
        raise CloudError(
            f"{reference!r} could be {len(matching)} jobs: {_some(job.id for job in matching)}",
            fix="type more of the id",
        )
    older.check(aws)
    raise CloudError(
        f"no job {reference!r}", fix=f"`inv status` lists them; the newest are {_some(j.id for j in jobs)}"
    )


def by_id(aws: Aws, id: str) -> Job | None:
    """The job of that id, from its instance and what S3 has of it, looked at at once; None when it is no job."""
    _ = aws.s3, aws.bucket  # made before the threads that use it; EC2's client takes 0.1 s, while S3 is being asked
    with ThreadPoolExecutor(1) as pool:
        reading = pool.submit(history.read, aws, id)
        instance, known = _instance(aws, id), reading.result()
    return Job.joined(id, instance, known, aws.bucket) if instance or known.registered else None


def _some(ids: Iterable[str], most: int = 3) -> str:
    ids = list(ids)
    return ", ".join(ids[:most]) + (", …" if len(ids) > most else "")


def _instances(aws: Aws) -> list[InstanceTypeDef]:
    """Our instances that EC2 still knows."""
    with aws_errors("list the instances"):
        return instances(aws, [{"Name": f"tag:{OURS}", "Values": [aws.settings.name]}])


def _instance(aws: Aws, id: str) -> InstanceTypeDef | None:
    """Our instance of that id; None when EC2 does not know it.

    Raises CloudError when it is an instance, but not of a job of ours.
    """
    with aws_errors(f"look for {id}"):
        try:
            found = aws.ec2.describe_instances(InstanceIds=[id])["Reservations"]
        except aws.ec2.exceptions.ClientError as error:
            if error_code(error) in ("InvalidInstanceID.NotFound", "InvalidInstanceID.Malformed"):
                return None
            raise
    if not found:
        return None
    instance = found[0]["Instances"][0]
    if not is_ours(instance, aws.settings):
        raise CloudError(
            f"{id} is an instance of this account, but not a job of {aws.settings.name}",
            fix="`inv status` lists the jobs; other instances are left alone",
        )
    return instance


def check_complete(job: Job) -> None:
    """Raises CloudError unless the job is complete, and its record says what its bundle in S3 is."""
    if job.status == "complete" and "record unreadable" not in job.unreadable:
        return
    if job.status == "complete":
        raise CloudError(
            f"{job.id} is complete, but nothing says what belongs to its model: {job.unreadable}",
            fix=f"what there is of it: aws s3 sync {job.s3_path}bundle/ DIRECTORY",
        )
    if not job.ended:
        raise CloudError(
            f"{job.id} has not ended yet ({job.phase or job.status})", fix=f"wait for it: inv wait {job.id}"
        )
    raise CloudError(
        f"{job.id} {job.status}" + (f": {job.reason}" if job.reason else ""),
        fix=f"its log: inv logs {job.id}; what it wrote: aws s3 sync {job.s3_path}output/ DIRECTORY",
    )


def terminate(aws: Aws, job: Job) -> Job:
    """End a job's instance for good, and see to it that its spot request starts no other.

    The order matters if this process dies in between: a persistent request that is still open when its instance
    ends launches a new one, so the request goes first. What is written down comes last: nothing that S3 has, or has
    not, keeps an instance alive.
    """
    with aws_errors(f"terminate {job.id}"):
        if job.spot_request:
            with gone_is_fine():
                aws.ec2.cancel_spot_instance_requests(SpotInstanceRequestIds=[job.spot_request])
        if job.state not in GONE:
            if not job.ended:
                _say_terminated(aws, job)
            with gone_is_fine():
                aws.ec2.terminate_instances(InstanceIds=[job.id])
    if not job.ended:
        reason = "ended by `terminate`"
        if not asked.close(aws, job.id, reason=reason, stopped=job.waiting):
            asked.register(aws, job.id, asked=what_is_known(job), launched_at=job.launched_at)
            asked.close(aws, job.id, reason=reason, stopped=job.waiting)
    return find(aws, job.id)


def _say_terminated(aws: Aws, job: Job) -> None:
    """Tell the instance, which looks at its tag when it is stopped. Without it, it ends all the same."""
    with suppress(CloudError), aws_errors(f"tag {job.id}"):
        aws.ec2.create_tags(Resources=[job.id], Tags=[{"Key": "solver:status", "Value": "terminated"}])

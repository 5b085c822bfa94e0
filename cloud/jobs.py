"""Jobs: what EC2's tags say is happening now, joined with what S3's records say happened."""

from __future__ import annotations

import re
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Self

from . import records
from .aws import Aws, aws_errors, error_code, instances
from .errors import CloudError
from .policies import OURS
from .tags import is_ours, kept_until, tags_of

if TYPE_CHECKING:
    from mypy_boto3_ec2.type_defs import InstanceTypeDef

GONE = {"terminated", "shutting-down", "gone"}
STOPPED = {"stopping", "stopped"}
RUNNING = {"pending", "running"}
SETTLING = timedelta(minutes=2)
"""How long a new instance may be unknown to DescribeInstances; EC2's answers are only eventually consistent:
https://docs.aws.amazon.com/ec2/latest/devguide/eventual-consistency.html"""
ID = re.compile(r"i-[0-9a-f]{8,17}")


@dataclass(frozen=True)
class Job:
    """One job, as the tags of its instance and its record in S3 tell it together."""

    id: str
    type: str
    market: str
    """`spot` or `on-demand`."""
    state: str
    """EC2's word for the instance (`pending`, `running`, …), or `gone` when EC2 has forgotten it."""
    status: str
    phase: str
    config: str
    output: str
    image: str
    s3_path: str
    launched_at: datetime
    started_at: datetime | None = None
    ended_at: datetime | None = None
    exit_code: int | None = None
    reason: str = ""
    address: str | None = None
    spot_request: str | None = None
    kept_until: datetime | None = None
    """Until when the instance of a failed job stays for a look."""
    sync_seconds: int = 60
    resumes: str = ""
    """The job from whose output this one went on."""
    resumed_by: str = ""
    """The job that went on from this one's output."""
    bundle: tuple[records.File, ...] = ()
    links: dict[str, str] = field(default_factory=dict)
    """Symbolic links in the bundle: what each points to, from its own place."""
    directories: tuple[str, ...] = ()
    """Empty directories in the bundle."""
    warnings: tuple[str, ...] = ()
    """What is not as it should be with a job that ended well."""
    running_since: datetime | None = None
    """The last start of its instance, while that runs."""
    attempts: tuple[records.Attempt, ...] = ()
    """The times that its machine ran, as of the record's last change."""
    timeline: dict[str, datetime] = field(default_factory=dict)
    """When its first boot had come how far."""
    price: float | None = None
    """Dollars an hour of the machine, as known at launch."""
    disk_price: float | None = None
    """Dollars an hour of its disk."""
    spent_before: float | None = 0.0
    """Dollars that the jobs cost from which this one goes on."""
    max_hours: float = 24
    max_cost: float | None = None

    @property
    def ended(self) -> bool:
        """Whether nothing more will happen: a final word and no instance that could still work."""
        return self.status in records.FINAL

    @property
    def waiting(self) -> bool:
        """Whether EC2 has stopped its spot instance and will start it again when there is capacity."""
        return self.state in STOPPED and self.market == "spot" and not self.ended

    @property
    def uptime(self) -> timedelta:
        """From launch until now, or until the end."""
        return (self.ended_at or datetime.now(UTC)) - self.launched_at

    @classmethod
    def joined(cls, id: str, instance: InstanceTypeDef | None, record: records.Record | None, bucket: str) -> Self:
        """The job that an instance, a record, or both tell of.

        A final record outranks the tags: it is written last. An instance that ended without either having the last
        word was ended from outside; EC2's own reason is then the job's.
        """
        tags = tags_of(instance or {})
        asked: dict[str, Any] = record.asked if record else {}
        state = instance["State"]["Name"] if instance else "gone"
        settling = record and record.status not in records.FINAL and datetime.now(UTC) - record.launched_at < SETTLING
        if settling and not instance:
            state = "pending"
        status = tags.get("solver:status") or (record.status if record else "starting")
        reason = record.reason if record else ""
        if record and record.status in records.FINAL:
            status = record.status
        elif state in GONE and status not in records.FINAL:
            status = "terminated"
            reason = (instance or {}).get("StateTransitionReason", "") or "the instance ended without a last word"
        phase = (record.phase if record and record.status in records.FINAL else tags.get("solver:phase")) or ""
        market = _market(instance) if instance else asked.get("market", "")
        if state in STOPPED and market == "spot" and status not in records.FINAL:
            # Without a notice the instance had no time to say so itself.
            status, phase = "interrupted", "waiting for capacity"
        return cls(
            id=id,
            type=instance["InstanceType"] if instance else asked.get("instance_type", ""),
            market=market,
            state=state,
            status=status,
            phase=phase,
            config=tags.get("solver:job-config") or asked.get("config_name", ""),
            output=tags.get("solver:output") or asked.get("output", ""),
            image=tags.get("solver:image") or asked.get("image", ""),
            s3_path=f"s3://{bucket}/jobs/{id}/",
            launched_at=record.launched_at if record else _launched_at(instance, tags),
            started_at=record.started_at if record else None,
            ended_at=record.ended_at if record else None,
            exit_code=record.exit_code if record else None,
            reason=reason,
            address=(instance or {}).get("PublicIpAddress"),
            spot_request=(instance or {}).get("SpotInstanceRequestId"),
            kept_until=kept_until(tags) if state not in GONE else None,
            sync_seconds=asked.get("sync_seconds", 60),
            resumes=tags.get("solver:resumes") or asked.get("resumes", ""),
            resumed_by=(record.resumed_by if record else "") or tags.get("solver:resumed-by", ""),
            bundle=record.bundle if record else (),
            links=record.links if record else {},
            directories=record.directories if record else (),
            warnings=record.warnings if record else (),
            running_since=instance["LaunchTime"] if instance and state in RUNNING else None,
            attempts=record.attempts if record else (),
            timeline=record.timeline if record else {},
            price=asked.get("price"),
            disk_price=asked.get("disk_price"),
            spent_before=asked.get("spent_before", 0.0),
            max_hours=asked.get("max_hours", 24),
            max_cost=asked.get("max_cost"),
        )


def _launched_at(instance: InstanceTypeDef | None, tags: dict[str, str]) -> datetime:
    """LaunchTime is that of an instance's last start; a tag has that of the launch."""
    text = tags.get("solver:launched-at")
    return datetime.fromisoformat(text) if text else instance["LaunchTime"] if instance else datetime.now(UTC)


def _market(instance: InstanceTypeDef) -> str:
    return "spot" if instance.get("InstanceLifecycle") == "spot" else "on-demand"


def waiting_since(aws: Aws, job: Job) -> datetime | None:
    """When EC2 interrupted a job that waits for capacity; None when it does not say.

    https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/spot-request-status.html
    """
    if not (job.waiting and job.spot_request):
        return None
    with aws_errors(f"look at {job.spot_request}"):
        found = aws.ec2.describe_spot_instance_requests(SpotInstanceRequestIds=[job.spot_request])
    return found["SpotInstanceRequests"][0].get("Status", {}).get("UpdateTime")


def list_jobs(aws: Aws, *, whole: bool = False) -> list[Job]:
    """Every job of this account and region, newest first; a living one as its tags tell it, without a call of its own.

    whole: with the records of the living ones, too.
    """
    found = {instance["InstanceId"]: instance for instance in _instances(aws)}
    living = () if whole else {id for id, one in found.items() if one["State"]["Name"] not in GONE}
    known = records.read_all(aws, but=living)
    jobs = [Job.joined(id, found.get(id), known.get(id), aws.bucket) for id in found.keys() | known.keys()]
    return sorted(jobs, key=lambda job: (job.launched_at, job.id), reverse=True)


def find(aws: Aws, reference: str) -> Job:
    """The job that a user means by an instance id, a unique beginning of one, or `latest`.

    Raises CloudError when there is none, or more than one.
    """
    if ID.fullmatch(reference) and (job := _by_id(aws, reference)):
        return job
    jobs = list_jobs(aws)
    if not jobs:
        raise CloudError(f"no job {reference!r}: there are no jobs yet", fix="`inv launch` starts one")
    matching = jobs[:1] if reference == "latest" else [job for job in jobs if job.id.startswith(reference)]
    if len(matching) == 1:
        return _by_id(aws, matching[0].id) or matching[0]
    if matching:
        raise CloudError(
            f"{reference!r} could be {len(matching)} jobs: {_some(job.id for job in matching)}",
            fix="type more of the id",
        )
    raise CloudError(
        f"no job {reference!r}", fix=f"`inv status` lists them; the newest are {_some(j.id for j in jobs)}"
    )


def _by_id(aws: Aws, id: str) -> Job | None:
    """The job of that id, from its instance and its record, looked at at once; None when there is neither."""
    _ = aws.s3, aws.bucket  # made before the thread that uses it; EC2's client takes 0.1 s, while S3 is being asked
    with ThreadPoolExecutor(1) as pool:
        record, instance = pool.submit(records.read, aws, id), _instance(aws, id)
        if instance or record.result():
            return Job.joined(id, instance, record.result(), aws.bucket)
    return None


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
    """Raises CloudError unless the job is complete: then its bundle is in S3."""
    if job.status == "complete":
        return
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
    ends launches a new one, so the request goes first.
    """
    with aws_errors(f"terminate {job.id}"):
        if job.spot_request:
            aws.ec2.cancel_spot_instance_requests(SpotInstanceRequestIds=[job.spot_request])
        if job.state not in GONE:
            if not job.ended:
                aws.ec2.create_tags(Resources=[job.id], Tags=[{"Key": "solver:status", "Value": "terminated"}])
            aws.ec2.terminate_instances(InstanceIds=[job.id])
    if not job.ended:
        records.close(aws, job.id, status="terminated", reason="ended by `terminate`")
    return find(aws, job.id)

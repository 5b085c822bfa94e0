"""A job: what EC2's tags say is happening now, joined with what S3 says was asked and has happened.

What a job is and what was asked of it, EC2 and the registry tell, where no instance may write; its record and its
status are what it says of itself. If either makes no sense, the other is enough.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Self

from . import records
from .history import History
from .parsing import EARLIEST
from .tags import garbage, hours_of, moment_of, status_of, tags_of

if TYPE_CHECKING:
    from mypy_boto3_ec2.type_defs import InstanceTypeDef

GONE = {"terminated", "shutting-down", "gone"}
STOPPED = {"stopping", "stopped"}
RUNNING = {"pending", "running"}
SETTLING = timedelta(minutes=2)
"""How long a new instance may be unknown to DescribeInstances; EC2's answers are only eventually consistent:
https://docs.aws.amazon.com/ec2/latest/devguide/eventual-consistency.html"""


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
    trainer: str = ""
    """The trainer's command line, as the settings have it."""
    config_url: str = ""
    """Where in S3 its config is."""
    links: dict[str, str] = field(default_factory=dict)
    """The bundle's symbolic links and their targets."""
    directories: tuple[str, ...] = ()
    """The bundle's empty directories."""
    warnings: tuple[str, ...] = ()
    """What its instance warns of."""
    unreadable: str = ""
    """What of its record, registry entry or tags makes no sense, and was left out."""

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
    def joined(cls, id: str, instance: InstanceTypeDef | None, known: History, bucket: str) -> Self:
        """The job that an instance, the registry, or both tell of.

        A final record outranks the tags: it is written last. An instance that ended without either having the last
        word was ended by a command, as the registry says, or from outside; EC2's own reason is then the job's.
        """
        tags, record, wanted = tags_of(instance or {}), known.record, known.asked
        state = instance["State"]["Name"] if instance else "gone"
        market = _market(instance) if instance else wanted.get("market") or ""
        launched_at = _launched_at(instance, tags, known)
        if not instance and not known.final and datetime.now(UTC) - launched_at < SETTLING:
            state = "pending"
        now = _what_happened(instance, state, market, tags, known)
        return cls(
            id=id,
            type=instance["InstanceType"] if instance else wanted.get("instance_type") or "",
            market=market,
            state=state,
            status=now.status,
            phase=now.phase,
            config=tags.get("solver:job-config") or wanted.get("config_name") or "",
            output=tags.get("solver:output") or wanted.get("output") or "",
            image=tags.get("solver:image") or wanted.get("image") or "",
            s3_path=f"s3://{bucket}/jobs/{id}/",
            launched_at=launched_at,
            started_at=record.started_at if record else None,
            ended_at=now.ended_at,
            exit_code=record.exit_code if record else None,
            reason=now.reason,
            address=(instance or {}).get("PublicIpAddress"),
            spot_request=(instance or {}).get("SpotInstanceRequestId"),
            kept_until=moment_of(tags, "solver:kept-until") if state not in GONE else None,
            sync_seconds=wanted.get("sync_seconds") or 60,
            resumes=tags.get("solver:resumes") or wanted.get("resumes") or "",
            resumed_by=(known.entry.resumed_by if known.entry else "") or tags.get("solver:resumed-by", ""),
            bundle=record.bundle if record else (),
            running_since=instance["LaunchTime"] if instance and state in RUNNING else None,
            attempts=known.attempts,
            timeline=record.timeline if record else {},
            price=wanted.get("price"),
            disk_price=wanted.get("disk_price"),
            spent_before=wanted.get("spent_before", 0.0),
            max_hours=wanted.get("max_hours") or hours_of(tags) or 24,
            max_cost=wanted.get("max_cost"),
            trainer=wanted.get("trainer") or "",
            config_url=wanted.get("config") or "",
            links=record.links if record else {},
            directories=record.directories if record else (),
            warnings=record.warnings if record else (),
            unreadable="; ".join(one for one in (known.unreadable, tags and garbage(tags)) if one),
        )


@dataclass(frozen=True)
class _Happened:
    """How a job is, or how it ended."""

    status: str
    phase: str = ""
    reason: str = ""
    ended_at: datetime | None = None


def _what_happened(
    instance: InstanceTypeDef | None, state: str, market: str, tags: dict[str, str], known: History
) -> _Happened:
    """What the last one has said who has said anything; EC2 knows when nobody can say anything any more."""
    record, final = known.record, known.final
    if final:
        return _Happened(final.status, final.phase, final.reason, final.ended_at)
    if known.entry and known.entry.ended:
        return _Happened("terminated", "", known.entry.ended.reason, known.entry.ended.at)
    status = status_of(tags) or (record.status if record else "starting")
    reason = record.reason if record else ""
    if state in GONE and status not in records.FINAL:
        why = (instance or {}).get("StateTransitionReason") or known.unreadable
        return _Happened("terminated", "", why or "the instance ended without a last word", _or_none(record))
    if state in STOPPED and market == "spot" and status not in records.FINAL:
        # Without a notice the instance had no time to say so itself.
        return _Happened("interrupted", "waiting for capacity", reason)
    return _Happened(status, tags.get("solver:phase", ""), reason, _or_none(record))


def _or_none(record: records.Record | None) -> datetime | None:
    return record.ended_at if record else None


def _launched_at(instance: InstanceTypeDef | None, tags: dict[str, str], known: History) -> datetime:
    """LaunchTime is that of an instance's last start; registry and tag have that of the launch.

    A job of which nobody knows it any more is older than any other.
    """
    if known.entry:
        return known.entry.launched_at
    return moment_of(tags, "solver:launched-at") or (instance["LaunchTime"] if instance else EARLIEST)


def _market(instance: InstanceTypeDef) -> str:
    return "spot" if instance.get("InstanceLifecycle") == "spot" else "on-demand"

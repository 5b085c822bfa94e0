"""A job as a user sees it: a row of a table, all its facts, JSON; and what jobs have cost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from . import costs
from .display import dollars, duration
from .jobs import Job

if TYPE_CHECKING:
    from .watch import Details

HEADINGS = ("JOB", "TYPE", "MARKET", "STATE", "PHASE", "UPTIME", "CONFIG")
SPARE = ("MARKET", "TYPE", "STATE", "CONFIG")
"""What a narrow terminal does not show of a job."""

NAMED = 5
"""So many warnings are shown of a job."""


def job_row(job: Job) -> tuple[str, ...]:
    """A job as one row under HEADINGS."""
    phase = job.phase if job.status in ("starting", "running") and job.phase else job.status
    return (job.id, job.type, job.market, job.state, phase, duration(job.uptime), job.config)


def job_facts(job: Job, details: Details) -> dict[str, str]:
    """A job in full, by heading; what is not known is left out."""
    facts = {
        "job": job.id,
        "status": job.status,
        "reason": job.reason,
        "phase": job.phase,
        "waiting": f"{_ago(details.waiting_since)}; only its disk costs meanwhile" if details.waiting_since else "",
        "kept": _kept(job),
        "warning": f"no sign of life for {_ago(details.silent_since)}" if details.silent_since else "",
        "unreadable": job.unreadable,
        "synced": f"{_ago(details.synced_at)} ago" if details.synced_at else "",
        "warnings": _warnings(details.warnings),
        "trainer": details.latest,
        "exit code": "" if job.exit_code is None else str(job.exit_code),
        "instance": f"{job.state}, {job.type}, {job.market}" + (f", {job.address}" if job.address else ""),
        "uptime": duration(job.uptime),
        "cost": _cost(job),
        "attempts": _attempts(job),
        "launched": f"{job.launched_at:%Y-%m-%d %H:%M:%S} UTC",
        "boot": _boot(job),
        "resumes": job.resumes,
        "config": job.config,
        "image": job.image,
        "s3": job.s3_path,
        "output": job.output,
    }
    return {key: value for key, value in facts.items() if value}


def _cost(job: Job) -> str:
    cost, most = costs.so_far(job), costs.at_most(job)
    text = dollars(cost.total)
    if cost.total is None and cost.machine is not None:
        text = f"at least {dollars(cost.machine)}"
    text += "" if job.ended else " so far"
    if job.spent_before:
        text += f", {dollars(job.spent_before)} of it before it was resumed"
    if job.ended:
        return text
    text += f"; {dollars(job.price)} an hour"
    if most is not None:
        text += f", at most {dollars(most)}"
    if job.max_cost is not None and cost.total is not None:
        text += f"; {dollars(max(0.0, job.max_cost - cost.total))} left of {dollars(job.max_cost)}"
    return text


def _attempts(job: Job) -> str:
    """How often and how long the machine ran, if it was interrupted."""
    runs = costs.attempts(job, datetime.now(UTC))
    if len(runs) < 2:
        return ""
    return ", ".join(f"{duration(timedelta(seconds=run.seconds))} ({dollars(run.dollars)})" for run in runs)


def _boot(job: Job) -> str:
    """How long after the launch the first boot had come how far."""
    return ", ".join(f"{moment} {duration(at - job.launched_at)}" for moment, at in job.timeline.items())


def _kept(job: Job) -> str:
    """How long there is time for a look at the instance of a failed job."""
    if not job.kept_until:
        return ""
    return (
        f"for a look by ssh, another {duration(job.kept_until - datetime.now(UTC))}; to end it: inv terminate {job.id}"
    )


def _warnings(warnings: Sequence[str]) -> str:
    """The first of them; a trainer may have made thousands of files that cannot be saved."""
    more = len(warnings) - NAMED
    return "; ".join([*warnings[:NAMED], *([f"{more} more, see --json"] if more > 0 else [])])


def _ago(moment: datetime) -> str:
    return duration(datetime.now(UTC) - moment)


def job_json(job: Job, details: Details | None = None) -> dict[str, Any]:
    """A job as JSON has it: every field, times in ISO 8601, uptime in seconds."""
    looked_up = {} if details is None else asdict(details)
    if details is not None:
        looked_up["latest_line"] = looked_up.pop("latest")
    cost = costs.so_far(job)
    spent = {**vars(cost), "total": cost.total, "at_most": costs.at_most(job)}
    return {**vars(job), "uptime_seconds": int(job.uptime.total_seconds()), "cost": spent, **looked_up}


COST_HEADINGS = ("JOB", "LAUNCHED", "STATUS", "TYPE", "MARKET", "RAN", "COST", "CONFIG")


def cost_row(job: Job) -> tuple[str, ...]:
    """What a job has cost, as one row under COST_HEADINGS."""
    ran = sum(attempt.seconds for attempt in costs.attempts(job, datetime.now(UTC)))
    return (
        job.id,
        f"{job.launched_at:%Y-%m-%d %H:%M}",
        job.status,
        job.type,
        job.market,
        duration(timedelta(seconds=ran)),
        dollars(_own(job)),
        job.config,
    )


def cost_total(jobs: Sequence[Job]) -> str:
    """What jobs have cost in all, and of how many that is not known."""
    known = [cost for job in jobs if (cost := _own(job)) is not None]
    unknown = len(jobs) - len(known)
    text = f"{len(jobs)} job{'s' if len(jobs) != 1 else ''}, {dollars(sum(known))}"
    return text + (f", and {unknown} whose cost is unknown" if unknown else "")


def cost_json(job: Job) -> dict[str, Any]:
    """What a job has cost, in dollars; null for what is not known."""
    cost = costs.so_far(job)
    return {
        "job": job.id,
        "launched_at": job.launched_at,
        "status": job.status,
        "machine": cost.machine,
        "disk": cost.disk,
        "dollars": _own(job),
    }


def _own(job: Job) -> float | None:
    """What a job has cost itself, without those that it goes on from."""
    cost = costs.so_far(job)
    return None if cost.machine is None or cost.disk is None else cost.machine + cost.disk

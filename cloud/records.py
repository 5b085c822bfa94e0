"""Job records: `jobs/<instance-id>/job.json` in S3, which outlive the instance and its tags."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Self

from . import cache, storage
from .aws import Aws, aws_errors

FINAL = ("complete", "failed", "terminated")
"""The statuses after which nothing more happens."""


@dataclass(frozen=True)
class File:
    """One file of a bundle: its path below the bundle, size in bytes and sha256 in hex."""

    path: str
    size: int
    sha256: str


@dataclass(frozen=True)
class Attempt:
    """One time that a job's machine ran: from when, for how many seconds, and what it cost if that is known."""

    started_at: datetime
    seconds: int
    dollars: float | None


@dataclass(frozen=True)
class Record:
    """What was asked of a job and what happened to it."""

    job: str
    status: str
    phase: str
    launched_at: datetime
    asked: dict[str, Any]
    started_at: datetime | None = None
    ended_at: datetime | None = None
    exit_code: int | None = None
    reason: str = ""
    resumed_by: str = ""
    """The job that goes on from this one's output."""
    bundle: tuple[File, ...] = field(default=())
    links: dict[str, str] = field(default_factory=dict)
    """Symbolic links in the bundle: what each points to, from its own place."""
    directories: tuple[str, ...] = ()
    """Empty directories in the bundle."""
    warnings: tuple[str, ...] = ()
    """What is not as it should be with a job that ended well."""
    attempts: tuple[Attempt, ...] = field(default=())
    timeline: dict[str, datetime] = field(default_factory=dict)
    """When the first boot had come how far: script, pulled, training."""

    @classmethod
    def parse(cls, text: str | bytes) -> Self:
        """A record from its JSON; raises ValueError or KeyError when it is not one."""
        return cls.of(json.loads(text))

    @classmethod
    def of(cls, data: dict[str, Any]) -> Self:
        """A record from what its JSON holds; raises KeyError when it is not one."""
        return cls(
            job=data["job"],
            status=data["status"],
            phase=data.get("phase", ""),
            launched_at=datetime.fromisoformat(data["launched_at"]),
            asked=data.get("asked", {}),
            started_at=_time(data.get("started_at")),
            ended_at=_time(data.get("ended_at")),
            exit_code=data.get("exit_code"),
            reason=data.get("reason") or "",
            resumed_by=data.get("resumed_by") or "",
            bundle=tuple(File(file["path"], file["size"], file["sha256"]) for file in data.get("bundle", [])),
            links={str(path): str(target) for path, target in data.get("links", {}).items()},
            directories=tuple(map(str, data.get("directories", []))),
            warnings=tuple(map(str, data.get("warnings", []))),
            timeline={moment: datetime.fromisoformat(at) for moment, at in data.get("timeline", {}).items()},
            attempts=tuple(
                Attempt(datetime.fromisoformat(one["started_at"]), one["seconds"], one["dollars"])
                for one in data.get("attempts", [])
            ),
        )


def _time(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None


def iso(moment: datetime) -> str:
    """A moment as records have it: UTC to the second."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def key(job: str) -> str:
    """The S3 key of a job's record."""
    return f"jobs/{job}/job.json"


def read(aws: Aws, job: str) -> Record | None:
    """The record of a job; None when there is none."""
    found = _read(aws, job)
    return None if found is None else Record.parse(found)


def _read(aws: Aws, job: str) -> bytes | None:
    with aws_errors(f"read the record of {job}"):
        try:
            return storage.read(aws, key(job))[0]
        except aws.s3.exceptions.NoSuchKey:
            return None


def read_all(aws: Aws, *, but: Collection[str] = ()) -> dict[str, Record]:
    """The records of all jobs by instance id, but without their bundles' files.

    One that is final is read once and kept on this machine: of it, only `resumed_by` can still change, which is told
    by `read`. but: jobs whose records are not wanted.
    """
    pages = aws.s3.get_paginator("list_objects_v2").paginate(Bucket=aws.bucket, Prefix="jobs/", Delimiter="/")
    with aws_errors("list the jobs in S3"):
        ids = [prefix["Prefix"].split("/")[1] for page in pages for prefix in page.get("CommonPrefixes", [])]
    name = f"records-{aws.bucket}"
    kept = cache.load(name)
    found = {id: kept[id] for id in ids if id in kept and id not in but}
    if unknown := [id for id in ids if id not in kept and id not in but]:
        found |= _read_some(aws, unknown)
        final = {id: data for id, data in found.items() if data["status"] in FINAL}
        there = set(ids)
        cache.keep(name, {id: data for id, data in {**kept, **final}.items() if id in there})
    return {id: Record.of(data) for id, data in found.items()}


def _read_some(aws: Aws, ids: list[str]) -> dict[str, dict[str, Any]]:
    """Records as JSON has them, without their bundles, read sixteen at a time."""
    with ThreadPoolExecutor(16) as pool:
        bodies = dict(zip(ids, pool.map(lambda id: _read(aws, id), ids), strict=True))
    found = {id: json.loads(body) for id, body in bodies.items() if body}
    return {id: {key: value for key, value in data.items() if key != "bundle"} for id, data in found.items()}


def open_(aws: Aws, job: str, *, asked: dict[str, Any], launched_at: datetime) -> None:
    """Write a job's first record, unless its instance was faster: it writes one at boot and knows more."""
    record = {
        "version": 1,
        "job": job,
        "status": "starting",
        "phase": "booting",
        "reason": "",
        "exit_code": None,
        "launched_at": iso(launched_at),
        "started_at": None,
        "ended_at": None,
        "asked": asked,
    }
    with aws_errors(f"write the record of {job}"):
        storage.put_if(aws, key(job), json.dumps(record, indent=1).encode(), IfNoneMatch="*")


def close(aws: Aws, job: str, *, status: str, reason: str) -> None:
    """Give a record its last word for an instance that cannot say it itself, unless it already has one.

    The write is conditional on what was read, so a last word that the instance says meanwhile stands.
    """
    now = datetime.now(UTC)

    def closed(record: dict[str, Any]) -> dict[str, Any]:
        if record["status"] in FINAL:
            return record
        return _counted_until(record, now) | {"status": status, "reason": reason, "ended_at": iso(now)}

    _change(aws, job, closed)


def _counted_until(record: dict[str, Any], now: datetime) -> dict[str, Any]:
    """A record whose last attempt is counted until now, unless its machine was stopped: it was running till then."""
    if record["status"] == "interrupted":
        return record
    price = record["asked"].get("price")
    begun = {"started_at": record["launched_at"], "seconds": 0, "dollars": None if price is None else 0.0}
    attempts = record.get("attempts") or [begun]
    last = attempts[-1]
    seconds = max(last["seconds"], int((now - datetime.fromisoformat(last["started_at"])).total_seconds()))
    more = (seconds - last["seconds"]) / 3600 * price if price is not None else None
    dollars = None if more is None or last["dollars"] is None else round(last["dollars"] + more, 6)
    return {**record, "attempts": [*attempts[:-1], {**last, "seconds": seconds, "dollars": dollars}]}


def add_successor(aws: Aws, job: str, successor: str) -> None:
    """Let the record of a job that has ended say as which job it goes on."""
    _change(aws, job, lambda record: record | {"resumed_by": successor})


def _change(aws: Aws, job: str, change: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    """Change a record, if there is one; looks again when another writer was faster."""
    written = False
    with aws_errors(f"write the record of {job}"), suppress(aws.s3.exceptions.NoSuchKey):
        while not written:
            found, version = storage.read(aws, key(job))
            record = json.loads(found)
            changed = change(record)
            body = json.dumps(changed, indent=1).encode()
            written = changed == record or bool(storage.put_if(aws, key(job), body, IfMatch=version))

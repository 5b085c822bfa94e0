"""Job records: `jobs/<instance-id>/job.json` in S3, which outlive the instance and its tags."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Self

from .aws import Aws, aws_errors, error_code

FINAL = ("complete", "failed", "terminated")
"""The statuses after which nothing more happens."""

OVERTAKEN = ("PreconditionFailed", "ConditionalRequestConflict", "412", "409")
"""S3's answers to a conditional write that another writer was faster than:
https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes.html"""


@dataclass(frozen=True)
class File:
    """One file of a bundle: its path below the bundle, size in bytes and sha256 in hex."""

    path: str
    size: int
    sha256: str


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

    @classmethod
    def parse(cls, text: str | bytes) -> Self:
        """A record from its JSON; raises ValueError or KeyError when it is not one."""
        data = json.loads(text)
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
    with aws_errors(f"read the record of {job}"):
        try:
            return Record.parse(aws.s3.get_object(Bucket=aws.bucket, Key=key(job))["Body"].read())
        except aws.s3.exceptions.NoSuchKey:
            return None


def read_all(aws: Aws) -> dict[str, Record]:
    """The records of all jobs by instance id, read sixteen at a time."""
    pages = aws.s3.get_paginator("list_objects_v2").paginate(Bucket=aws.bucket, Prefix="jobs/", Delimiter="/")
    with aws_errors("list the jobs in S3"):
        ids = [prefix["Prefix"].split("/")[1] for page in pages for prefix in page.get("CommonPrefixes", [])]
    if not ids:
        return {}
    with ThreadPoolExecutor(16) as pool:
        return {record.job: record for record in pool.map(lambda id: read(aws, id), ids) if record}


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
        try:
            aws.s3.put_object(
                Bucket=aws.bucket, Key=key(job), Body=json.dumps(record, indent=1).encode(), IfNoneMatch="*"
            )
        except aws.s3.exceptions.ClientError as error:
            if error_code(error) not in OVERTAKEN:
                raise


def close(aws: Aws, job: str, *, status: str, reason: str) -> None:
    """Give a record its last word for an instance that cannot say it itself, unless it already has one.

    The write is conditional on what was read, so a last word that the instance says meanwhile stands.
    """
    _change(aws, job, unless=FINAL, status=status, reason=reason, ended_at=iso(datetime.now(UTC)))


def add_successor(aws: Aws, job: str, successor: str) -> None:
    """Let the record of a job that has ended say as which job it goes on."""
    _change(aws, job, resumed_by=successor)


def _change(aws: Aws, job: str, *, unless: tuple[str, ...] = (), **facts: str) -> None:
    """Change a record, if there is one whose status is none of `unless`; looks again when another writer was faster."""
    with aws_errors(f"write the record of {job}"):
        while True:
            try:
                found = aws.s3.get_object(Bucket=aws.bucket, Key=key(job))
                record = json.loads(found["Body"].read())
                if record["status"] not in unless:
                    body = json.dumps(record | facts, indent=1).encode()
                    aws.s3.put_object(Bucket=aws.bucket, Key=key(job), Body=body, IfMatch=found["ETag"])
                return
            except aws.s3.exceptions.NoSuchKey:
                return
            except aws.s3.exceptions.ClientError as error:
                if error_code(error) not in OVERTAKEN:
                    raise

"""The registry of jobs: `asked/jobs/<instance-id>.json` in S3, what was asked of each, and what became of it since by a
command of its user's.

Only those who launch write here: no role of ours may read or write below asked/. What is not registered is no job.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Self

from . import records, storage
from .aws import Aws, aws_errors
from .parsing import decode, mapping, moment, number, text
from .records import Unreadable, iso

PREFIX = "asked/jobs/"
ID = re.compile(r"i-[0-9a-f]{8,17}")
TEXTS = ("instance_type", "market", "zone", "region", "config", "config_name", "output", "image", "trainer", "resumes")
NUMBERS = ("price", "disk_price", "max_hours", "max_cost", "sync_seconds", "spent_before", "keep_on_failure")


@dataclass(frozen=True)
class Ended:
    """That a command ended a job."""

    reason: str
    at: datetime
    stopped: bool = False
    """Whether its machine was stopped then, and so cost nothing."""


@dataclass(frozen=True)
class Entry:
    """What is registered of a job."""

    job: str
    launched_at: datetime
    asked: dict[str, Any] = field(default_factory=dict)
    """What was asked of it: those of TEXTS and NUMBERS that are known, each of its kind or None; the rest unchecked."""
    resumed_by: str = ""
    """The job that goes on from this one's output."""
    ended: Ended | None = None

    @classmethod
    def of(cls, data: Any) -> Self:
        """An entry from what its JSON holds; raises ValueError, which says why, when it is none."""
        data = mapping(data, "the entry")
        ended = data.get("ended")
        return cls(
            job=text(data.get("job"), "job"),
            launched_at=moment(data.get("launched_at"), "launched_at"),
            asked=checked(data.get("asked")),
            resumed_by=text(data.get("resumed_by") or "", "resumed_by"),
            ended=None if ended is None else _ended(mapping(ended, "ended")),
        )


def _ended(data: dict[str, Any]) -> Ended:
    return Ended(text(data.get("reason"), "reason"), moment(data.get("at"), "at"), data.get("stopped") is True)


def checked(data: Any) -> dict[str, Any]:
    """What was asked of a job, with everything in it of its kind; raises ValueError otherwise."""
    found = mapping(data, "asked")
    wrong = {
        **{name: text(found[name], name) for name in TEXTS if found.get(name) is not None},
        **{name: number(found[name], name) for name in NUMBERS if found.get(name) is not None},
    }
    return {**found, **wrong}


def key(job: str) -> str:
    """The S3 key of a job's entry."""
    return f"{PREFIX}{job}.json"


def resume_key(job: str) -> str:
    """Where the one launch is claimed that resumes a job."""
    return f"{PREFIX}{job}/resume.json"


def read(aws: Aws, job: str) -> Entry | Unreadable | None:
    """The entry of a job; None when it is not registered."""
    try:
        body = records.fetch(aws, key(job))
        return None if body is None else Entry.of(decode(body))
    except ValueError as error:
        return unreadable(error)


def unreadable(error: ValueError) -> Unreadable:
    """An entry that makes no sense."""
    return Unreadable(f"registry entry unreadable: {error}")


def ids(aws: Aws) -> list[str]:
    """The ids of all jobs that are registered.

    With a dot for delimiter, S3 tells of each key what is before the dot: a fifth of what it tells of an object.
    https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListObjectsV2.html
    """
    pages = aws.s3.get_paginator("list_objects_v2").paginate(Bucket=aws.bucket, Prefix=PREFIX, Delimiter=".")
    with aws_errors("list the jobs in S3"):
        found = [one["Prefix"][len(PREFIX) : -1] for page in pages for one in page.get("CommonPrefixes", [])]
    return [id for id in found if ID.fullmatch(id)]


def register(aws: Aws, job: str, *, asked: dict[str, Any], launched_at: datetime, resumed_by: str = "") -> None:
    """Register a job; of one that is registered already, only what was not known yet is added."""
    entry = {"version": 1, "job": job, "launched_at": iso(launched_at), "asked": asked, "resumed_by": resumed_by}
    with aws_errors(f"register {job}"):
        new = storage.put_if(aws, key(job), json.dumps(entry, indent=1).encode(), IfNoneMatch="*")
    if not new:
        _change(aws, job, lambda there: {**there, "asked": {**asked, **there["asked"]}})


def close(aws: Aws, job: str, *, reason: str, stopped: bool = False) -> bool:
    """Say in the registry that a command has ended a job, unless it says so already; returns whether it is registered.

    What the instance has written stands, and its own last word, if it has said one, counts for more.
    stopped: whether its machine was stopped.
    """
    ended = {"reason": reason, "at": iso(datetime.now(UTC)), "stopped": stopped}
    return _change(aws, job, lambda there: {"ended": ended, **there})


def add_successor(aws: Aws, job: str, successor: str) -> None:
    """Let the registry say as which job a job goes on."""
    _change(aws, job, lambda there: {**there, "resumed_by": successor})


def _change(aws: Aws, job: str, change: Callable[[dict[str, Any]], dict[str, Any]]) -> bool:
    """Change an entry; looks again when another writer was faster. One that is unreadable stays as it is.

    Returns whether there is one.
    """
    with aws_errors(f"write {key(job)}"), suppress(ValueError):
        while True:
            try:
                body, version = storage.read(aws, key(job), most=records.MOST_BYTES)
            except aws.s3.exceptions.NoSuchKey:
                return False
            there = decode(body)
            Entry.of(there)
            changed = change(there)
            body = json.dumps(changed, indent=1).encode()
            if changed == there or storage.put_if(aws, key(job), body, IfMatch=version):
                break
    return True

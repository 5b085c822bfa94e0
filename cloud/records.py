"""Job records: `jobs/<instance-id>/job.json` in S3, which an instance writes, and which outlive it and its tags.

A record is what an instance says of itself: it is checked before it is believed, and believed in nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Self

from . import storage
from .aws import Aws, aws_errors
from .parsing import decode, listed, mapping, moment, number, text, whole

FINAL = ("complete", "failed", "terminated")
"""The statuses after which nothing more happens."""
STATUSES = ("starting", "running", "uploading", "interrupted", *FINAL)
MOST_ATTEMPTS, MOST_SECONDS = 10_000, 10**9
SHA256, HEX = 64, frozenset("0123456789abcdef")
MOST_BYTES = 32 << 20
"""Of a record: one with a bundle of 100,000 files has some 15 MB. A larger one is not read, and so unreadable."""


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
class Unreadable:
    """What was found in place of a record, or of an entry of the registry, that makes no sense."""

    why: str
    """Such as: record unreadable: no JSON …"""


@dataclass(frozen=True)
class Record:
    """What happened to a job, as its instance says."""

    job: str
    status: str
    """One of STATUSES."""
    phase: str
    started_at: datetime | None = None
    ended_at: datetime | None = None
    exit_code: int | None = None
    reason: str = ""
    bundle: tuple[File, ...] = field(default=())
    links: dict[str, str] = field(default_factory=dict)
    """Symbolic links of the bundle and their targets, relative to where each is."""
    directories: tuple[str, ...] = ()
    """Of the bundle, those that are empty."""
    attempts: tuple[Attempt, ...] = field(default=())
    timeline: dict[str, datetime] = field(default_factory=dict)
    """When the first boot had come how far: script, pulled, training."""
    warnings: tuple[str, ...] = ()

    @classmethod
    def parse(cls, body: str | bytes) -> Self:
        """A record from its JSON; raises ValueError, which says why, when it is none."""
        return cls.of(decode(body))

    @classmethod
    def of(cls, data: Any) -> Self:
        """A record from what its JSON holds; raises ValueError, which says why, when it is none."""
        data = mapping(data, "the record")
        status = data.get("status")
        if status not in STATUSES:
            raise ValueError(f"status is {text(status, 'status')[:40]!r}")
        exit_code = data.get("exit_code")
        return cls(
            job=text(data.get("job"), "job"),
            status=status,
            phase=_text_or_none(data, "phase"),
            started_at=_moment_or_none(data, "started_at"),
            ended_at=_moment_or_none(data, "ended_at"),
            exit_code=None if exit_code is None else whole(exit_code, "exit_code", least=-(1 << 31)),
            reason=_text_or_none(data, "reason"),
            bundle=tuple(_file(one) for one in _list(data, "bundle")),
            links=_texts(data, "links"),
            directories=tuple(text(one, "a directory") for one in _list(data, "directories")),
            attempts=_attempts(data),
            timeline=_moments(data, "timeline"),
            warnings=tuple(text(one, "a warning") for one in _list(data, "warnings")),
        )


def _text_or_none(data: dict[str, Any], name: str) -> str:
    value = data.get(name)
    return text(value, name) if value else ""


def _moment_or_none(data: dict[str, Any], name: str) -> datetime | None:
    value = data.get(name)
    return moment(value, name) if value else None


def _list(data: dict[str, Any], name: str) -> list[Any]:
    value = data.get(name)
    return listed(value, name) if value else []


def _texts(data: dict[str, Any], name: str) -> dict[str, str]:
    value = data.get(name)
    return {text(key, name): text(one, name) for key, one in mapping(value, name).items()} if value else {}


def _moments(data: dict[str, Any], name: str) -> dict[str, datetime]:
    value = data.get(name)
    return {text(key, name): moment(one, name) for key, one in mapping(value, name).items() if one} if value else {}


def _file(data: Any) -> File:
    data = mapping(data, "a file of the bundle")
    path, sha256 = text(data.get("path"), "a file's path"), text(data.get("sha256"), "a sha256")
    if not path or len(sha256) != SHA256 or not HEX.issuperset(sha256):
        raise ValueError(f"the bundle's file {path[:40]!r} has no path or no sha256")
    return File(path, whole(data.get("size"), "a file's size"), sha256)


def _attempts(data: dict[str, Any]) -> tuple[Attempt, ...]:
    found = _list(data, "attempts")
    if len(found) > MOST_ATTEMPTS:
        raise ValueError(f"there are {len(found):,} attempts")
    return tuple(_attempt(one) for one in found)


def _attempt(data: Any) -> Attempt:
    data = mapping(data, "an attempt")
    dollars = data.get("dollars")
    return Attempt(
        moment(data.get("started_at"), "an attempt's start"),
        whole(data.get("seconds"), "an attempt's seconds", most=MOST_SECONDS),
        None if dollars is None else number(dollars, "an attempt's dollars"),
    )


def iso(moment: datetime) -> str:
    """A moment as records have it: UTC to the second."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def key(job: str) -> str:
    """The S3 key of a job's record."""
    return f"jobs/{job}/job.json"


def read(aws: Aws, job: str) -> Record | Unreadable | None:
    """The record of a job; None when there is none."""
    try:
        body = fetch(aws, key(job))
        return None if body is None else Record.parse(body)
    except ValueError as error:
        return Unreadable(f"record unreadable: {error}")


def fetch(aws: Aws, key: str) -> bytes | None:
    """A small object of JSON; None when there is none. Raises ValueError for one that is too large to be looked at."""
    with aws_errors(f"read {key}"):
        try:
            return storage.read(aws, key, most=MOST_BYTES)[0]
        except aws.s3.exceptions.NoSuchKey:
            return None

"""Sweeps, as their records in S3 have them: `sweeps/<id>/sweep.json`."""

from __future__ import annotations

import json
import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from typing import Any, Self

from . import records, storage
from .aws import Aws, aws_errors, pages
from .errors import CloudError, UsageError
from .scalars import Value

REFERENCE = re.compile(r"(sweep-[0-9a-f]{12})(?:/(\d+))?")
"""What a user calls a sweep, or one of its children."""


@dataclass(frozen=True)
class Asked:
    """One child, as it was asked for."""

    name: str
    """Its parameters as a directory's name."""
    config: str
    """The name of its configuration."""
    parameters: dict[str, Value]


@dataclass(frozen=True)
class Run:
    """One array job: the first has all children, each later one those that `retry` tries again."""

    name: str
    children: tuple[int, ...]
    """The numbers of its children, by their place in the array; empty for all."""
    job: str
    """Batch's id of it; "" while it is not known to be submitted."""


@dataclass(frozen=True)
class Sweep:
    """A sweep, as its record in S3 has it."""

    id: str
    submitted_at: datetime
    queue: str
    definition: str
    """ARN of the job definition."""
    asked: dict[str, Any]
    shares: tuple[tuple[str, str, str, float], ...]
    """What a child cost an hour when it was submitted, by type, market and zone, the cheapest first."""
    vcpus: dict[str, int]
    """Of each type."""
    children: tuple[Asked, ...]
    runs: tuple[Run, ...]
    version: str = field(default="", compare=False)
    """The ETag of the record."""

    @property
    def prefix(self) -> str:
        """Where in the bucket all of it is."""
        return f"sweeps/{self.id}/"

    def with_run(self, run: Run) -> Self:
        """The same with its last run replaced."""
        return replace(self, runs=(*self.runs[:-1], run))


def means(reference: str | None) -> bool:
    """Whether somebody means a sweep or a child of one, and not a job."""
    return bool(reference) and str(reference).startswith("sweep")


def parse(reference: str) -> tuple[str, int | None]:
    """The id of a sweep and the number of a child, if one is meant. Raises UsageError for anything else."""
    found = REFERENCE.fullmatch(reference)
    if found is None:
        raise UsageError(
            f"{reference!r} is no sweep", fix="one is called sweep-0123456789ab, its child 3 …/3; `inv status sweeps`"
        )
    return found[1], None if found[2] is None else int(found[2])


def find(aws: Aws, id: str) -> Sweep:
    """A sweep by its id. Raises CloudError when there is none."""
    sweep = read(aws, id)
    if sweep is None:
        raise CloudError(
            f"there is no sweep {id}", fix="`inv status sweeps` lists them" if ids(aws) else "`inv sweep` starts one"
        )
    return sweep


def ids(aws: Aws) -> list[str]:
    """The ids of all sweeps."""
    with aws_errors("list the sweeps"):
        found = pages(aws.s3, "list_objects_v2", "CommonPrefixes", Bucket=aws.bucket, Prefix="sweeps/", Delimiter="/")
    return [one["Prefix"].split("/")[1] for one in found]


def every(aws: Aws) -> list[Sweep]:
    """All sweeps, the newest first."""
    _ = aws.s3, aws.bucket  # made before the threads that use them
    with ThreadPoolExecutor(16) as threads:
        found = [sweep for sweep in threads.map(lambda id: read(aws, id), ids(aws)) if sweep]
    return sorted(found, key=lambda sweep: sweep.submitted_at, reverse=True)


def read(aws: Aws, id: str) -> Sweep | None:
    """A sweep's record; None when there is none."""
    with aws_errors(f"read the record of {id}"):
        try:
            body, version = storage.read(aws, f"sweeps/{id}/sweep.json")
        except aws.s3.exceptions.NoSuchKey:
            return None
    data = json.loads(body)
    return Sweep(
        id=data["sweep"],
        submitted_at=datetime.fromisoformat(data["submitted_at"]),
        queue=data["queue"],
        definition=data["definition"],
        asked=data["asked"],
        shares=tuple((type, market, zone, dollars) for type, market, zone, dollars in data["shares"]),
        vcpus=data["vcpus"],
        children=tuple(Asked(**one) for one in data["children"]),
        runs=tuple(Run(one["name"], tuple(one["children"]), one["job"]) for one in data["runs"]),
        version=version,
    )


def write(aws: Aws, sweep: Sweep) -> Sweep:
    """Write a sweep's record; returns it as it is in S3 then.

    Raises CloudError when somebody else has written it since it was read.
    """
    data = {
        "version": 1,
        "sweep": sweep.id,
        "submitted_at": records.iso(sweep.submitted_at),
        "queue": sweep.queue,
        "definition": sweep.definition,
        "asked": sweep.asked,
        "shares": sweep.shares,
        "vcpus": sweep.vcpus,
        "children": [asdict(one) for one in sweep.children],
        "runs": [asdict(one) for one in sweep.runs],
    }
    # Without a space too many: ten thousand children are in it.
    body = json.dumps(data, separators=(",", ":")).encode()
    condition = {"IfMatch": sweep.version} if sweep.version else {}
    with aws_errors(f"write the record of {sweep.id}"):
        version = storage.put_if(aws, f"{sweep.prefix}sweep.json", body, **condition)
    if not version:
        raise CloudError(f"somebody else changes {sweep.id} right now", fix=f"inv status {sweep.id}")
    return replace(sweep, version=version)

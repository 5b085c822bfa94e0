"""Sweeps, as they were registered in S3 when they were submitted: `asked/sweeps/<id>/sweep.json`.

Only launchers may write there. What the children say of themselves is elsewhere, and never asks for anything.
"""

from __future__ import annotations

import json
import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from . import storage, sweep_record
from .aws import Aws, aws_errors, pages
from .errors import CloudError, UsageError
from .parsing import decode
from .sweep_record import REGISTRY, Sweep

REFERENCE = re.compile(r"(sweep-[0-9a-f]{12})(?:/([0-9]{1,9}))?")
"""What a user calls a sweep, or one of its children."""

MOST_BYTES = 32 << 20
"""Of a record: one of 10,000 children has some 2 MB."""


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
    """A sweep by its id. Raises CloudError when there is none, or its record is unreadable."""
    sweep = read(aws, id)
    if sweep is None:
        raise missing(aws, id)
    return sweep


def missing(aws: Aws, id: str) -> CloudError:
    """That there is no such sweep."""
    return CloudError(
        f"there is no sweep {id}", fix="`inv status sweeps` lists them" if ids(aws) else "`inv sweep` starts one"
    )


def ids(aws: Aws) -> list[str]:
    """The ids of all sweeps."""
    with aws_errors("list the sweeps"):
        found = pages(aws.s3, "list_objects_v2", "CommonPrefixes", Bucket=aws.bucket, Prefix=REGISTRY, Delimiter="/")
    names = [one["Prefix"].removeprefix(REGISTRY).rstrip("/") for one in found]
    return [name for name in names if REFERENCE.fullmatch(name)]


def every(aws: Aws) -> tuple[list[Sweep], dict[str, CloudError]]:
    """All sweeps, the newest first; and why the others cannot be read, by their ids."""
    _ = aws.s3, aws.bucket  # made before the threads that use them
    found: list[Sweep] = []
    unreadable: dict[str, CloudError] = {}

    def look(id: str) -> None:
        try:
            if sweep := read(aws, id):
                found.append(sweep)
        except CloudError as error:
            unreadable[id] = error

    with ThreadPoolExecutor(16) as threads:
        list(threads.map(look, ids(aws)))
    return sorted(found, key=lambda sweep: (sweep.submitted_at, sweep.id), reverse=True), unreadable


def read(aws: Aws, id: str) -> Sweep | None:
    """A sweep's record; None when there is none. Raises CloudError when it is unreadable."""
    with aws_errors(f"read the record of {id}"):
        try:
            body, version = storage.read(aws, f"{REGISTRY}{id}/sweep.json", most=MOST_BYTES)
            return replace(sweep_record.of(decode(body), id), version=version)
        except aws.s3.exceptions.NoSuchKey:
            return None
        except ValueError as error:
            why = str(error)
    raise CloudError(
        f"{id}: record unreadable: {why}",
        fix=f"inv terminate {id} ends its jobs all the same; s3://{aws.bucket}/{REGISTRY}{id}/sweep.json",
    )


def write(aws: Aws, sweep: Sweep) -> Sweep:
    """Write a sweep's record; returns it as it is in S3 then.

    Raises CloudError when somebody else has written it since it was read, or there is one though none was read.
    """
    # Without a space too many: ten thousand children are in it.
    body = json.dumps(sweep_record.to_json(sweep), separators=(",", ":")).encode()
    condition = {"IfMatch": sweep.version} if sweep.version else {"IfNoneMatch": "*"}
    with aws_errors(f"write the record of {sweep.id}"):
        version = storage.put_if(aws, f"{sweep.registry}sweep.json", body, **condition)
    if not version:
        raise CloudError(
            f"somebody else changes {sweep.id} right now", fix="run the command again in a minute to continue"
        )
    return replace(sweep, version=version)

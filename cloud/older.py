"""What was there before the registry: `setup` registers it, once.

Its records, which their instances could write, are believed for that one time; without them it would be lost.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from functools import partial

from . import asked, records, storage
from .aws import Aws, aws_errors
from .errors import CloudError
from .parsing import decode, mapping, moment, text
from .pieces import Found

SINCE = "asked/since.json"
"""Marks that all of it has been registered."""


def check(aws: Aws) -> None:
    """Raises CloudError when there are jobs from before the registry that `setup` has not registered."""
    if not _marked(aws) and _names(aws, "jobs/"):
        raise CloudError(
            "the jobs in S3 are those of an older version, and not registered yet",
            fix="`inv setup` does it, once; then the same again",
        )


def required(aws: Aws) -> None:
    """Raises CloudError when `setup` has not been run by this version: its jobs would have no access to S3."""
    if not _marked(aws):
        raise CloudError("the account was set up by an older version", fix="run `inv setup`, then the same again")


def look(aws: Aws) -> Found:
    """Whether it has been registered: one of the pieces that `setup` makes, after the bucket."""
    marked = _marked(aws)
    return Found(marked, [] if marked else [partial(register, aws)])


def _marked(aws: Aws) -> bool:
    try:
        return storage.written_at(aws, SINCE) is not None
    except CloudError:  # there is no bucket yet, and so nothing in it
        return False


def register(aws: Aws) -> None:
    """Register what there is below jobs/ and sweeps/. What is registered already stays as it is."""
    _ = aws.s3, aws.bucket  # made before the threads that use them
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(partial(_job, aws), filter(asked.ID.fullmatch, _names(aws, "jobs/"))))
        list(pool.map(partial(_sweep, aws), _names(aws, "sweeps/")))
    with aws_errors("mark that all jobs are registered"):
        aws.s3.put_object(Bucket=aws.bucket, Key=SINCE, Body=f'{{"at": "{records.iso(datetime.now(UTC))}"}}'.encode())


def _names(aws: Aws, prefix: str) -> list[str]:
    """The names of the directories there."""
    pages = aws.s3.get_paginator("list_objects_v2").paginate(Bucket=aws.bucket, Prefix=prefix, Delimiter="/")
    with aws_errors(f"list {prefix} in S3"):
        return [one["Prefix"].split("/")[1] for page in pages for one in page.get("CommonPrefixes", [])]


def _job(aws: Aws, id: str) -> None:
    written_at = storage.written_at(aws, records.key(id))
    if written_at is None:
        return
    wanted, launched_at, resumed_by = {}, written_at, ""
    try:
        data = mapping(decode(records.fetch(aws, records.key(id)) or b""), "the record")
        launched_at = moment(data.get("launched_at"), "launched_at")
        wanted = asked.checked(data.get("asked"))
        resumed_by = text(data.get("resumed_by") or "", "resumed_by")
    except ValueError:
        pass  # it is a job all the same, of which less is known
    asked.register(aws, id, asked=wanted, launched_at=launched_at, resumed_by=resumed_by)
    _copy(aws, f"jobs/{id}/resume.json", asked.resume_key(id))


def _sweep(aws: Aws, id: str) -> None:
    _copy(aws, f"sweeps/{id}/sweep.json", f"asked/sweeps/{id}/sweep.json")


def _copy(aws: Aws, old: str, new: str) -> None:
    """Copy a small object, if there is one, to where nothing is yet; one that is too large to be ours is left."""
    try:
        body = records.fetch(aws, old)
    except ValueError:
        return
    if body is not None:
        with aws_errors(f"write {new}"):
            storage.put_if(aws, new, body, IfNoneMatch="*")

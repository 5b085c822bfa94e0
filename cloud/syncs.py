"""What an instance says of its syncs: `logs/sync.json` in S3, which the trainer's side may have written as it liked."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from . import storage
from .aws import Aws

MOST_BYTES = 1 << 20
"""An instance names a hundred files, of paths of a kilobyte."""


@dataclass(frozen=True)
class Sync:
    """When the output was last brought to S3, and what is to be said about it."""

    at: datetime | None = None
    warnings: tuple[str, ...] = ()


def read(aws: Aws, job: str) -> Sync:
    """What there is of a job's syncs; nothing for one that has not synced yet."""
    return parse(storage.tail(aws, f"jobs/{job}/logs/sync.json", MOST_BYTES))


def parse(text: str) -> Sync:
    """What sync.json says; whatever of it is not as it ought to be is left out."""
    try:
        data = json.loads(text)
    except (ValueError, RecursionError):
        return Sync()
    if not isinstance(data, dict):
        return Sync()
    failed, left_out = data.get("failed"), data.get("left_out")
    warnings = [f"the last sync failed: {failed}"] if failed and isinstance(failed, str) else []
    if isinstance(left_out, dict):
        warnings += [f"{path}: {reason}" for path, reason in left_out.items() if isinstance(reason, str)]
    # JSON lets halves of surrogate pairs pass, which no terminal can be given.
    return Sync(_moment(data.get("synced_at")), tuple(one.encode(errors="replace").decode() for one in warnings))


def _moment(text: Any) -> datetime | None:
    """A moment with its zone, which is not to come."""
    try:
        at = datetime.fromisoformat(text).astimezone(UTC)
    except (TypeError, ValueError, OverflowError):
        return None
    return at if datetime(2000, 1, 1, tzinfo=UTC) < at < datetime.now(UTC) + timedelta(hours=1) else None

"""What S3 has of jobs: of each, its entry in the registry and its record."""

from __future__ import annotations

from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, TypeVar

from . import asked, cache, records
from .asked import Entry
from .aws import Aws
from .parsing import decode
from .records import FINAL, Attempt, Record, Unreadable

Parsed = TypeVar("Parsed")
SETTLED = timedelta(minutes=30)
"""After a command has ended a job, its instance may still have something to say; not later than this."""
LARGE = ("bundle", "links", "directories")
"""Of a record, what lists of jobs do without."""


@dataclass(frozen=True)
class History:
    """What S3 has of one job."""

    entry: Entry | None = None
    record: Record | None = None
    unreadable: str = ""
    """What there is in S3 that makes no sense, and why."""
    registered: bool = False
    """Whether there is an entry, readable or not."""

    @classmethod
    def of(cls, entry: Entry | Unreadable | None, record: Record | Unreadable | None) -> History:
        """The two together."""
        return cls(
            entry if isinstance(entry, Entry) else None,
            record if isinstance(record, Record) else None,
            "; ".join(one.why for one in (entry, record) if isinstance(one, Unreadable)),
            entry is not None,
        )

    @property
    def asked(self) -> dict[str, Any]:
        """What was asked of the job, as far as it is known."""
        return self.entry.asked if self.entry else {}

    @property
    def final(self) -> Record | None:
        """The record, if it has the instance's last word."""
        return self.record if self.record and self.record.status in FINAL else None

    @property
    def attempts(self) -> tuple[Attempt, ...]:
        """The times that the machine ran, as of the record's last change.

        When a command ended the job, the last one went on until then, unless the machine was stopped.
        """
        runs = self.record.attempts if self.record else ()
        ended = self.entry.ended if self.entry else None
        if self.final or not self.entry or not ended or ended.stopped:
            return runs
        if self.record and self.record.status == "interrupted":
            return runs
        price = self.asked.get("price")
        last = runs[-1] if runs else Attempt(self.entry.launched_at, 0, None if price is None else 0.0)
        seconds = max(last.seconds, int((ended.at - last.started_at).total_seconds()))
        more = None if price is None else (seconds - last.seconds) / 3600 * price
        dollars = None if more is None or last.dollars is None else round(last.dollars + more, 6)
        return (*runs[:-1], replace(last, seconds=seconds, dollars=dollars))


def read(aws: Aws, job: str) -> History:
    """What S3 has of a job, which may be nothing."""
    _ = aws.s3, aws.bucket  # made before the thread that uses them
    with ThreadPoolExecutor(1) as pool:
        record = pool.submit(records.read, aws, job)
        return History.of(asked.read(aws, job), record.result())


def read_all(aws: Aws, *, but: Collection[str] = ()) -> dict[str, History]:
    """What S3 has of all jobs that are registered, by instance id, but without their bundles' files.

    What will not change any more is read once and kept on this machine; as which job one goes on, `read` tells anew.
    but: jobs of which nothing is wanted: they are there, and empty.
    """
    ids = asked.ids(aws)
    name = f"jobs-{aws.bucket}"
    kept = cache.load(name)
    found = {id: one for id in ids if id in kept and id not in but and not (one := _of(kept[id])).unreadable}
    if unknown := [id for id in ids if id not in found and id not in but]:
        read = _read_some(aws, unknown)
        found |= {id: _of(pair) for id, pair in read.items()}
        now = datetime.now(UTC)
        settled = {id: pair for id, pair in read.items() if _settled(found[id], now)}
        there = set(ids)
        cache.keep(name, {id: pair for id, pair in {**kept, **settled}.items() if id in there})
    return {id: found.get(id, UNREAD) for id in ids}


UNREAD = History(registered=True)


def _settled(one: History, now: datetime) -> bool:
    """Whether nothing of it will change but the successor."""
    ended = one.entry.ended if one.entry else None
    return bool(one.entry) and not one.unreadable and bool(one.final or (ended and now - ended.at > SETTLED))


def _read_some(aws: Aws, ids: list[str]) -> dict[str, list[Any]]:
    """Entry and record of jobs as JSON has them, without what is large, sixteen at a time."""
    _ = aws.s3, aws.bucket  # made before the threads that use them
    with ThreadPoolExecutor(16) as pool:
        entries, found = pool.map(partial(_loaded, aws), map(asked.key, ids)), map(records.key, ids)
        pairs = zip(entries, pool.map(partial(_loaded, aws), found), strict=True)
        return {id: list(pair) for id, pair in zip(ids, pairs, strict=True)}


def _loaded(aws: Aws, key: str) -> Any:
    """What an object holds, without what is large; None when there is none, Unreadable when it is no JSON."""
    try:
        body = records.fetch(aws, key)
        data = None if body is None else decode(body)
    except ValueError as error:
        return Unreadable(str(error))
    return {name: one for name, one in data.items() if name not in LARGE} if isinstance(data, dict) else data


def _of(pair: Any) -> History:
    """From what `_read_some` has found, or what was kept of it."""
    if not isinstance(pair, list) or len(pair) != 2:
        return History(unreadable="no pair of entry and record")
    return History.of(
        _parsed(Entry.of, pair[0], "registry entry"),
        _parsed(Record.of, pair[1], "record"),
    )


def _parsed(parse: Callable[[Any], Parsed], data: Any, what: str) -> Parsed | Unreadable | None:
    if data is None:
        return None
    try:
        return Unreadable(f"{what} unreadable: {data.why}") if isinstance(data, Unreadable) else parse(data)
    except ValueError as error:
        return Unreadable(f"{what} unreadable: {error}")

"""Records, registry entries, tags and cached copies of every kind: none is a traceback, or keeps a machine."""

from __future__ import annotations

import io
import json
from contextlib import redirect_stdout, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NoReturn

import pytest
from hypothesis import strategies as st

from cloud import (
    asked,
    cache,
    claims,
    cleanup,
    costs,
    display,
    history,
    job_view,
    jobs,
    leftovers,
    older,
    records,
    watch,
)
from cloud.errors import CloudError
from cloud.job import Job
from cloud.watch import Details

from ..conftest import record
from .junk import BODIES, EXAMPLES, JUNK, WORDS, bodies, mutated, tried
from .shelf import BEGAN, Shelf, instance, living

IDS = [f"i-0{letter * 16}" for letter in "abc"]
ASKED = {
    **record("")["asked"],
    **{"zone": "us-east-1a", "region": "us-east-1", "config": "s3://bucket/configs/a/b", "trainer": "solve"},
    **{"price": 0.3, "disk_price": 0.01, "max_hours": 24.0, "max_cost": 5, "sync_seconds": 60, "spent_before": 0.1},
    **{"resumes": IDS[1], "keep_on_failure": 10},
}
BUNDLE = [{"path": "model", "size": 1, "sha256": "0" * 64}]
RECORD = record(
    IDS[0],
    bundle=BUNDLE,
    links={"latest": "model"},
    directories=["empty"],
    warnings=["a file was left out"],
    timeline={"script": "2026-11-24T08:00:20Z"},
)
RUNNING = {**RECORD, "status": "running", "ended_at": None}
ENTRY = {
    **{"version": 1, "job": IDS[0], "launched_at": "2026-11-24T08:00:00Z", "asked": ASKED, "resumed_by": IDS[1]},
    "ended": {"reason": "ended by `gc`", "at": "2026-11-24T09:00:00Z", "stopped": False},
}
CLAIM = {"token": "0" * 32, "launched_at": "2026-11-24T08:00:00Z"}
STATES = ("pending", "running", "stopping", "stopped", "shutting-down", "terminated")
MARKETS: dict[str, dict[str, str]] = {
    "spot": {"InstanceLifecycle": "spot", "SpotInstanceRequestId": "sir-1"},
    "on-demand": {},
}
OWN_TAGS = ("solver:status", "solver:phase", "solver:s3-path", "solver:kept-until")
"""Those that the role of an instance may write."""
EVERY_TAG = (
    *OWN_TAGS,
    "solver:launched-at",
    "solver:max-hours",
    "solver:resumes",
    "solver:resumed-by",
    "solver:output",
)
RECORDS = bodies(RECORD) | bodies(RUNNING)


def tags(names: tuple[str, ...]) -> st.SearchStrategy[dict[str, str]]:
    return st.dictionaries(st.sampled_from(names), st.sampled_from(WORDS) | st.text(max_size=10), max_size=5)


@pytest.fixture(autouse=True)
def nothing_cached(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each try is another account."""
    monkeypatch.setattr(cache, "load", lambda _: {})
    monkeypatch.setattr(cache, "keep", lambda *_: None)


def no_json(name: str) -> NoReturn:
    raise AssertionError(f"{name} is no JSON")


def shown(job: Job) -> None:
    """Every view of a job."""
    with redirect_stdout(io.StringIO()) as out:
        display.table(job_view.HEADINGS, [job_view.job_row(job)])
        display.table(job_view.COST_HEADINGS, [job_view.cost_row(job)])
    job_view.job_facts(job, Details(silent_since=job.started_at))
    job_view.cost_total([job])
    costs.at_most(job)
    for data in (job_view.job_json(job, Details()), [job_view.job_json(job)], job_view.cost_json(job)):
        with redirect_stdout(io.StringIO()) as out:
            display.print_json(data)
        json.loads(out.getvalue(), parse_constant=no_json)


@EXAMPLES
def test_a_record(capsys: pytest.CaptureFixture[str], examples: int) -> None:
    said = {0}

    def a_record(body: bytes) -> None:
        try:
            records.Record.parse(body)
        except ValueError as error:
            said.add(len(str(error)))

    tried(capsys, examples, a_record, RECORDS)
    assert max(said) < 200, "one line says why"


@EXAMPLES
def test_a_job(capsys: pytest.CaptureFixture[str], examples: int) -> None:
    """Entry, record and tags together, of an instance in any state or of none."""

    def a_job(body: bytes, entry: bytes, tags: dict[str, str], state: str, market: str) -> None:
        objects = {records.key(IDS[0]): body, asked.key(IDS[0]): entry}
        there = [instance(IDS[0], state, tags, **MARKETS[market])] if state else []
        shown(Job.joined(IDS[0], there[0] if there else None, history.read(Shelf(objects, []), IDS[0]), "bucket"))  # type: ignore[arg-type]

    states, markets = st.sampled_from(("", *STATES)), st.sampled_from(list(MARKETS))
    tried(capsys, examples, a_job, RECORDS, bodies(ENTRY), tags(EVERY_TAG), states, markets)


@EXAMPLES
def test_an_account(capsys: pytest.CaptureFixture[str], examples: int) -> None:
    """Commands over three jobs, of which one lives; whatever is said of it, it can be seen, and `terminate` ends it."""

    def an_account(said: list[tuple[bytes, bytes]], tags: dict[str, str], market: str) -> None:
        objects = {
            key: body
            for id, (entry, body) in zip(IDS, said, strict=True)
            for key, body in ((asked.key(id), entry), (records.key(id), body))
        }
        aws = Shelf(objects, [instance(IDS[0], "running", tags, **MARKETS[market])])
        for whole in (True, False):
            for job in jobs.list_jobs(aws, whole=whole):
                shown(job)
        for id in IDS:
            found = jobs.find(aws, id)
            assert found.id == id
            watch.successor(aws, found, lambda _: None)
        shown(jobs.find(aws, "latest"))
        job = jobs.find(aws, IDS[0])
        assert job.state == "running"
        jobs.terminate(aws, job)
        assert not list(living(aws))

    pairs = st.lists(st.tuples(bodies(ENTRY), RECORDS), min_size=3, max_size=3)
    tried(capsys, examples, an_account, pairs, tags(EVERY_TAG), st.sampled_from(list(MARKETS)))


@EXAMPLES
def test_what_an_instance_says_never_saves_it_from_gc(capsys: pytest.CaptureFixture[str], examples: int) -> None:
    """A day after its deadline it is found and ended, and before that only if it says itself that it has ended."""

    def gc(body: bytes, tags: dict[str, str], ended: bool) -> None:
        entry = {key: value for key, value in ENTRY.items() if key != "ended" or ended}
        objects = {records.key(IDS[0]): body, asked.key(IDS[0]): json.dumps(entry).encode()}
        aws = Shelf(objects, [instance(IDS[0], "running", tags)])
        leftovers.find(aws, BEGAN + timedelta(hours=1))
        (left,) = leftovers.find(aws, BEGAN + timedelta(hours=48))
        cleanup.end(aws, left)
        assert not list(living(aws))
        assert jobs.find(aws, IDS[0]).ended

    tried(capsys, examples, gc, RECORDS, tags(OWN_TAGS), st.booleans())


@EXAMPLES
def test_a_cached_copy(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, examples: int) -> None:
    """What is wrong with it is read anew, and only what makes sense is kept."""
    sound = {records.key(IDS[0]): json.dumps(RECORD).encode(), asked.key(IDS[0]): json.dumps(ENTRY).encode()}
    expected = history.read_all(Shelf(sound, []))[IDS[0]]

    def a_cached_copy(copy: Any, body: bytes) -> None:
        monkeypatch.setattr(cache, "load", lambda _: {IDS[0]: copy})
        found = history.read_all(Shelf(sound, []))[IDS[0]]
        assert found.record is None or found.record.status in records.STATUSES
        assert not found.unreadable
        kept: dict[str, Any] = {}
        monkeypatch.setattr(cache, "load", lambda _: {})
        monkeypatch.setattr(cache, "keep", lambda _, values: kept.update(values))
        read = history.read_all(Shelf({**sound, records.key(IDS[0]): body}, []))[IDS[0]]
        if IDS[0] in kept:
            monkeypatch.setattr(cache, "load", lambda _: json.loads(json.dumps(kept)))
            assert history.read_all(Shelf({asked.key(IDS[0]): b""}, []))[IDS[0]] == read

    assert expected.record
    tried(capsys, examples, a_cached_copy, mutated([ENTRY, RECORD]) | JUNK, RECORDS)


@EXAMPLES
def test_a_claim(capsys: pytest.CaptureFixture[str], examples: int) -> None:
    def a_claim(body: bytes) -> None:
        aws = Shelf({"claims/1.json": body}, [])
        for look in (claims.read, claims.running):
            with suppress(CloudError):
                look(aws, "claims/1.json")

    tried(capsys, examples, a_claim, bodies(CLAIM) | BODIES)


@EXAMPLES
def test_what_was_there_before_the_registry(capsys: pytest.CaptureFixture[str], examples: int) -> None:
    def before(body: bytes, resume: bytes, sweep: bytes) -> None:
        objects = {records.key(IDS[0]): body, f"jobs/{IDS[0]}/resume.json": resume, "sweeps/s-1/sweep.json": sweep}
        aws = Shelf(objects, [])
        with pytest.raises(CloudError, match="not registered yet"):
            jobs.list_jobs(aws)
        objects[older.SINCE] = b"{}"
        assert jobs.list_jobs(aws) == []
        older.register(aws)
        (job,) = jobs.list_jobs(aws, whole=True)
        shown(job)

    tried(capsys, examples, before, bodies({**RECORD, "asked": ASKED, "resumed_by": IDS[1]}), BODIES, BODIES)


def test_a_circle_of_resumes_is_left_where_it_closes(home: Path) -> None:
    links = {IDS[0]: IDS[1], IDS[1]: IDS[2], IDS[2]: IDS[1]}
    entries = {
        asked.key(job): json.dumps({**ENTRY, "job": job, "resumed_by": to}).encode() for job, to in links.items()
    }
    aws, said = Shelf(entries, []), list[str]()
    assert watch.successor(aws, jobs.find(aws, IDS[0]), said.append).id == IDS[2]
    assert said[-1] == f"{IDS[2]} is said to go on as {IDS[1]}, which is no further job"


@pytest.mark.parametrize("target", ["i-0ddddddddddddddddd", "latest", "s-0123", "i-", "../../x"])
def test_a_resume_that_leads_to_no_job_is_not_followed(home: Path, target: str) -> None:
    entry = json.dumps({**ENTRY, "resumed_by": target}).encode()
    aws = Shelf({asked.key(IDS[0]): entry}, [])
    assert watch.successor(aws, jobs.find(aws, IDS[0]), lambda _: None).id == IDS[0]


def test_a_record_that_is_too_large_is_not_read(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One of 73 MB; of its job all the rest is known."""
    monkeypatch.setattr(records, "MOST_BYTES", 1000)
    objects = {records.key(IDS[0]): json.dumps(RECORD).encode() + b" " * 1000, asked.key(IDS[0]): b"{}"}
    job = jobs.find(Shelf(objects, []), IDS[0])
    assert "record unreadable: it has" in job.unreadable
    assert (job.status, job.ended) == ("terminated", True)


def test_a_record_of_a_hundred_thousand_files_is_read() -> None:
    """They have names of a usual length; so many are in a bundle at most that was ever seen."""
    files = [{"path": f"tables/{number:06}/values.bin", "size": 10**6, "sha256": "0" * 64} for number in range(100_000)]
    body = json.dumps(record(IDS[0], bundle=files), indent=1).encode()
    assert 10_000_000 < len(body) < records.MOST_BYTES
    assert len(records.Record.parse(body).bundle) == 100_000


def test_the_latest_job_is_not_one_of_which_nothing_is_known(home: Path) -> None:
    objects = {asked.key(IDS[0]): json.dumps({**ENTRY, "resumed_by": ""}).encode(), asked.key(IDS[1]): b"garbage"}
    aws = Shelf(objects, [])
    assert jobs.find(aws, "latest").id == IDS[0]
    assert datetime.now(UTC) > jobs.find(aws, IDS[1]).launched_at

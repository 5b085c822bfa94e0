"""Sweeps whose records, costs, metrics and answers of AWS Batch are malformed in every way: never a traceback, and one
bad child never takes the others."""

from __future__ import annotations

import csv
import hashlib
import io
import json
from contextlib import redirect_stdout
from dataclasses import replace
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cloud import batch_jobs, child, children, display, results, signatures, sweep_record, sweep_view
from cloud.aws import Aws
from cloud.child import Child, Unreadable
from cloud.sweep_record import Asked, Run, Sweep

from ..conftest import record

quick = settings(max_examples=150, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck))
thorough = settings(max_examples=10_000, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck))

SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.just(10**400)
JSON = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)
NOW = datetime(2026, 11, 28, tzinfo=UTC)
SWEEP = Sweep(
    id="sweep-0123456789ab",
    submitted_at=NOW,
    queue="queue",
    definition="arn",
    asked={
        **{"output": "~/models", "image": "r/i:1", "trainer": "t {config} {output}", "vcpus": 2, "memory_gib": 3.0},
        **{"attempts": 10, "max_hours": 1.0, "max_cost": None, "sync_seconds": 60},
    },
    shares=(("c7i.2xlarge", "spot", "us-east-1a", 0.02),),
    vcpus={"c7i.2xlarge": 8},
    children=tuple(Asked(f"leduc,seed={seed}", "leduc.yaml", {"seed": seed}) for seed in range(3)),
    runs=(Run("sweep-0123456789ab-0", (), "00000000-0000-0000-0000-000000000000", NOW),),
    key="0123456789abcdef",
)


class Body:
    def __init__(self, data: bytes) -> None:
        self.data = data

    def read(self) -> bytes:
        return self.data

    def close(self) -> None:
        pass


class FakeAccount(Aws):
    """S3 as a dictionary, and what Batch answers; a real account would take days for ten thousand examples."""

    def __init__(self, objects: dict[str, bytes], jobs: list[Any]) -> None:
        class NoSuchKey(Exception):
            pass

        def get_object(Bucket: str, Key: str, **_: Any) -> dict[str, Any]:
            if Key not in objects:
                raise NoSuchKey
            return {"Body": Body(objects[Key]), "ContentLength": len(objects[Key]), "ETag": "1"}

        def pages(operation: str) -> Any:
            def paginate(Prefix: str = "", **_: Any) -> Any:
                return [{"Contents": [{"Key": key} for key in sorted(objects) if key.startswith(Prefix)]}]

            return SimpleNamespace(paginate=paginate)

        fake: dict[str, Any] = self.__dict__
        fake["bucket"] = "bucket"
        exceptions = SimpleNamespace(NoSuchKey=NoSuchKey, ClientError=NoSuchKey)
        fake["s3"] = SimpleNamespace(get_object=get_object, get_paginator=pages, exceptions=exceptions)
        fake["batch"] = SimpleNamespace(describe_jobs=lambda jobs_=None, **_: {"jobs": jobs}, get_paginator=pages)


@st.composite
def mutated(draw: st.DrawFn, good: Any, depth: int = 0) -> Any:
    """The same with some of it replaced, removed or moved, at any depth."""
    if isinstance(good, dict) and good and draw(st.integers(0, 4 + depth)):
        key = draw(st.sampled_from(sorted(good)))
        if not draw(st.integers(0, 5)):
            return {name: one for name, one in good.items() if name != key}
        return {**good, key: draw(mutated(good[key], depth + 1))}
    if isinstance(good, list) and good and draw(st.integers(0, 4)):
        at = draw(st.integers(0, len(good) - 1))
        return [*good[:at], draw(mutated(good[at], depth + 1)), *good[at + 1 :]]
    return draw(JSON)


def check_any_record(data: Any) -> None:
    """It is a sweep, or refused in one of the ways that `sweeps.read` tells."""
    try:
        found = sweep_record.of(data, SWEEP.id)
    except ValueError:
        return
    assert found.runs
    assert all(name.name not in ("", ".", "..") and "/" not in name.name for name in found.children)
    assert all(run.name.startswith(f"{SWEEP.id}-") for run in found.runs)
    assert set(children.jobs_of(found)) == set(range(len(found.children)))


def check_any_job(job: Any, micro: str) -> None:
    """Batch may say anything of a child: it is shown, with the others."""
    ids = [f"{SWEEP.runs[0].job}:{index}" for index in range(3)]
    good = {"jobId": ids[0], "jobName": SWEEP.runs[0].name, "status": "SUCCEEDED"}
    objects = {f"sweeps/{SWEEP.id}/costs/{micro}": b"", f"sweeps/{SWEEP.id}/costs/1/{micro}": b""}
    objects |= {f"sweeps/{SWEEP.id}/costs/0/{signed_cost(0, 1500)}": b""}
    now = replace(SWEEP, runs=(replace(SWEEP.runs[0], since=datetime.now(UTC)),))
    found = children.look(FakeAccount(objects, [good, job]), now)
    assert [one.index for one in found] == [0, 1, 2]
    assert (found[0].state, found[0].dollars) == ("complete", 0.0015)
    show(found)


def signed_cost(index: int, micro: int) -> str:
    text = f"cost {SWEEP.id}/{index} {micro}"
    return f"{micro}-{signatures.signature(SWEEP.key, text)[:16]}"


def show(found: list[Child]) -> None:
    children.counted(found)
    for one in found:
        sweep_view.row(one)
        sweep_view.facts(SWEEP, one, "bucket")
    with redirect_stdout(io.StringIO()):
        display.print_json(sweep_view.sweep_json(SWEEP, found))


def check_any_child_record(body: bytes) -> None:
    """A child's record may be anything: it is unreadable, and the others are fetched."""
    good = signed(record(f"{SWEEP.id}/0", bundle=[{"path": "a", "size": 1, "sha256": "0" * 64}]))
    objects = {
        f"sweeps/{SWEEP.id}/0/job.json": json.dumps(good).encode(),
        f"sweeps/{SWEEP.id}/1/job.json": body,
    }
    aws = FakeAccount(objects, [])
    found, problems = child.bundles(aws, SWEEP, [complete(0), complete(1)])
    assert [file.path for file in found.files if file.path.startswith(SWEEP.children[0].name)] == ["leduc,seed=0/a"]
    assert all(problem.startswith(f"{SWEEP.id}/1: ") for problem in problems)
    show([child.kept(aws, SWEEP, 0), child.kept(aws, SWEEP, 1)])


def check_any_metrics(body: bytes) -> None:
    """Metrics may be anything: the row says so, and the table is shown."""
    aws = FakeAccount({**metrics(0, b'{"loss": 0.5}'), **metrics(1, body)}, [])
    table = results.look(aws, SWEEP, [complete(0), complete(1)])
    assert [one.index for one in table.results] == [0, 1]
    assert table.results[0].metrics == {"loss": 0.5}
    assert all(len(row) == len(table.headings) for row in table.rows)
    assert table.constant is not None
    results.write_csv(table, io.StringIO())


def metrics(index: int, body: bytes) -> dict[str, bytes]:
    file = {"path": "metrics.json", "size": len(body), "sha256": hashlib.sha256(body).hexdigest()}
    told = signed(record(f"{SWEEP.id}/{index}", bundle=[file]))
    top = f"sweeps/{SWEEP.id}/{index}"
    return {f"{top}/bundle/metrics.json": body, f"{top}/job.json": json.dumps(told).encode()}


def signed(data: dict[str, Any]) -> dict[str, Any]:
    return {**data, "signature": signatures.signature(SWEEP.key, signatures.canonical(data))}


def complete(index: int) -> Child:
    return Child(SWEEP.id, index, SWEEP.children[index], "complete", 1, None, None, 0)


JOB = {
    "jobId": f"{SWEEP.runs[0].job}:1",
    "jobName": SWEEP.runs[0].name,
    "status": "FAILED",
    "statusReason": "Essential container in task exited",
    "startedAt": 1795507200000,
    "stoppedAt": 1795507300000,
    "container": {"exitCode": 3},
    "arrayProperties": {"statusSummary": {"RUNNING": 1}},
    "attempts": [{"startedAt": 1, "stoppedAt": 2, "container": {"exitCode": 75, "reason": "", "logStreamName": "s"}}],
}
JOBS = mutated(JOB) | st.fixed_dictionaries(
    {"jobId": st.just(JOB["jobId"]), "jobName": st.just(JOB["jobName"])},
    optional=dict.fromkeys(("status", "statusReason", "startedAt", "stoppedAt", "attempts", "container"), JSON),
)
NAMES = st.text(max_size=12) | st.from_regex(r"[0-9²]{1,30}(-[0-9a-f]{0,20})?", fullmatch=True)
RECORDS = mutated(json.loads(json.dumps(sweep_record.to_json(SWEEP))))
CHILD_RECORDS = st.one_of(
    st.binary(max_size=64),
    mutated(record(f"{SWEEP.id}/1")).map(lambda data: json.dumps(data).encode()),
    mutated(record(f"{SWEEP.id}/1", bundle=[{"path": "a/b", "size": 1, "sha256": "0" * 64}])).map(
        lambda data: json.dumps(
            signed({**data, "attempts": [], "reason": ""}) if isinstance(data, dict) else data
        ).encode()
    ),
)
METRICS = st.binary(max_size=64) | JSON.map(lambda data: json.dumps(data).encode())


@quick
@given(RECORDS)
def test_any_record_of_a_sweep_is_one_or_is_refused(data: Any) -> None:
    check_any_record(data)


@quick
@given(JOBS, NAMES)
def test_whatever_batch_says_of_a_child_the_others_are_shown(job: Any, name: str) -> None:
    check_any_job(job, name)


@quick
@given(CHILD_RECORDS)
def test_whatever_a_child_says_of_itself_the_others_are_fetched(body: bytes) -> None:
    check_any_child_record(body)


@quick
@given(METRICS)
def test_whatever_metrics_a_child_leaves_the_table_is_shown(body: bytes) -> None:
    check_any_metrics(body)


@pytest.mark.long
def test_ten_thousand_of_each() -> None:
    thorough(given(RECORDS)(check_any_record))()
    thorough(given(JOBS, NAMES)(check_any_job))()
    thorough(given(CHILD_RECORDS)(check_any_child_record))()
    thorough(given(METRICS)(check_any_metrics))()


@pytest.mark.parametrize("name", ["", ".", "..", "/etc", "a/b", "../../.ssh", "a\0b"])
def test_a_childs_name_never_leads_elsewhere(name: str) -> None:
    data = json.loads(json.dumps(sweep_record.to_json(SWEEP)))
    data["children"][1]["name"] = name
    with pytest.raises(ValueError, match="no name of a directory"):
        sweep_record.of(data, SWEEP.id)


def test_a_sweep_without_runs_is_one_that_was_never_submitted() -> None:
    data = json.loads(json.dumps(sweep_record.to_json(SWEEP)))
    found = sweep_record.of({**data, "runs": []}, SWEEP.id)
    assert [(run.name, run.job) for run in found.runs] == [(f"{SWEEP.id}-0", "")]
    old = replace(found, runs=(replace(found.runs[0], since=datetime(2026, 1, 1, tzinfo=UTC)),))
    states = {one.state for one in children.look(FakeAccount({}, []), old)}
    assert states == {"unsubmitted"}


def test_the_record_that_is_written_is_the_one_that_is_read() -> None:
    assert sweep_record.of(json.loads(json.dumps(sweep_record.to_json(SWEEP))), SWEEP.id) == SWEEP


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"signature": "00"}, "it is not signed by its sweep"),
        ({"job": f"{SWEEP.id}/2"}, f"it is of {SWEEP.id}/2"),
        ({"bundle": [{"path": "../../.ssh/authorized_keys", "size": 1, "sha256": "0" * 64}]}, "names a file"),
        (
            {"bundle": [{"path": path, "size": 1, "sha256": "0" * 64} for path in ("a", "a/b")]},
            "the record names 'a' as two things",
        ),
    ],
)
def test_what_a_child_cannot_say(change: dict[str, Any], why: str) -> None:
    told = {**signed({**record(f"{SWEEP.id}/1"), **change}), **{k: v for k, v in change.items() if k == "signature"}}
    aws = FakeAccount({f"sweeps/{SWEEP.id}/1/job.json": json.dumps(told).encode()}, [])
    found, problems = child.bundles(aws, SWEEP, [complete(1)])
    assert found.files == ()
    assert why in problems[0]


def test_a_record_that_is_too_large_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(child, "MOST_BYTES", 10)
    aws = FakeAccount({f"sweeps/{SWEEP.id}/1/job.json": b" " * 11}, [])
    with pytest.raises(Unreadable, match="it has 11 bytes, more than 10"):
        child.read_record(aws, SWEEP, 1)


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"loss 3", "is no JSON"),
        (b"\xff", "metrics.json"),
        (b"[1]", "is no JSON object"),
        (b"[" * 100_000, "recursion"),
    ],
)
def test_a_row_says_why_it_has_no_metrics(body: bytes, why: str) -> None:
    table = results.look(
        FakeAccount({**metrics(0, b'{"loss": NaN}'), **metrics(1, body)}, []), SWEEP, [complete(0), complete(1)]
    )
    out = io.StringIO()
    results.write_csv(table, out)
    first, second = csv.DictReader(io.StringIO(out.getvalue()))
    assert (first["loss"], first["problem"]) == ("nan", "")
    assert why in second["problem"]


def test_metrics_of_others_are_not_a_childs(monkeypatch: pytest.MonkeyPatch) -> None:
    objects = {**metrics(0, b'{"loss": 1}'), f"sweeps/{SWEEP.id}/0/bundle/metrics.json": b'{"loss": 0}'}
    table = results.look(FakeAccount(objects, []), SWEEP, [complete(0)])
    assert "is not what the record says" in table.results[0].problem


def test_a_job_of_another_name_is_not_a_sweeps() -> None:
    """Whatever its record says."""
    other = {**JOB, "jobName": "sweep-ffffffffffff-0", "status": "RUNNING"}
    assert children.describe(FakeAccount({}, [other]), SWEEP, [str(JOB["jobId"])]) == []
    assert batch_jobs.of(other).id == JOB["jobId"]

"""What jobs have cost: of machine and disk, so far and at most, and what is kept of them; unknown is never zero."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

import tasks
from cloud import costs, job_view, jobs
from cloud.aws import Aws
from cloud.costs import Cost, Kept
from cloud.jobs import Job
from cloud.records import Attempt
from cloud.watch import Details

from .conftest import record, remember
from .market import shop
from .shop import Shop

__all__ = ["shop"]  # a fixture

NOW = datetime.now(UTC).replace(microsecond=0)
LAUNCHED = NOW - timedelta(hours=2)
FIRST = Attempt(LAUNCHED, 1800, 0.15)
ENDED = Job(
    id="i-0aaaaaaa",
    type="c7i.4xlarge",
    market="spot",
    state="gone",
    status="complete",
    phase="done",
    config="fast.yaml",
    output="~/it",
    image="r/i:t",
    s3_path="s3://b/jobs/i-0aaaaaaa/",
    launched_at=LAUNCHED,
    ended_at=NOW - timedelta(hours=1),
    attempts=(FIRST, Attempt(LAUNCHED + timedelta(minutes=40), 1200, 0.1)),
    price=0.3,
    disk_price=0.01,
)
RUNNING = replace(
    ENDED,
    state="running",
    status="running",
    phase="training",
    ended_at=None,
    running_since=NOW - timedelta(hours=1),
    attempts=(FIRST, Attempt(NOW - timedelta(hours=1), 60, 0.005)),
)
WAITING = replace(RUNNING, state="stopped", status="interrupted", running_since=None, attempts=(FIRST,))


@pytest.mark.parametrize(
    ("job", "machine", "disk"),
    [
        pytest.param(ENDED, 0.25, 0.01, id="ended"),
        pytest.param(RUNNING, 0.45, 0.02, id="running: the present attempt up to now"),
        pytest.param(replace(RUNNING, attempts=()), 0.3, 0.02, id="running, and its record does not know it yet"),
        pytest.param(replace(RUNNING, status="complete"), 0.45, 0.02, id="running, though it says that it is complete"),
        pytest.param(WAITING, 0.15, 0.02, id="waiting: only the disk goes on"),
        pytest.param(replace(WAITING, running_since=NOW - timedelta(hours=1)), 0.15, 0.02, id="waiting since a start"),
        pytest.param(replace(WAITING, attempts=()), 0, 0.02, id="waiting, and has not run yet"),
        pytest.param(replace(RUNNING, state="terminated"), 0.155, 0.02, id="its machine has gone"),
        pytest.param(replace(ENDED, attempts=()), None, 0.01, id="ended, and nobody saw it run"),
        pytest.param(replace(ENDED, disk_price=None), 0.25, None, id="the disk's price is unknown"),
        pytest.param(replace(RUNNING, price=None), None, 0.02, id="the machine's price is unknown"),
        pytest.param(replace(ENDED, attempts=(replace(FIRST, dollars=None), FIRST)), None, 0.01, id="one is unknown"),
    ],
)
def test_a_job_costs_its_machine_while_that_runs_and_its_disk_always(
    job: Job, machine: float | None, disk: float | None
) -> None:
    cost = costs.so_far(job, NOW)
    assert cost.machine == (machine if machine is None else pytest.approx(machine))
    assert cost.disk == (disk if disk is None else pytest.approx(disk))
    known = machine is not None and disk is not None
    assert cost.total == (pytest.approx((machine or 0) + (disk or 0)) if known else None)


def test_the_total_has_what_was_spent_before() -> None:
    assert Cost(1.0, 0.5, 2.0).total == 3.5
    assert Cost(1.0, 0.5, None).total is None


@pytest.mark.parametrize(
    ("changes", "most"),
    [
        ({}, 7.44),
        ({"max_hours": 10.0}, 3.1),
        ({"max_hours": 10.0, "spent_before": 1.0}, 4.1),
        ({"max_cost": 2.0}, 2.0),
        ({"max_cost": 20.0}, 7.44),
        ({"price": None}, None),
        ({"disk_price": None}, None),
        ({"disk_price": None, "max_cost": 2.0}, 2.0),
        ({"spent_before": None}, None),
    ],
)
def test_what_it_costs_at_most_is_the_hours_or_the_limit_whichever_is_less(
    changes: dict[str, Any], most: float | None
) -> None:
    assert costs.at_most(replace(RUNNING, **changes)) == (most if most is None else pytest.approx(most))


@pytest.mark.parametrize(
    ("job", "line"),
    [
        (ENDED, "$0.26"),
        (RUNNING, "$0.47 so far; $0.30 an hour, at most $7.44"),
        (replace(RUNNING, max_cost=2.0), "$0.47 so far; $0.30 an hour, at most $2.00; $1.53 left of $2.00"),
        (
            replace(RUNNING, spent_before=1.0),
            "$1.47 so far, $1.00 of it before it was resumed; $0.30 an hour, at most $8.44",
        ),
        (
            replace(RUNNING, disk_price=None),
            "at least $0.45 so far; $0.30 an hour",
        ),
        (replace(RUNNING, price=None), "unknown so far; unknown an hour"),
        (replace(ENDED, disk_price=None), "at least $0.25"),
    ],
)
def test_status_tells_the_cost(job: Job, line: str) -> None:
    late = datetime.now(UTC) - NOW  # what these jobs have cost goes by the time since this file was read
    since = job.running_since and job.running_since + late
    runs = tuple(replace(run, started_at=run.started_at + late) for run in job.attempts)
    now = replace(job, launched_at=job.launched_at + late, running_since=since, attempts=runs)
    assert job_view.job_facts(job if job.ended else now, Details())["cost"] == line


def test_status_tells_each_attempt_of_an_interrupted_job() -> None:
    assert job_view.job_facts(ENDED, Details())["attempts"] == "30m 00s ($0.15), 20m 00s ($0.10)"
    assert "attempts" not in job_view.job_facts(replace(ENDED, attempts=(FIRST,)), Details())


def noted(*attempts: tuple[int, float | None], **changes: Any) -> dict[str, Any]:
    """A record's changes: attempts by seconds and dollars."""
    began = "2026-11-24T08:00:00Z"
    runs = [{"started_at": began, "seconds": seconds, "dollars": dollars} for seconds, dollars in attempts]
    asked = {**record("")["asked"], "price": 0.3, "disk_price": 0.01}
    return {"attempts": runs, "asked": asked, **changes}


@pytest.fixture
def spent(spot: Aws) -> Aws:
    """Three jobs: one known, one that went on from it, one of which nothing is known."""
    jobs_of = {
        "i-00000001": noted((3600, 0.3), launched_at="2026-11-01T00:00:00Z", ended_at="2026-11-01T02:00:00Z"),
        "i-00000002": noted((60, 0.005), launched_at="2026-11-02T00:00:00Z", ended_at="2026-11-02T01:00:00Z"),
        "i-00000003": {"attempts": [], "launched_at": "2026-11-03T00:00:00Z", "ended_at": "2026-11-03T01:00:00Z"},
    }
    jobs_of["i-00000002"]["asked"]["spent_before"] = 0.32
    for job, changes in jobs_of.items():
        remember(spot, job, **changes)
    return spot


def test_the_table_has_each_job_and_the_sum_counts_nothing_twice(spent: Aws) -> None:
    listed = jobs.list_jobs(spent)
    assert [job_view.cost_row(job) for job in listed] == [
        ("i-00000003", "2026-11-03 00:00", "complete", "c7i.4xlarge", "spot", "0s", "unknown", "fast_buckets.yaml"),
        ("i-00000002", "2026-11-02 00:00", "complete", "c7i.4xlarge", "spot", "1m 00s", "$0.0150", "fast_buckets.yaml"),
        ("i-00000001", "2026-11-01 00:00", "complete", "c7i.4xlarge", "spot", "1h 00m", "$0.32", "fast_buckets.yaml"),
    ]
    assert job_view.cost_total(listed) == "3 jobs, $0.34, and 1 whose cost is unknown"
    assert job_view.cost_total(listed[1:2]) == "1 job, $0.0150"
    assert job_view.cost_json(listed[0]) == {
        "job": "i-00000003",
        "launched_at": datetime(2026, 11, 3, tzinfo=UTC),
        "status": "complete",
        "machine": None,
        "disk": None,
        "dollars": None,
    }


@pytest.mark.parametrize(("since", "shown"), [(None, "321"), ("2026-11-02", "32"), ("2026-12-01", "")])
def test_costs_are_those_since_a_day(
    spent: Aws, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], since: str | None, shown: str
) -> None:
    monkeypatch.setattr("cloud.commands.connect", lambda *_, **__: spent)
    tasks.costs.body(None, since=since)
    said = capsys.readouterr()
    assert [line.split("\t")[0][-1] for line in said.out.splitlines()] == list(shown)
    in_all, kept = said.err.splitlines()
    assert in_all.startswith(f"{len(shown)} jobs, $")
    assert kept == "kept in S3: " + ("0.0 MB, less than $0.01 a month" if shown else "nothing")
    tasks.costs.body(None, since=since, json_=True)
    found = json.loads(capsys.readouterr().out)
    assert [one["job"][-1] for one in found] == list(shown)
    assert all(one["s3"]["bytes"] > 0 and one["s3"]["monthly"] > 0 for one in found)


def test_all_that_a_job_has_in_s3_is_paid_for(spent: Aws) -> None:
    listed = jobs.list_jobs(spent)
    before = costs.kept(spent, listed)
    for key in ("jobs/i-00000001/bundle/strategy.bin", "jobs/i-00000001/output/strategy.bin", "configs/x/y"):
        spent.s3.put_object(Bucket=spent.bucket, Key=key, Body=bytes(1 << 20))
    after = costs.kept(spent, listed)
    grown = after.pop("i-00000001")
    assert grown.bytes == before.pop("i-00000001").bytes + (2 << 20)
    assert grown.monthly == pytest.approx(grown.bytes / 2**30 * 0.023)  # https://aws.amazon.com/s3/pricing/
    assert after == before


def test_a_price_of_s3_that_aws_does_not_tell_is_unknown(shop: Shop) -> None:
    shop.denies_prices()
    aws = shop.aws()
    aws.s3.put_object(Bucket=aws.bucket, Key=f"jobs/{ENDED.id}/bundle/model", Body=bytes(3 << 20))
    try:
        assert costs.kept(aws, [ENDED]) == {ENDED.id: Kept(3 << 20, None)}
    finally:
        aws.s3.delete_object(Bucket=aws.bucket, Key=f"jobs/{ENDED.id}/bundle/model")


@pytest.mark.parametrize(
    ("kept", "text"),
    [
        ([], "nothing"),
        ([Kept(0, None)], "nothing"),
        ([Kept(12 << 30, 0.276), Kept(1 << 29, 0.0115)], "12.5 GB, $0.29 a month"),
        ([Kept(3000 << 30, 69.0)], "3,000.0 GB, $69.00 a month"),
        ([Kept(5 << 20, 0.0001)], "5.0 MB, less than $0.01 a month"),
        ([Kept(12 << 30, 0.276), Kept(1 << 30, None)], "13.0 GB, at a price that is unknown"),
    ],
)
def test_what_is_kept_and_its_price_are_told_together(kept: list[Kept], text: str) -> None:
    assert str(costs.in_all(kept)) == text

"""The registry: what is in it is a job, whatever else is written below jobs/; and what was there before it."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from cloud import asked, history, jobs, older, records
from cloud.asked import Entry
from cloud.aws import Aws
from cloud.errors import CloudError

from .conftest import record, remember
from .test_jobs import start

JOB, OTHER = "i-0aaaaaaaaaaaaaaaa", "i-0bbbbbbbbbbbbbbbb"
LAUNCHED = datetime(2026, 11, 24, 8, tzinfo=UTC)


def put(aws: Aws, key: str, data: Any) -> None:
    aws.s3.put_object(Bucket=aws.bucket, Key=key, Body=json.dumps(data).encode())


def entry(aws: Aws, job: str = JOB) -> Entry:
    found = asked.read(aws, job)
    assert isinstance(found, Entry)
    return found


@pytest.fixture
def marked(store: Aws) -> Aws:
    """An account in which `setup` has registered what there was."""
    older.register(store)
    return store


def test_a_record_of_an_instance_that_never_was_is_no_job(marked: Aws) -> None:
    """Any role that may write below jobs/ could have put it there, with an output of its choice."""
    forged = record(JOB)
    put(marked, records.key(JOB), {**forged, "asked": {**forged["asked"], "output": "~"}})
    assert jobs.list_jobs(marked) == []
    for reference in (JOB, "latest", "i-0a"):
        with pytest.raises(CloudError, match=f"no job '{reference}'"):
            jobs.find(marked, reference)


def test_what_a_record_says_was_asked_is_not_believed(marked: Aws) -> None:
    remember(marked, JOB)
    forged = record(JOB)
    forged["asked"] = dict.fromkeys(forged["asked"], "evil")
    put(marked, records.key(JOB), {**forged, "resumed_by": OTHER, "launched_at": "2026-11-25T08:00:00Z"})
    job = jobs.find(marked, JOB)
    assert (job.output, job.image, job.resumed_by) == ("~/models/run-001", "registry/solver-cloud:abc", "")
    assert job.launched_at == LAUNCHED


def test_what_is_registered_stays_and_what_is_missing_is_added(store: Aws) -> None:
    asked.register(store, JOB, asked={"output": "~/it"}, launched_at=LAUNCHED)
    asked.register(store, JOB, asked={"output": "/tmp", "trainer": "solve"}, launched_at=LAUNCHED + timedelta(hours=1))
    assert entry(store) == Entry(JOB, LAUNCHED, {"output": "~/it", "trainer": "solve"})


def test_that_a_job_was_ended_is_said_once(store: Aws) -> None:
    asked.register(store, JOB, asked={}, launched_at=LAUNCHED)
    assert asked.close(store, JOB, reason="by hand")
    assert asked.close(store, JOB, reason="too late")
    ended = entry(store).ended
    assert ended
    assert ended.reason == "by hand"
    assert not asked.close(store, OTHER, reason="by hand")


def test_two_that_change_an_entry_at_once_both_come_to_an_end(store: Aws, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two `resume`s at once start one job, and each links it, while `gc` ends the old one."""
    asked.register(store, JOB, asked={}, launched_at=LAUNCHED)
    put_object = store.s3.put_object

    def overtaken(**arguments: Any) -> Any:
        monkeypatch.setattr(store.s3, "put_object", put_object)
        asked.close(store, JOB, reason="ended by `gc`")
        return put_object(**arguments)

    monkeypatch.setattr(store.s3, "put_object", overtaken)
    asked.add_successor(store, JOB, OTHER)
    found = entry(store)
    assert (found.resumed_by, bool(found.ended)) == (OTHER, True)


def test_an_unreadable_entry_stays_as_it_is_and_its_instance_ends(store: Aws) -> None:
    id = start(store)
    put(store, asked.key(id), ["garbage"])
    ended = jobs.terminate(store, jobs.find(store, id))
    assert (ended.state in jobs.GONE, ended.status) == (True, "terminated")
    assert ended.unreadable.startswith("registry entry unreadable: the entry is a list")
    assert asked.read(store, id) == records.Unreadable("registry entry unreadable: the entry is a list, not an object")


def test_a_last_word_of_the_instance_counts_for_more_than_that_a_command_ended_it(store: Aws) -> None:
    """`terminate` may come while it uploads the last of its bundle."""
    remember(store, JOB, status="uploading", ended_at=None)
    asked.close(store, JOB, reason="ended by `terminate`")
    assert jobs.find(store, JOB).status == "terminated"
    put(store, records.key(JOB), record(JOB))
    assert jobs.find(store, JOB).status == "complete"


@pytest.mark.parametrize(
    ("status", "stopped", "seconds"), [("running", False, 7170), ("running", True, 3570), ("interrupted", False, 3570)]
)
def test_the_last_attempt_is_counted_until_a_command_ended_it(status: str, stopped: bool, seconds: int) -> None:
    """Its first half hour cost 0.25; EC2 bills the machine from each start to each stop."""
    told = records.Record.of(record(JOB, status=status, ended_at=None))
    ended = asked.Ended("ended by `terminate`", LAUNCHED + timedelta(hours=2), stopped)
    known = history.History.of(Entry(JOB, LAUNCHED, {"price": 0.36}, ended=ended), told)
    (last,) = known.attempts
    assert last.seconds == seconds
    assert last.dollars == pytest.approx(0.25 + (seconds - 3570) * 0.36 / 3600)


def test_a_job_whose_launcher_died_is_registered_by_whoever_lists_jobs(store: Aws) -> None:
    """EC2 forgets an instance an hour after its end; what it has left in S3 is to be found after that, too."""
    tags = {"solver:launched-at": "2026-11-24T08:00:00Z", "solver:max-hours": "72", "solver:output": "~/it"}
    id = start(store, tags)
    just_now = start(store, {"solver:launched-at": records.iso(datetime.now(UTC))})
    jobs.list_jobs(store)
    found = entry(store, id)
    assert (found.launched_at, found.asked["output"], found.asked["max_hours"]) == (LAUNCHED, "~/it", 72)
    assert asked.read(store, just_now) is None  # its launcher knows more, and is about to say so


def test_terminate_registers_a_job_whose_launcher_died(store: Aws) -> None:
    id = start(store, {"solver:output": "~/it"})
    jobs.terminate(store, jobs.find(store, id))
    found = entry(store, id)
    assert (found.asked["output"], bool(found.ended)) == ("~/it", True)


def test_jobs_and_sweeps_from_before_the_registry_are_registered_once(store: Aws) -> None:
    put(store, records.key(JOB), {**record(JOB), "resumed_by": OTHER})
    put(store, records.key(OTHER), "garbage")
    put(store, f"jobs/{JOB}/resume.json", {"token": "0" * 32, "launched_at": "2026-11-24T10:00:00Z"})
    put(store, "sweeps/s-1/sweep.json", {"version": 1})
    put(store, "jobs/no-id/job.json", record("no-id"))
    for look in (lambda: jobs.list_jobs(store), lambda: jobs.find(store, JOB)):
        with pytest.raises(CloudError) as told:
            look()
        assert told.value.fix == "`inv setup` does it, once; then the same again"

    found = older.look(store)
    assert not found.exists
    for make in found.missing:
        make()
    assert sorted(asked.ids(store)) == [JOB, OTHER]
    was = entry(store)
    assert (was.resumed_by, was.launched_at, was.asked) == (OTHER, LAUNCHED, record(JOB)["asked"])
    assert store.s3.get_object(Bucket=store.bucket, Key=asked.resume_key(JOB))["Body"].read()
    assert store.s3.get_object(Bucket=store.bucket, Key="asked/sweeps/s-1/sweep.json")["Body"].read()
    assert jobs.find(store, JOB).status == "complete"
    assert "record unreadable" in jobs.find(store, OTHER).unreadable

    assert older.look(store).exists
    assert not older.look(store).missing


def test_only_what_makes_sense_and_will_not_change_is_kept_on_this_machine(store: Aws) -> None:
    remember(store, JOB)
    remember(store, OTHER, status="running", ended_at=None)
    history.read_all(store)
    put(store, records.key(JOB), "garbage")
    put(store, records.key(OTHER), record(OTHER, status="failed"))
    known = history.read_all(store)
    assert [one.final and one.final.status for one in (known[JOB], known[OTHER])] == ["complete", "failed"]


def test_all_that_is_registered_is_found_and_nothing_else(store: Aws) -> None:
    for number in range(40):
        remember(store, f"i-{number:08x}")
        put(store, asked.resume_key(f"i-{number:08x}"), {})
    put(store, "asked/jobs/i-0000ffff/resume.json", {})
    put(store, "asked/jobs/notes.json", {})
    assert sorted(history.read_all(store)) == [f"i-{number:08x}" for number in range(40)]

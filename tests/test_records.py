from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from cloud import records
from cloud.aws import Aws
from cloud.records import File

from .conftest import record

LAUNCHED = datetime(2026, 11, 24, 8, 0, 0, tzinfo=UTC)


def put(aws: Aws, job: str, **changes: Any) -> None:
    aws.s3.put_object(Bucket=aws.bucket, Key=records.key(job), Body=json.dumps(record(job, **changes)).encode())


def test_a_record_is_read_as_the_instance_wrote_it(store: Aws) -> None:
    put(store, "i-0aaaaaaa", bundle=[{"path": "strategy.csv", "size": 3, "sha256": "ab"}])
    found = records.read(store, "i-0aaaaaaa")
    assert found is not None
    assert (found.status, found.exit_code, found.launched_at) == ("complete", 0, LAUNCHED)
    assert found.bundle == (File("strategy.csv", 3, "ab"),)


def test_what_is_not_there_is_none(store: Aws) -> None:
    assert records.read(store, "i-0aaaaaaa") is None
    assert records.read_all(store) == {}


def test_all_records_are_found_and_other_objects_are_not(store: Aws) -> None:
    for number in range(40):
        put(store, f"i-{number:08x}")
    store.s3.put_object(Bucket=store.bucket, Key="jobs/i-0000ffff/logs/boot.log", Body=b"no record yet")
    store.s3.put_object(Bucket=store.bucket, Key="configs/x/y", Body=b"")
    assert sorted(records.read_all(store)) == [f"i-{number:08x}" for number in range(40)]


def test_the_first_record_does_not_overwrite_what_the_instance_wrote_meanwhile(store: Aws) -> None:
    put(store, "i-0aaaaaaa", status="running")
    records.open_(store, "i-0aaaaaaa", asked={}, launched_at=LAUNCHED)
    found = records.read(store, "i-0aaaaaaa")
    assert found is not None
    assert found.status == "running"


def test_a_job_that_never_booted_has_a_record(store: Aws) -> None:
    records.open_(store, "i-0aaaaaaa", asked={"config_name": "fast.yaml"}, launched_at=LAUNCHED)
    found = records.read(store, "i-0aaaaaaa")
    assert found is not None
    assert (found.status, found.launched_at, found.asked["config_name"]) == ("starting", LAUNCHED, "fast.yaml")


def test_a_last_word_is_given_once(store: Aws) -> None:
    put(store, "i-0aaaaaaa", status="running", ended_at=None)
    records.close(store, "i-0aaaaaaa", status="terminated", reason="by hand")
    records.close(store, "i-0aaaaaaa", status="failed", reason="too late")
    found = records.read(store, "i-0aaaaaaa")
    assert found is not None
    assert (found.status, found.reason) == ("terminated", "by hand")
    assert found.ended_at is not None


def test_a_last_word_of_the_instance_that_comes_in_between_stands(store: Aws, monkeypatch: pytest.MonkeyPatch) -> None:
    put(store, "i-0aaaaaaa", status="running")
    put_object = store.s3.put_object

    def overtaken(**arguments: Any) -> Any:
        put_object(Bucket=store.bucket, Key=records.key("i-0aaaaaaa"), Body=json.dumps(record("i-0aaaaaaa")).encode())
        return put_object(**arguments)

    monkeypatch.setattr(store.s3, "put_object", overtaken)
    records.close(store, "i-0aaaaaaa", status="terminated", reason="by hand")
    found = records.read(store, "i-0aaaaaaa")
    assert found is not None
    assert found.status == "complete"


def test_two_that_say_the_successor_at_once_both_come_to_an_end(store: Aws, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two `resume`s at once start one job, and each links it."""
    put(store, "i-0aaaaaaa", status="failed")
    put_object = store.s3.put_object

    def overtaken(**arguments: Any) -> Any:
        monkeypatch.setattr(store.s3, "put_object", put_object)
        records.add_successor(store, "i-0aaaaaaa", "i-0bbbbbbb")
        return put_object(**arguments)

    monkeypatch.setattr(store.s3, "put_object", overtaken)
    records.add_successor(store, "i-0aaaaaaa", "i-0bbbbbbb")
    found = records.read(store, "i-0aaaaaaa")
    assert found is not None
    assert (found.status, found.resumed_by) == ("failed", "i-0bbbbbbb")

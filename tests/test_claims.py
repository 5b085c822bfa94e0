"""Who may start what: one launcher of a claim, whoever else comes before, after or at the same moment."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from cloud import claims, launch, records
from cloud.aws import Aws
from cloud.claims import Claim
from cloud.errors import CloudError

from .test_launch import found

KEY = "claims/1.json"
LONG_AGO = Claim("0" * 32, datetime(2026, 11, 1, 8, 0, tzinfo=UTC))


def overtaken(monkeypatch: pytest.MonkeyPatch) -> Claim:
    """From now on somebody else takes each claim over, as soon as it has been read; returns the other's claim."""
    read, rival = claims.read, claims.new()

    def while_another_takes_it(aws: Aws, key: str) -> tuple[Claim, str]:
        there, version = read(aws, key)
        assert claims.put(aws, key, rival, IfMatch=version)
        return there, version

    monkeypatch.setattr(claims, "read", while_another_takes_it)
    return rival


def test_of_two_who_take_an_old_claim_over_at_once_one_gets_it(store: Aws, monkeypatch: pytest.MonkeyPatch) -> None:
    claims.put(store, KEY, LONG_AGO)
    with monkeypatch.context() as patch:
        rival = overtaken(patch)
        with pytest.raises(CloudError, match="somebody else starts this very job right now\n  inv status latest"):
            claims.claim(store, KEY)
    assert claims.read(store, KEY)[0] == rival


def test_a_claim_that_nobody_has_is_written_once(store: Aws) -> None:
    first, second = claims.new(), claims.new()
    assert claims.put(store, KEY, first, IfNoneMatch="*")
    assert not claims.put(store, KEY, second, IfNoneMatch="*")
    assert claims.read(store, KEY)[0] == first
    assert first.token != second.token
    assert first.launched_at.microsecond == 0  # or what is read would not be what was written
    assert timedelta() <= datetime.now(UTC) - first.launched_at < timedelta(minutes=1)


def test_the_same_question_has_the_same_place_and_another_another() -> None:
    asked = {"image": "r/i:t", "config": "configs/abc/fast.yaml"}
    assert claims.key_of(asked) == claims.key_of(dict(reversed(asked.items())))
    assert claims.key_of(asked) != claims.key_of({**asked, "image": "r/i:u"})
    assert claims.key_of(asked).startswith("claims/")


@pytest.mark.parametrize(("minutes", "taken_up"), [(9, True), (11, False)])
def test_a_launch_that_was_killed_can_be_taken_up_for_ten_minutes(
    store: Aws, monkeypatch: pytest.MonkeyPatch, minutes: int, taken_up: bool
) -> None:
    monkeypatch.setattr(claims, "VISIBLE_SECONDS", 0)
    left = replace(claims.new(), launched_at=datetime.now(UTC).replace(microsecond=0) - timedelta(minutes=minutes))
    claims.put(store, KEY, left)
    assert (claims.claim(store, KEY) == left) is taken_up


def running(aws: Aws, token: str, **tags: str) -> str:
    """An instance that was launched under a claim; returns its id."""
    every = {"solver:cloud": aws.settings.name, "solver:launch": token, **{f"solver:{k}": v for k, v in tags.items()}}
    specification: Any = {"ResourceType": "instance", "Tags": [{"Key": k, "Value": v} for k, v in every.items()]}
    made = aws.ec2.run_instances(
        ImageId="ami-0123456789abcdef0", MinCount=1, MaxCount=1, TagSpecifications=[specification]
    )
    return made["Instances"][0]["InstanceId"]


def test_an_old_claim_whose_instance_lives_holds(store: Aws) -> None:
    claims.put(store, KEY, LONG_AGO)
    id = running(store, LONG_AGO.token)
    assert claims.claim(store, KEY) == replace(LONG_AGO, instance=id)
    assert claims.running(store, KEY) == id


@pytest.mark.parametrize("status", ["complete", "failed", "terminated"])
def test_a_job_that_has_said_its_last_word_holds_no_claim_though_its_instance_is_there(store: Aws, status: str) -> None:
    there = claims.claim(store, KEY)
    id = running(store, there.token, status=status)
    assert claims.running(store, KEY) == ""
    assert claims.claim(store, KEY, once=True) == replace(there, instance=id)
    anew = claims.claim(store, KEY)
    assert (anew.token != there.token, anew.instance) == (True, "")


def test_nothing_runs_where_nobody_has_claimed_anything(store: Aws) -> None:
    assert claims.running(store, KEY) == ""
    there = claims.claim(store, KEY)
    assert claims.running(store, KEY) == ""
    running(store, "1" * 32)
    assert claims.started(store, there.token) is None


def test_of_two_instances_of_one_claim_the_one_counts_that_goes_on(store: Aws) -> None:
    """Only a race between two computers can make two, and one of them has ended itself or is about to."""
    there = claims.claim(store, KEY)
    over, going = running(store, there.token, status="failed"), running(store, there.token)
    assert claims.running(store, KEY) == going
    store.ec2.create_tags(Resources=[over], Tags=[{"Key": "solver:status", "Value": "running"}])
    store.ec2.terminate_instances(InstanceIds=[going])
    assert claims.running(store, KEY) == over


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Every pause from now on; they take no time."""
    made: list[float] = []
    monkeypatch.setattr("time.sleep", made.append)
    monkeypatch.setattr("time.monotonic", lambda: sum(made))
    return made


def test_an_instance_is_waited_for_until_ec2_shows_it(
    store: Aws, pauses: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    """EC2's answers are only eventually consistent:
    https://docs.aws.amazon.com/ec2/latest/devguide/eventual-consistency.html"""
    there = claims.claim(store, KEY)
    ids: list[str] = []

    def slept(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 2:
            ids.append(running(store, there.token))

    monkeypatch.setattr("time.sleep", slept)
    found = claims.started(store, there.token, patience=8)
    assert [found and found["InstanceId"], pauses] == [*ids, [1, 1]]
    assert claims.started(store, "1" * 32, patience=3) is None
    assert sum(pauses) == 5
    assert claims.started(store, "1" * 32) is None
    assert sum(pauses) == 5


def test_only_what_was_launched_just_now_may_be_unseen_yet(store: Aws, pauses: list[float]) -> None:
    claims.put(store, KEY, LONG_AGO)
    recent = claims.claim(store, KEY)
    assert (recent.token != LONG_AGO.token, pauses) == (True, [])
    assert claims.claim(store, KEY) == recent
    assert sum(pauses) == claims.VISIBLE_SECONDS == 8


def test_a_claim_in_s3_is_what_later_versions_read(store: Aws) -> None:
    claims.put(store, KEY, LONG_AGO)
    body = store.s3.get_object(Bucket=store.bucket, Key=KEY)["Body"].read()
    assert json.loads(body) == {"token": "0" * 32, "launched_at": records.iso(LONG_AGO.launched_at)}
    assert claims.read(store, KEY)[0] == LONG_AGO


def test_a_claim_holds_for_who_comes_second_until_its_instance_has_ended(
    ready: Aws, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claims, "VISIBLE_SECONDS", 1)  # nothing has been started when it is taken up first
    first = claims.claim(ready, KEY)
    assert claims.claim(ready, KEY) == first
    started = launch.run(ready, found(ready), first, print)
    assert claims.claim(ready, KEY) == replace(first, instance=started.id)
    assert launch.run(ready, found(ready), first, print).id == started.id
    ready.ec2.terminate_instances(InstanceIds=[started.id])
    again = claims.claim(ready, KEY)
    assert (again.token != first.token, again.instance) == (True, "")


AT = '"launched_at": "2026-11-01T08:00:00Z"'
TOKEN = '"token": "' + "0" * 32 + '"'


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ("[]", "the claim is"),
        ("{" + AT + "}", "token is"),
        ('{"token": "' + "g" * 50 + '", ' + AT + "}", f"token is '{'g' * 40}'$"),
        ("{" + TOKEN + "}", "launched_at is"),
        ("{" + TOKEN + ", " + AT + "}" + " " * claims.MOST_BYTES, ""),
    ],
)
def test_what_is_no_claim_is_said_with_what_to_do(store: Aws, body: str, why: str) -> None:
    store.s3.put_object(Bucket=store.bucket, Key=KEY, Body=body.encode())
    with pytest.raises(CloudError) as error:
        claims.read(store, KEY)
    assert re.search(f"^{KEY} in S3 is no claim of a launch: {why}", error.value.problem)
    assert error.value.fix == f"if `inv status` shows nothing that was launched so: aws s3 rm s3://{store.bucket}/{KEY}"

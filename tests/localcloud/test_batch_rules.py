"""Batch's decisions one by one: which attempts are made again, what is bought, how long a container may take."""

from __future__ import annotations

import json
import queue
from dataclasses import replace
from datetime import UTC, datetime
from email.message import Message
from http import HTTPStatus
from types import SimpleNamespace
from typing import Any

import pytest

from localcloud import batch_retries
from localcloud.batch_hosts import Host
from localcloud.batch_jobs import ArrayJob, Attempt, Job, Request
from localcloud.batch_launch import Room, room_of
from localcloud.batch_scheduler import Scheduler
from localcloud.batch_task import TaskEnd, drains, stop_timeout
from localcloud.task_credentials import TaskCredentials

HOST = "Host EC2 (instance i-0123456789abcdef0) terminated."
RULES = [
    {"onStatusReason": "Host EC2*", "action": "RETRY"},
    {"onExitCode": "75", "action": "RETRY"},
    {"onReason": "*", "action": "EXIT"},
]
REQUEST = Request(
    name="job",
    queue="queue",
    definition="definition",
    definition_name="definition",
    image="image",
    command=(),
    environment={},
    role_arn=None,
    vcpus=1,
    memory=64,
    init=False,
    retry={},
    timeout=60,
    container={},
)


def attempt(number: int = 1, **how: Any) -> Attempt:
    made = Attempt(number, "i-0123456789abcdef0", "environment", "arn", "arn", "stream")
    for name, value in how.items():
        setattr(made, name, value)
    return made


@pytest.mark.parametrize(
    ("how", "again"),
    [
        ({"status_reason": HOST}, True),
        ({"status_reason": "Essential container in task exited", "exit_code": 75}, True),
        ({"status_reason": "Essential container in task exited", "exit_code": 7}, False),
        ({"status_reason": "Task failed to start", "reason": "CannotPullContainerError: no"}, False),
        ({"number": 3, "status_reason": HOST}, False),
    ],
)
def test_the_first_rule_that_matches_decides(how: dict[str, Any], again: bool) -> None:
    assert batch_retries.retries({"attempts": 3, "evaluateOnExit": RULES}, attempt(**how)) is again


def test_without_a_rule_that_matches_there_is_another_attempt() -> None:
    rule = {"onExitCode": "1*", "onStatusReason": HOST, "action": "exit"}
    strategy = {"attempts": 2, "evaluateOnExit": [rule]}
    assert batch_retries.retries(strategy, attempt(exit_code=12, status_reason="other"))  # both would have to match
    assert not batch_retries.retries(strategy, attempt(exit_code=12, status_reason=HOST))
    assert batch_retries.retries({"attempts": 2}, attempt(exit_code=1))
    assert not batch_retries.retries({}, attempt(exit_code=1))


def test_an_array_counts_its_children() -> None:
    array = ArrayJob(REQUEST, "id", "arn", 2)
    first, second = array.children
    first.enter("FAILED", "why")
    assert (array.status, array.counts["RUNNABLE"], array.counts["FAILED"]) == ("PENDING", 1, 1)
    second.enter("SUCCEEDED")
    assert (array.status, array.over) == ("FAILED", True)


def test_the_timeout_begins_when_the_container_runs() -> None:
    job = Job(REQUEST, "id", "arn")
    job.attempts.append(attempt())
    job.enter("STARTING")
    assert job.overdue_at() is None
    job.attempts[-1].started_at = 1000.0
    job.enter("RUNNING")
    assert job.overdue_at() == 1060.0
    job.ending = "it is asked to end already"
    assert job.overdue_at() is None


def test_an_attempt_that_takes_too_long_is_ended_and_not_made_again() -> None:
    stopped: queue.Queue[tuple[str, str]] = queue.Queue()
    machines = SimpleNamespace(stop_task=lambda *task: stopped.put(task))
    ec2 = SimpleNamespace(cloud=SimpleNamespace(machines=machines, relaunch_seconds=1))
    backend: Any = SimpleNamespace(ec2=ec2, get_job_queue=lambda _: None)
    scheduler = Scheduler(backend, lambda: None)
    job = Job(replace(REQUEST, retry={"attempts": 3}), "id", "arn")
    job.attempts.append(attempt(started_at=1000.0))
    job.enter("RUNNING")
    instance: Any = SimpleNamespace(
        id="i-0123456789abcdef0", state="running", instance_type="c7i.large", interruption=None
    )
    environment: Any = SimpleNamespace(name="environment")
    host = Host(instance, environment, "arn", {job})
    scheduler.hosts.append(host)
    scheduler.step(now=1059.0)
    assert job.ending is None
    scheduler.step(now=1060.0)
    assert stopped.get(timeout=5) == (instance.id, job.attempts[-1].task_id)
    assert job.status == "RUNNING"  # until its container has ended
    scheduler.attempts.ended(job, job.attempts[-1], host, TaskEnd(137))
    assert (job.status, job.status_reason) == ("FAILED", "Job attempt duration exceeded timeout")
    assert job.attempts[-1].exit_code == 137
    assert scheduler.waiting == {}


@pytest.mark.parametrize(
    ("config", "seconds"),
    [
        ("", 30),
        ("ECS_CLUSTER=x\nECS_CONTAINER_STOP_TIMEOUT=2m\n", 120),
        ("ECS_CONTAINER_STOP_TIMEOUT=120s\n", 120),
        ("ECS_CONTAINER_STOP_TIMEOUT=1m\nECS_CONTAINER_STOP_TIMEOUT=1m30s\n", 90),
        ("ECS_CONTAINER_STOP_TIMEOUT=500ms", 0.5),
        ("ECS_CONTAINER_STOP_TIMEOUT=nonsense", 30),
    ],
)
def test_how_long_a_container_has_to_end(config: str, seconds: float) -> None:
    assert stop_timeout(config) == seconds


def test_an_agent_drains_if_it_is_told_to() -> None:
    assert not drains("ECS_CLUSTER=x\nECS_ENABLE_SPOT_INSTANCE_DRAINING=false\n")
    assert drains("ECS_CLUSTER=x\nECS_ENABLE_SPOT_INSTANCE_DRAINING=true\n")


def test_room_is_what_a_type_has_less_the_systems_share() -> None:
    room = room_of("c7i.4xlarge")
    assert room.vcpus == 16
    assert 30000 < room.memory < 32768
    assert room.slots(4, 4096) == 4
    assert room.slots(1, 16384) == 1
    assert Room(4, 1000).without(3, 1, 100) == Room(1, 700)


def test_each_container_gets_its_own_roles_credentials_only() -> None:
    def of(role: str, session: str) -> dict[str, str]:
        if role == "missing":
            raise LookupError(role)
        return {"AccessKeyId": f"ASIA-{role}", "Expiration": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"}

    credentials = TaskCredentials(of)
    one = credentials.grant("arn:aws:iam::123456789012:role/one")
    other = credentials.grant("arn:aws:iam::123456789012:role/path/other")
    for path, key in ((one, "ASIA-one"), (other, "ASIA-other")):
        answer = credentials.answer("GET", path, Message())
        assert answer.status == HTTPStatus.OK
        assert json.loads(answer.body)["AccessKeyId"] == key
    credentials.withdraw(one)
    assert credentials.answer("GET", one, Message()).status == HTTPStatus.BAD_REQUEST
    assert credentials.answer("GET", "/v2/credentials/", Message()).status == HTTPStatus.BAD_REQUEST
    with pytest.raises(KeyError):
        credentials.grant("arn:aws:iam::123456789012:role/missing")

"""Batch on real machines: children as containers, how they end, and what becomes of the machines."""

from __future__ import annotations

import base64
import io
import json
import time
import uuid
from collections.abc import Iterator
from typing import Any

import docker
import pytest

from localcloud.labels import CLOUD, TASK

from .batch_account import BatchAccount
from .conftest import FakeCloud, eventually

HOST_EC2 = {"attempts": 2, "evaluateOnExit": [{"onStatusReason": "Host EC2*", "action": "RETRY"}]}
HOST_EC2["evaluateOnExit"].append({"onReason": "*", "action": "EXIT"})  # type: ignore[attr-defined]
GOES_ON = "trap 'echo asked to end; exit 3' TERM; echo began; sleep 100 & wait"


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory, registry_program: str, instance_image: str) -> Iterator[FakeCloud]:
    """A cloud whose machines are real."""
    cloud = FakeCloud(tmp_path_factory.mktemp("batch"), registry_program, ami=instance_image)
    cloud.start("--relaunch-seconds", "0.3")
    yield cloud
    cloud.stop()


@pytest.fixture(scope="module")
def image(real: FakeCloud, engine: Any, runtime_image: str) -> Iterator[str]:
    """A small image in the registry, with the shell as its entrypoint; its AWS CLI says how it was called."""
    lines = [
        f"FROM {runtime_image}",
        "RUN printf '#!/bin/sh\\necho called: \"$@\"\\n' > /usr/bin/aws; chmod +x /usr/bin/aws",
    ]
    lines.append('ENTRYPOINT ["/bin/bash", "-c"]')
    repository, ecr = f"children-{uuid.uuid4().hex[:8]}", real.client("ecr")
    uri = ecr.create_repository(repositoryName=repository)["repository"]["repositoryUri"]
    engine.images.build(fileobj=io.BytesIO("\n".join(lines).encode()), tag=f"{uri}:1", rm=True)
    token = ecr.get_authorization_token()["authorizationData"][0]["authorizationToken"]
    user, password = base64.b64decode(token).decode().split(":")
    login = {"username": user, "password": password}
    pushed = engine.api.push(uri, tag="1", auth_config=login, stream=True, decode=True)
    assert not [line for line in pushed if "error" in line]
    yield f"{uri}:1"
    engine.images.remove(f"{uri}:1", force=True)


@pytest.fixture(scope="module")
def account(real: FakeCloud) -> BatchAccount:
    return BatchAccount(real, max_vcpus=4)


def children_in(engine: Any, cloud: FakeCloud) -> list[Any]:
    """The containers of all children, whatever their state."""
    labels = [f"{CLOUD}={cloud.state.cloud}", TASK]
    found: list[Any] = engine.containers.list(all=True, sparse=True, filters={"label": labels})
    return found


def told_by(engine: Any, cloud: FakeCloud) -> list[bytes]:
    """What each child that is there has printed; nothing while one is just being removed."""
    try:
        return [child.logs() for child in children_in(engine, cloud)]
    except docker.errors.NotFound:
        return []


def test_children_have_their_environment_and_their_roles_credentials(
    account: BatchAccount, image: str, engine: Any
) -> None:
    script = """
        get() { exec 3<>/dev/tcp/$1/80; printf 'GET %s HTTP/1.0\\r\\n\\r\\n' "$2" >&3; cat <&3; echo; }
        env; aws s3 ls; get 169.254.169.254 /latest/meta-data/
        get 169.254.170.2 $AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"""
    override = {"environment": [{"name": "WHO", "value": "overridden"}]}
    parent = account.submit(account.definition(image, script), 4, containerOverrides=override)
    assert account.over(parent)["status"] == "SUCCEEDED"
    for index, child in enumerate(account.children(parent)):
        printed = account.log(child)
        assert (
            dict(line.split("=", 1) for line in printed if "=" in line).items()
            >= {
                "WHO": "overridden",
                "AWS_BATCH_JOB_ID": f"{parent}:{index}",
                "AWS_BATCH_JOB_ARRAY_INDEX": str(index),
                "AWS_BATCH_JOB_ARRAY_SIZE": "4",
                "AWS_BATCH_JOB_ATTEMPT": "1",
                "AWS_BATCH_CE_NAME": account.spot,
                "AWS_BATCH_JQ_NAME": account.name,
                "AWS_EXECUTION_ENV": "AWS_ECS_EC2",
            }.items()
        )
        assert f"called: --endpoint-url {account.cloud.endpoint} s3 ls" in printed
        assert [line for line in printed if "401" in line and "HTTP" in line]  # the machine's own, which wants a token
        own = json.loads(next(line for line in printed if line.startswith("{")))
        sts = account.cloud.client(
            "sts",
            aws_access_key_id=own["AccessKeyId"],
            aws_secret_access_key=own["SecretAccessKey"],
            aws_session_token=own["Token"],
        )
        assert f":assumed-role/{account.name}/" in sts.get_caller_identity()["Arn"]
        assert own["RoleArn"] == account.role
    assert len({child["container"]["containerInstanceArn"] for child in account.children(parent)}) == 2
    for instance in account.instances():
        assert instance["InstanceLifecycle"] == "spot"
        assert instance["MetadataOptions"]["HttpTokens"] == "required"
    eventually(lambda: not account.instances("pending", "running"), 30)  # nothing runs when no job does
    assert children_in(engine, account.cloud) == []


def test_exit_codes_and_retries_by_rule(account: BatchAccount, image: str) -> None:
    rules = [{"onExitCode": "7", "action": "RETRY"}, {"onExitCode": "*", "action": "exit"}]
    script = (
        'code=7; [ "$AWS_BATCH_JOB_ARRAY_INDEX" = 1 ] && code=9; [ "$AWS_BATCH_JOB_ATTEMPT" = 3 ] && code=0; exit $code'
    )
    definition = account.definition(image, script, retryStrategy={"attempts": 5, "evaluateOnExit": rules})
    parent = account.submit(definition, 2)
    assert account.over(parent)["status"] == "FAILED"
    again, out = account.children(parent)
    assert again["status"] == "SUCCEEDED"
    assert [attempt["container"]["exitCode"] for attempt in again["attempts"]] == [7, 7, 0]
    assert out["status"] == "FAILED"
    assert [attempt["container"]["exitCode"] for attempt in out["attempts"]] == [9]
    assert out["statusReason"] == out["attempts"][0]["statusReason"] == "Essential container in task exited"


def test_an_image_that_is_not_there_and_too_little_memory(account: BatchAccount, image: str) -> None:
    missing = account.submit(account.definition(f"{image}-missing", "true"))
    hungry = account.submit(account.definition(image, "tail /dev/zero", memory=64))
    for job, reason in ((missing, "CannotPullContainerError: "), (hungry, "OutOfMemoryError: Container killed due to")):
        found = account.over(job)
        assert found["status"] == "FAILED"
        assert found["container"]["reason"].startswith(reason)
    assert account.look(missing)[0]["statusReason"] == "Task failed to start"


def test_children_of_a_reclaimed_instance_go_on_elsewhere(account: BatchAccount, image: str, engine: Any) -> None:
    script = f"[ $AWS_BATCH_JOB_ATTEMPT = 2 ] && exit 0; {GOES_ON}"
    parent = account.submit(account.definition(image, script, vcpus=2, retryStrategy=HOST_EC2), 2)
    eventually(lambda: told_by(engine, account.cloud) == [b"began\n"] * 2, 60)
    account.interrupt(f"{account.name}/1")
    child = account.over(f"{parent}:1")
    first, second = child["attempts"]
    assert child["status"] == "SUCCEEDED"
    assert first["statusReason"].startswith("Host EC2 (instance i-")
    assert first["statusReason"].endswith(") terminated.")
    assert "exitCode" not in first["container"]
    assert first["container"]["containerInstanceArn"] != second["container"]["containerInstanceArn"]
    other = account.look(f"{parent}:0")[0]
    assert other["status"] == "RUNNING"

    # The other one's machine shuts itself down, and its container is asked to end: that is no end of its own.
    engine.containers.get(f"{account.cloud.state.cloud}-{account.instance_of(other)}").exec_run("shutdown -h now")
    assert account.over(f"{parent}:0")["attempts"][0]["statusReason"].startswith("Host EC2 (instance i-")
    assert account.over(parent)["status"] == "SUCCEEDED"


def test_terminate_asks_first_and_kills_later(account: BatchAccount, image: str, engine: Any) -> None:
    script = f'[ "$AWS_BATCH_JOB_ARRAY_INDEX" = 1 ] && trap "" TERM && echo began && exec sleep 100; {GOES_ON}'
    definition = account.definition(image, script, retryStrategy={"attempts": 3})
    parent = account.submit(definition, 2)
    eventually(lambda: told_by(engine, account.cloud) == [b"began\n"] * 2, 60)
    asked_at = time.time() * 1000
    account.batch.terminate_job(jobId=parent, reason="enough")
    polite, stubborn = account.over(f"{parent}:0"), account.over(f"{parent}:1")
    assert polite["stoppedAt"] < stubborn["stoppedAt"]
    assert 2000 <= stubborn["stoppedAt"] - asked_at < 20_000  # the launch template's user data says 2 s, not 30
    assert polite["container"]["exitCode"] == 3
    assert stubborn["container"]["exitCode"] == 137
    for child in (polite, stubborn):
        assert (child["status"], child["statusReason"], child["isTerminated"]) == ("FAILED", "enough", True)
        assert len(child["attempts"]) == 1
    assert account.log(polite)[-1] == "asked to end"
    assert (account.look(parent)[0]["status"], account.look(parent)[0]["statusReason"]) == ("FAILED", "enough")


def test_nothing_is_left_of_children_when_the_cloud_ends(account: BatchAccount, image: str, engine: Any) -> None:
    job = account.submit(account.definition(image, GOES_ON))
    account.reaches(job, "RUNNING")
    assert len(children_in(engine, account.cloud)) == 1
    account.cloud.stop()
    assert children_in(engine, account.cloud) == []

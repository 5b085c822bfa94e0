"""Bad input on a live cloud: one clear line, nothing started, nothing left."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from cloud.aws import instances

from .conftest import EXAMPLE, User


def launch(config: Path, *options: str, instance: str = "c7i.4xlarge", source: Path = EXAMPLE) -> tuple[str, ...]:
    words = ("launch", "--instance", instance, "--config", str(config), "--output", "~/models/refused")
    return (*words, "--source", str(source), *options)


@pytest.fixture
def config(user: User) -> Path:
    return user.config("fast.yaml")


@pytest.fixture(autouse=True)
def _nothing_is_started(user: User) -> Iterator[None]:
    def living() -> set[str]:
        states = {"Name": "instance-state-name", "Values": ["pending", "running"]}
        return {instance["InstanceId"] for instance in instances(user.aws, [states])}

    before = living()
    yield
    assert living() <= before


def test_an_account_that_is_not_set_up(user: User, config: Path) -> None:
    refused = user.run(*launch(config, "--region", "eu-west-1"), code=1).stderr
    assert "is not set up for solver-cloud in eu-west-1\n  run `inv setup` first" in refused


def test_an_unknown_instance_type(user: User, config: Path) -> None:
    assert "there is no instance type 'c7i.5xlarge'" in user.run(*launch(config, instance="c7i.5xlarge"), code=2).stderr


def test_an_unknown_job(user: User) -> None:
    for command in ("status", "wait", "logs", "download", "terminate"):
        assert "no job 'i-0123456789abcdef0'" in user.run(command, "i-0123456789abcdef0", code=1).stderr


def test_an_instance_that_is_no_job(user: User) -> None:
    client = user.aws.ec2
    image = client.describe_images(Owners=["amazon"])["Images"][0]["ImageId"]
    (instance,) = client.run_instances(ImageId=image, MinCount=1, MaxCount=1, InstanceType="c7i.large")["Instances"]
    try:
        refused = user.run("terminate", instance["InstanceId"], code=1).stderr
        assert "not a job of solver-cloud" in refused
    finally:
        client.terminate_instances(InstanceIds=[instance["InstanceId"]])
        client.get_waiter("instance_terminated").wait(InstanceIds=[instance["InstanceId"]], WaiterConfig={"Delay": 1})


def test_no_workspace(user: User, config: Path, tmp_path: Path) -> None:
    assert "--source" in user.run(*launch(config, source=tmp_path), code=2).stderr


def test_no_engine(user: User, config: Path, source: Path) -> None:
    (source / "edited").write_text("so that there is something to build")
    user.environment["DOCKER_HOST"] = "unix:///nowhere.sock"
    try:
        refused = user.run(*launch(config, source=source), code=1).stderr
    finally:
        del user.environment["DOCKER_HOST"]
    assert "Docker" in refused
    assert len(refused.strip().splitlines()) <= 4


def test_a_build_that_fails_shows_its_last_lines(user: User, config: Path, source: Path) -> None:
    (source / "crates" / "trainer" / "src" / "main.rs").write_text('fn main() { let x: u32 = "one"; }\n')
    refused = user.run(*launch(config, source=source), code=1).stderr
    assert "mismatched types" in refused
    images = user.run("status", "--json").stdout
    assert "refused" not in images


def test_credentials_that_are_not_known(user: User) -> None:
    environment = {
        **{name: value for name, value in user.environment.items() if name != "AWS_PROFILE"},
        "AWS_ACCESS_KEY_ID": "AKIAIOSFODNN7EXAMPLE",
        "AWS_SECRET_ACCESS_KEY": "x",
        "AWS_ENDPOINT_URL": user.aws.ec2.meta.endpoint_url,
    }
    stranger = User(user.home, environment)
    assert "AWS does not know the access key" in stranger.run("status", code=1).stderr

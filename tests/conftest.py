"""What the unit tests share: an AWS account in this process, and a home directory of their own."""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import botocore.session
import pytest
from botocore.client import ClientCreator

from cloud import asked, firewall, provision, records
from cloud.aws import Aws
from cloud.config import Settings

from .localcloud.conftest import FakeCloud, find_registry

HERE = Path(__file__).parent

os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # commands and daemons are compiled once, as for their users
os.environ.pop("SOLVER_LOCAL_PROFILE", None)  # of who runs the tests; theirs have homes, and so profiles, of their own


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--all", action="store_true", help="the long versions too")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not config.getoption("--all"):
        long = [item for item in items if item.get_closest_marker("long")]
        config.hook.pytest_deselected(items=long)
        items[:] = [item for item in items if item not in long]


@pytest.fixture(scope="session", autouse=True)
def models_are_read_once() -> Iterator[None]:
    """Each test has sessions of its own, as each command has; to read AWS's models anew for each, and to make the
    classes of their clients, took half of the time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(botocore.session, "create_loader", cache(botocore.session.create_loader))
        for name in ("_load_service_model", "_create_client_class"):
            patch.setattr(ClientCreator, name, once_for_each_service(getattr(ClientCreator, name)))
        yield


def once_for_each_service(make: Callable[..., Any]) -> Callable[..., Any]:
    """A method of botocore's ClientCreator whose first argument is a service's name, called once for each."""
    made: dict[str, Any] = {}

    def get(creator: ClientCreator, service: str, *rest: Any, **options: Any) -> Any:
        if service not in made:
            made[service] = make(creator, service, *rest, **options)
        return made[service]

    return get


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty home directory, and nothing of this machine's AWS configuration."""
    directory = tmp_path / "home"
    directory.mkdir()
    monkeypatch.setenv("HOME", str(directory))
    for name in (
        "AWS_PROFILE",
        "AWS_DEFAULT_PROFILE",
        "AWS_REGION",
        "AWS_DEFAULT_REGION",
        "AWS_CONFIG_FILE",
        "AWS_SHARED_CREDENTIALS_FILE",
        "AWS_ENDPOINT_URL",
        "XDG_CACHE_HOME",
    ):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIATEST")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    return directory


@pytest.fixture
def settings(home: Path) -> Settings:
    return Settings.from_context({})


@pytest.fixture
def aws(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[Aws]:
    """An empty account; this machine's address is 192.0.2.7 (RFC 5737) in it."""
    from moto import mock_aws

    from localcloud import bucket_policies

    bucket_policies.install()
    monkeypatch.setenv("MOTO_EC2_LOAD_DEFAULT_AMIS", "false")  # hundreds, which no test looks at, for each account
    monkeypatch.setattr(firewall, "caller_address", lambda _: "192.0.2.7")
    with mock_aws():
        yield Aws(settings)


@pytest.fixture
def store(aws: Aws) -> Aws:
    """An account that has the bucket, and nothing else: all that jobs' records and files need."""
    aws.s3.create_bucket(Bucket=aws.bucket)
    return aws


@pytest.fixture
def account(aws: Aws) -> Aws:
    """An account that is set up."""
    list(provision.converge(aws))
    return aws


@pytest.fixture(scope="session")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FakeCloud]:
    """The local cloud's API, with EC2's spot requests, prices and quotas, which moto alone does not have; its machines
    exist in name only. A lost instance is launched anew at once."""
    cloud = FakeCloud(tmp_path_factory.mktemp("cloud"), find_registry())
    cloud.start("--relaunch-seconds", "0.1")
    yield cloud
    cloud.stop()


@pytest.fixture
def spot(cloud: FakeCloud, home: Path, monkeypatch: pytest.MonkeyPatch) -> Aws:
    """An account of the local cloud for jobs of a name of their own; with a bucket and a repository."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", cloud.endpoint)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", cloud.state.key().id)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", cloud.state.key().secret)
    monkeypatch.setattr(firewall, "caller_address", lambda _: "192.0.2.7")
    name = f"test-{uuid.uuid4().hex[:8]}"
    aws = Aws(Settings.from_context({}, name=name, source=home))
    aws.s3.create_bucket(Bucket=aws.bucket)
    aws.ecr.create_repository(repositoryName=aws.settings.repository)
    return aws


@pytest.fixture
def ready(spot: Aws) -> Aws:
    """An account of the local cloud that is set up."""
    list(provision.converge(spot))
    return spot


def record(job: str, **changes: Any) -> dict[str, Any]:
    """A job's record as the instance writes it."""
    return {
        "version": 1,
        "job": job,
        "status": "complete",
        "phase": "done",
        "reason": "",
        "exit_code": 0,
        "launched_at": "2026-11-24T08:00:00Z",
        "started_at": "2026-11-24T08:01:00Z",
        "ended_at": "2026-11-24T09:00:00Z",
        "asked": {
            "instance_type": "c7i.4xlarge",
            "market": "spot",
            "config_name": "fast_buckets.yaml",
            "output": "~/models/run-001",
            "image": "registry/solver-cloud:abc",
        },
        "bundle": [],
        "attempts": [{"started_at": "2026-11-24T08:00:30Z", "seconds": 3570, "dollars": 0.25}],
        **changes,
    }


def remember(aws: Aws, job: str, *, resumed_by: str = "", **changes: Any) -> None:
    """What S3 has of a job: its record, and its entry in the registry with what was asked."""
    told = record(job, **changes)
    aws.s3.put_object(Bucket=aws.bucket, Key=records.key(job), Body=json.dumps(told).encode())
    entry = {"version": 1, "job": job, "launched_at": told["launched_at"], "asked": told["asked"]}
    entry["resumed_by"] = resumed_by
    aws.s3.put_object(Bucket=aws.bucket, Key=asked.key(job), Body=json.dumps(entry).encode())

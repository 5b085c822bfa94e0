"""What the unit tests share: an AWS account in this process, and a home directory of their own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cloud.aws import Aws
from cloud.config import Settings

HERE = Path(__file__).parent


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--all", action="store_true", help="the long versions too")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty home directory, and nothing of this machine's AWS configuration."""
    directory = tmp_path / "home"
    directory.mkdir()
    monkeypatch.setenv("HOME", str(directory))
    for name in (
        "AWS_PROFILE",
        "AWS_REGION",
        "AWS_DEFAULT_REGION",
        "AWS_CONFIG_FILE",
        "AWS_SHARED_CREDENTIALS_FILE",
        "AWS_ENDPOINT_URL",
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

    from cloud import firewall
    from localcloud import bucket_policies

    bucket_policies.install()
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
    from cloud import provision

    list(provision.converge(aws))
    return aws


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
        **changes,
    }

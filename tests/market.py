"""The regions of the local cloud in which launches are tested: set up once, selling what a test says."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import boto3
import botocore.loaders
import botocore.session
import pytest

from cloud import firewall, image, provision, registry
from cloud.aws import Aws
from cloud.config import Settings
from localcloud import supervisor

from .localcloud.conftest import FakeCloud
from .shop import AWAY, EXAMPLE, HOME, Call, Shop
from .test_resume import MANIFEST


def environment(cloud: FakeCloud) -> dict[str, str]:
    """What leads to the local cloud, and to no Docker engine: whoever tried to build would fail."""
    key = cloud.state.key()
    return {
        "AWS_ENDPOINT_URL": cloud.endpoint,
        "AWS_ACCESS_KEY_ID": key.id,
        "AWS_SECRET_ACCESS_KEY": key.secret,
        "AWS_EC2_METADATA_DISABLED": "true",
        "DOCKER_HOST": "unix:///nonexistent/docker.sock",
    }


@cache
def service_models() -> Any:
    return botocore.loaders.create_loader()


@cache
def set_up(cloud: FakeCloud) -> str:
    """Set both regions up, with the example trainer's images in ECR; returns the name under which that is."""
    name = f"test-{uuid.uuid4().hex[:8]}"
    with pytest.MonkeyPatch.context() as patch:
        for key, value in environment(cloud).items():
            patch.setenv(key, value)
        patch.setattr(firewall, "caller_address", lambda _: "192.0.2.7")
        for region in (HOME, AWAY):
            aws = Aws(Settings.from_context({}, name=name, source=EXAMPLE, region=region))
            list(provision.converge(aws))
            with image.snapshot(aws.settings.source, aws.settings.dockerfile) as snapshot:
                for platform in ("linux/amd64", "linux/arm64"):
                    tag = registry.image_name(aws, snapshot, platform).rpartition(":")[2]
                    aws.ecr.put_image(repositoryName=name, imageManifest=MANIFEST + " " * len(platform), imageTag=tag)
    return name


@pytest.fixture
def shop(cloud: FakeCloud, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shop]:
    """Everything is sold to everybody, until a test says otherwise. What it started ends with the test."""
    for key, value in environment(cloud).items():
        monkeypatch.setenv(key, value)
    shop = Shop(cloud, set_up(cloud), tmp_path)

    loader = service_models()

    class Session(boto3.Session):
        """Notes what is asked of AWS. All share what is known of AWS's services, which takes long to read."""

        def __init__(self, **options: Any) -> None:
            core = options.setdefault("botocore_session", botocore.session.Session())
            core.register_component("data_loader", loader)
            super().__init__(**options)
            self.events.register("before-call", note)
            self.events.register("before-send", lambda event_name, **_: shop.sent.append(event_name.split(".")[-1]))

    def note(model: Any, params: Any, request_signer: Any, **_: object) -> None:
        if model.name == "RunInstances" and shop.surprises:
            shop.surprises.pop(0)()
        body = params["body"] if isinstance(params["body"], dict) else {}
        shop.calls.append(Call(request_signer._region_name, model.name, body))

    monkeypatch.setattr(boto3, "Session", Session)
    shop.sells()
    yield shop
    shop.end_all()
    shop.fault("none")
    assert cloud.running
    supervisor.change_market(cloud.running, "none")

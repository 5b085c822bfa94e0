"""Batch on real machines: children as containers, how they end, and what becomes of the machines."""

from __future__ import annotations

import base64
import io
import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from .batch_account import BatchAccount
from .conftest import FakeCloud

IDLE_SECONDS = 20


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory, registry_program: str, instance_image: str) -> Iterator[FakeCloud]:
    """A cloud whose machines are real."""
    cloud = FakeCloud(tmp_path_factory.mktemp("batch"), registry_program, ami=instance_image)
    cloud.start("--relaunch-seconds", "0.3")
    yield cloud
    cloud.stop()


@pytest.fixture(scope="module")
def image(real: FakeCloud, engine: Any, instance_image: str) -> str:
    """An image with the AWS CLI where Debian has it, in the registry; its entrypoint is the shell."""
    lines = [f"FROM {instance_image}", "RUN mv /usr/libexec/aws /usr/bin/aws", 'ENTRYPOINT ["/bin/sh", "-c"]']
    repository, ecr = f"children-{uuid.uuid4().hex[:8]}", real.client("ecr")
    uri = ecr.create_repository(repositoryName=repository)["repository"]["repositoryUri"]
    engine.images.build(fileobj=io.BytesIO("\n".join(lines).encode()), tag=f"{uri}:1", rm=True)
    user, password = (
        base64.b64decode(ecr.get_authorization_token()["authorizationData"][0]["authorizationToken"])
        .decode()
        .split(":")
    )
    pushed = engine.api.push(
        uri, tag="1", auth_config={"username": user, "password": password}, stream=True, decode=True
    )
    assert not [line for line in pushed if "error" in line]
    yield f"{uri}:1"
    engine.images.remove(f"{uri}:1", force=True)


@pytest.fixture(scope="module")
def account(real: FakeCloud) -> BatchAccount:
    return BatchAccount(real, max_vcpus=4)


def test_children_have_their_environment_and_their_roles_credentials(account: BatchAccount, image: str) -> None:
    script = (
        "env; aws sts get-caller-identity --output text; curl -s -o /dev/null -w '%{http_code}' http://169.254.169.254/"
    )
    parent = account.submit(
        account.definition(image, script),
        4,
        containerOverrides={"environment": [{"name": "WHO", "value": "overridden"}]},
    )
    assert account.over(parent)["status"] == "SUCCEEDED"
    print(account.children(parent))
    for index, child in enumerate(account.children(parent)):
        printed = account.log(child)
        print(printed)

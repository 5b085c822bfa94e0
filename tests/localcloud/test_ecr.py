"""ECR and the registry behind it, spoken to as Docker does: over the registry's HTTP API."""

from __future__ import annotations

import base64
import hashlib
import http.client
import json
import os
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from .conftest import FakeCloud, refusal

MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"


class Client:
    """As much of a registry's client as a push and a pull need."""

    def __init__(self, address: str, authorization: str | None) -> None:
        self.address = address
        self.authorization = authorization

    def call(self, method: str, target: str, body: Any = None, **headers: str) -> tuple[int, dict[str, str], bytes]:
        connection = http.client.HTTPConnection(self.address, timeout=30)
        if self.authorization:
            headers["Authorization"] = self.authorization
        connection.request(method, target, body, headers, encode_chunked=not isinstance(body, bytes | None))
        answer = connection.getresponse()
        return answer.status, {key.lower(): value for key, value in answer.getheaders()}, answer.read()

    def upload(self, name: str, blob: bytes) -> dict[str, Any]:
        """Upload a blob, in chunks of unknown number as Docker does; returns its descriptor."""
        digest = "sha256:" + hashlib.sha256(blob).hexdigest()
        status, headers, _ = self.call("POST", f"/v2/{name}/blobs/uploads/")
        assert status == 202
        pieces = iter([blob[:1000], blob[1000:]])
        status, headers, _ = self.call(
            "PATCH", _target(headers["location"]), pieces, **{"Transfer-Encoding": "chunked"}
        )
        assert status == 202
        location = _target(headers["location"])
        assert self.call("PUT", f"{location}{'&' if '?' in location else '?'}digest={digest}")[0] == 201
        return {"mediaType": "application/octet-stream", "size": len(blob), "digest": digest}

    def push(self, name: str, tag: str, layer: bytes) -> tuple[int, bytes, bytes]:
        """Push an image of one layer; returns the answer to its manifest, and the manifest."""
        manifest = {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": {**self.upload(name, b"{}"), "mediaType": "application/vnd.docker.container.image.v1+json"},
            "layers": [self.upload(name, layer)],
        }
        body = json.dumps(manifest).encode()
        status, _, answer = self.call("PUT", f"/v2/{name}/manifests/{tag}", body, **{"Content-Type": MANIFEST})
        return status, answer, body


def _target(location: str) -> str:
    return "/" + location.split("/", 3)[3] if location.startswith("http") else location


@pytest.fixture(scope="module")
def ecr(cloud: FakeCloud) -> Any:
    return cloud.client("ecr")


@pytest.fixture(scope="module")
def client(cloud: FakeCloud, ecr: Any) -> Client:
    token = ecr.get_authorization_token()["authorizationData"][0]["authorizationToken"]
    return Client(cloud.registry, f"Basic {token}")


@pytest.fixture
def repository(ecr: Any) -> str:
    name = f"trainers/{uuid.uuid4().hex[:8]}"
    ecr.create_repository(repositoryName=name)
    return name


def images(ecr: Any, name: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = ecr.describe_images(repositoryName=name)["imageDetails"]
    return found


def test_the_token_is_the_registrys_password_for_twelve_hours(cloud: FakeCloud, ecr: Any, client: Client) -> None:
    data = ecr.get_authorization_token()["authorizationData"][0]
    assert base64.b64decode(data["authorizationToken"]).startswith(b"AWS:")
    assert data["proxyEndpoint"] == f"http://{cloud.registry}"
    left = data["expiresAt"] - datetime.now(UTC)
    assert timedelta(hours=11, minutes=59) < left <= timedelta(hours=12)
    assert client.call("GET", "/v2/")[0] == 200
    for wrong in (None, "Basic " + base64.b64encode(b"AWS:wrong").decode()):
        assert Client(cloud.registry, wrong).call("GET", "/v2/")[0] == 401
        assert Client(cloud.registry, wrong).call("GET", "/v2/any/manifests/any")[0] == 401


def test_a_push_can_be_described_listed_fetched_and_pulled(
    cloud: FakeCloud, ecr: Any, client: Client, repository: str
) -> None:
    uri = ecr.describe_repositories(repositoryNames=[repository])["repositories"][0]["repositoryUri"]
    assert uri == f"{cloud.registry}/{repository}"
    layer = os.urandom(3_000_000)
    before = datetime.now(UTC) - timedelta(seconds=1)
    status, _, manifest = client.push(repository, "v1", layer)
    assert status == 201
    digest = "sha256:" + hashlib.sha256(manifest).hexdigest()
    image = images(ecr, repository)[0]
    assert (image["imageDigest"], image["imageTags"]) == (digest, ["v1"])
    assert image["imageSizeInBytes"] == len(layer) + 2
    assert before <= image["imagePushedAt"] <= datetime.now(UTC)
    listed = ecr.list_images(repositoryName=repository)["imageIds"]
    assert listed == [{"imageDigest": digest, "imageTag": "v1"}]
    fetched = ecr.batch_get_image(repositoryName=repository, imageIds=[{"imageTag": "v1"}])["images"][0]
    assert fetched["imageManifest"].encode() == manifest
    pulled = client.call("GET", f"/v2/{repository}/manifests/v1", Accept=MANIFEST)
    assert (pulled[0], pulled[2]) == (200, manifest)
    blob = json.loads(manifest)["layers"][0]["digest"]
    assert client.call("GET", f"/v2/{repository}/blobs/{blob}")[2] == layer


def test_a_tag_moves_to_what_was_pushed_last(ecr: Any, client: Client, repository: str) -> None:
    client.push(repository, "latest", b"first")
    client.push(repository, "latest", b"second")
    assert sorted(image.get("imageTags", []) for image in images(ecr, repository)) == [[], ["latest"]]


def test_a_push_to_a_repository_that_ecr_does_not_know_is_refused(client: Client) -> None:
    status, _, body = client.call("POST", "/v2/nowhere/blobs/uploads/")
    assert status == 404
    error = json.loads(body)["errors"][0]
    assert error["code"] == "NAME_UNKNOWN"
    assert "The repository with name 'nowhere' does not exist" in error["message"]


def test_an_immutable_tag_is_pushed_only_once(ecr: Any, client: Client) -> None:
    name = f"fixed-{uuid.uuid4().hex[:8]}"
    ecr.create_repository(repositoryName=name, imageTagMutability="IMMUTABLE")
    assert client.push(name, "v1", b"first")[0] == 201
    status, body, _ = client.push(name, "v1", b"second")
    assert status == 400
    assert json.loads(body)["errors"][0]["code"] == "TAG_INVALID"
    assert len(images(ecr, name)) == 1


def test_a_deleted_image_can_no_longer_be_pulled(ecr: Any, client: Client, repository: str) -> None:
    manifest = client.push(repository, "v1", b"gone")[2]
    digest = "sha256:" + hashlib.sha256(manifest).hexdigest()
    answer = ecr.batch_delete_image(repositoryName=repository, imageIds=[{"imageTag": "v1"}])
    assert answer["imageIds"] == [{"imageDigest": digest, "imageTag": "v1"}]
    assert images(ecr, repository) == []
    for reference in ("v1", digest):
        assert client.call("GET", f"/v2/{repository}/manifests/{reference}", Accept=MANIFEST)[0] == 404
    missing = refusal(ecr.describe_images, repositoryName=repository, imageIds=[{"imageTag": "v1"}])
    assert missing[0] == "ImageNotFoundException"


def test_a_deleted_tag_is_gone_though_its_image_stays(ecr: Any, client: Client, repository: str) -> None:
    client.push(repository, "a", b"same")
    client.push(repository, "b", b"same")
    ecr.batch_delete_image(repositoryName=repository, imageIds=[{"imageTag": "a"}])
    assert [image["imageTags"] for image in images(ecr, repository)] == [["b"]]
    assert client.call("GET", f"/v2/{repository}/manifests/a", Accept=MANIFEST)[0] == 404
    assert client.call("GET", f"/v2/{repository}/manifests/b", Accept=MANIFEST)[0] == 200


def test_a_repository_with_images_is_deleted_only_by_force(ecr: Any, client: Client, repository: str) -> None:
    client.push(repository, "v1", b"x")
    assert refusal(ecr.delete_repository, repositoryName=repository)[0] == "RepositoryNotEmptyException"
    ecr.delete_repository(repositoryName=repository, force=True)
    assert client.call("GET", f"/v2/{repository}/manifests/v1", Accept=MANIFEST)[0] == 404

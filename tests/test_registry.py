"""Images reach ECR once, whole, or not at all. A real engine and registry, with ECR's rules in front of it."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import docker
import pytest

from cloud import engine, registry
from cloud.aws import Aws
from cloud.config import Settings
from cloud.errors import CloudError
from cloud.image import Snapshot, snapshot
from cloud.registry import Image, ensure_image
from tests.localcloud.conftest import FakeCloud, find_registry

PLATFORM = "linux/amd64"


@pytest.fixture(scope="module")
def local_cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FakeCloud]:
    cloud = FakeCloud(tmp_path_factory.mktemp("cloud"), find_registry())
    cloud.start()
    yield cloud
    cloud.stop()


@pytest.fixture
def aws(local_cloud: FakeCloud, home: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Aws:
    """An account with an empty repository of its own, whose tags cannot be written twice, as setup makes it."""
    key = local_cloud.state.key()
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", key.id)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", key.secret)
    monkeypatch.setenv("AWS_ENDPOINT_URL", local_cloud.endpoint)
    dockerfile = tmp_path / "Dockerfile"
    dockerfile.write_text("FROM scratch\nCOPY . /\n")
    values = {"repository": f"trainer-{uuid.uuid4().hex[:8]}", "dockerfile": dockerfile, "source": tmp_path / "source"}
    aws = Aws(Settings.from_context({"solver": values}))
    aws.ecr.create_repository(repositoryName=aws.settings.repository, imageTagMutability="IMMUTABLE")
    return aws


@pytest.fixture
def client(aws: Aws) -> Iterator[docker.DockerClient]:
    """The engine, of which this test's images are removed afterwards."""
    client = engine.connect()
    yield client
    for image in client.images.list():
        if any(aws.settings.repository in tag for tag in image.tags):
            client.images.remove(str(image.id), force=True)


@pytest.fixture
def taken(aws: Aws, client: docker.DockerClient) -> Iterator[Snapshot]:
    aws.settings.source.mkdir()
    (aws.settings.source / "Cargo.toml").write_text(f"# {uuid.uuid4()}\n")
    with snapshot(aws.settings.source, aws.settings.dockerfile) as taken:
        yield taken


def ensure(aws: Aws, taken: Snapshot, say: engine.Say = print) -> Image:
    return ensure_image(aws, taken, registry.image_name(aws, taken, PLATFORM), PLATFORM, say)


def tags(aws: Aws) -> list[str]:
    found = aws.ecr.describe_images(repositoryName=aws.settings.repository)["imageDetails"]
    return [tag for image in found for tag in image.get("imageTags", [])]


def test_an_image_is_built_and_pushed_once(
    aws: Aws, taken: Snapshot, client: docker.DockerClient, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    first = ensure(aws, taken)
    assert (first.built, first.pushed) == (True, True)
    assert first.uri == f"{registry.repository_uri(aws, aws.settings.repository)}:{first.tag}"
    assert first.tag == taken.tag(aws.settings.builder_image, aws.settings.runtime_image, PLATFORM)
    assert tags(aws) == [first.tag]
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/none.sock")
    again = ensure(aws, taken)
    assert again == Image(first.uri, first.tag, first.digest, built=False, pushed=False)


def test_what_was_pushed_is_what_was_built(aws: Aws, taken: Snapshot, client: docker.DockerClient) -> None:
    image = ensure(aws, taken)
    built = client.images.get(image.uri).id
    client.images.remove(image.uri, force=True)
    repository, _, tag = image.uri.rpartition(":")
    pulled = client.images.pull(repository, tag=tag, auth_config=registry.login(aws))
    assert pulled.id == built
    assert image.digest in str(pulled.attrs["RepoDigests"])


def test_an_image_that_the_engine_has_is_only_pushed(aws: Aws, taken: Snapshot, client: docker.DockerClient) -> None:
    first = ensure(aws, taken)
    aws.ecr.batch_delete_image(repositoryName=aws.settings.repository, imageIds=[{"imageTag": first.tag}])
    again = ensure(aws, taken)
    assert (again.built, again.pushed) == (False, True)
    assert again.digest == first.digest


def test_two_launches_of_one_source_at_once_are_harmless(aws: Aws, taken: Snapshot) -> None:
    together = threading.Barrier(2)

    def launch(_: int) -> Image:
        own = Aws(aws.settings)
        together.wait()
        return ensure(own, taken)

    with ThreadPoolExecutor(2) as pool:
        one, two = pool.map(launch, range(2))
    assert one.digest == two.digest
    assert tags(aws) == [one.tag]


def test_a_tag_that_another_launch_pushed_meanwhile_is_taken(
    aws: Aws, taken: Snapshot, client: docker.DockerClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    build = engine.build

    def slow_build(snapshot: Snapshot, name: str, **options: Any) -> None:
        build(snapshot, name, **options)
        repository, _, tag = name.rpartition(":")
        registry.push(client, repository, tag, registry.login(aws), print)

    monkeypatch.setattr(engine, "build", slow_build)
    image = ensure(aws, taken)
    assert (image.built, image.pushed) == (True, False)
    assert tags(aws) == [image.tag]


def test_a_failed_build_leaves_nothing(aws: Aws, taken: Snapshot, client: docker.DockerClient) -> None:
    aws.settings.dockerfile.write_text("FROM scratch\nCOPY missing /\n")
    with (
        snapshot(aws.settings.source, aws.settings.dockerfile) as broken,
        pytest.raises(CloudError, match="the image cannot be built"),
    ):
        ensure(aws, broken)
    assert tags(aws) == []
    assert not any(aws.settings.repository in tag for image in client.images.list() for tag in image.tags)


def test_a_refused_push_leaves_nothing_in_ecr(aws: Aws, taken: Snapshot, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "login", lambda _: {"username": "AWS", "password": "wrong"})
    with pytest.raises(CloudError, match="cannot push") as error:
        ensure(aws, taken)
    assert "log in to AWS again" in str(error.value.fix)
    assert tags(aws) == []


def test_a_push_to_a_dead_registry_says_what_to_do(aws: Aws, taken: Snapshot, client: docker.DockerClient) -> None:
    image = ensure(aws, taken)
    dead = f"127.0.0.1:1/{aws.settings.repository}"
    client.images.get(image.uri).tag(dead, tag="1")
    with pytest.raises(CloudError, match="connection refused") as error:
        registry.push(client, dead, "1", registry.login(aws), print)
    assert "does not reach the registry" in str(error.value.fix)


def test_a_push_to_a_repository_that_is_not_there_says_what_to_do(
    aws: Aws, taken: Snapshot, client: docker.DockerClient
) -> None:
    image = ensure(aws, taken)
    missing = f"{image.uri.rpartition(':')[0]}-missing"
    client.images.get(image.uri).tag(missing, tag="1")
    with pytest.raises(CloudError) as error:
        registry.push(client, missing, "1", registry.login(aws), print)
    assert "inv setup" in str(error.value.fix)


def test_a_push_of_what_the_engine_does_not_have_fails(aws: Aws, client: docker.DockerClient) -> None:
    uri = registry.repository_uri(aws, aws.settings.repository)
    with pytest.raises(CloudError, match="cannot push"):
        registry.push(client, uri, "never", registry.login(aws), print)


def test_awss_refusal_names_the_permissions() -> None:
    # As ECR words it; the local cloud's registry knows no permissions.
    line = {
        "error": "denied: User: arn:aws:iam::123456789012:user/x is not authorized to perform: ecr:InitiateLayerUpload "
        "on resource: arn:aws:ecr:us-east-1:123456789012:repository/solver-cloud because no identity-based policy "
        "allows the ecr:InitiateLayerUpload action"
    }
    with pytest.raises(CloudError, match="ecr:InitiateLayerUpload on resource") as error:
        registry._follow([{"status": "Preparing"}, line], "x:1", print)
    assert "PutImage" in str(error.value.fix)


def test_a_push_that_ends_without_a_digest_has_failed() -> None:
    with pytest.raises(CloudError, match="without saying that it was done"):
        registry._follow([{"status": "Preparing"}], "x:1", print)


def test_a_push_says_how_far_it_is(aws: Aws, taken: Snapshot, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "PROGRESS_SECONDS", 0)
    (aws.settings.source / "large").write_bytes(uuid.uuid4().bytes * 2_000_000)
    said: list[str] = []
    with snapshot(aws.settings.source, aws.settings.dockerfile) as large:
        ensure(aws, large, said.append)
    steps = [line for line in said if line.startswith("pushed ")]
    assert len(steps) > 3
    assert steps[-1] == "pushed 32 of 32 MB"


def test_the_login_is_not_written_to_the_users_files(aws: Aws, taken: Snapshot, home: Path) -> None:
    ensure(aws, taken)
    assert not (home / ".docker/config.json").exists()


def test_a_tag_that_is_not_there_is_none_and_a_repository_that_is_not_there_an_error(aws: Aws) -> None:
    assert registry.tag_exists(aws, aws.settings.repository, "none") is None
    for call in (registry.tag_exists, registry.repository_uri):
        with pytest.raises(CloudError, match="RepositoryNotFoundException") as error:
            call(aws, "missing", *(["none"] if call is registry.tag_exists else []))
        assert error.value.fix == "run `inv setup` first"

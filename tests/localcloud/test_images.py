"""The images everything starts from: their names, and when they are made, pulled, or simply there."""

from __future__ import annotations

import io
import re
import shutil
import tarfile
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import docker
import pytest

from localcloud import images
from localcloud.errors import LocalCloudError
from localcloud.images import INSTANCE, BaseImages
from localcloud.registry import Registry

UNREACHABLE = "127.0.0.1:1"
"""Nothing listens there, so that the engine has its answer at once."""


@pytest.fixture
def registry(tmp_path: Path, registry_program: str) -> Iterator[Registry]:
    """Stands where Docker Hub is."""
    registry = Registry(tmp_path / "registry", f"solver-test-{uuid.uuid4().hex[:8]}", binary=registry_program)
    registry.start()
    yield registry
    registry.stop()


@pytest.fixture
def name_bases(monkeypatch: pytest.MonkeyPatch, engine: Any) -> Iterator[Callable[[str], None]]:
    """Gives all base images names that no image has, those of Docker Hub at a registry; untags them afterwards."""
    unique = f"solver-test/{uuid.uuid4().hex[:8]}"
    named: list[BaseImages] = []

    def name(registry: str) -> None:
        for kind, prefix in (("HUB", f"{registry}/"), ("STAND_INS", "")):
            base = BaseImages(f"{prefix}{unique}-rust:1", f"{prefix}{unique}-debian:1", stand_in=kind == "STAND_INS")
            monkeypatch.setattr(images, kind, base)
            named.append(base)

    yield name
    for image in (image for base in named for image in (base.builder, base.runtime)):
        if images._has(engine, image):
            engine.images.remove(image)


def here(engine: Any, name: str, like: str) -> None:
    """Have an image of that name in the engine."""
    repository, _, tag = name.rpartition(":")
    assert engine.images.get(like).tag(repository, tag)


def test_the_instance_images_name_follows_its_inputs(tmp_path: Path) -> None:
    directory = tmp_path / "instance"
    shutil.copytree(INSTANCE, directory)
    name = images._content_hash(directory, "sha256:base")
    assert re.fullmatch("[0-9a-f]{12}", name)
    assert images._content_hash(INSTANCE, "sha256:base") == name

    seen = {name, images._content_hash(directory, "sha256:another base"), images._content_hash(directory)}
    program = directory / "init.py"
    for change in (
        lambda: program.write_bytes(program.read_bytes() + b"\n"),
        lambda: program.chmod(program.stat().st_mode ^ 0o100),
        lambda: program.rename(directory / "init2.py"),
        lambda: (directory / "aws2").mkdir(),
        lambda: (directory / "aws2/new").touch(),
    ):
        change()
        seen.add(images._content_hash(directory, "sha256:base"))
    assert len(seen) == 7  # an empty directory is none of them


def test_images_that_are_here_are_not_made_again(engine: Any, instance_image: str, runtime_image: str) -> None:
    said: list[str] = []
    created = engine.images.get(instance_image).attrs["Created"]
    assert images.ready(engine)
    assert images.base_images(engine, said.append).runtime == runtime_image
    assert images.instance_image(engine, said.append) == instance_image
    assert said == []
    assert engine.images.get(instance_image).attrs["Created"] == created


def test_the_instance_image_is_named_after_its_directory_and_its_base(
    engine: Any, instance_image: str, runtime_image: str
) -> None:
    base = engine.images.get(runtime_image).id
    assert instance_image == f"solver-local/instance:{images._content_hash(INSTANCE, base)}"


def test_both_base_images_are_of_a_kind_and_docker_hubs_come_first(
    engine: Any, runtime_image: str, name_bases: Callable[[str], None]
) -> None:
    name_bases(UNREACHABLE)
    assert not images.ready(engine)
    here(engine, images.HUB.builder, like=runtime_image)
    here(engine, images.STAND_INS.runtime, like=runtime_image)
    assert not images.ready(engine)
    here(engine, images.STAND_INS.builder, like=runtime_image)
    assert images.base_images(engine, pytest.fail) == images.STAND_INS
    here(engine, images.HUB.runtime, like=runtime_image)
    assert images.base_images(engine, pytest.fail) == images.HUB


def test_base_images_are_pulled_where_docker_hub_can_be_reached(
    registry: Registry, name_bases: Callable[[str], None]
) -> None:
    name_bases(registry.backend)
    engine = docker.from_env()
    engine.login("AWS", registry.password, registry=registry.backend)
    for name in (images.HUB.builder, images.HUB.runtime):
        tiny(engine, name)
        engine.images.push(name)
        engine.images.remove(name)
    patience = engine.api.timeout
    assert images.ready(engine)
    assert engine.api.timeout == patience
    said: list[str] = []
    assert images.base_images(engine, said.append) == images.HUB
    assert said[::2] == [f"pulling {images.HUB.builder} …", f"pulling {images.HUB.runtime} …"]
    assert all(re.fullmatch(r"pulling \S+: done in \d+ s", line) for line in said[1::2])
    assert images.base_images(engine, pytest.fail) == images.HUB


def tiny(engine: Any, name: str) -> None:
    """Make an image of one empty file."""
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        tar.addfile(tarfile.TarInfo(name.replace("/", "-")))
    repository, _, tag = name.rpartition(":")
    engine.api.import_image_from_data(archive.getvalue(), repository=repository, tag=tag)


def test_without_docker_hub_and_a_bootstrapping_program_it_says_what_to_install(
    engine: Any, name_bases: Callable[[str], None], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    name_bases(UNREACHABLE)
    monkeypatch.setenv("PATH", str(tmp_path))
    said: list[str] = []
    with pytest.raises(LocalCloudError, match="nothing to make stand-ins with") as error:
        images.base_images(engine, said.append)
    assert "mmdebstrap" in (error.value.fix or "")
    assert said[0].startswith("Docker Hub cannot be reached")
    assert said[1:] == [f"making {images.STAND_INS.runtime} …"]


def test_a_build_that_fails_shows_the_last_of_what_it_printed(engine: Any, runtime_image: str) -> None:
    dockerfile = f"FROM {runtime_image}\nRUN seq 100; echo the reason; exit 3\n".encode()
    with pytest.raises(LocalCloudError, match="cannot be built") as error:
        images._build(engine, "solver-test/failing:1", fileobj=io.BytesIO(dockerfile))
    printed = [line.strip() for line in str(error.value).splitlines()[1:]]
    assert len(printed) == 10
    assert "the reason" in printed
    assert not images._has(engine, "solver-test/failing:1")


def test_a_command_that_fails_is_named_with_its_last_complaint() -> None:
    with pytest.raises(LocalCloudError, match="`sh` failed while making an image: no space"):
        images._run(["sh", "-c", "echo before >&2; echo no space >&2; exit 1"])


def test_the_mirrors_are_lines_of_a_sources_list() -> None:
    for line in images._mirrors():
        assert re.fullmatch(r"deb \S+ bookworm\S* [a-z-]+", line)

"""The registry's process: there when it says so, empty at every start, and gone afterwards."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from localcloud.errors import LocalCloudError
from localcloud.registry import Registry


@pytest.fixture
def registry(tmp_path: Path, registry_program: str) -> Iterator[Registry]:
    registry = Registry(tmp_path / "registry", "solver-local-test-registry", binary=registry_program)
    yield registry
    registry.stop()


def listens(address: str) -> bool:
    host, port = address.split(":")
    with socket.socket() as client:
        return client.connect_ex((host, int(port))) == 0


def test_it_answers_on_loopback_once_started_and_not_once_stopped(registry: Registry) -> None:
    registry.start()
    host, port = registry.backend.split(":")
    assert host == "127.0.0.1"
    assert listens(registry.backend)
    listening = Path("/proc/net/tcp").read_text() + Path("/proc/net/tcp6").read_text()
    addresses = [line.split()[1] for line in listening.splitlines() if line.split()[3] == "0A"]
    assert [one for one in addresses if one.endswith(f":{int(port):04X}")] == [f"0100007F:{int(port):04X}"]
    registry.stop()
    assert not listens(registry.backend)
    registry.stop()


def test_a_start_ends_the_one_that_was_left_and_begins_empty(
    registry: Registry, tmp_path: Path, registry_program: str
) -> None:
    registry.start()
    (tmp_path / "registry/data/left").touch()
    second = Registry(tmp_path / "registry", registry.name, binary=registry_program)
    second.start()
    assert not listens(registry.backend)
    assert list((tmp_path / "registry/data").iterdir()) == []


def test_a_process_that_only_has_the_same_number_is_left_alone(registry: Registry, tmp_path: Path) -> None:
    (tmp_path / "registry").mkdir()
    (tmp_path / "registry/pid").write_text("1")
    registry.start()
    assert Path("/proc/1").exists()


def test_a_registry_that_cannot_start_says_where_to_look(tmp_path: Path) -> None:
    registry = Registry(tmp_path / "registry", "solver-local-test-registry", binary="false")
    with pytest.raises(LocalCloudError, match=r"registry\.log"):
        registry.start()

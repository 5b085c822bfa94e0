"""The cloud's process: up once however often it is asked for, down with all it started, also after a kill."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import boto3
import docker
import pytest

from localcloud import images, prerequisites, profile, supervisor
from localcloud.errors import LocalCloudError
from localcloud.labels import CLOUD
from localcloud.state import State

from .conftest import IMAGE, in_state


@pytest.fixture
def found(registry_program: str) -> prerequisites.Found:
    return prerequisites.Found(
        ami="none", registry=registry_program, builder_image="builder", runtime_image="runtime", stand_ins=True
    )


@pytest.fixture
def state(found: prerequisites.Found, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[State]:
    """A state directory and an AWS config file of their own; nothing is installed, and no image is made."""
    monkeypatch.setenv("SOLVER_LOCAL_STATE", str(tmp_path / "state"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setattr(prerequisites, "ensure", lambda *_: found)
    state = State.default()
    yield state
    supervisor.down(state, say)


def say(_: str) -> None:
    pass


def answers(endpoint: str) -> bool:
    with socket.socket() as client:
        host, port = endpoint.removeprefix("http://").split(":")
        return client.connect_ex((host, int(port))) == 0


@pytest.mark.parametrize("mode", [0o755, 0o701, 0o770])
def test_a_state_directory_that_others_can_look_into_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: int
) -> None:
    root = tmp_path / "open"
    root.mkdir()
    root.chmod(mode)
    monkeypatch.setenv("SOLVER_LOCAL_STATE", str(root))
    with pytest.raises(LocalCloudError, match=f"chmod 700 {root}"):
        State.default()
    root.chmod(0o700)
    assert State.default().root == root


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a directory away")
def test_a_state_directory_of_somebody_else_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.chown(tmp_path, 12345, 12345)
    monkeypatch.setenv("SOLVER_LOCAL_STATE", str(tmp_path))
    with pytest.raises(LocalCloudError, match="belongs to another user"):
        State.default()


def processes(state: State) -> list[str]:
    """Command lines of what runs for this cloud: the daemon and the registry."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            continue
        if str(state.root) in line:
            found.append(line)
    return found


def test_up_serves_through_the_profile_and_down_leaves_nothing(state: State, tmp_path: Path) -> None:
    running, before = supervisor.up(state, say)
    assert not before
    session = boto3.Session(profile_name="local")
    assert session.client("sts").get_caller_identity()["Account"] == "123456789012"
    section: dict[str, Any] = session._session.get_scoped_config()
    assert section["solver_builder_image"] == "builder"
    assert section["solver_caller_address_url"].startswith(running.endpoint)
    assert len(processes(state)) == 2
    assert answers(f"http://{running.registry}")
    assert supervisor.instances(running) == []
    assert supervisor.up(state, say) == (running, True)
    assert supervisor.down(state, say)
    assert processes(state) == []
    assert not answers(running.endpoint)
    assert not (tmp_path / "config").exists()
    assert supervisor.alive(state) is None
    assert not supervisor.down(state, say)


def test_a_cloud_that_comes_back_has_its_ports_and_key_again(state: State) -> None:
    first, _ = supervisor.up(state, say)
    key = state.key()
    supervisor.down(state, say)
    assert supervisor.up(state, say)[0] == first
    assert state.key() == key


def test_two_ups_at_once_make_one_cloud(state: State) -> None:
    results: list[Any] = []
    threads = [threading.Thread(target=lambda: results.append(supervisor.up(state, say))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(before for _, before in results) == [False, True]
    assert results[0][0] == results[1][0]
    assert len(processes(state)) == 2


def test_what_a_killed_daemon_leaves_is_cleaned_up(state: State) -> None:
    supervisor.up(state, say)
    daemon = state.holder("daemon")
    assert daemon
    os.kill(daemon, signal.SIGKILL)
    os.waitpid(daemon, 0)
    assert supervisor.alive(state) is None
    assert len(processes(state)) == 1  # the registry
    supervisor.down(state, say)
    assert processes(state) == []
    running, before = supervisor.up(state, say)
    assert not before
    assert answers(running.endpoint)


def test_the_machines_of_a_killed_daemon_are_removed(
    state: State, found: prerequisites.Found, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = docker.from_env()
    real = replace(found, ami=images.instance_image(engine, say))
    monkeypatch.setattr(prerequisites, "ensure", lambda *_: real)
    supervisor.up(state, say)
    session = boto3.Session(profile_name="local")
    ec2 = session.client("ec2")
    ami = session.client("ssm").get_parameter(Name=IMAGE)["Parameter"]["Value"]
    id = ec2.run_instances(ImageId=ami, InstanceType="c7i.large", MinCount=1, MaxCount=1)["Instances"][0]["InstanceId"]
    in_state(ec2, id, "running")
    mine: Any = {"label": f"{CLOUD}={state.cloud}"}
    assert len(engine.containers.list(filters=mine)) == 1
    daemon = state.holder("daemon")
    assert daemon
    os.kill(daemon, signal.SIGKILL)
    os.waitpid(daemon, 0)
    supervisor.down(state, say)
    assert engine.containers.list(all=True, filters=mine) == []
    assert engine.volumes.list(filters=mine) == []


def test_up_mends_a_profile_that_went_missing(state: State) -> None:
    supervisor.up(state, say)
    text = profile.path().read_text()
    profile.path().unlink()
    assert supervisor.up(state, say)[1]
    assert profile.path().read_text() == text


def test_a_daemon_that_does_not_start_shows_the_end_of_its_log(
    state: State, found: prerequisites.Found, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = replace(found, registry="/nowhere/docker-registry")
    monkeypatch.setattr(prerequisites, "ensure", lambda *_: broken)
    with pytest.raises(LocalCloudError, match="/nowhere/docker-registry") as error:
        supervisor.up(state, say)
    assert str(state.log) in str(error.value)
    assert processes(state) == []
    assert not profile.path().exists()


def test_a_foreign_profile_keeps_the_cloud_from_starting(state: State) -> None:
    profile.path().write_text("[profile local]\nregion = eu-west-1\n")
    with pytest.raises(LocalCloudError, match="SOLVER_LOCAL_PROFILE"):
        supervisor.up(state, say)
    assert processes(state) == []


def test_the_daemon_outlives_the_terminal_that_started_it(state: State) -> None:
    supervisor.up(state, say)
    daemon = state.holder("daemon")
    assert daemon
    assert os.getsid(daemon) == daemon


def test_status_ends_with_1_when_the_cloud_is_down(state: State, tmp_path: Path) -> None:
    (tmp_path / "tasks.py").write_text("from localcloud.tasks import ns\n")
    command = [sys.executable, "-m", "invoke", "status"]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}

    def status() -> subprocess.CompletedProcess[str]:
        return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)

    ended = status()
    assert ended.returncode == 1
    assert "the local cloud is down" in ended.stderr
    running, _ = supervisor.up(state, say)
    ended = status()
    assert ended.returncode == 0
    assert running.endpoint in ended.stdout
    assert str(state.log) in ended.stdout

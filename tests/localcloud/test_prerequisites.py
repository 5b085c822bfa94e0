"""What is missing is installed by root on Debian, and named in one line to everybody else."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from localcloud import prerequisites
from localcloud.errors import LocalCloudError


@pytest.fixture
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A PATH with an apt-get that installs what it is told, by making an empty program of that name."""
    directory = tmp_path / "bin"
    directory.mkdir()
    apt = directory / "apt-get"
    apt.write_text(
        "#!/bin/sh\n"
        f'echo "apt-get $*" >> {tmp_path}/calls\n'
        'for word; do :; done; [ "$word" = broken ] && echo "E: no such package" && exit 100\n'
        f'[ "$4" != install ] || {{ echo >{directory}/$word; /bin/chmod +x {directory}/$word; }}\n'
    )
    apt.chmod(0o755)
    monkeypatch.setenv("PATH", str(directory))
    monkeypatch.setattr("shutil.which", _which_below(directory))
    return tmp_path


def _which_below(directory: Path):  # type: ignore[no-untyped-def]
    def which(name: str, path: str | None = None) -> str | None:
        program = Path(path or directory) / name
        return str(program) if program.is_relative_to(directory.parent) and program.exists() else None

    return which


def as_user(monkeypatch: pytest.MonkeyPatch, uid: int) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: uid)


def test_root_gets_what_is_missing_installed_and_is_told_each(bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    as_user(monkeypatch, 0)
    said: list[str] = []
    prerequisites.programs(("tmux",), bare, said.append)
    assert said == ["installing tmux"]
    assert prerequisites.which("tmux")
    calls = (bare / "calls").read_text().splitlines()
    patient = "apt-get --quiet --option DPkg::Lock::Timeout=600"
    assert calls == [f"{patient} update", f"{patient} install --yes --no-install-recommends tmux"]
    prerequisites.programs(("tmux",), bare, said.append)
    assert said == ["installing tmux"]


def test_everybody_else_is_told_exactly_what_to_install(bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    as_user(monkeypatch, 1000)
    with pytest.raises(LocalCloudError) as error:
        prerequisites.programs(("git", "ssh", "tmux"), bare, print)
    assert error.value.problem == "the local cloud needs git, ssh, tmux"
    assert error.value.fix == "install: apt-get install git openssh-client tmux"
    assert not (bare / "calls").exists()


def test_an_installation_that_fails_shows_why(bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    as_user(monkeypatch, 0)
    monkeypatch.setitem(prerequisites.PACKAGES, "tmux", "broken")
    with pytest.raises(LocalCloudError, match="E: no such package"):
        prerequisites.programs(("tmux",), bare, lambda _: None)


def test_an_engine_that_docker_host_names_is_not_started_for_the_user(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/docker.sock")
    with pytest.raises(LocalCloudError, match="no Docker engine answers at unix://"):
        prerequisites.engine(tmp_path, print)


def test_the_engine_of_this_machine_answers(tmp_path: Path) -> None:
    assert prerequisites.engine(tmp_path, print).ping()

"""The local cloud's block in the user's AWS config file."""

from __future__ import annotations

from pathlib import Path

import botocore.session
import pytest

from localcloud import profile
from localcloud.errors import LocalCloudError

VALUES = {"region": "us-east-1", "endpoint_url": "http://127.0.0.1:1", "aws_access_key_id": "AKIA"}


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "aws" / "config"
    monkeypatch.setenv("AWS_CONFIG_FILE", str(path))
    monkeypatch.delenv("SOLVER_LOCAL_PROFILE", raising=False)
    return path


def test_the_profile_is_there_for_every_aws_tool(config: Path) -> None:
    profile.write(VALUES)
    assert botocore.session.Session(profile="local").get_scoped_config() == VALUES
    assert config.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    "rest",
    [
        b"[default]\nregion = eu-west-1\n",
        b"[default]\r\nregion=eu-west-1\r\n\r\n# mine",
        b"\n\n",
        "[profile ü]\nregion = x".encode(),
    ],
)
def test_what_else_is_in_the_file_is_kept_byte_for_byte(config: Path, rest: bytes) -> None:
    config.parent.mkdir()
    config.write_bytes(rest)
    config.chmod(0o640)
    profile.write(VALUES)
    profile.write({**VALUES, "region": "us-west-2"})
    text = config.read_bytes()
    assert text.startswith(rest)
    assert text.count(b"[profile local]") == 1
    assert b"us-west-2" in text
    profile.remove()
    assert config.read_bytes() == rest
    assert config.stat().st_mode & 0o777 == 0o640
    assert list(config.parent.iterdir()) == [config]


def test_what_comes_after_the_block_is_kept_too(config: Path) -> None:
    profile.write(VALUES)
    config.write_bytes(config.read_bytes() + b"[profile later]\nregion = x\n")
    profile.remove()
    assert config.read_bytes() == b"[profile later]\nregion = x\n"


def test_a_file_that_held_nothing_else_goes(config: Path) -> None:
    profile.write(VALUES)
    profile.remove()
    assert not config.exists()
    profile.remove()


def test_a_profile_that_someone_else_wrote_is_left_alone(config: Path) -> None:
    config.parent.mkdir()
    config.write_text("[profile local]\nregion = eu-west-1\n")
    with pytest.raises(LocalCloudError, match="has a profile 'local' of its own"):
        profile.write(VALUES)
    profile.remove()
    assert config.read_text() == "[profile local]\nregion = eu-west-1\n"


def test_two_clouds_have_a_profile_each(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    profile.write(VALUES)
    monkeypatch.setenv("SOLVER_LOCAL_PROFILE", "local2")
    profile.write(VALUES)
    monkeypatch.delenv("SOLVER_LOCAL_PROFILE")
    profile.remove()
    assert "[profile local2]" in config.read_text()
    assert "[profile local]" not in config.read_text()


def test_a_linked_file_stays_a_link(config: Path, tmp_path: Path) -> None:
    real = tmp_path / "dotfiles"
    real.write_text("[default]\n")
    config.parent.mkdir()
    config.symlink_to(real)
    profile.write(VALUES)
    assert config.is_symlink()
    assert "[profile local]" in real.read_text()

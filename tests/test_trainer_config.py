"""The trainer's config file: read once, as it is, or refused at once and in one line."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from cloud.errors import UsageError
from cloud.sweep_plan import read_configs
from cloud.trainer_config import read_trainer_config


def test_a_config_is_read_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "fast.yaml"
    path.write_bytes(b"a: 1\r\n")
    config = read_trainer_config(path)
    assert (config.name, config.data) == ("fast.yaml", b"a: 1\r\n")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "does not exist"),
        (b"a: [1", "is not YAML"),
        (b"a: 1\nb: : 2", "is not YAML, line 2"),
        (b"\xff\xfe\x00", "byte 3 is not UTF-16"),
        (b"a: caf\xe9", "byte 7 is not UTF-8"),
        (b"a: \x00", "control characters are not allowed"),
        (b"a: *x", "line 1: nothing has the anchor &x"),
        (b"[" * 300_000, "is nested deeper than 200 levels, line 1"),
        (b"- " * 300_000, "is nested deeper than 200 levels, line 1"),
        (b"a: " + b"x" * 10_000_000, "cannot be read: over 10 MB"),
    ],
)
def test_a_config_that_cannot_be_one_is_refused_in_one_line(
    tmp_path: Path, content: bytes | None, message: str
) -> None:
    path = tmp_path / "fast.yaml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UsageError, match=message):
        read_trainer_config(path)


def test_a_directory_is_not_a_config(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read: Is a directory"):
        read_trainer_config(tmp_path)


def test_what_has_no_end_is_not_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo.yaml")
    (tmp_path / "zero.yaml").symlink_to("/dev/zero")
    for name in ("fifo.yaml", "zero.yaml"):
        with pytest.raises(UsageError, match="cannot be read: not a regular file"):
            read_trainer_config(tmp_path / name)
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "s.yaml"))
        with pytest.raises(UsageError, match="cannot be read"):
            read_trainer_config(tmp_path / "s.yaml")


@pytest.mark.parametrize(
    "name", ["-rf.yaml", "..yaml", "...yaml", "a\nb.yaml", "a\x1b[2J.yaml", "caf\udce9.yaml", "a\\b"]
)
def test_a_name_that_others_take_for_something_else_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("a: 1\n")
    with pytest.raises(UsageError) as refusal:
        read_trainer_config(tmp_path / name)
    assert refusal.value.problem.isprintable()


def test_two_configs_of_one_name_are_refused(tmp_path: Path) -> None:
    for directory in ("a", "b"):
        (tmp_path / directory).mkdir()
        (tmp_path / directory / "fast.yaml").write_text("a: 1\n")
    with pytest.raises(UsageError, match=r"two configurations are called fast\.yaml"):
        read_configs([f"{tmp_path}/*/fast.yaml"], [])


BOMB = b"a0: &a0 [x, x]\n" + b"".join(
    b"a%d: &a%d [%s]\n" % (n, n, b", ".join([b"*a%d" % (n - 1)] * 9)) for n in range(1, 40)
)


def test_aliases_of_aliases_are_not_spelled_out(tmp_path: Path) -> None:
    """9^39 values, if they were."""
    (tmp_path / "bomb.yaml").write_bytes(BOMB + b"seed: 1\n")
    children = read_configs([str(tmp_path / "bomb.yaml")], ["seed=1..3"])
    assert [child.config for child in children] == [BOMB + b"seed: %d\n" % seed for seed in (1, 2, 3)]


def test_several_documents_are_sent_as_they_are_and_not_edited(tmp_path: Path) -> None:
    (tmp_path / "two.yaml").write_bytes(b"a: 1\n---\na: 2\n")
    assert read_trainer_config(tmp_path / "two.yaml").data == b"a: 1\n---\na: 2\n"
    with pytest.raises(UsageError, match=r"two\.yaml has 2 YAML documents"):
        read_configs([str(tmp_path / "two.yaml")], ["a=1,2"])

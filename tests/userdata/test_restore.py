"""restore.py: what S3 cannot hold is there again after a resume, and nothing else is touched."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from cloud.config import PACKAGE

PROGRAM = (PACKAGE / "userdata" / "restore.py").read_text()


@pytest.fixture
def output(tmp_path: Path) -> Path:
    """An output directory as S3 has filled it."""
    output = tmp_path / "home/output"
    (output / "ckpt-7").mkdir(parents=True)
    (output / "ckpt-7/model").write_text("7")
    return output


def restore(output: Path, tree: Any) -> str:
    """Run it; returns what it says."""
    path = output.parent / "tree.json"
    path.write_text(tree if isinstance(tree, str) else json.dumps(tree))
    done = subprocess.run(
        [sys.executable, "-I", "-c", PROGRAM, output, path], capture_output=True, text=True, check=True
    )
    return done.stderr


def test_links_and_empty_directories_are_there_again(output: Path) -> None:
    links = {"latest": "ckpt-7", "best": "latest", "a/b/up": "../../ckpt-7/model", "self": ".", "a/all": ".."}
    assert restore(output, {"links": links, "directories": ["empty", "a/empty/too"]}) == ""
    assert {path: os.readlink(output / path) for path in links} == links
    assert (output / "best/model").read_text() == (output / "a/b/up").read_text() == "7"
    assert list((output / "empty").iterdir()) == list((output / "a/empty/too").iterdir()) == []


def test_it_can_be_done_twice(output: Path) -> None:
    """A boot may be cut off before there is a container."""
    tree = {"links": {"latest": "ckpt-7"}, "directories": ["empty"]}
    restore(output, tree)
    restore(output, tree)
    assert os.readlink(output / "latest") == "ckpt-7"


def test_a_torn_copy_gets_its_files_name_if_there_is_no_whole_one(output: Path) -> None:
    (output / "db.torn").write_text("torn")
    (output / "ckpt-7/model.torn").write_text("torn")
    (output / "mine.torn").write_text("the trainer's own")
    restore(output, {"torn": ["db", "ckpt-7/model", "gone"]})
    found = {path.relative_to(output).as_posix(): path.read_text() for path in output.rglob("*") if path.is_file()}
    assert found == {"db": "torn", "ckpt-7/model": "7", "mine.torn": "the trainer's own"}


def test_what_is_there_stays(output: Path) -> None:
    said = restore(output, {"links": {"ckpt-7": "elsewhere", "ckpt-7/model": "x"}, "directories": ["ckpt-7/model"]})
    assert said.count("not made again") == 3
    assert (output / "ckpt-7/model").read_text() == "7"


@pytest.mark.parametrize(
    "tree",
    [
        {"links": {"x": "/etc/passwd"}},
        {"links": {"x": "../logs"}},
        {"links": {"x": "ckpt-7/../../logs"}},
        {"links": {"a/x": "../../logs"}},
        {"links": {"../x": "ckpt-7"}},
        {"links": {"/tmp/x": "ckpt-7"}},
        {"links": {"": "ckpt-7", ".": "x", "..": "x", "a//b": "x", "a/": "x"}},
        {"links": {"x": "", "y": "a//b", "z": "a/./b"}},
        {"links": {"x": "a\0b", "y\0": "a"}},
        {"links": {"x": 7, "y": None, "z": ["ckpt-7"]}},
        {"links": {"x" * 300: "ckpt-7"}},
        {"directories": ["../x", "/tmp/x", "", "a/../../x", 7, None, {}]},
        {"torn": ["../x", "/etc/passwd", 7, None]},
        {"links": ["x"], "directories": 7, "torn": {}},
        {"torn": 7, "links": None},
        [],
        7,
        None,
        "",
        "{",
        "[" * 100_000,
        "\ud800".encode("utf-16", "surrogatepass").decode("latin-1"),
    ],
    ids=str,
)
def test_nothing_is_made_outside_whatever_it_says(output: Path, tree: Any) -> None:
    (output.parent / "logs").mkdir()
    before = sorted(output.rglob("*")), sorted(output.parent.glob("*"))
    said = restore(output, tree)
    assert "Traceback" not in said
    assert "again" in said
    (output.parent / "tree.json").unlink()
    assert (sorted(output.rglob("*")), sorted(output.parent.glob("*"))) == before


def test_nothing_is_made_through_a_link(output: Path) -> None:
    """Not even through one that it has made itself."""
    (output.parent / "logs").mkdir()
    (output / "out").symlink_to("../logs")
    tree = {
        "directories": ["out/x", "in/x"],
        "links": {"in": "ckpt-7", "in/y": "z", "out/y": "z", "out/deep/y": "z"},
        "torn": ["out/x"],
    }
    restore(output, tree | {"directories": ["out/x"]})
    assert list((output.parent / "logs").iterdir()) == []
    assert sorted(os.listdir(output / "ckpt-7")) == ["model"]


def test_a_link_ends_inside_whatever_is_a_link_on_its_way(output: Path) -> None:
    """`up/../..` by names is inside; by way of the link `up` it is not."""
    (output / "a").mkdir()
    restore(output, {"links": {"a/up": "..", "cunning": "a/up/../logs", "fine": "a/up/ckpt-7"}})
    assert not (output / "cunning").is_symlink()
    assert (output / "fine/model").read_text() == "7"

"""snapshot.py, run as the instance runs it: every file of the copy is one whole version."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cloud.config import PACKAGE

PROGRAM = (PACKAGE / "userdata" / "snapshot.py").read_text()
REWRITES = """
import itertools, sys, time
for version in itertools.cycle(b"abcdefgh"):
    with open(sys.argv[1], "wb") as out:
        for _ in range(64):
            out.write(bytes([version]) * 65536)
            time.sleep(0.0005)
    time.sleep(0.15)
"""
"""A program that writes 4 MB of one letter, then of the next, all the time."""


class Disk:
    """An output directory and its copy."""

    def __init__(self, root: Path) -> None:
        self.output, self.copy, self.index = root / "output", root / "copy", root / "index.json"
        self.report = root / "report"
        for directory in (self.output, self.copy, self.report):
            directory.mkdir()

    def write(self, path: str, text: str) -> Path:
        """A file of the output, last changed a second ago."""
        file = self.output / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        os.utime(file, ns=(time.time_ns() - 10**9, time.time_ns() - 10**9))
        return file

    def snapshot(self, trainer: str = "running", *, room: int = 960, exit_code: int | None = 0) -> str:
        """Bring the copy up to date; returns what is said about it."""
        arguments = map(str, (self.output, self.copy, self.index, self.report, room, trainer))
        (self.report / "whole").unlink(missing_ok=True)
        done = subprocess.run([sys.executable, "-c", PROGRAM, *arguments], check=False, capture_output=True, text=True)
        assert exit_code is None or done.returncode == exit_code, done.stderr
        return done.stderr

    @property
    def left_out(self) -> dict[str, str]:
        found: dict[str, str] = json.loads((self.report / "left-out.json").read_text())
        return found

    @property
    def is_whole(self) -> bool:
        """Whether the copy has all that it could, so that what it lacks may be deleted from S3."""
        return (self.report / "whole").exists()

    @property
    def tree(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.report / "tree.json").read_text())
        return found

    @property
    def copied(self) -> dict[str, str]:
        files = (path for path in self.copy.rglob("*") if path.is_file())
        return {path.relative_to(self.copy).as_posix(): path.read_text() for path in files}


@pytest.fixture
def disk(tmp_path: Path) -> Disk:
    return Disk(tmp_path)


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Disk]:
    """A disk of 4 MB whose filesystem has no reflinks."""
    mount = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(tmp_path)]
    if subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("only root can mount a small disk")
    yield Disk(tmp_path)
    subprocess.run(["umount", "--lazy", str(tmp_path)], check=True)


def test_the_copy_follows_the_output(disk: Disk) -> None:
    disk.write("a.csv", "1")
    disk.write("deep/er/b.csv", "2")
    disk.snapshot()
    assert disk.copied == {"a.csv": "1", "deep/er/b.csv": "2"}
    disk.write("a.csv", "11")
    (disk.output / "deep/er/b.csv").unlink()
    disk.snapshot()
    assert disk.copied == {"a.csv": "11"}
    assert not (disk.copy / "deep").exists()


def test_a_file_may_become_a_directory_and_a_directory_a_file(disk: Disk) -> None:
    disk.write("a", "file")
    disk.write("b/c", "below")
    disk.snapshot()
    (disk.output / "a").unlink()
    (disk.output / "b/c").unlink()
    (disk.output / "b").rmdir()
    disk.write("a/d", "below")
    disk.write("b", "file")
    disk.snapshot()
    assert disk.copied == {"a/d": "below", "b": "file"}


def test_what_has_not_changed_is_not_copied_again(disk: Disk) -> None:
    disk.write("a", "1")
    disk.snapshot()
    before = (disk.copy / "a").stat()
    disk.snapshot()
    assert (disk.copy / "a").stat() == before


@pytest.mark.parametrize("trainer", ["running", "stopped", "ended"])
def test_a_new_version_is_as_young_as_its_copying(disk: Disk, trainer: str) -> None:
    """Or `aws s3 sync` would leave out a file of the same size that was written before the last upload was over."""
    disk.write("a", "1")
    disk.snapshot()
    disk.write("a", "2")
    before = time.time_ns()
    disk.snapshot(trainer)
    assert disk.copied == {"a": "2"}
    assert (disk.copy / "a").stat().st_mtime_ns > before - 10_000_000  # the kernel's tick


def test_a_file_that_is_open_for_writing_keeps_its_earlier_version(disk: Disk) -> None:
    """However long nothing has been written to it: half of it may still be to come."""
    disk.write("a", "whole")
    disk.snapshot()
    with (disk.output / "a").open("r+") as half:
        half.write("ha")
        half.flush()
        os.utime(half.fileno(), ns=(0, 0))
        assert disk.snapshot() == "being written, so next time: a\n"
        assert disk.copied == {"a": "whole"}
    disk.snapshot()
    assert disk.copied == {"a": "haole"}


def test_a_file_that_has_just_changed_waits_for_the_next_time(disk: Disk) -> None:
    """Its time could not tell a further change within the same tick of the kernel."""
    file = disk.write("a", "1")
    os.utime(file, ns=(time.time_ns() + 10**10, time.time_ns() + 10**10))
    assert disk.snapshot() == "being written, so next time: a\n"
    assert disk.copied == {}


@pytest.mark.parametrize("trainer", ["stopped", "ended"])
def test_once_nothing_writes_everything_is_taken(disk: Disk, trainer: str) -> None:
    file = disk.write("a", "1")
    os.utime(file, ns=(time.time_ns() + 10**10, time.time_ns() + 10**10))
    assert disk.snapshot(trainer) == ""
    assert disk.copied == {"a": "1"}


def test_a_file_that_is_rewritten_all_the_time_is_never_a_mix(disk: Disk) -> None:
    versions = set()
    with subprocess.Popen([sys.executable, "-c", REWRITES, str(disk.output / "table")]) as writer:
        end = time.monotonic() + 3
        while time.monotonic() < end:
            disk.snapshot()
            if (disk.copy / "table").exists():
                copied = (disk.copy / "table").read_bytes()
                assert len(copied) == 64 * 65536
                assert len(set(copied)) == 1
                versions.add(copied[0])
        writer.kill()
    assert len(versions) > 1


def test_at_the_very_end_no_room_on_the_disk_is_needed(disk: Disk) -> None:
    disk.write("a", "1")
    disk.write("b", "2")
    disk.snapshot()
    disk.write("b", "3")
    disk.snapshot("ended")
    assert disk.copied == {"a": "1", "b": "3"}
    assert (disk.copy / "b").samefile(disk.output / "b")
    disk.snapshot("ended")
    assert disk.copied == {"a": "1", "b": "3"}


@pytest.mark.parametrize("trainer", ["running", "stopped"])
def test_the_copy_takes_no_room_that_the_trainer_may_need(small: Disk, trainer: str) -> None:
    """Half of what is free stays free, and what is small is copied all the same."""
    small.write("a", "1" * 1_500_000)
    small.write("b", "2")
    assert small.snapshot(trainer) == "no room on the disk for a copy: a\n"
    assert small.copied == {"b": "2"}
    assert small.left_out == {"a": "no room on the disk for a copy"}
    assert shutil.disk_usage(small.output).free > 2_000_000
    small.write("a", "1" * 1_000_000)
    small.snapshot(trainer)
    assert small.copied == {"a": "1" * 1_000_000, "b": "2"}


def test_without_room_for_a_copy_the_earlier_version_stays(small: Disk) -> None:
    small.write("a", "1")
    small.snapshot()
    small.write("a", "2" * 3_000_000)
    small.snapshot()
    assert small.copied == {"a": "1"}
    small.snapshot("ended")
    assert small.copied == {"a": "2" * 3_000_000}


def test_links_that_stay_inside_are_told_of_and_not_copied(disk: Disk, tmp_path: Path) -> None:
    """Of the others it is said that they are left out, and why."""
    disk.write("ckpt-7/model", "7")
    disk.write("a/b/c", "c")
    (tmp_path / "secret").write_text("of the machine")
    inside = {
        "latest": "ckpt-7",
        "best": "latest",
        "model": "latest/model",
        "a/up": "../ckpt-7/model",
        "a/all": "..",
        "self": ".",
        "slash": "ckpt-7/",
        "a/roundabout": "b/../../ckpt-7",
        "absolute": "/solver/output/ckpt-7",
        "a/b/absolute": "/solver/output/latest/model",
        "top": "/solver/output",
    }
    outside = {
        "outside": str(tmp_path / "secret"),
        "up": "../report",
        "etc": "/etc",
        "a/etc": "/solver/output/../../etc",
        "cunning": "a/all/../../etc",
        "similar": "/solver/output-of-another",
    }
    for path, target in (inside | outside | {"nowhere": "gone", "loop": "loop", "one": "two", "two": "one"}).items():
        (disk.output / path).symlink_to(target)
    disk.snapshot()
    assert disk.copied == {"ckpt-7/model": "7", "a/b/c": "c"}
    assert disk.tree["links"] == inside | {
        "slash": "ckpt-7",
        "a/roundabout": "../ckpt-7",
        "absolute": "ckpt-7",
        "a/b/absolute": "../../latest/model",
        "top": ".",
    }
    assert disk.left_out == {
        **dict.fromkeys(outside, "a link that leads outside"),
        "nowhere": "a link that leads nowhere",
        **dict.fromkeys(("loop", "one", "two"), "a link that leads in a circle"),
    }


def test_a_link_by_way_of_a_link_leads_where_the_kernel_says(disk: Disk) -> None:
    """`..` after a link is above its target, not above the link."""
    disk.write("x", "top")
    disk.write("deep/x", "deep")
    (disk.output / "deep/er").mkdir()
    (disk.output / "way").symlink_to("deep/er")
    (disk.output / "found").symlink_to("way/../x")
    assert (disk.output / "found").read_text() == "deep"
    disk.snapshot()
    assert disk.tree["links"]["found"] == "deep/x"


def test_empty_directories_are_told_of(disk: Disk) -> None:
    disk.write("full/a", "1")
    for path in ("empty", "outer/inner", "linked"):
        (disk.output / path).mkdir(parents=True)
    (disk.output / "linked/link").symlink_to("../full")
    disk.snapshot()
    assert disk.tree["directories"] == ["empty", "outer/inner"]


def test_one_bad_entry_never_takes_the_rest(disk: Disk) -> None:
    """Each is named with its reason."""
    disk.write("good", "1")
    long = "/".join(["d" * 200] * 5)
    disk.write(long, "deep")
    (disk.output / os.fsdecode(b"caf\xe9.bin")).write_text("2")
    (disk.output / os.fsdecode(b"\xff")).mkdir()
    (disk.output / os.fsdecode(b"\xff/below")).write_text("3")
    os.mkfifo(disk.output / "fifo")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(f"/proc/self/fd/{os.open(disk.output, os.O_RDONLY)}/socket")
    for trainer in ("running", "stopped", "ended"):
        disk.snapshot(trainer)
        assert disk.copied == {"good": "1"}
        assert disk.left_out == {
            "caf\\xe9.bin": "its name is not UTF-8",
            "\\xff": "its name is not UTF-8",
            long: "its path is too long for S3",
            "fifo": "neither a file nor a directory nor a link",
            "socket": "neither a file nor a directory nor a link",
        }


def test_names_that_are_strange_but_fit_are_taken(disk: Disk) -> None:
    names = {"with space and\nnewline", "\N{BLACK SPADE SUIT}", "-n", "a\\b", "\x7f\x01", "n" * 255}
    for name in names:
        disk.write(name, "1")
    disk.snapshot()
    assert set(os.listdir(disk.copy)) == names


@pytest.mark.skipif(shutil.which("setpriv") is None, reason="needs setpriv, to be no superuser")
def test_what_may_not_be_read_is_named_and_keeps_its_earlier_version(disk: Disk) -> None:
    for directory in (disk.output, disk.copy, disk.report, disk.index.parent):
        os.chown(directory, 1000, 1000)
    disk.write("a", "1")
    disk.write("d/b", "2")
    disk.write("c", "3")
    user = ("setpriv", "--reuid=1000", "--regid=1000", "--clear-groups")
    program = (*user, "/usr/bin/python3", "-c", PROGRAM)
    arguments = [*program, *map(str, (disk.output, disk.copy, disk.index, disk.report, 960, "running"))]
    open_up(disk.output.parent)
    subprocess.run(arguments, check=True)
    assert disk.copied == {"a": "1", "d/b": "2", "c": "3"}
    disk.write("a", "1.1").chmod(0o000)
    disk.write("c", "3.1")
    (disk.output / "d").chmod(0o000)
    subprocess.run(arguments, check=True, capture_output=True)
    assert disk.copied == {"a": "1", "d/b": "2", "c": "3.1"}
    assert disk.left_out == {"a": "Permission denied", "d": "Permission denied"}


def open_up(directory: Path) -> None:
    """Let another user through to a directory."""
    for path in (directory, *directory.parents[:3]):
        path.chmod(0o755)


def test_what_is_open_for_writing_again_and_again_is_copied_as_it_is_beside_its_last_whole_version(disk: Disk) -> None:
    disk.write("log", "whole")
    disk.snapshot()
    with (disk.output / "log").open("a") as log:
        log.write(", then half")
        log.flush()
        for _ in range(2):
            assert disk.snapshot() == "being written, so next time: log\n"
            assert disk.left_out == {}
        disk.snapshot()
        assert disk.copied == {"log": "whole", "log.torn": "whole, then half"}
        assert disk.left_out == {"log": "open for writing: the copy log.torn may be of a moment within a change"}
        assert disk.tree["torn"] == ["log"]
        log.write(", then more")
        log.flush()
        disk.snapshot()
        assert disk.copied["log.torn"] == "whole, then half, then more"
    time.sleep(0.1)
    disk.snapshot()
    assert disk.copied == {"log": "whole, then half, then more"}
    assert (disk.left_out, disk.tree["torn"]) == ({}, [])


@pytest.mark.parametrize("trainer", ["stopped", "ended"])
def test_once_nothing_writes_no_copy_is_torn(disk: Disk, trainer: str) -> None:
    with disk.write("db", "half").open("a"):
        for _ in range(3):
            disk.snapshot()
        assert disk.copied == {"db.torn": "half"}
        disk.snapshot(trainer)
        assert disk.copied == {"db": "half"}
        assert disk.left_out == {}


def test_a_torn_copy_goes_with_its_file_and_takes_no_name_of_the_trainers(disk: Disk) -> None:
    disk.write("b.torn", "the trainer's own")
    with disk.write("a", "1").open("a"), disk.write("b", "2").open("a"):
        for _ in range(4):
            disk.snapshot()
        assert disk.copied == {"a.torn": "1", "b.torn": "the trainer's own"}
        (disk.output / "a").unlink()
        disk.snapshot()
        assert disk.copied == {"b.torn": "the trainer's own"}


@pytest.mark.parametrize("wreck", ["", "[]", "[1, 2", "\0"])
def test_a_state_that_cannot_be_read_costs_no_more_than_time(disk: Disk, wreck: str) -> None:
    disk.write("a", "1")
    disk.snapshot()
    disk.index.write_text(wreck)
    disk.snapshot()
    assert disk.copied == {"a": "1"}


def test_a_copy_is_whole_if_it_has_some_version_of_all_that_it_can_have(disk: Disk) -> None:
    """Or what a sweep's attempt before has left in S3 would be deleted there: its copy went with its container."""
    with disk.write("a", "from the attempt before").open("a"):
        disk.snapshot()
        assert not disk.is_whole
        disk.snapshot("stopped")
        assert disk.is_whole
    with disk.write("a", "changed").open("a"):
        (disk.output / "link").symlink_to("/etc")
        disk.snapshot()
        assert disk.copied == {"a": "from the attempt before"}
        assert disk.is_whole


def test_an_output_that_is_no_directory_any_more_changes_nothing(disk: Disk) -> None:
    disk.write("a", "1")
    disk.snapshot()
    disk.output.rename(disk.output.with_name("elsewhere"))
    disk.output.symlink_to("elsewhere")
    assert disk.snapshot(exit_code=1) == f"Not a directory: {disk.output}\n"
    assert disk.copied == {"a": "1"}
    assert not disk.is_whole


def test_much_that_is_left_out_is_counted(disk: Disk) -> None:
    for number in range(130):
        (disk.output / f"link-{number:03}").symlink_to("/etc")
    assert len(disk.snapshot().splitlines()) == 100
    assert len(disk.left_out) == 101
    assert disk.left_out["..."] == "30 more"


FLIPS = """
import ctypes, os, sys
exchange = ctypes.CDLL(None).renameat2
first, second = map(os.fsencode, sys.argv[1:])
while True:
    exchange(-100, first, -100, second, 2)
"""
"""A program that exchanges two names all the time: renameat2(2) with RENAME_EXCHANGE."""


@pytest.mark.parametrize("where", ["a directory", "a file", "the output itself", "the way to it"])
@pytest.mark.parametrize("trainer", ["running", "ended"])
def test_nothing_outside_the_output_is_ever_read(
    disk: Disk, tmp_path: Path, pytestconfig: pytest.Config, where: str, trainer: str
) -> None:
    """However fast the trainer flips between its own and a link to what is the machine's."""
    seconds = 60 if pytestconfig.getoption("--all") else 1
    machine = tmp_path / "machine"
    machine.mkdir()
    (machine / "shadow").write_text("secret")
    place = {"a directory": "d", "a file": "d/shadow", "the output itself": "", "the way to it": "d"}[where]
    below = "deep/er/" if where == "the way to it" else ""
    (machine / below).mkdir(parents=True, exist_ok=True)
    (machine / below / "shadow").write_text("secret")
    disk.write(f"d/{below}shadow", "trainer's")
    other = tmp_path / "other" if where == "the output itself" else disk.output / "other"
    other.symlink_to(machine / "shadow" if where == "a file" else machine)
    flip = [sys.executable, "-c", FLIPS, str(disk.output / place), str(other)]
    snapshots = sneaked = 0
    with subprocess.Popen(flip) as flipper:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            disk.snapshot(trainer, exit_code=None)
            snapshots += 1
            sneaked += "secret" in disk.copied.values()
        flipper.kill()
    assert snapshots > 3
    assert sneaked == 0

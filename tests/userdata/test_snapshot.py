"""snapshot.py, run as the instance runs it: every file of the copy is one whole version."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

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
        self.output.mkdir()
        self.copy.mkdir()

    def write(self, path: str, text: str) -> Path:
        """A file of the output, last changed a second ago."""
        file = self.output / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        os.utime(file, ns=(time.time_ns() - 10**9, time.time_ns() - 10**9))
        return file

    def snapshot(self, trainer: str = "running", *, exit_code: int = 0) -> str:
        """Bring the copy up to date; returns what is said about it."""
        arguments = map(str, (self.output, self.copy, self.index, trainer))
        done = subprocess.run([sys.executable, "-c", PROGRAM, *arguments], check=False, capture_output=True, text=True)
        assert done.returncode == exit_code, done.stderr
        return done.stderr

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
    assert small.snapshot(trainer, exit_code=1) == "no room for a copy: a\n"
    assert small.copied == {"b": "2"}
    assert shutil.disk_usage(small.output).free > 2_000_000
    small.write("a", "1" * 1_000_000)
    small.snapshot(trainer)
    assert small.copied == {"a": "1" * 1_000_000, "b": "2"}


def test_without_room_for_a_copy_the_earlier_version_stays(small: Disk) -> None:
    small.write("a", "1")
    small.snapshot()
    small.write("a", "2" * 3_000_000)
    small.snapshot(exit_code=1)
    assert small.copied == {"a": "1"}
    small.snapshot("ended")
    assert small.copied == {"a": "2" * 3_000_000}


def test_a_link_counts_if_it_stays_inside(disk: Disk, tmp_path: Path) -> None:
    disk.write("checkpoint-7", "7")
    (tmp_path / "secret").write_text("of the machine")
    (disk.output / "latest").symlink_to("checkpoint-7")
    (disk.output / "outside").symlink_to(tmp_path / "secret")
    (disk.output / "nowhere").symlink_to("gone")
    disk.snapshot()
    assert disk.copied == {"checkpoint-7": "7", "latest": "7"}
    disk.write("checkpoint-7", "8")
    disk.snapshot("ended")
    assert disk.copied == {"checkpoint-7": "8", "latest": "8"}


def test_names_may_be_strange(disk: Disk) -> None:
    disk.write("with space and\nnewline", "1")
    (disk.output / os.fsdecode(b"latin-\xfc")).write_text("2")
    disk.snapshot("stopped")
    disk.snapshot()
    assert set(os.listdir(disk.copy)) == {"with space and\nnewline", os.fsdecode(b"latin-\xfc")}

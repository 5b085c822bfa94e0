"""Brings a copy of the output directory up to date in which every file is one whole version.

A file that is being written, or that the disk has no room for twice, is left out this time, and keeps its earlier
version in the copy. One that is open for writing sync after sync is copied as it is, beside its last whole version, as
NAME.torn. Whatever cannot be saved is left out and named; it never keeps the rest from being saved. The trainer may
change anything at any moment: each step of a path is opened by itself and through no link, so that nothing outside the
output is read. Links and empty directories, which S3 cannot hold, go into tree.json, from which restore.py makes them.

The time of a new version is that of its copying, because `aws s3 sync` takes a file of the same size for unchanged if
it is older than what is in S3, and the trainer may have written it before the upload of the version before was over.
Standard library of Python 3.9 only.
"""

from __future__ import annotations

import argparse
import contextlib
import errno
import fcntl
import json
import os
import posixpath
import shutil
import signal
import stat
import sys
import time
from pathlib import Path
from typing import BinaryIO, Literal, get_args

Trainer = Literal["running", "stopped", "ended"]
"""`stopped`: it writes nothing now, but will go on. `ended`: nothing will ever write again, so that files need not be
copied, but can be linked, which takes no room on the disk."""

Version = list[int]
"""What tells two versions of a file apart: size, time of the last change in ns, inode."""

FICLONE = 0x40049409
"""ioctl of linux/fs.h: the copy shares its blocks with the original until one of them changes (XFS, Btrfs)."""

QUIET_NS = 50_000_000
"""How long ago the last change must be: file times are as coarse as the kernel's tick, up to 10 ms."""

PATIENCE = 3
"""How often a file is being written until it is copied as it is."""

FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK
"""How everything is opened: through no link, and without waiting for who writes into a FIFO."""

NAMED = 100
"""So many of what was left out are told by name."""

TRAINERS_OUTPUT = "/solver/output"
"""The output directory as the trainer knows it."""

BUSY = "being written, so next time"
TORN = "open for writing: the copy NAME.torn may be of a moment within a change"
NO_ROOM = "no room on the disk for a copy"


class Unfit(Exception):
    """What cannot be saved; the text says why."""


class Tree:
    """What is below an open directory: files, links and directories by path, and what is left out and why.

    room: bytes that S3 leaves for a path. unread: directories that could not be listed.
    """

    def __init__(self, root: int, room: int) -> None:
        self.files: set[str] = set()
        self.directories: set[str] = set()
        self.raw: dict[str, str] = {}
        self.unread: set[str] = set()
        self.left_out: dict[str, str] = {}
        todo = [""]
        while todo:
            parent = todo.pop()
            try:
                todo += self._look(root, parent, room)
            except FileNotFoundError:  # removed meanwhile
                continue
            except OSError as error:
                self.unread.add(parent)
                self.left_out[parent or "."] = str(error.strerror)
        self.links: dict[str, str] = {}
        for path in self.raw:
            try:
                self.links[path] = self._target(path)
            except Unfit as reason:
                self.left_out[path] = str(reason)

    def _look(self, root: int, parent: str, room: int) -> list[str]:
        """Take note of a directory's entries; returns the directories among them."""
        below = []
        directory = open_below(root, parent or ".", FLAGS | os.O_DIRECTORY)
        try:
            for entry in sorted(os.scandir(directory), key=lambda entry: entry.name):
                path = f"{parent}/{entry.name}" if parent else entry.name
                if unfit := unfit_name(path, room):
                    self.left_out[printable(path)] = unfit
                elif entry.is_symlink():
                    self.raw[path] = os.readlink(entry.name, dir_fd=directory)
                elif entry.is_dir(follow_symlinks=False):
                    self.directories.add(path)
                    below.append(path)
                elif entry.is_file(follow_symlinks=False):
                    self.files.add(path)
                else:
                    self.left_out[path] = "neither a file nor a directory nor a link"
        finally:
            os.close(directory)
        return below

    def is_unread(self, path: str) -> bool:
        """Whether a directory, or one on the way to it, could not be listed."""
        return any(f"{path}/".startswith(f"{unread}/" if unread else "") for unread in self.unread)

    def empty(self) -> list[str]:
        """The directories that neither a file nor a link nor another directory implies."""
        implied = {path.rpartition("/")[0] for path in (*self.files, *self.links, *self.directories)}
        return sorted(self.directories - implied)

    def _target(self, path: str) -> str:
        """The target of a link, relative to its place, upwards only at its beginning; Unfit if it is not inside.

        What it says is kept where that leads to the same place by name alone: a link to a link stays one.
        """
        place, said = posixpath.dirname(path), self.raw[path]
        real = self._follow(path)
        if said.startswith("/"):
            said = posixpath.relpath(self._within(said), f"/{place}")
        said = posixpath.normpath(said)
        try:
            same = self._follow(posixpath.join(place, said)) == real
        except Unfit:
            same = False
        return said if same else posixpath.relpath(f"/{real}", f"/{place}")

    def _within(self, target: str) -> str:
        """An absolute target as a path from the output directory, with a slash in front."""
        if f"{target}/".startswith(f"{TRAINERS_OUTPUT}/"):
            return target[len(TRAINERS_OUTPUT) :] or "/"
        raise Unfit("a link that leads outside")

    def _follow(self, path: str) -> str:
        """Where a path leads, through links, by what was found and not by what is there now; "" is the top."""
        at: list[str] = []
        todo, hops = path.split("/")[::-1], 0
        while todo:
            name = todo.pop()
            if name == "..":
                if not at:
                    raise Unfit("a link that leads outside")
                at.pop()
            elif name not in ("", "."):
                here = "/".join([*at, name])
                if here in self.raw:
                    hops += 1
                    if hops > 40:  # as many as Linux follows: path_resolution(7)
                        raise Unfit("a link that leads in a circle")
                    target = self.raw[here]
                    if target.startswith("/"):
                        at, target = [], self._within(target)
                    todo += target.split("/")[::-1]
                else:
                    at.append(name)
        found = "/".join(at)
        if found and found not in self.directories and found not in self.files:
            raise Unfit("a link that leads nowhere")
        return found


class Copy:
    """The copy of one output directory: what it has (`known`), what was not to be had (`missed`) and is torn."""

    def __init__(self, directory: Path, state: Path) -> None:
        self.directory, self._state, self._partial = directory, state, state.with_suffix(".partial")
        self.known: dict[str, Version] = {}
        self.missed: dict[str, int] = {}
        self.torn: dict[str, Version] = {}
        with contextlib.suppress(OSError, ValueError):  # the first time, or a disk that was full
            self.known, self.missed, self.torn = json.loads(state.read_text())

    def remember(self, tree: Tree) -> None:
        """Write down what the next snapshot wants to know. Without it, that copies more than it has to."""
        kept = [{path: of[path] for path in tree.files if path in of} for of in (self.known, self.missed, self.torn)]
        try:
            self._partial.write_text(json.dumps(kept))
            self._partial.replace(self._state)
        except OSError as error:
            print(f"the state of the copy: {error.strerror}", file=sys.stderr)

    def remove_others(self, tree: Tree) -> None:
        """Remove what the output no longer has, and directories that are empty then."""
        wanted = {*tree.files, *(f"{path}.torn" for path in tree.files if path in self.torn)}
        for parent, directories, names in os.walk(self.directory, topdown=False):
            below = os.path.relpath(parent, self.directory)
            if tree.is_unread(below):
                continue
            for name in names:
                if posixpath.normpath(f"{below}/{name}") not in wanted:
                    os.unlink(Path(parent, name))
            for name in directories:
                if not any(os.scandir(Path(parent, name))):
                    os.rmdir(Path(parent, name))

    def save(self, path: str, data: BinaryIO, trainer: Trainer, taken: set[str]) -> str:
        """Bring one file up to date; returns why it could not be, or "". taken: names that are the trainer's."""
        status = os.fstat(data.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise Unfit("no file any more")
        now, target = version(status), self.directory / path
        if self.known.get(path) != now or not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            if trainer == "ended":
                self._link(data, target)
            elif self._copy(data, now, quiet=trainer == "stopped"):
                self._partial.replace(target)
            else:
                return self._miss(path, data, now, taken)
        self.known[path] = now
        self.missed.pop(path, None)
        if self.torn.pop(path, None):
            Path(f"{target}.torn").unlink(missing_ok=True)
        return ""

    def _miss(self, path: str, data: BinaryIO, now: Version, taken: set[str]) -> str:
        self.missed[path] = self.missed.get(path, 0) + 1
        if self.missed[path] < PATIENCE or f"{path}.torn" in taken:
            return BUSY
        if self.torn.get(path) != now:
            self._copy(data, now, quiet=True)
            self._partial.replace(f"{self.directory / path}.torn")
            self.torn[path] = now
        return TORN.replace("NAME", posixpath.basename(path))

    def _link(self, data: BinaryIO, target: Path) -> None:
        """Make the target another name of the file, or a copy where that cannot be."""
        target.unlink(missing_ok=True)
        try:  # with a descriptor, any, Python asks for the file that is open instead of its name in /proc
            os.link(f"/proc/self/fd/{data.fileno()}", target, src_dir_fd=data.fileno())
            os.utime(target)
        except OSError:  # on another filesystem, or a mount of its own
            self._copy(data, version(os.fstat(data.fileno())), quiet=True)
            self._partial.replace(target)

    def _copy(self, data: BinaryIO, before: Version, *, quiet: bool) -> bool:
        """Copy a file to `partial`; returns False if it is being written. quiet: there is no need to look."""
        if not quiet and (time.time_ns() - before[1] < QUIET_NS or open_for_writing(data)):
            return False
        with self._partial.open("wb") as out:
            try:
                fcntl.ioctl(out.fileno(), FICLONE, data.fileno())
            except OSError:  # the filesystem cannot
                # As much again has to stay free: the trainer is not to run out of room for the sake of its copy.
                if shutil.disk_usage(self._partial.parent).free < 2 * before[0]:
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)) from None
                data.seek(0)
                left = before[0]
                while left and (chunk := data.read(min(left, 1 << 20))):
                    left -= out.write(chunk)
        return quiet or not (open_for_writing(data) or version(os.fstat(data.fileno())) != before)

    def clean(self) -> None:
        """Remove what was copied in part."""
        self._partial.unlink(missing_ok=True)


def update(output: Path, copy: Copy, trainer: Trainer, room: int) -> tuple[Tree, bool]:
    """Bring a copy up to date with the output directory.

    Returns what is there and what of it was left out, and whether the copy has some version of all the rest, so that
    what it lacks may be deleted elsewhere, too. Raises OSError if there is no such directory.
    """
    root = os.open(output, FLAGS | os.O_DIRECTORY)
    tree, whole = Tree(root, room), True
    copy.remove_others(tree)
    for path in sorted(tree.files):
        try:
            with open(open_below(root, path, FLAGS), "rb") as data:
                reason = copy.save(path, data, trainer, tree.files)
        except FileNotFoundError:  # removed or renamed meanwhile
            continue
        except Unfit as unfit:
            reason = str(unfit)
        except OSError as error:
            reason = NO_ROOM if error.errno in (errno.ENOSPC, errno.EDQUOT) else str(error.strerror)
        if reason:
            tree.left_out[path] = reason
            whole = whole and (copy.directory / path).exists()
    copy.clean()
    copy.remember(tree)
    return tree, whole and not tree.unread


def open_below(root: int, path: str, flags: int) -> int:
    """Open what is at a path below an open directory, through no link on the way or at its end."""
    *parents, name = path.split("/")
    directory = os.dup(root)
    try:
        for parent in parents:
            below = os.open(parent, FLAGS | os.O_DIRECTORY, dir_fd=directory)
            os.close(directory)
            directory = below
        return os.open(name, flags, dir_fd=directory)
    finally:
        os.close(directory)


def unfit_name(path: str, room: int) -> str:
    """Why S3 cannot have an object of that name, or "": keys are UTF-8, and of 1,024 bytes at most.

    https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-keys.html
    """
    try:
        return "" if len(path.encode()) <= room else "its path is too long for S3"
    except UnicodeEncodeError:
        return "its name is not UTF-8"


def printable(path: str) -> str:
    """A path with the bytes that are not UTF-8 written out."""
    return os.fsencode(path).decode(errors="backslashreplace")


def version(status: os.stat_result) -> Version:
    return [status.st_size, status.st_mtime_ns, status.st_ino]


def open_for_writing(data: BinaryIO) -> bool:
    """Whether any process has the file open for writing: then the kernel refuses a read lease, fcntl(2)."""
    try:
        fcntl.fcntl(data.fileno(), fcntl.F_SETLEASE, fcntl.F_RDLCK)
    except BlockingIOError:
        return True
    except OSError:  # the filesystem has no leases
        return False
    # At once, because whoever wants to write now has to wait for it.
    fcntl.fcntl(data.fileno(), fcntl.F_SETLEASE, fcntl.F_UNLCK)
    return False


def report(tree: Tree, torn: list[str], directory: Path) -> None:
    """Write left-out.json, and in tree.json what S3 cannot hold or tell: links by path with their targets, empty
    directories, and of which files there is a torn copy. What is being written just now is no news to anybody.
    """
    named = list(tree.left_out.items())
    for path, reason in named[:NAMED]:
        print(f"{reason}: {path}", file=sys.stderr)
    named = [(path, reason) for path, reason in named if reason != BUSY]
    if len(named) > NAMED:
        named[NAMED:] = [("...", f"{len(named) - NAMED} more")]
    (directory / "left-out.json").write_text(json.dumps(dict(named)))
    told = {"links": tree.links, "directories": tree.empty(), "torn": torn}
    (directory / "tree.json").write_text(json.dumps(told))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="snapshot")
    parser.add_argument("output", type=Path)
    parser.add_argument("copy", type=Path)
    parser.add_argument("state", type=Path, help="file that holds what the copy has")
    parser.add_argument("report", type=Path, help="directory for left-out.json, tree.json, and whole if the copy is")
    parser.add_argument("room", type=int, help="bytes that S3 leaves for a path")
    parser.add_argument("trainer", choices=get_args(Trainer))
    given = parser.parse_args()
    signal.signal(signal.SIGIO, signal.SIG_IGN)  # comes when somebody waits for the lease, and would end this process
    copy = Copy(given.copy, given.state)
    try:
        tree, whole = update(given.output, copy, given.trainer, given.room)
    except OSError as error:
        sys.exit(f"{error.strerror}: {error.filename}")
    report(tree, sorted(tree.files & copy.torn.keys()), given.report)
    if whole:
        (given.report / "whole").touch()

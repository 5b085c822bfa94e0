"""Brings a copy of the output directory up to date in which every file is one whole version.

A file that is being written, or that the disk has no room for twice, is left out this time, and keeps its earlier
version in the copy. The time of a new version is that of its copying, because `aws s3 sync` takes a file of the same
size for unchanged if it is older than what is in S3, and the trainer may have written it before the upload of the
version before was over.
Standard library of Python 3.9 only.
"""

from __future__ import annotations

import argparse
import errno
import fcntl
import json
import os
import shutil
import signal
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


BUSY, NO_ROOM = "being written, so next time", "no room for a copy"


def update(output: Path, copy: Path, index: Path, trainer: Trainer) -> dict[str, str]:
    """Bring `copy` up to date with `output`; returns the paths that were left out, with the reason.

    index: file that holds the versions which the copy has.
    """
    known: dict[str, Version] = json.loads(index.read_text()) if index.exists() else {}
    found = files(output)
    remove_others(copy, found)
    left_out = {}
    for path, source in found.items():
        target = copy / path
        try:
            if known.get(path) == version(os.stat(source)) and target.exists():
                continue
            target.parent.mkdir(parents=True, exist_ok=True)
            taken = (
                link(source, target)
                if trainer == "ended"
                else whole_copy(source, target, index.with_suffix(".partial"), quiet=trainer == "stopped")
            )
        except FileNotFoundError:  # removed or renamed meanwhile
            continue
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            left_out[path] = NO_ROOM
            index.with_suffix(".partial").unlink(missing_ok=True)
            continue
        if taken:
            known[path] = taken
        else:
            left_out[path] = BUSY
    partial = index.with_suffix(".partial")
    partial.write_text(json.dumps({path: known[path] for path in found if path in known}))
    partial.replace(index)
    return left_out


def files(directory: Path) -> dict[str, Path]:
    """The regular files below a directory, by path there. A symbolic link counts if it stays inside."""
    inside = directory.resolve()
    found = {}
    for parent, _, names in os.walk(directory):
        for name in names:
            path = Path(parent, name)
            real = path.resolve() if path.is_symlink() else path
            if real.is_file() and (real is path or inside in real.parents):
                found[path.relative_to(directory).as_posix()] = real
    return found


def remove_others(copy: Path, found: dict[str, Path]) -> None:
    """Remove from the copy what the output no longer has, and directories that are empty then."""
    for parent, directories, names in os.walk(copy, topdown=False):
        for name in names:
            path = Path(parent, name)
            if path.relative_to(copy).as_posix() not in found:
                path.unlink()
        for name in directories:
            if not any(os.scandir(Path(parent, name))):
                os.rmdir(Path(parent, name))


def version(status: os.stat_result) -> Version:
    return [status.st_size, status.st_mtime_ns, status.st_ino]


def link(source: Path, target: Path) -> Version:
    """Make the target another name of the source, or a copy where that cannot be."""
    target.unlink(missing_ok=True)
    try:
        os.link(source, target)
        os.utime(target)
    except OSError:  # on another filesystem, or a mount of its own
        shutil.copyfile(source, target)
    return version(os.stat(source))


def whole_copy(source: Path, target: Path, partial: Path, *, quiet: bool) -> Version | None:
    """Copy a file, by way of `partial`; returns the version copied, or None if it is being written.

    quiet: nothing writes, so there is no need to look.
    """
    with source.open("rb") as data:
        before = version(os.fstat(data.fileno()))
        if not quiet and (time.time_ns() - before[1] < QUIET_NS or open_for_writing(data)):
            return None
        with partial.open("wb") as out:
            try:
                fcntl.ioctl(out.fileno(), FICLONE, data.fileno())
            except OSError:  # the filesystem cannot
                # As much again has to stay free: the trainer is not to run out of room for the sake of its copy.
                if shutil.disk_usage(partial.parent).free < 2 * before[0]:
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)) from None
                shutil.copyfileobj(data, out, 1 << 20)
        if not quiet and (open_for_writing(data) or version(os.fstat(data.fileno())) != before):
            return None
    partial.replace(target)
    return before


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


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="snapshot", description=__doc__)
    parser.add_argument("output", type=Path)
    parser.add_argument("copy", type=Path)
    parser.add_argument("index", type=Path)
    parser.add_argument("trainer", choices=get_args(Trainer))
    given = parser.parse_args()
    signal.signal(signal.SIGIO, signal.SIG_IGN)  # comes when somebody waits for the lease, and would end this process
    left_out = update(given.output, given.copy, given.index, given.trainer)
    for path, reason in left_out.items():
        print(f"{reason}: {path}", file=sys.stderr)
    sys.exit(NO_ROOM in left_out.values())

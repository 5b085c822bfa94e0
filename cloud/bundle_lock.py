"""`.solver-cloud` in a directory: made for one download at a time, which keeps its unfinished files there."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import re
import stat
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from .bundle import WORK
from .errors import CloudError

LOCK = "lock"
MARK = b"solver-cloud is putting a bundle here; this directory goes when it is done\n"
"""What the lock holds, by which it is known as ours. It was empty before there was a mark, and is while it is made."""

UNFINISHED = re.compile(r"[0-9a-f]{64}")
"""Names of unfinished files, as `unfinished` gives them."""

HERE = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
"""How a directory is opened that must not be a link."""


def unfinished(path: str) -> str:
    """The name, in `.solver-cloud`, of a file or link that is not whole yet."""
    return hashlib.sha256(path.encode()).hexdigest()


@contextmanager
def held(root: int, path: Path, waiting: Callable[[], None]) -> Iterator[int]:
    """Hold a directory for one download; yields the descriptor of its `.solver-cloud`. What a killed one has left there
    is removed, and in the end all of it; only what is known to be ours ever is.

    root: the directory's descriptor. waiting: called when another download holds it, before waiting for its end.
    Raises OSError when it cannot be made or written to, CloudError when the name is taken by something of the user's.
    """
    work, lock = _locked(root, path, waiting)
    try:
        _clean(work)
        yield work
    finally:
        with suppress(OSError):
            _clean(work)
            os.unlink(LOCK, dir_fd=work)
            os.rmdir(WORK, dir_fd=root)
        os.close(work)
        os.close(lock)


def _locked(root: int, path: Path, waiting: Callable[[], None]) -> tuple[int, int]:
    """The descriptors of `.solver-cloud` and of its lock. Whoever held it has removed both: then they are others that
    the next one locks."""
    while True:
        with suppress(FileExistsError):
            os.mkdir(WORK, dir_fd=root)
        with ExitStack() as opened, suppress(FileNotFoundError):  # it may go in between
            work = _opened(root, path)
            opened.callback(os.close, work)
            lock = os.open(LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666, dir_fd=work)
            opened.callback(os.close, lock)
            if _lock(work, lock, waiting):
                opened.pop_all()
                return work, lock


def _opened(root: int, path: Path) -> int:
    """The descriptor of `.solver-cloud`; raises CloudError if there is anything but what we made."""
    try:
        work = os.open(WORK, HERE, dir_fd=root)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENOTDIR):
            raise _taken(path) from None
        raise
    try:
        names = os.listdir(work)
        if any(not _is_ours(work, name) for name in names) or (names and LOCK not in names and _rest(work)):
            raise _taken(path)
    except BaseException:
        os.close(work)
        raise
    return work


def _rest(work: int) -> bool:
    """Whether there are names and no lock, after another look: a lock may have gone, or come, in between."""
    names = os.listdir(work)
    return bool(names) and LOCK not in names


def _is_ours(work: int, name: str) -> bool:
    """Whether we made what has a name in `.solver-cloud`."""
    try:
        found = os.stat(name, dir_fd=work, follow_symlinks=False)
        if name != LOCK:
            return bool(UNFINISHED.fullmatch(name)) and (stat.S_ISREG(found.st_mode) or stat.S_ISLNK(found.st_mode))
        if not stat.S_ISREG(found.st_mode) or found.st_size > len(MARK):
            return False
        lock = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=work)
    except FileNotFoundError:
        return True  # it went in between
    try:
        return os.read(lock, len(MARK) + 1) in (b"", MARK)
    finally:
        os.close(lock)


def _lock(work: int, lock: int, waiting: Callable[[], None]) -> bool:
    """Lock it, and mark it as ours; False if it has been removed meanwhile."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        waiting()
        fcntl.flock(lock, fcntl.LOCK_EX)
    if not os.path.samestat(os.fstat(lock), os.stat(LOCK, dir_fd=work, follow_symlinks=False)):
        return False
    if os.fstat(lock).st_size == 0:
        os.write(lock, MARK)
    return True


def _clean(work: int) -> None:
    for name in os.listdir(work):
        if UNFINISHED.fullmatch(name):
            os.unlink(name, dir_fd=work)


def _taken(path: Path) -> CloudError:
    return CloudError(
        f"{path / WORK} is needed for downloads, and what is there was not made by one",
        fix="move it away, or name another --output",
    )

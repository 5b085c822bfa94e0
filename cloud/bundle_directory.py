"""The directory that a bundle is put into: one download at a time, each file whole or not there, nothing read twice."""

from __future__ import annotations

import fcntl
import functools
import hashlib
import os
import shutil
import stat
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

from . import cache
from .errors import CloudError
from .records import File

WORK = ".solver-cloud"
"""Lock and unfinished files, in the directory while a download is under way; its removal removes all that is ours."""

Stamp = tuple[int, int, int, int]
"""Size, inode and the times of last change of a file: nobody who changes a file can set ctime back."""

HASHERS = os.cpu_count() or 1


class BundleDirectory:
    """A directory and what is known about its files; made by `opened`, which holds the lock meanwhile."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._root = path.resolve()
        self._work = path / WORK
        self._index = _index(self._root)
        self._verified: dict[str, tuple[Stamp, str]] = _read_index(self._index)
        self._remembered = dict(self._verified)
        self._parents: set[str] = set()

    def missing(self, files: tuple[File, ...]) -> list[File]:
        """The files that are not there byte for byte; those are hashed that have changed since they were verified.

        Raises CloudError for names that this directory cannot hold, or that lead out of it.
        """
        self._check_names(files)
        wanted, unsure = [], []
        for file in files:
            stamp = _stamp(self._target(file))
            if stamp is None or stamp[0] != file.size:
                wanted.append(file)
            elif self._verified.get(file.path) != (stamp, file.sha256):
                unsure.append((file, stamp))
        with ThreadPoolExecutor(HASHERS) as pool:
            same = pool.map(lambda pair: _sha256(self._target(pair[0])) == pair[0].sha256, unsure)
            for (file, stamp), is_same in zip(unsure, same, strict=True):
                if is_same:
                    self._verified[file.path] = stamp, file.sha256
                else:
                    wanted.append(file)
        return wanted

    def check_space(self, size: int) -> None:
        """Raise CloudError unless the disk has room for so many bytes more."""
        free = shutil.disk_usage(self.path).free
        if size > free:
            raise CloudError(f"the bundle needs {size:,} bytes, but {self.path} has {free:,} left")

    @contextmanager
    def whole_file(self, file: File) -> Iterator[int]:
        """The descriptor of a file of the right size that gets its name when the block ends well, and leaves no trace
        when it does not."""
        target = self._target(file)
        temporary = f"{self._work}/{hashlib.sha256(file.path.encode()).hexdigest()}"
        with _os_errors(target):
            out = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
            try:
                os.ftruncate(out, file.size)
                yield out
                if (parent := os.path.dirname(target)) not in self._parents:
                    os.makedirs(parent, exist_ok=True)
                    self._parents.add(parent)
                os.replace(temporary, target)
            except BaseException:
                with suppress(FileNotFoundError):
                    os.unlink(temporary)
                raise
            finally:
                os.close(out)
            if stamp := _stamp(target):
                self._verified[file.path] = stamp, file.sha256

    def _target(self, file: File) -> str:
        return "/".join([str(self.path), *_parts(file)])

    def _check_names(self, files: tuple[File, ...]) -> None:
        parents = set()
        for file in files:
            parts = _parts(file)
            if not parts or file.path.startswith("/") or ".." in parts or "\0" in file.path or parts[0] == WORK:
                raise CloudError(
                    f"the record names a file outside the bundle: {file.path!r}", fix="this bundle is not to be trusted"
                )
            parents.add("/".join(parts[:-1]))
        for parent in (self.path / parent for parent in parents):
            if not parent.resolve().is_relative_to(self._root):
                raise CloudError(
                    f"{parent} leads out of {self.path} by a symbolic link",
                    fix="remove the link, or name another --output",
                )
        if self._work.with_name(WORK.upper()).exists():
            check_cases(files)

    def remember(self) -> None:
        """Write down what is verified. That it cannot be written costs the next download a reading, and no more.

        It counts until this machine is started anew: a power failure may spoil files that had not reached the disk yet.
        An fsync for each of 10,000 files would take a fifth of their download.
        """
        if self._verified != self._remembered:
            cache.keep(self._index, {_boot(): self._verified})


@contextmanager
def opened(path: Path, waiting: Callable[[], None]) -> Iterator[BundleDirectory]:
    """Hold a directory, which is made if need be, for one download; what a killed one has left is removed.

    waiting: called when another download holds it, before waiting for its end.
    Raises CloudError when the directory cannot be made or written to.
    """
    with _os_errors(path):
        lock = _locked(path / WORK, waiting)
    try:
        with _os_errors(path):
            for left in (path / WORK).iterdir():
                if left.name != "lock":
                    left.unlink()
        directory = BundleDirectory(path)
        try:
            yield directory
        finally:
            directory.remember()
    finally:
        with suppress(OSError):
            shutil.rmtree(path / WORK)
        os.close(lock)


def _locked(work: Path, waiting: Callable[[], None]) -> int:
    """The lock's descriptor. Whoever held it has removed it: then it is another file that the next one locks."""
    while True:
        # Not exist_ok: that looks whether it is a directory, and its holder may have removed it by then.
        with suppress(FileExistsError):
            work.mkdir(parents=True)
        try:
            lock = os.open(work / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        except FileNotFoundError:
            continue
        try:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                waiting()
                fcntl.flock(lock, fcntl.LOCK_EX)
            with suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(lock), (work / "lock").stat()):
                    return lock
        except BaseException:
            os.close(lock)
            raise
        os.close(lock)


def check_cases(files: tuple[File, ...]) -> None:
    """Raise CloudError for names that a file system takes for one when it does not tell upper from lower case."""
    seen = Counter(file.path.casefold() for file in files)
    for file in files:
        if seen[file.path.casefold()] > 1:
            raise CloudError(
                f"the bundle has another file like {file.path!r} but for upper and lower case, and this disk cannot"
                " hold both",
                fix="name an --output on another disk",
            )


def _parts(file: File) -> list[str]:
    """The names on the way to a file: pathlib's parts, of which 10,000 files would take half a second."""
    return [name for name in file.path.split("/") if name not in ("", ".")]


def _stamp(target: str) -> Stamp | None:
    """A file's stamp; None when there is none, or something else has its name."""
    try:
        found = os.lstat(target)
    except (FileNotFoundError, NotADirectoryError):
        return None
    if not stat.S_ISREG(found.st_mode):
        return None
    return found.st_size, found.st_ino, found.st_mtime_ns, found.st_ctime_ns


def _sha256(target: str) -> str:
    with _os_errors(target, "read"), open(target, "rb") as data:
        return hashlib.file_digest(data, "sha256").hexdigest()


def _index(root: Path) -> str:
    """Under which name what was verified in a directory is kept: not in it, which has the model and nothing else."""
    return f"downloads/{hashlib.sha256(os.fsencode(root)).hexdigest()[:32]}"


def _read_index(index: str) -> dict[str, tuple[Stamp, str]]:
    """What is remembered since the machine was started; nothing when it cannot be read: then all is verified again."""
    try:
        known = cache.load(index).get(_boot(), {}).items()
        return {path: (_as_stamp(stamp), str(sha256)) for path, (stamp, sha256) in known}
    except (ValueError, TypeError, AttributeError):
        return {}


@functools.cache
def _boot() -> str:
    """What tells this start of the machine from all others, of Linux (random(4)) or else of macOS (sysctl(3))."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except FileNotFoundError:
        asked = ["sysctl", "-n", "kern.bootsessionuuid"]
        return subprocess.run(asked, check=True, capture_output=True, text=True).stdout.strip()


def _as_stamp(numbers: list[int]) -> Stamp:
    size, inode, changed, touched = numbers
    return size, inode, changed, touched


@contextmanager
def _os_errors(target: str | Path, doing: str = "write") -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise CloudError(f"cannot {doing} {target}: {error.strerror or error}") from None

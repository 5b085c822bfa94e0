"""The directory that a bundle is put into: one download at a time, each file whole or not there, nothing read twice,
and nothing of the user's overwritten unasked.

What is in the way is looked at by name, and then written to from the directory's own descriptor, name by name: a link
that comes up meanwhile is not followed.
"""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import stat
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from . import bundle, bundle_lock
from .bundle import WORK, Bundle
from .bundle_index import Index, Stamp, as_content
from .bundle_lock import HERE, unfinished
from .config import check_target
from .errors import CloudError
from .records import File

HASHERS = os.cpu_count() or 1
NO_LINKS = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL)
"""How a file system says that it has no symbolic links: symlink(2)."""


@dataclass(frozen=True)
class Missing:
    """What of a bundle is not there yet."""

    files: list[File]
    links: list[str]
    overwritten: list[str]
    """Names in the directory that these would take from something that no download put there."""


class BundleDirectory:
    """A directory and what is known about its files; made by `opened`, which holds the lock meanwhile."""

    def __init__(self, path: Path, root: int, work: int, index: Index) -> None:
        self.path = path
        self._root = root
        self._work = work
        self._index = index
        self._outdated: list[str] = []

    def missing(self, coming: Bundle) -> Missing:
        """What is not there byte for byte; those files are hashed that have changed since they were verified.

        Raises CloudError for names that this directory cannot hold, that lead out of it, or where there is something
        that is never overwritten: a directory, or a link to one.
        """
        bundle.check(coming)
        if (self.path / WORK.upper()).exists():
            bundle.check_cases(coming.paths)
        with _os_errors(self.path, "read"):
            self._outdated = self._find_outdated(coming)
            links = [path for path, target in coming.links.items() if not self._is_link(path, target)]
            files = self._missing_files(coming.files)
            taken = [path for path in [*(file.path for file in files), *links] if self._is_taken(path)]
        return Missing(files, links, taken)

    def _find_outdated(self, coming: Bundle) -> list[str]:
        """Files and links that a download put where there are to be directories now."""
        found: list[str] = []
        for path in sorted(bundle.above(coming.paths) | set(coming.directories)):
            there = self._there(path)
            if there is None or stat.S_ISDIR(there.st_mode) or any(path.startswith(f"{one}/") for one in found):
                continue
            if not self._is_ours(path, there):
                raise self._in_the_way(path, "a directory")
            found.append(path)
        return found

    def _missing_files(self, files: tuple[File, ...]) -> list[File]:
        wanted, unsure = [], []
        for file in files:
            stamp = _stamp(self._there(file.path))
            if stamp is None or stamp[0] != file.size:
                wanted.append(file)
            elif not self._index.is_whole(file.path, stamp, file.sha256):
                unsure.append((file, stamp))
        with ThreadPoolExecutor(HASHERS) as pool:
            same = pool.map(lambda pair: _sha256(self._target(pair[0].path)) == pair[0].sha256, unsure)
            for (file, stamp), is_same in zip(unsure, same, strict=True):
                if is_same:
                    self._index.note_found(file.path, stamp, file.sha256)
                else:
                    wanted.append(file)
        return wanted

    def _is_link(self, path: str, target: str) -> bool:
        there = self._there(path)
        return there is not None and stat.S_ISLNK(there.st_mode) and os.readlink(self._target(path)) == target

    def _is_taken(self, path: str) -> bool:
        """Whether something has a name that no download put there."""
        there = self._there(path)
        if there and stat.S_ISDIR(there.st_mode):
            raise self._in_the_way(path, "a file or link")
        return there is not None and not self._is_ours(path, there)

    def _is_ours(self, path: str, there: os.stat_result) -> bool:
        """Whether it is just what a download put there."""
        known = self._index.put(path)
        if known is None:
            return False
        if stat.S_ISLNK(there.st_mode):
            return known.content == as_content(os.readlink(self._target(path)))
        stamp = _stamp(there)
        as_big = stamp is not None and stamp[0] == known.stamp[0]
        return as_big and (stamp == known.stamp or _sha256(self._target(path)) == known.content)

    def _in_the_way(self, path: str, has: str) -> CloudError:
        return CloudError(
            f"{self._target(path)} is in the way: the bundle has {has} of this name",
            fix="move it away, or name another --output",
        )

    def check_space(self, size: int) -> None:
        """Raise CloudError unless the disk has room for so many bytes more."""
        free = shutil.disk_usage(self._root).free
        if size > free:
            raise CloudError(f"the bundle needs {size:,} bytes, but {self.path} has {free:,} left")

    def remove_outdated(self) -> None:
        """Remove what downloads put where there are to be directories now."""
        for path in self._outdated:
            with self._place(path) as (parent, name):
                os.unlink(name, dir_fd=parent)

    @contextmanager
    def whole_file(self, file: File) -> Iterator[int]:
        """The descriptor of a file of the right size that gets its name when the block ends well, and leaves no trace
        when it does not."""
        temporary = unfinished(file.path)
        with self._place(file.path) as (parent, name):
            out = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666, dir_fd=self._work)
            try:
                os.ftruncate(out, file.size)
                yield out
                os.replace(temporary, name, src_dir_fd=self._work, dst_dir_fd=parent)
                if stamp := _stamp(os.fstat(out)):
                    self._index.note_put(file.path, stamp, file.sha256)
            except BaseException:
                with suppress(FileNotFoundError):
                    os.unlink(temporary, dir_fd=self._work)
                raise
            finally:
                os.close(out)

    def make_link(self, path: str, target: str) -> str:
        """Make a symbolic link, in the place of what has its name; returns why not, where there can be none."""
        temporary = unfinished(path)
        with self._place(path) as (parent, name):
            try:
                os.symlink(target, temporary, dir_fd=self._work)
            except OSError as error:
                if error.errno not in NO_LINKS:
                    raise
                return os.strerror(error.errno)
            os.replace(temporary, name, src_dir_fd=self._work, dst_dir_fd=parent)
            self._index.note_put(path, (0, 0, 0, 0), as_content(target))
        return ""

    def make_directory(self, path: str) -> None:
        """Make a directory, if it is not there."""
        with self._place(f"{path}/"):
            pass

    @contextmanager
    def _place(self, path: str) -> Iterator[tuple[int, str]]:
        """The descriptor of the directory that a path is in, which is made if need be, and the path's last name."""
        *parents, name = path.split("/")
        with _os_errors(self._target(path)):
            here = os.dup(self._root)
            try:
                for parent in parents:
                    above, here = here, _entered(here, parent)
                    os.close(above)
                yield here, name
            finally:
                os.close(here)

    def _target(self, path: str) -> str:
        return f"{self.path}/{path}"

    def _there(self, path: str) -> os.stat_result | None:
        """What has a path's name; None if nothing has, or something has that will be a directory."""
        if any(path.startswith(f"{one}/") for one in self._outdated):
            return None
        try:
            return os.lstat(self._target(path))
        except (FileNotFoundError, NotADirectoryError):
            return None


@contextmanager
def opened(path: Path, waiting: Callable[[], None]) -> Iterator[BundleDirectory]:
    """Hold a directory, which is made if need be, for one download; what a killed one has left is removed.

    The directory itself may be a link. waiting: called when another download holds it, before waiting for its end.
    Raises CloudError when the directory cannot be made or written to, UsageError for one that nothing is ever put into.
    """
    check_target(path)
    with ExitStack() as stack:
        with _os_errors(path):
            path.mkdir(parents=True, exist_ok=True)
            root = os.open(path, HERE & ~os.O_NOFOLLOW)
            stack.callback(os.close, root)
            work = stack.enter_context(bundle_lock.held(root, path, waiting))
        index = Index(path.resolve())
        stack.callback(index.remember)
        yield BundleDirectory(path, root, work, index)


def _entered(directory: int, name: str) -> int:
    """The descriptor of a directory in another one, made if need be; raises OSError for a link."""
    try:
        return os.open(name, HERE, dir_fd=directory)
    except FileNotFoundError:
        with suppress(FileExistsError):
            os.mkdir(name, dir_fd=directory)
        return os.open(name, HERE, dir_fd=directory)


def _stamp(there: os.stat_result | None) -> Stamp | None:
    """A file's stamp; None when there is none, or something else has its name."""
    if there is None or not stat.S_ISREG(there.st_mode):
        return None
    return there.st_size, there.st_ino, there.st_mtime_ns, there.st_ctime_ns


def _sha256(target: str) -> str:
    with _os_errors(target, "read"), open(target, "rb") as data:
        return hashlib.file_digest(data, "sha256").hexdigest()


@contextmanager
def _os_errors(target: str | Path, doing: str = "write") -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise CloudError(f"cannot {doing} {target}: {error.strerror or error}") from None

"""A directory's files, as they are on disk, as one git tree that is written beside the user's repository.

Git hashes a tree fastest, knows what .gitignore means, and can stream exactly what it has hashed. Everything it writes
goes to a private git directory; the user's repository, if there is one, only lends its objects and its index, so that
files which git knows already are not read again.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from . import dockerignore
from .errors import CloudError
from .git import at_once, nul_terminated, run

# $GIT_DIR/info/attributes is the strongest place (gitattributes(5)): no attribute may change the bytes or leave a file
# out. `!` where git takes an unset attribute for a value.
ATTRIBUTES = "* -text !eol -crlf -ident -filter !working-tree-encoding -export-ignore -export-subst\n"

CONVERTED = ":(exclude,attr:!text !eol !crlf !ident !filter !working-tree-encoding)"
"""Pathspec: files with an attribute by which the repository's object may differ from the bytes on disk."""

GITLINK = b"160000"

POINTER = b"version https://git-lfs.github.com/spec/v1\n"
"""How a file of Git LFS begins where its content is not there."""


@dataclass(frozen=True)
class Repository:
    """The user's repository that a directory is in. Only read."""

    top: Path
    index: Path
    objects: Path
    exclude: Path
    object_format: str

    @classmethod
    def around(cls, directory: Path) -> Repository | None:
        """The repository whose work tree `directory` is in; None where there is none, or one that ignores all of it.

        The latter is how a package in a project's virtual environment sees the project.
        """
        places = ("--show-toplevel", "--git-path", "index", "--git-path", "objects", "--git-path", "info/exclude")
        asked = ("--path-format=absolute", *places, "--show-object-format")
        try:
            found, ignored = at_once(
                lambda: run("rev-parse", *asked, cwd=directory),
                lambda: run("check-ignore", "--no-index", ".", cwd=directory, fine=(0, 1)),
            )
        except CloudError as error:
            if "not a git repository" in error.problem:
                return None
            raise
        if ignored:
            return None
        match os.fsdecode(found).split("\n"):
            case [top, index, objects, exclude, object_format, ""]:
                return cls(Path(top), Path(index), Path(objects), Path(exclude), object_format)
        raise CloudError(f"git cannot say what repository {directory} is in", fix="git 2.31 or newer is needed")


@dataclass(frozen=True)
class WorkTree:
    """A directory on disk, and the private index in which its tree is put together."""

    git_dir: Path
    index: Path
    directory: Path
    repository: Repository | None
    pointers: set[bytes] = field(default_factory=set)
    """Paths, from the directory on, of tracked files that are Git LFS's pointers on disk."""

    @property
    def top(self) -> Path:
        return self.repository.top if self.repository else self.directory

    @property
    def _prefix(self) -> bytes:
        """What paths in the index begin with."""
        below = self.directory.relative_to(self.top).as_posix()
        return b"" if below == "." else os.fsencode(below) + b"/"

    def run(self, *arguments: str, feed: bytes = b"") -> bytes:
        """What one git command prints, run in the directory with the private git directory and index."""
        places = {"GIT_DIR": self.git_dir, "GIT_INDEX_FILE": self.index, "GIT_WORK_TREE": self.top}
        variables = {key: str(path) for key, path in places.items()}
        return run(*arguments, cwd=self.directory, feed=feed, fine=(0,), **variables)

    def entries(self, *arguments: str) -> list[bytes]:
        """What `git ls-files -z` prints of the directory: the index's entries, unless it is asked for others."""
        return self.run("ls-files", "-z", "--full-name", *arguments).split(b"\0")[:-1]

    def enter(self, entries: Iterable[bytes]) -> None:
        """Put entries ("MODE ID\\tPATH") into the index, with nothing known about the file."""
        if feed := nul_terminated(entries):
            self.run("update-index", "-z", "--index-info", feed=feed)

    def read(self, paths: Iterable[bytes]) -> None:
        """Put files into the index, and their content into the git directory, as they are on disk now."""
        self._update(paths, "--add", "--remove", "--replace")

    def remove(self, paths: Iterable[bytes]) -> None:
        """Take paths out of the index, whatever is on disk."""
        self._update(paths, "--force-remove")

    def _update(self, paths: Iterable[bytes], *how: str) -> None:
        if feed := nul_terminated(paths):
            # The paths are relative to where it runs.
            self.run("-C", str(self.top), "update-index", *how, "-z", "--stdin", feed=feed)

    def seed(self, repository: Repository) -> None:
        """Start from the user's index and objects, and believe what they say about unchanged files."""
        with (self.git_dir / "objects/info/alternates").open("a") as alternates:
            alternates.write(f"{repository.objects}\n")
        for shared in repository.index.parent.glob("sharedindex.*"):
            _copy_with_time(shared, self.git_dir / shared.name)
        if repository.index.exists():
            _copy_with_time(repository.index, self.index)
            self._distrust()

    def _distrust(self) -> None:
        """Forget what the user's index says about files where it need not be what is on disk.

        Files marked assume-unchanged or skip-worktree, unmerged ones, files that git converts (line ends, filters),
        and repositories inside, which may have become plain directories. `add` then reads them.
        """
        converted, odd = at_once(self._converted, self._odd)
        paths = {_path(entry) for entry in converted}
        self.pointers.update(path.removeprefix(self._prefix) for path in paths if _is_pointer(self.top, path))
        doubtful = [*converted, *odd]
        self.enter(map(_merged, doubtful))
        self.remove(_path(entry) for entry in doubtful if entry.startswith(GITLINK))

    def _odd(self) -> list[bytes]:
        """Entries that git marks with another letter than H, and those that are neither file nor symlink."""
        marked = self.entries("-s", "-v", ":/")
        return [entry[2:] for entry in marked if not entry.startswith((b"H 100", b"H 120"))]

    def _converted(self) -> list[bytes]:
        """Entries that git may have converted; asked of the user's repository, whose settings and attributes say so."""
        automatic = run("config", "--default", "false", "core.autocrlf", cwd=self.directory).strip() != b"false"
        pathspec = "." if automatic else CONVERTED
        return run("ls-files", "-z", "-s", "--full-name", pathspec, cwd=self.directory).split(b"\0")[:-1]

    def add(self) -> None:
        """Bring the index to what is on disk, as `git add --all` does; repositories inside with their own files.

        Edited files and new ones are looked for at the same time, which `git add --all` does one after the other.
        """
        changed, new = at_once(self._changed, self._new)
        gone = {path for path, how in changed.items() if how == b"D" or (how == b"T" and self._is_directory(path))}
        self.remove(gone)
        if any(map(self._is_directory, gone)):
            new = self._new()  # git keeps quiet about a repository that has the name of a file it knows
        files = [path for path in new if not path.endswith(b"/")]
        self.read([*(path for path in changed if path not in gone), *files])
        for path in (os.fsdecode(path) for path in new if path.endswith(b"/")):
            directory = self.top / path
            inside = stage(self.git_dir, directory, Repository.around(directory))
            self.pointers.update(os.fsencode(path).removeprefix(self._prefix) + one for one in inside.pointers)
            if tree := inside.write():
                self.run("read-tree", f"--prefix={path}", tree)

    def _is_directory(self, path: bytes) -> bool:
        found = self.top / os.fsdecode(path)
        return found.is_dir() and not found.is_symlink()

    def _changed(self) -> dict[bytes, bytes]:
        """Files of the index that are, or may be, another on disk, each with git's letter for how."""
        words = self.run("diff-files", "-z", "--name-status", "--no-renames", ".").split(b"\0")
        return dict(zip(words[1::2], words[::2], strict=False))

    def _new(self) -> list[bytes]:
        """Files that are neither in the index nor ignored; repositories, which end with a slash."""
        return self.entries("--others", "--exclude-standard")

    def drop(self, ignore: bytes, name: str) -> set[bytes]:
        """Remove what a .dockerignore with that content leaves out, and return it: paths from the directory on.

        name: how errors call the file.
        """
        paths = self.entries() if ignore else []
        found = dockerignore.dropped(ignore, name, (path.removeprefix(self._prefix) for path in paths))
        self.remove(self._prefix + path for path in found)
        return found

    def write(self) -> str | None:
        """Write the directory's tree; returns its id, or None where no file is left of it."""
        prefix = self.directory.relative_to(self.top).as_posix()
        try:
            return self.run("write-tree", *([] if prefix == "." else [f"--prefix={prefix}/"])).decode().strip()
        except CloudError as error:
            if error.problem.endswith(f"prefix {prefix}/ not found"):
                return None
            raise


def stage_alone(git_dir: Path, directory: Path) -> WorkTree:
    """As `stage`, in a private git directory that is made in the empty `git_dir`."""
    repository = Repository.around(directory)
    make_git_dir(git_dir, repository)
    return stage(git_dir, directory, repository)


def make_git_dir(git_dir: Path, repository: Repository | None) -> None:
    """Make the private git directory, for trees of that repository's files, in the empty directory `git_dir`."""
    object_format = repository.object_format if repository else "sha1"
    run("init", "--quiet", "--bare", "--template=", f"--object-format={object_format}", cwd=git_dir)
    for name in ("info", "objects/info"):
        (git_dir / name).mkdir(exist_ok=True)
    (git_dir / "info/attributes").write_text(ATTRIBUTES)


def stage(git_dir: Path, directory: Path, repository: Repository | None) -> WorkTree:
    """List the files below `directory` in a private index, and put their content into `git_dir`.

    What counts is what `git add --all` takes: files that are tracked, or not ignored, byte for byte as they are on disk
    now; repositories inside with their files too. repository: what is around the directory.
    Raises CloudError with git's reason.
    """
    tree = WorkTree(git_dir, Path(tempfile.mkdtemp(dir=git_dir)) / "index", directory, repository)
    (git_dir / "info/exclude").write_bytes(_content(repository.exclude) if repository else b"")
    if repository:
        tree.seed(repository)
    tree.add()
    return tree


def _path(entry: bytes) -> bytes:
    return entry.split(b"\t", 1)[1]


def _is_pointer(top: Path, path: bytes) -> bool:
    """Whether a file is what Git LFS has in place of one: https://github.com/git-lfs/git-lfs/blob/main/docs/spec.md"""
    try:
        with open(os.path.join(os.fsencode(top), path), "rb", opener=_without_waiting) as file:
            return file.read(len(POINTER)) == POINTER
    except OSError:
        return False


def _without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK | os.O_NOFOLLOW)


def _merged(entry: bytes) -> bytes:
    """The entry as one of stage 0, which takes the place of a path's unmerged ones."""
    mode, identifier, _ = entry.split(b" ", 2)
    return b"%b %b\t%b" % (mode, identifier, _path(entry))


def _content(path: Path) -> bytes:
    """A file's bytes; none where there is no file."""
    return path.read_bytes() if path.is_file() else b""


def _copy_with_time(source: Path, target: Path) -> None:
    """Copy an index with its time: git reads a file again if it is not older than the index that lists it."""
    with source.open("rb") as file:
        state = os.fstat(file.fileno())
        target.write_bytes(file.read())
    os.utime(target, ns=(state.st_atime_ns, state.st_mtime_ns))

"""The trainer image's name and content: one snapshot of the source tree gives both the tag and the build context."""

from __future__ import annotations

import hashlib
import os
import shlex
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Self

from . import dockerignore, files, git, sourcetree
from .errors import CloudError, UsageError

DOCKERFILE = ".solver-cloud.Dockerfile"
"""The Dockerfile's name in the build context; a file of that name in the source is left out."""

TAG_FORMAT = "1"
"""Part of every tag: raised when the same content is to be built in another way."""

TAG_LENGTH = 20

MAX_RECIPE_BYTES = 10_000_000
"""Of a Dockerfile or a .dockerignore: more is not one."""


@dataclass(frozen=True)
class Snapshot:
    """The source tree and the Dockerfile at one moment. Later changes on disk do not reach it.

    tree: the id of the git tree that holds both.
    directory: where its content is; removed at the end of a `with` block, or with the last reference.
    source: the directory that was taken.
    ignore_file: the .dockerignore that counted, and what it left out.
    pointers: files of Git LFS whose content is not there, but what LFS has in its place.
    """

    tree: str
    directory: tempfile.TemporaryDirectory[str]
    source: Path
    ignore_file: Path
    ignored: frozenset[bytes]
    pointers: tuple[str, ...]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.directory.cleanup()

    def tag(self, builder_image: str, runtime_image: str, platform: str) -> str:
        """The image tag: 20 hex digits that change with anything the image is built from.

        builder_image, runtime_image: the base images' names; platform: as Docker writes it, like 'linux/amd64'.
        """
        parts = (TAG_FORMAT, self.tree, builder_image, runtime_image, platform)
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:TAG_LENGTH]

    @property
    def warnings(self) -> list[str]:
        """What a user will want to know before a training of a night."""
        if not self.pointers:
            return []
        more = f" and {len(self.pointers) - 1} more" if len(self.pointers) > 1 else ""
        return [f"warning: {self.pointers[0]}{more}: Git LFS has only a pointer there, not the file: git lfs pull"]

    def why_missing(self, path: str) -> str | None:
        """Why a file or directory that the source has is not in the build context: one line. None where it has none.

        path: as a Dockerfile names it.
        """
        relative = path.strip("/")
        name = os.fsencode(relative)
        if any(one == name or one.startswith(name + b"/") for one in self.ignored):
            return f"{relative} is left out by {self.ignore_file}"
        if os.path.lexists(self.source / relative):
            return f"{relative} is empty, or git ignores it: git check-ignore --verbose {shlex.quote(relative)}"
        return None

    @contextmanager
    def context(self) -> Iterator[IO[bytes]]:
        """The build context: a pipe from which to read a tar archive of exactly this tree.

        The reader may stop early. Raises CloudError when git could not write the archive.
        """
        with subprocess.Popen(
            git.command("archive", "--format=tar", self.tree),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=git.environment(GIT_DIR=self.directory.name),
        ) as archive:
            assert archive.stdout
            assert archive.stderr
            yield archive.stdout
            archive.stdout.close()
            complaint = archive.stderr.read()
        if archive.returncode not in (0, -signal.SIGPIPE):
            raise CloudError(f"cannot send the source: {git.complaint(complaint)}")

    def write_context(self, file: IO[bytes]) -> None:
        """Write the build context, a tar archive, to `file`."""
        with self.context() as stream:
            shutil.copyfileobj(stream, file)


def snapshot(source: Path, dockerfile: Path) -> Snapshot:
    """Take a snapshot of the Cargo workspace `source`, with `dockerfile` in it.

    Raises UsageError when there is no workspace or no Dockerfile, CloudError when git cannot read the source.
    """
    source = source.resolve()
    if not (source / "Cargo.toml").is_file():
        raise UsageError(f"no Cargo workspace in {source}", fix="say where the trainer's is: --source DIR")
    try:
        recipe = files.read_regular(dockerfile, MAX_RECIPE_BYTES)
    except OSError as error:
        raise UsageError(
            f"Dockerfile {dockerfile} cannot be read: {error.strerror}", fix="setting solver.dockerfile names it"
        ) from None
    ignore_file, ignore = _ignore_file(source, dockerfile)
    try:
        directory = tempfile.TemporaryDirectory(prefix="solver-cloud-")
    except OSError as error:
        raise CloudError(f"no temporary directory can be made: {error.strerror}", fix="TMPDIR names one") from None
    try:
        staged = sourcetree.stage_alone(Path(directory.name), source)
        ignored = staged.drop(ignore, ignore_file.name)
        tree = _write_tree(staged, recipe)
        pointers = sorted(os.fsdecode(path) for path in staged.pointers - ignored)
        return Snapshot(tree, directory, source, ignore_file, frozenset(ignored), tuple(pointers))
    except OSError as error:
        directory.cleanup()
        raise CloudError(
            f"cannot take a copy of the source: {error.strerror}: {error.filename}",
            fix="TMPDIR names a directory with room for it",
        ) from None
    except BaseException:
        directory.cleanup()
        raise


def _ignore_file(source: Path, dockerfile: Path) -> tuple[Path, bytes]:
    """The .dockerignore that counts, and its content: the Dockerfile's own goes before that of the source.

    https://docs.docker.com/build/concepts/context/#filename-and-location
    """
    of_source = source / dockerignore.NAME
    for path in (dockerfile.with_name(dockerfile.name + dockerignore.NAME), of_source):
        try:
            return path, files.read_regular(path, MAX_RECIPE_BYTES)
        except FileNotFoundError:
            continue
        except OSError as error:
            raise UsageError(f"{path} cannot be read: {error.strerror}") from None
    return of_source, b""


def _write_tree(staged: sourcetree.WorkTree, recipe: bytes) -> str:
    """Write the staged files and the Dockerfile as a git tree; returns its id."""

    def run(*arguments: str, feed: bytes = b"") -> bytes:
        return git.run(*arguments, cwd=staged.git_dir, feed=feed, GIT_DIR=str(staged.git_dir))

    tree = staged.write()
    listing = run("ls-tree", "-z", tree) if tree else b""
    entries = {entry.split(b"\t", 1)[1]: entry for entry in listing.split(b"\0")[:-1]}
    if b"Cargo.toml" not in entries:
        raise UsageError(
            f"{staged.directory / 'Cargo.toml'} is ignored",
            fix="see .gitignore and .dockerignore there, and .gitignore above",
        )
    blob = run("hash-object", "-w", "--no-filters", "--stdin", feed=recipe).strip()
    name = DOCKERFILE.encode()
    entries[name] = b"100644 blob %b\t%b" % (blob, name)
    return run("mktree", "-z", feed=git.nul_terminated(entries.values())).decode().strip()

"""The trainer image's name and content: one snapshot of the source tree gives both the tag and the build context."""

from __future__ import annotations

import hashlib
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Self

from . import git, sourcetree
from .errors import CloudError, UsageError

DOCKERFILE = ".solver-cloud.Dockerfile"
"""The Dockerfile's name in the build context; a file of that name in the source is left out."""

TAG_FORMAT = "1"
"""Part of every tag: raised when the same content is to be built in another way."""

TAG_LENGTH = 20


@dataclass(frozen=True)
class Snapshot:
    """The source tree and the Dockerfile at one moment. Later changes on disk do not reach it.

    tree: the id of the git tree that holds both.
    directory: where its content is; removed at the end of a `with` block, or with the last reference.
    """

    tree: str
    directory: tempfile.TemporaryDirectory[str]

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
        recipe = dockerfile.read_bytes()
    except OSError as error:
        raise UsageError(
            f"Dockerfile {dockerfile} cannot be read: {error.strerror}", fix="setting solver.dockerfile names it"
        ) from None
    directory = tempfile.TemporaryDirectory(prefix="solver-cloud-")
    try:
        return Snapshot(_write_tree(Path(directory.name), source, recipe), directory)
    except BaseException:
        directory.cleanup()
        raise


def _write_tree(git_dir: Path, source: Path, recipe: bytes) -> str:
    """Write the source and the Dockerfile into an empty directory, as a git tree; returns its id."""
    repository = sourcetree.Repository.around(source)
    sourcetree.make_git_dir(git_dir, repository)
    files = sourcetree.stage(git_dir, source, repository)
    files.drop_dockerignored()

    def run(*arguments: str, feed: bytes = b"") -> bytes:
        return git.run(*arguments, cwd=git_dir, feed=feed, GIT_DIR=str(git_dir))

    tree = files.write()
    listing = run("ls-tree", "-z", tree) if tree else b""
    entries = {entry.split(b"\t", 1)[1]: entry for entry in listing.split(b"\0")[:-1]}
    if b"Cargo.toml" not in entries:
        raise UsageError(
            f"{source / 'Cargo.toml'} is ignored", fix="see .gitignore and .dockerignore there, and .gitignore above"
        )
    blob = run("hash-object", "-w", "--no-filters", "--stdin", feed=recipe).strip()
    name = DOCKERFILE.encode()
    entries[name] = b"100644 blob %b\t%b" % (blob, name)
    return run("mktree", "-z", feed=git.nul_terminated(entries.values())).decode().strip()

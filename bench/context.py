"""How many bytes of a source tree a build is sent, and how long that takes.

Beside the Docker SDK's own archive of the directory, GNU tar's of the very files that the Dockerfile copies, and git's
of the commit, which is how ours is sent once the files are known. The workspace has what real ones have: sources, a
history, and a `target` that git ignores. Its objects are in a pack, as in a clone, or each in a file, as git leaves
them until there are 6,700: https://git-scm.com/docs/git-gc.
"""

from __future__ import annotations

import random
import subprocess
import tarfile
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import IO

from cloud.config import PACKAGE
from cloud.image import DOCKERFILE, snapshot

from .figures import Figure, Goal, Sample, alternate, check, run
from .hash import commit
from .peers import own_version, program_version

COPIED, TAR, SDK = "the files copied", "GNU tar of the files copied", "Docker SDK's tar of the directory"
ARCHIVE = "git archive of the commit"
SHAPES = {"2,000 files of 20 KB": (2000, 20_000), "20,000 files of 20 KB": (20_000, 20_000)}
TARGET = (100, 1_000_000)
"""How many files a `target` has, and of how many bytes."""
RECIPE = PACKAGE / "docker" / "Dockerfile"


def make(source: Path, files: int, size: int) -> list[str]:
    """A committed workspace; returns the paths of what the Dockerfile copies."""
    generator = random.Random(files)
    ours = {f"crates/{number // 50}/src/{number}.rs": generator.randbytes(size) for number in range(files)}
    ours |= {"Cargo.toml": b"[workspace]\n", ".gitignore": b"/target\n"}
    ignored = {f"target/{number}.o": generator.randbytes(TARGET[1]) for number in range(TARGET[0])}
    for path, data in (ours | ignored).items():
        (source / path).parent.mkdir(parents=True, exist_ok=True)
        (source / path).write_bytes(data)
    commit(source)
    return sorted(ours)


class Counted:
    """A file that keeps nothing but the number of bytes that were written to it."""

    def __init__(self) -> None:
        self.size = 0

    def write(self, data: bytes) -> int:
        self.size += len(data)
        return len(data)


def send_ours(source: Path) -> int:
    """The bytes that a build of ours is sent, as it is sent them."""
    out = Counted()
    with snapshot(source, RECIPE) as taken:
        taken.write_context(out)  # type: ignore[arg-type]  # of a file it uses only this
    return out.size


def send_gnu_tar(source: Path, listing: Path) -> int:
    """The bytes that GNU tar writes of the listed files."""
    return send(source, "tar", "--create", "--null", "--files-from", str(listing), "--file", "-")


def send_archive(source: Path) -> int:
    """The bytes that git writes of what was committed."""
    return send(source, "git", "archive", "--format=tar", "HEAD")


def send(source: Path, *command: str) -> int:
    """The bytes that a command prints."""
    with subprocess.Popen(command, cwd=source, stdout=subprocess.PIPE) as process:
        assert process.stdout
        size = drained(process.stdout)
    check(process.returncode == 0, f"{command[0]} failed")
    return size


def send_sdk(source: Path) -> int:
    """The bytes that the Docker SDK sends for `client.images.build(path=…)`."""
    from docker.utils.build import tar

    archive: IO[bytes] = tar(source)  # type: ignore[assignment]  # a temporary file
    with archive:
        return drained(archive)


def drained(stream: IO[bytes]) -> int:
    size = 0
    while chunk := stream.read(1 << 16):
        size += len(chunk)
    return size


def same(action: Callable[[], int], size: int) -> Callable[[], None]:
    return lambda: check(action() == size, "the same directory was sent with another number of bytes")


def check_context(source: Path, files: list[str]) -> None:
    """What is sent is what the Dockerfile copies, and the Dockerfile."""
    with tempfile.TemporaryFile() as file, snapshot(source, RECIPE) as taken:
        taken.write_context(file)
        file.seek(0)
        with tarfile.open(fileobj=file) as archive:
            sent = sorted(member.name for member in archive if member.isfile())
    check(sent == sorted([*files, DOCKERFILE]), f"{len(sent)} files are sent, not the {len(files)} and the Dockerfile")


def measure_shape(title: str, files: int, size: int, runs: int) -> list[Figure]:
    with tempfile.TemporaryDirectory() as name:
        source, listing = Path(name) / "source", Path(name) / "listing"
        source.mkdir()
        paths = make(source, files, size)
        listing.write_text("\0".join(paths))
        check_context(source, paths)
        copied = sum((source / path).stat().st_size for path in paths)
        senders: dict[str, Callable[[], int]] = {
            "ours": lambda: send_ours(source),
            TAR: lambda: send_gnu_tar(source, listing),
            SDK: lambda: send_sdk(source),
            ARCHIVE: lambda: send_archive(source),
        }
        loose = alternate(runs, {name: same(sender, sender()) for name, sender in senders.items() if name != SDK})
        run(["git", "-c", "pack.window=0", "gc", "--quiet"], cwd=source)
        sizes = {name: sender() for name, sender in senders.items()}
        packed = alternate(runs, {name: same(sender, sizes[name]) for name, sender in senders.items()})
    # A build is sent an archive, so the goal is one of what is copied: a file in it takes 512 bytes more, and padding.
    megabytes = {name: Sample(name, (bytes / 1e6,)) for name, bytes in (sizes | {COPIED: copied}).items()}
    beside = (megabytes[COPIED], megabytes[TAR], megabytes[SDK])
    peers = (packed[TAR], packed[SDK], packed[ARCHIVE])
    versions = {"git": program_version("git", "--version"), "docker (SDK)": own_version("docker")}
    versions["tar"] = program_version("tar", "--version")
    call = "snapshot(source, dockerfile).write_context(file)"
    return [
        Figure(f"build context, {title}: bytes", "MB", megabytes["ours"], beside, Goal(1.05, TAR), call, versions),
        Figure(f"build context, {title}: time", "s", packed["ours"], peers, Goal(3, TAR), call),
        Figure(
            f"build context, {title}, of a repository that git has not packed: time",
            "s",
            loose["ours"],
            (loose[TAR], loose[ARCHIVE]),
            Goal(3, TAR),
            call,
        ),
    ]


def measure(runs: int = 7, scale: float = 1) -> list[Figure]:
    """Two sizes of workspaces, each with 100 MB that git ignores; scale: of the number of files."""
    return [
        figure
        for title, (files, size) in SHAPES.items()
        for figure in measure_shape(title, max(1, int(files * scale)), size, runs)
    ]

"""How long the content hash of a source tree takes: 100,000 files, 1 GB, all in the page cache.

The image's tag is compared with hashing the same files by find, sort and sha256sum, with reading them at all, and
with `git status`, which looks at each file once as well, but neither lists what it found nor makes a tree of it.
"""

from __future__ import annotations

import os
import random
import shlex
import tempfile
from collections.abc import Callable
from pathlib import Path

from cloud.config import PACKAGE
from cloud.image import snapshot

from .figures import Figure, Goal, alternate, check, run
from .peers import beside, program_version, venv, version

FILES, SIZE = 100_000, 10_000
FILES_PER_DIRECTORY = 100
SHA256SUM, READ, DIRHASH, CHECKSUMDIR = "find | sort | xargs sha256sum", "cat of all", "dirhash", "checksumdir"
STATUS = "git status"
EDITED = "0/0/0.dat"


def make(directory: Path, files: int, size: int) -> None:
    """A Cargo workspace of so many files, no two alike."""
    generator = random.Random(1)
    for number in range(files):
        folder = directory / f"{number // FILES_PER_DIRECTORY // 100}/{number // FILES_PER_DIRECTORY % 100}"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{number}.dat").write_bytes(generator.randbytes(size))
    (directory / "Cargo.toml").write_text("[workspace]\n")


def commit(directory: Path, *options: str) -> None:
    """Make the directory a git repository with all its files committed. options: of git, for adding them."""
    run(["git", "init", "--quiet"], cwd=directory)
    run(["git", *options, "add", "--all"], cwd=directory)
    identity = ["-c", "user.name=bench", "-c", "user.email=bench@example.com"]
    # Without gc.auto=0 git tidies up in the background, and competes with what is timed.
    run(["git", *identity, "-c", "gc.auto=0", "commit", "--quiet", "--message", "all"], cwd=directory)


def tag(source: Path) -> str:
    with snapshot(source, PACKAGE / "docker" / "Dockerfile") as taken:
        return taken.tag("rust:1.85", "debian:bookworm-slim", "linux/amd64")


def same(action: Callable[[], str]) -> Callable[[], None]:
    """The action, which must say the same each time."""
    said: set[str] = set()

    def checked() -> None:
        said.add(action())
        check(len(said) == 1 and "" not in said, f"the same files were hashed to {len(said)} different values")

    return checked


def measure(runs: int = 5, scale: float = 1) -> list[Figure]:
    """The tag of files that are committed, of the same with one edited, and of files in no repository."""
    count = max(1, int(FILES * scale))
    checksumdir, dirhash = venv("checksumdir"), venv("dirhash")
    with tempfile.TemporaryDirectory() as directory:
        source = Path(directory)
        make(source, count, SIZE)
        os.sync()

        def shell(command: str) -> Callable[[], str]:
            return lambda: run(["sh", "-c", command], cwd=source).stdout

        files = "find . -name .git -prune -o -type f -print0"
        hashed = f"{files} | sort -z | xargs -0 sha256sum | sha256sum"
        others = {
            SHA256SUM: same(shell(hashed)),
            READ: same(shell(f"{files} | xargs -0 cat | wc -c")),
        }
        slow = {
            name: same(shell(shlex.join([str(bin / name), *options, directory])))
            for name, bin, options in (
                (CHECKSUMDIR, checksumdir, ["--algorithm", "sha256"]),
                (DIRHASH, dirhash, ["--algorithm", "sha256", "--jobs", "2"]),
            )
            if bin
        }
        plain = tag(source)
        found = alternate(
            1, {"no repository": lambda: check(tag(source) == plain, "the tag changes by itself"), **slow}
        )
        commit(source, "-c", "core.looseCompression=0")  # the objects are not read
        status = "git --no-optional-locks status"
        others[STATUS] = same(shell(status))
        committed = alternate(runs, {"committed": lambda: check(tag(source) == plain, "the tag changes"), **others})
        (source / EDITED).write_bytes(b"edited")
        edited = tag(source)
        check(edited != plain, "the tag does not change with a file")
        again = alternate(
            runs,
            {
                "edited": lambda: check(tag(source) == edited, "the tag changes"),
                SHA256SUM: same(shell(hashed)),
                STATUS: same(shell(status)),
            },
        )
    versions = {
        "git": program_version("git", "--version"),
        "sha256sum": program_version("sha256sum", "--version"),
        CHECKSUMDIR: version(checksumdir, CHECKSUMDIR),
        DIRHASH: version(dirhash, DIRHASH),
    }
    what = f"content hash, {count:,} files, {count * SIZE / 1e9:g} GB, warm"
    goal = Goal(0.05, SHA256SUM)
    beside_all = beside(found | committed, SHA256SUM, READ, CHECKSUMDIR, DIRHASH, STATUS)
    return [
        Figure(f"{what}: committed", "s", committed["committed"], beside_all, goal, "cloud.image.snapshot", versions),
        Figure(f"{what}: one file edited", "s", again["edited"], beside(again, SHA256SUM, STATUS), goal),
        Figure(f"{what}: in no repository", "s", found["no repository"], beside(committed, SHA256SUM)),
    ]

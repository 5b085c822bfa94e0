"""How long the content hash of a source tree takes: `python -m bench.hash [FILES] [BYTES]`, from the top.

Makes a Cargo workspace of FILES files (100,000) of BYTES bytes each (10,000) in a temporary directory, and prints the
median seconds of what the image's tag costs, beside hashing the same files with find, sort and sha256sum.
"""

from __future__ import annotations

import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from cloud.config import PACKAGE
from cloud.image import snapshot

REPEATS = 5
FILES_PER_DIRECTORY = 100


def make(directory: Path, files: int, size: int) -> None:
    """A workspace of so many files, no two alike."""
    generator = random.Random(1)
    for number in range(files):
        folder = directory / f"{number // FILES_PER_DIRECTORY // 100}/{number // FILES_PER_DIRECTORY % 100}"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{number}.dat").write_bytes(generator.randbytes(size))
    (directory / "Cargo.toml").write_text("[workspace]\n")


def tag(source: Path) -> None:
    with snapshot(source, PACKAGE / "docker" / "Dockerfile") as taken:
        taken.tag("rust:1.85", "debian:bookworm-slim", "linux/amd64")


def seconds(action: Callable[[], object], repeats: int = REPEATS) -> float:
    def once() -> float:
        began = time.perf_counter()
        action()
        return time.perf_counter() - began

    return statistics.median(once() for _ in range(repeats))


def run(*command: str, cwd: Path) -> None:
    subprocess.run(command, cwd=cwd, check=True, stdout=subprocess.DEVNULL)


def main(files: int = 100_000, size: int = 10_000) -> None:
    with tempfile.TemporaryDirectory() as directory:
        source = Path(directory)
        make(source, files, size)
        os.sync()
        pipeline = "find . -type f -print0 | sort -z | xargs -0 sha256sum | sha256sum"
        results = {
            "find | sort | sha256sum": seconds(lambda: run("sh", "-c", pipeline, cwd=source)),
            "tag, in no repository": seconds(lambda: tag(source), 1),
        }
        run("git", "init", "--quiet", cwd=source)
        run("git", "-c", "core.looseCompression=0", "add", "--all", cwd=source)
        identity = ("-c", "user.name=bench", "-c", "user.email=bench@example.com")
        run("git", *identity, "commit", "--quiet", "--message", "all", cwd=source)
        results["tag, committed"] = seconds(lambda: tag(source))
        (source / "0/0/0.dat").write_bytes(b"edited")
        results["tag, one file edited"] = seconds(lambda: tag(source))
    print(f"{files:,} files of {size:,} bytes")
    for what, took in results.items():
        print(f"{took:8.2f} s  {what}")


if __name__ == "__main__":
    main(*(int(argument) for argument in sys.argv[1:]))

"""The most memory that a launch and a download take, with a small and a large source, and a small and a large bundle.

What counts is the resident memory of the largest of a command's processes (getrusage(2), ru_maxrss of its children),
so git's and docker's too.
"""

from __future__ import annotations

import json
import random
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from cloud.aws import Aws
from cloud.records import File

from .download import put_bundle
from .figures import Figure, Goal, Sample, check, run
from .file_sets import sha256
from .peers import own_version, program_version
from .user import EXAMPLE, User, inv, on_local_cloud

MB = 1_000_000
SMALL, LARGE = {1 * MB: 10}, {400 * MB: 1, 1 * MB: 600}
"""Sizes of files, and how many there are of each: 10 MB and 1 GB."""
LIMIT = 150
PEAK = """
import resource, subprocess, sys
code = subprocess.call(sys.argv[2:])
open(sys.argv[1], "w").write(str(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss))
sys.exit(code)
"""
"""Runs a command and writes down its peak in KiB. A process of its own: a child's peak begins with its parent's."""


def peak(user: User, words: Sequence[str]) -> tuple[str, float]:
    """What `inv WORDS` prints, and the most memory in MB that one of its processes had."""
    told = user.home / "peak"
    done = run([sys.executable, "-S", "-c", PEAK, told, *inv(*words)], cwd=user.home, environment=user.environment)
    return done.stdout, int(told.read_text()) * 1024 / MB


def make(directory: Path, sizes: dict[int, int], scale: float) -> list[File]:
    """Files of these sizes, whole megabytes, no two alike."""
    generator = random.Random(1)
    directory.mkdir(parents=True)
    made = []
    for size, count in sizes.items():
        for number in range(count):
            path = directory / f"{size}-{number}.bin"
            with path.open("wb") as out:
                for _ in range(size // MB):
                    out.write(generator.randbytes(max(1, int(MB * scale))))
            made.append(File(path.name, path.stat().st_size, sha256(path)))
    return made


def launch(user: User, name: str, sizes: dict[int, int], scale: float) -> float:
    """MB that a launch takes with so much beside the trainer's source."""
    source = user.home / f"source-{name}"
    shutil.copytree(EXAMPLE, source, ignore=shutil.ignore_patterns("target"))
    make(source / "data", sizes, scale)
    said, megabytes = peak(user, user.launch_words(source, f"~/{name}"))
    image = json.loads(user.inv("status", said.strip(), "--json").stdout)["image"]
    check(":" in image, f"the launch started no job: {said}")
    user.inv("terminate", said.strip())
    run(["docker", "image", "rm", image])
    shutil.rmtree(source)
    return megabytes


def download(user: User, aws: Aws, job: str, sizes: dict[int, int], scale: float) -> float:
    """MB that the download of a bundle of so much takes."""
    made = user.home / "bundle"
    files = make(made, sizes, scale)
    put_bundle(aws.s3, aws.bucket, job, f"jobs/{job}/bundle/", made, files)
    shutil.rmtree(made)
    target = user.home / job
    _, megabytes = peak(user, ["download", job, "--output", str(target)])
    for file in files:
        check(sha256(target / file.path) == file.sha256, f"{file.path} came down wrong")
    shutil.rmtree(target)
    return megabytes


def measure(runs: int = 1, scale: float = 1) -> list[Figure]:
    """A launch and a download of each size, `runs` times; scale: of the size of every file."""
    versions = {"git": program_version("git", "--version"), "docker": program_version("docker", "--version")}
    versions["boto3"] = own_version("boto3")
    found: dict[tuple[str, str], list[float]] = {}
    with on_local_cloud() as user:
        aws = user.aws()
        for number in range(runs):
            for name, sizes in (("10 MB", SMALL), ("1 GB", LARGE)):
                short = f"{name.replace(' ', '')}-{number}"
                found.setdefault(("launch", f"source of {name}"), []).append(launch(user, short, sizes, scale))
                job = f"i-{len(found):08x}{number:09x}"
                found.setdefault(("download", f"bundle of {name}"), []).append(download(user, aws, job, sizes, scale))
    return [
        Figure(
            f"memory of `inv {command}`, {what}",
            "MB",
            Sample("ours", tuple(values)),
            goal=Goal(LIMIT),
            command=f"inv {command}",
            versions=versions,
        )
        for (command, what), values in found.items()
    ]

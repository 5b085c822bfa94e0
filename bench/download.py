"""How fast a bundle comes down: this project's download beside s5cmd, `aws s3 sync` and rclone, from one server.

Every file that any of them fetched must have the right sha256; ours and one of the peers see to that themselves.
`python -m bench.download BUCKET DATA DIRECTORY` is the process that is timed.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

from cloud import asked, download, records
from cloud.aws import Aws
from cloud.bundle import Bundle
from cloud.commands import seldom_collected
from cloud.config import PACKAGE, Settings
from cloud.records import File

from .canned import BEGAN
from .figures import Figure, Goal, Sample, alternate
from .file_sets import FileSet, file_sets, same, sha256
from .peers import own_version
from .seaweed import OURS, REGION, Store, store, timed
from .slow_aws import calls_of

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

VERIFIED = "s5cmd, then sha256sum"
LEAST = "what s5cmd, S3's server and sha256 need of the processors, shared out evenly"
"""No download of s5cmd's speed that verifies what it brings can be faster here."""
DATA = "model"
"""The job whose bundle it is."""


def measure(runs: int = 3, scale: float = 1) -> Iterator[Figure]:
    """Each tool on each set of files; scale: of the bytes of the one, of the number of the other."""
    with store() as server:
        for files in file_sets(server.directory, scale):
            with server.bucket(files.title.replace(" ", "-")) as bucket:
                put_bundle(server.s3, bucket, DATA, f"{DATA}/", files.directory, files.files)
                shutil.rmtree(files.directory)
                yield from figures(server, bucket, files, runs)


def figures(server: Store, bucket: str, files: FileSet, runs: int) -> Iterator[Figure]:
    """The set fetched, and fetched again where nothing has changed."""
    commands = tools(server, bucket)
    sums = server.directory / "sums"
    sums.write_text("".join(f"{file.sha256}  {file.path}\n" for file in files.files))
    checked = 'directory=$1 sums=$2; shift 2; "$@" && cd "$directory" && sha256sum --quiet --check "$sums"'
    commands[VERIFIED] = lambda to: ["sh", "-c", checked, "sh", str(to), str(sums), *commands["s5cmd"](to)]

    def fetch(tool: str) -> Callable[[], float]:
        def fresh() -> float:
            to = server.directory / tool
            shutil.rmtree(to, ignore_errors=True)
            seconds = once(tool)
            same({replace(file, sha256=sha256(to / file.path)) for file in files.files}, files.files, tool)
            return seconds

        return fresh

    def once(tool: str, **environment: str) -> float:
        return timed(commands[tool](server.directory / tool), server.environment | environment, PACKAGE).seconds

    def least() -> float:
        before = server.cpu_seconds
        used = timed(commands["s5cmd"](server.directory / "s5cmd"), server.environment).cpu_seconds
        used += server.cpu_seconds - before
        began = time.process_time()
        for file in files.files:
            sha256(server.directory / "s5cmd" / file.path)
        return (used + time.process_time() - began) / len(os.sched_getaffinity(0))

    found = alternate(runs, {**{tool: fetch(tool) for tool in commands}, LEAST: least}, warm=0)
    again = alternate(runs, {OURS: lambda: once(OURS)}, warm=0)
    calls = calls_of(
        server.address,
        lambda address: once(OURS, AWS_ENDPOINT_URL=address),
        only=f"GET /{bucket}/{records.key(DATA)}",
    )
    for tool in commands:
        shutil.rmtree(server.directory / tool)
    what = f"download, {files.title}, {files.gigabytes:.3g} GB"
    peers = tuple(sample for name, sample in found.items() if name != OURS)
    versions = {**server.versions, "boto3": own_version("boto3")}
    yield Figure(what, "s", found[OURS], peers, files.goal, "cloud.download.download(…)", versions)
    yield Figure(f"{what}: again, nothing changed", "s", again[OURS])
    yield Figure(f"{what}: again, nothing changed: calls, of the record", "calls", Sample(OURS, (calls,)), (), Goal(1))


def tools(server: Store, bucket: str) -> dict[str, Callable[[Path], list[str]]]:
    """The command line of each tool, for a directory to fetch into."""
    source = f"s3://{bucket}/{DATA}"
    remote = server.rclone(f"{bucket}/{DATA}")
    return {
        OURS: lambda to: [sys.executable, "-m", "bench.download", bucket, DATA, str(to)],
        "s5cmd": lambda to: [*server.s5cmd, "cp", f"{source}/*", f"{to}/"],
        "aws": lambda to: ["aws", "s3", "sync", "--only-show-errors", source, str(to)],
        "rclone": lambda to: ["rclone", "copy", "--quiet", "--transfers=16", remote, str(to)],
    }


def put_bundle(s3: S3Client, bucket: str, job: str, prefix: str, directory: Path, files: Sequence[File]) -> None:
    """Put a directory's files below a prefix, as the bundle of a job, with the record that says what they are."""

    def put(file: File) -> None:
        s3.upload_file(str(directory / file.path), bucket, f"{prefix}{file.path}")

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(put, files))
    record = {"version": 1, "job": job, "status": "complete", "launched_at": records.iso(BEGAN)}
    body = json.dumps(record | {"bundle": [asdict(file) for file in files]}).encode()
    s3.put_object(Bucket=bucket, Key=records.key(job), Body=body)
    entry = {"version": 1, "job": job, "launched_at": records.iso(BEGAN), "asked": {}}
    s3.put_object(Bucket=bucket, Key=asked.key(job), Body=json.dumps(entry).encode())


def fetch(bucket: str, data: str, directory: Path) -> None:
    """This project's download, as a process of its own."""
    with seldom_collected():
        aws = Aws(Settings.from_context({}).with_(bucket=bucket, region=REGION))
        aws.account = "000000000000"  # there is no STS, and the server does not ask whose bucket it is
        record = records.read(aws, data)
        assert isinstance(record, records.Record)
        download.download(
            aws,
            Bundle(f"{data}/", record.bundle),
            directory,
            agree=print,
            progress=lambda _: nullcontext(lambda _: None),
            waiting=lambda: print("waiting"),
        )


if __name__ == "__main__":
    fetch(sys.argv[1], sys.argv[2], Path(sys.argv[3]))

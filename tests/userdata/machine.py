"""A machine on which the real script runs, with nothing but fakes and coreutils on its PATH."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from cloud.userdata import UserData, fetched, fetched_key, script

COMMANDS = Path(__file__).parent / "fakes"
FAKED = (
    *("aws", "curl", "docker", "tmux", "sudo", "shutdown", "systemctl", "systemd-run", "python3", "sleep"),
    *("dnf", "apt-get", "yum", "nvidia-smi"),
)
COREUTILS = (
    *("bash", "cat", "chmod", "cp", "cut", "date", "env", "head", "mkdir", "mkfifo", "mktemp", "mv", "rm"),
    *("sha256sum", "sync", "tail", "timeout"),
)
"""All that the script may count on besides what is faked; env is for the fakes."""

JOB = "i-0aaaaaaaaaaaaaaaa"
BUCKET = "solver-cloud-123456789012-us-east-1"
ROLE = "arn:aws:iam::123456789012:role/solver-cloud-us-east-1-job"
TOKEN = "0123456789abcdef0123456789abcdef"
CONFIG = b"game: leduc\n"
TERMINATION = f"aws ec2 terminate-instances --instance-ids {JOB}"
"""The last call of a spot instance: a shutdown would only stop it."""
COMPLETE = f"""
echo model >strategy.csv
mkdir tables
echo table >tables/convergence.csv
until [[ -e $FAKES/s3/{BUCKET}/jobs/{JOB}/output/tables/convergence.csv ]]; do sleep 0.05; done
echo better >strategy.csv
"""
"""A trainer that ends well once its output has been synced, and writes more after that."""


class Machine:
    """One instance: its disk, its AWS, and what has been called on it.

    without: commands that its image lacks. The trainer is a bash script that runs in the output directory.
    """

    def __init__(self, root: Path, *, without: tuple[str, ...] = ("apt-get", "yum"), **job: Any) -> None:
        self.root = root
        self.home = root / "home"
        self.bin = root / "bin"
        self.bin.mkdir(parents=True)
        for name in set(FAKED) - set(without):
            kind = "package-manager" if name in ("dnf", "apt-get", "yum") else name
            (self.bin / name).symlink_to(COMMANDS / kind)
        (self.bin / "common").symlink_to(COMMANDS / "common")
        for name in COREUTILS:
            (self.bin / name).symlink_to(Path(shutil.which(name) or f"/usr/bin/{name}"))
        (root / "ssh").mkdir()
        self.write("ssh/ssh_host_ed25519_key.pub", "ssh-ed25519 AAAAC3 root@host\n")
        self.write("metadata/instance-id", JOB)
        self.write("launch", f"2026-11-24T08:00:00+00:00 {JOB}\n")
        self.write("metadata/instance-life-cycle", "spot")
        self.write("metadata/instance-type", "c7i.4xlarge")
        self.write("metadata/placement/availability-zone", "us-east-1a")
        self.write("spot-request", "sir-0bbbbbbb\n")
        self.write("spot-price", "0.360000\n")
        self.write("trainer", COMPLETE)
        self.write(f"s3/{BUCKET}/configs/sha/fast_buckets.yaml", CONFIG.decode())
        self.write(f"s3/{BUCKET}/{fetched_key()}", fetched().decode())
        self.job = job

    def write(self, path: str, text: str = "") -> None:
        """A file that says how the machine behaves."""
        (self.root / path).parent.mkdir(parents=True, exist_ok=True)
        (self.root / path).write_text(text)

    def start(self, **environment: str) -> subprocess.Popen[bytes]:
        """Boot, and come back while the script runs."""
        now = int(time.time())
        values: dict[str, Any] = {
            "token": TOKEN,
            "bucket": BUCKET,
            "role": ROLE,
            "region": "us-east-1",
            "image": "registry.test/solver-cloud:abc",
            "registry": "registry.test",
            "config_key": "configs/sha/fast_buckets.yaml",
            "config_name": "fast_buckets.yaml",
            "config_sha256": hashlib.sha256(CONFIG).hexdigest(),
            "trainer": ["train", "--config", "/solver/config/fast_buckets.yaml", "--output", "/solver/output"],
            "asked": {"market": "spot", "output": "~/models/ünï"},
            "launched_at": now - 60,
            "deadline": now + 3600,
            "sync_seconds": 0,
            "login_user": "ec2-user",
            **self.job,
        }
        self.write("script", script(UserData(**values)))
        self.process = subprocess.Popen(
            # The shutdown command has to know whom to end.
            ["/bin/bash", "-c", 'echo $$ >"$FAKES/pid"; exec bash "$0"', str(self.root / "script")],
            env={
                "PATH": str(self.bin),
                "FAKES": str(self.root),
                "FAKE_COMMANDS": str(COMMANDS),
                "FAKE_PYTHON": sys.executable,
                "SOLVER_HOME": str(self.home),
                "SOLVER_SSH_KEYS": str(self.root / "ssh"),
                "SOLVER_SYSTEMD": str(self.root / "systemd"),
                **environment,
            },
            stdin=subprocess.DEVNULL,
            stdout=(self.root / "console").open("ab"),
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        return self.process

    def boot(self, **environment: str) -> Machine:
        """Boot, and come back when the script has ended."""
        self.start(**environment)
        return self.ended()

    def ended(self, seconds: float = 40) -> Machine:
        """Come back when the script has ended; what else it started is ended then, too, as with the machine."""
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"the script does not end; its log:\n{self.log}") from None
        finally:
            self.power_off()
        return self

    def power_off(self) -> None:
        """End every process of this machine."""
        for process in self.processes():
            with contextlib.suppress(OSError):
                os.kill(process, signal.SIGKILL)

    def processes(self) -> dict[int, str]:
        """The commands that run on this machine, by pid: those that have its directory in their environment."""
        found = {}
        for process in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if f"FAKES={self.root}\0".encode() in (process / "environ").read_bytes():
                    found[int(process.name)] = (process / "cmdline").read_text().replace("\0", " ")
        return found

    def until(self, condition: Callable[[], object], seconds: float = 20) -> None:
        """Wait for something to become true."""
        end = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < end, f"waited in vain; the log:\n{self.log}"
            time.sleep(0.02)

    def until_called(self, beginning: str) -> None:
        self.until(lambda: self.called(beginning))

    def called(self, beginning: str) -> list[str]:
        """The calls that begin so."""
        return [call for call in self.calls if call.startswith(beginning)]

    @property
    def calls(self) -> list[str]:
        """What has been called, in order."""
        path = self.root / "calls"
        return path.read_text().splitlines() if path.exists() else []

    @property
    def last_call(self) -> str:
        """What has been called last, but for what a watcher that has been ended still asked of the metadata."""
        return [call for call in self.calls if not call.startswith("curl ")][-1]

    @property
    def log(self) -> str:
        path = self.home / "logs" / "boot.log"
        return path.read_text() if path.is_file() else (self.root / "console").read_text()

    @property
    def tags(self) -> dict[str, str]:
        return {tag.name: tag.read_text().strip() for tag in sorted((self.root / "tags").glob("*"))}

    @property
    def record(self) -> dict[str, Any] | None:
        text = self.stored("job.json")
        return json.loads(text) if text else None

    def stored(self, path: str) -> str:
        """A file of the job in S3; "" when there is none."""
        file = self.root / "s3" / BUCKET / "jobs" / JOB / path
        return file.read_text() if file.exists() else ""

    def listed(self, prefix: str) -> list[str]:
        """The files of the job below a prefix in S3."""
        top = self.root / "s3" / BUCKET / "jobs" / JOB / prefix
        return sorted(str(path.relative_to(top)) for path in top.rglob("*") if path.is_file())


@contextlib.contextmanager
def training(machine: Machine, **environment: str) -> Iterator[Machine]:
    """A machine whose trainer runs; at the end of the block the script is waited for."""
    machine.start(**environment)
    try:
        machine.until_called("docker wait")
        yield machine
    except BaseException:
        machine.power_off()
        raise
    machine.ended()

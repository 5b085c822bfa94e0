"""A local cloud for the session and a user at a shell: the commands run as they would be typed."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout
from dataclasses import dataclass
from functools import cached_property
from io import StringIO
from pathlib import Path
from typing import Any

import boto3
import botocore.session
import pytest

import cloud.child
import cloud.children
import cloud.display
import cloud.job_view
import cloud.sweep_view
import cloud.sweeps
import cloud.watch
from cloud.aws import Aws
from cloud.config import Settings

REPOSITORY = Path(__file__).parent.parent.parent
EXAMPLE = REPOSITORY / "examples" / "trainer"


@dataclass
class User:
    """Someone at a shell with a home directory, in which the local cloud is the AWS profile `local`."""

    home: Path
    environment: dict[str, str]

    def command(self, *words: str) -> list[str]:
        return [sys.executable, "-m", "invoke", "--search-root", str(REPOSITORY), *words]

    def run(self, *words: str, code: int = 0, timeout: float = 240) -> subprocess.CompletedProcess[str]:
        """`inv WORDS`; the test fails unless it ends with that exit code."""
        done = subprocess.run(
            self.command(*words),
            cwd=self.home,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        assert done.returncode == code, f"inv {' '.join(words)}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        assert "Traceback" not in done.stderr, done.stderr
        return done

    def start(self, *words: str) -> subprocess.Popen[str]:
        """`inv WORDS` without waiting for it."""
        return subprocess.Popen(
            self.command(*words),
            cwd=self.home,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def config(self, name: str, **changes: object) -> Path:
        """A config of the example trainer in a directory of its own."""
        values = {
            "game": "leduc",
            "algorithm": "cfr+",
            "iterations": 2000,
            "seed": 7,
            "report_every": 500,
            "checkpoint_every": 1000,
            **changes,
        }
        directory = self.home / "configs" / f"{len(list((self.home / 'configs').glob('*')))}"
        directory.mkdir(parents=True)
        path = directory / name
        path.write_text("".join(f"{key}: {value}\n" for key, value in values.items()))
        return path

    def launch(self, config: Path, output: str | Path, *options: str, source: Path = EXAMPLE) -> tuple[str, str]:
        """Launch a job; returns its id and what was said meanwhile."""
        done = self.run(
            "launch",
            *("--instance", "c7i.4xlarge", "--config", str(config), "--output", str(output)),
            *("--source", str(source), *options),
        )
        return done.stdout.strip(), done.stderr

    def status(self, job: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.run("status", job, "--json").stdout)
        return found

    @cached_property
    def aws(self) -> Aws:
        """The account, with clients that are kept: each first one costs as much as thirty calls."""
        file = str(self.home / ".aws" / "config")
        session = botocore.session.Session(profile="local")
        session.set_config_variable("config_file", file)
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("AWS_CONFIG_FILE", file)
            aws = Aws(Settings.from_context({}, profile="local"))
        aws.session = boto3.Session(botocore_session=session, region_name=aws.settings.region)
        aws.account = aws.sts.get_caller_identity()["Account"]  # known for this user only, not for this machine
        return aws

    def look(self, job: str) -> dict[str, Any]:
        """What `inv status JOB --json` says, for those who ask all the time.

        A process for each look takes a second of a processor, which what is looked at could use.
        """
        with redirect_stdout(StringIO()) as printed:
            if cloud.sweeps.means(job):
                id, index = cloud.sweeps.parse(job)
                assert index is not None
                sweep = cloud.sweeps.find(self.aws, id)
                child = cloud.children.look_at(self.aws, sweep, index)
                cloud.display.print_json(
                    cloud.sweep_view.child_json(*cloud.child.with_latest(self.aws, sweep, [child]))
                )
            else:
                cloud.display.print_json(cloud.job_view.job_json(*cloud.watch.look(self.aws, job, say=lambda _: None)))
        found: dict[str, Any] = json.loads(printed.getvalue())
        return found

    def until(self, job: str, holds: Callable[[dict[str, Any]], bool], *, timeout: float = 240) -> dict[str, Any]:
        """Look at a job until something holds of it; the test fails when it does not in time."""
        deadline = time.monotonic() + timeout
        while not holds(found := self.look(job)):
            assert time.monotonic() < deadline, f"still {found}"
            time.sleep(0.3)
        return found


def training(found: dict[str, Any]) -> bool:
    """Whether a job's trainer is at work and what it says has come to S3."""
    return bool(found["phase"] == "training" and found["latest_line"])


def gone(found: dict[str, Any]) -> bool:
    """Whether a job's instance has ended."""
    return bool(found["state"] in ("terminated", "gone"))


@pytest.fixture(scope="session")
def nobody(tmp_path_factory: pytest.TempPathFactory) -> Iterator[User]:
    """A user with a local cloud that is up, in an account that is not set up."""
    home = tmp_path_factory.mktemp("home")
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("AWS_", "INVOKE_"))}
    user = User(
        home,
        {
            **clean,
            "HOME": str(home),
            "XDG_STATE_HOME": str(home / "state"),
            "AWS_PROFILE": "local",
            "INVOKE_SOLVER_SYNC_SECONDS": "2",
        },
    )
    user.run("local.up", "--relaunch-seconds", "1", timeout=600)
    yield user
    user.run("local.down")


@pytest.fixture(scope="session")
def user(nobody: User) -> User:
    """A user with a local cloud, set up."""
    nobody.run("setup")
    return nobody


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A copy of the example trainer's workspace, outside any repository."""
    copy = tmp_path / "trainer"
    shutil.copytree(EXAMPLE, copy, ignore=shutil.ignore_patterns("target"))
    return copy

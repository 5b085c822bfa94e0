"""The launcher killed after each of its steps, then the same launch again: one instance, and everybody knows it."""

from __future__ import annotations

import os
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cloud import asked, engine
from cloud.aws import Aws

from .localcloud.conftest import eventually

REPOSITORY = Path(__file__).parent.parent
LAUNCHER = """
import os, signal, subprocess
from collections import Counter
from botocore.client import BaseClient
from docker.api.client import APIClient
from invoke.main import program

steps, seen = [], Counter()

def killed_after(owner, method, name):
    original = getattr(owner, method)
    def call(self, *arguments, **named):
        answer = original(self, *arguments, **named)
        step = name(*arguments, **named)
        seen[step] += 1
        this = f"{step} #{seen[step]}"  # not the last of `steps`, which another thread may have added
        steps.append(this)
        with open(os.environ["STEPS"], "w") as file:
            file.write("\\n".join(steps))
        if this == os.environ["KILLED_AFTER"]:
            os.kill(os.getpid(), signal.SIGKILL)
        return answer
    setattr(owner, method, call)

def named(operation, given):
    return f"{operation} {given.get('Key', '').split('/')[0]}".strip()

killed_after(BaseClient, "_make_api_call", named)
killed_after(APIClient, "push", lambda *_, **__: "push begun")
killed_after(subprocess.Popen, "__init__", lambda command, *_, **__: f"{command[0]} {command[1]} begun")
killed_after(subprocess.Popen, "wait", lambda *_, **__: "command ended")
program.run()
"""
"""`inv`, which dies by SIGKILL as soon as a certain call of AWS, of the engine or of another program is over."""

CHANGES = ("PutObject claims", "RunInstances", "push begun")
"""How some of the steps end that leave something behind; the quick set is killed after these, all after every step."""


class Desk:
    """Where somebody sits who launches, is killed, and launches again."""

    def __init__(self, aws: Aws, home: Path) -> None:
        self.aws = aws
        self.home = home
        self.source = home / "trainer"
        self.steps = home / "steps"
        self.source.mkdir()
        (home / "Dockerfile").write_text("FROM scratch\nCOPY Cargo.toml /\n")
        (home / "fast.yaml").write_text("seed: 1\n")
        (home / "mine.yaml").write_text(
            f"solver:\n  name: {aws.settings.name}\n  dockerfile: {home / 'Dockerfile'}\n  source: {self.source}\n"
        )
        self.edit()

    def edit(self) -> None:
        """Change the source, so that the next launch has an image to build."""
        (self.source / "Cargo.toml").write_text(f"# {uuid.uuid4()}\n")

    def start(self, killed_after: str = "") -> subprocess.Popen[str]:
        words = ["-f", str(self.home / "mine.yaml"), "--search-root", str(REPOSITORY), "launch"]
        words += ["--instance", "c7i.large", "--config", str(self.home / "fast.yaml"), "--output", "model"]
        return subprocess.Popen(
            [sys.executable, "-c", LAUNCHER, *words],
            cwd=self.home,
            env={**os.environ, "KILLED_AFTER": killed_after, "STEPS": str(self.steps)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def launch(self) -> str:
        """A launch that is let be; returns the job's id."""
        started = self.start()
        job, said = started.communicate(timeout=120)
        assert started.returncode == 0, said
        return job.strip()

    def living(self) -> list[str]:
        """Every instance of ours that has not ended, seen from EC2's side."""
        states = [{"Name": "instance-state-name", "Values": ["pending", "running", "stopping", "stopped"]}]
        return [one["InstanceId"] for one in self._instances(states)]

    def _instances(self, filters: Any) -> list[Any]:
        ours: Any = {"Name": "tag:solver:cloud", "Values": [self.aws.settings.name]}
        found = self.aws.ec2.describe_instances(Filters=[ours, *filters])["Reservations"]
        return [instance for group in found for instance in group["Instances"]]

    def open_requests(self) -> list[str]:
        ours: Any = {"Name": "tag:solver:cloud", "Values": [self.aws.settings.name]}
        found = self.aws.ec2.describe_spot_instance_requests(Filters=[ours])["SpotInstanceRequests"]
        return [one["SpotInstanceRequestId"] for one in found if one["State"] in ("open", "active")]

    def end(self) -> None:
        """End everything; the next launch begins from nothing."""
        self.aws.ec2.cancel_spot_instance_requests(SpotInstanceRequestIds=self.open_requests())
        self.aws.ec2.terminate_instances(InstanceIds=self.living())
        eventually(lambda: not self.living())


@pytest.fixture
def desk(ready: Aws, home: Path) -> Iterator[Desk]:
    yield Desk(ready, home)
    client = engine.connect()
    for image in client.images.list():
        if any(ready.settings.repository in tag for tag in image.tags):
            client.images.remove(str(image.id), force=True)


def test_killed_after_any_step_the_same_launch_again_makes_one_instance(
    desk: Desk, pytestconfig: pytest.Config, capsys: pytest.CaptureFixture[str]
) -> None:
    desk.launch()
    steps = desk.steps.read_text().splitlines()
    desk.end()
    wanted: Callable[[str], bool] = (lambda _: True) if pytestconfig.getoption("--all") else _changes
    chosen = [step for step in steps if wanted(step)]
    assert len(chosen) >= len(CHANGES)
    for step in chosen:
        desk.edit()
        killed = desk.start(step)
        killed.communicate(timeout=120)
        assert killed.returncode == -9, step
        job = desk.launch()
        assert desk.living() == [job], step
        assert len(desk.open_requests()) == 1, step
        entry = asked.read(desk.aws, job)
        assert isinstance(entry, asked.Entry), step
        assert entry.asked.keys() >= {"trainer", "config", "image", "price", "max_hours"}, step
        desk.end()
    with capsys.disabled():
        print(f"\nkilled after each of {len(chosen)} steps of {len(steps)}: one instance each time")


def _changes(step: str) -> bool:
    return step.rpartition(" #")[0].endswith(CHANGES)


def test_two_launches_at_once_are_one_job(desk: Desk) -> None:
    both = [desk.start(), desk.start()]
    printed = [one.communicate(timeout=120) for one in both]
    assert [one.returncode for one in both] == [0, 0], printed
    assert printed[0][0] == printed[1][0]
    assert desk.living() == [printed[0][0].strip()]


def test_the_same_launch_while_its_job_runs_says_so_and_starts_none(desk: Desk) -> None:
    job = desk.launch()
    again = desk.start()
    printed, said = again.communicate(timeout=120)
    assert (again.returncode, printed.strip(), desk.living()) == (0, job, [job])
    assert "this very job runs already, since " in said

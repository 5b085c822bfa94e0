"""Spot reclaims at random moments, many of them: every model is that of an undisturbed run, and how long it all took.

Two reclaims in the quick set, a hundred with --all. What it prints is in docs/reliability.md.
"""

from __future__ import annotations

import random
import re
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from .conftest import User, gone
from .test_spot import config, downloaded
from .test_story import trained_by_hand

SEED = 20261124
NOTICE_SECONDS = 12
"""Of the two minutes that EC2 gives; the instance looks every five seconds."""


@dataclass
class Measured:
    """Seconds, and iterations of the trainer, one entry for each reclaim."""

    safe: list[float] = field(default_factory=list)
    """From the notice until everything was in S3."""
    again: list[float] = field(default_factory=list)
    """From EC2's start of the stopped instance until the trainer ran."""
    lost: list[int] = field(default_factory=list)
    """Iterations that had been reported and were done again."""

    def __str__(self) -> str:
        rows = {"notice → all in S3": self.safe, "instance started → training": self.again}
        lines = [f"{name:<29} {_summary(values)}" for name, values in rows.items() if values]
        lost = f"median {statistics.median(self.lost):,.0f}, maximum {max(self.lost):,} iterations"
        return "\n".join([*lines, f"{'reported work done again':<29} {lost}  ({len(self.lost)} reclaims)"])


def _summary(values: list[float]) -> str:
    return f"median {statistics.median(values):.1f} s, maximum {max(values):.1f} s  ({len(values)} reclaims)"


@dataclass
class Watched:
    """A job as EC2 shows it."""

    client: Any
    job: str

    def look(self) -> tuple[str, str, str, Any]:
        """State, status, phase, and the time of the last start."""
        found = self.client.describe_instances(InstanceIds=[self.job])["Reservations"][0]["Instances"][0]
        tags = {tag["Key"]: tag["Value"] for tag in found["Tags"]}
        return found["State"]["Name"], tags["solver:status"], tags["solver:phase"], found["LaunchTime"]

    def until(self, holds: Callable[[str, str, str, Any], bool]) -> float:
        """When it was seen that something holds."""
        end = time.monotonic() + 240
        while not holds(*(seen := self.look())):
            assert time.monotonic() < end, f"{self.job}: still {seen}"
            time.sleep(0.05)
        return time.monotonic()

    def until_training(self) -> None:
        self.until(lambda state, _, phase, __: state == "running" and phase == "training")


def reclaim(user: User, watched: Watched, *, notice: bool, measured: Measured) -> bool:
    """Have EC2 take the instance and give it back; False when the job was over first."""
    started = watched.look()[3]
    asked = user.start("local.interrupt", watched.job, "--notice", str(NOTICE_SECONDS if notice else 0))
    asked.communicate(timeout=30)
    begun = time.monotonic()
    if asked.returncode:
        return False
    if notice:
        safe = watched.until(lambda state, status, *_: status in ("interrupted", "complete") or state != "running")
        if watched.look()[1] == "complete":
            return False
        measured.safe.append(safe - begun)
    back = watched.until(lambda _, status, __, at: at != started or status == "complete")
    if watched.look()[1] == "complete":
        return False
    # Tags keep what the last boot said until this one speaks.
    watched.until(lambda _, status, phase, __: phase == "installing" or status in ("uploading", "complete"))
    again = watched.until(lambda _, status, phase, __: phase == "training" or status in ("uploading", "complete"))
    measured.again.append(again - back)
    return True


def repeated_work(log: str) -> list[int]:
    """For each resumption in a trainer's log, the iterations that had been reported and were done again."""
    lost, last = [], 0
    for line in log.splitlines():
        if found := re.search(r"resuming from \S+ at iteration ([\d,]+)", line):
            lost.append(max(0, last - int(found[1].replace(",", ""))))
        elif found := re.match(r"iteration (\d+)/", line):
            last = int(found[1])
    return lost


def test_every_reclaim_is_survived(
    user: User, tmp_path: Path, pytestconfig: pytest.Config, capsys: pytest.CaptureFixture[str]
) -> None:
    wanted, count = 100 if pytestconfig.getoption("--all") else 2, 0
    chance, measured, by_hand = random.Random(SEED), Measured(), None
    while count < wanted:
        job, _ = user.launch(config(user), "~/models/reclaimed")
        watched = Watched(user.aws.ec2, job)
        watched.until_training()
        while count < wanted:
            time.sleep(chance.uniform(0, 3))  # a random moment of the training is the point
            if not reclaim(user, watched, notice=chance.random() < 0.5, measured=measured):
                break
            count += 1
        user.run("wait", job)
        found = user.until(job, gone)
        by_hand = by_hand or trained_by_hand(found["image"], config(user), tmp_path / "by-hand")
        assert downloaded(user, job, tmp_path / job) == by_hand
        measured.lost += repeated_work(user.run("logs", job).stdout)
        with capsys.disabled():  # after each job, so that a long run that is broken off has told something
            print(f"\n{count} reclaims, seed {SEED}: every model identical to that of an undisturbed run\n{measured}")

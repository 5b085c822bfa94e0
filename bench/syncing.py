"""What an instance syncs with, userdata/sync.sh, without the rest of its job."""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from cloud.userdata import assignment, joined, programs

from .seaweed import REGION, Taken, timed

SCRIPTS = ("steps.sh", "aws.sh", "sync.sh")
DAY = 86400


@dataclass(frozen=True)
class Instance:
    """The disk of one: `home` is its /var/lib/solver, where `output` is what its trainer writes."""

    home: Path
    environment: Mapping[str, str]

    def forget(self) -> None:
        """As if nothing had been synced yet."""
        for name in ("snapshot", "state", "logs"):
            shutil.rmtree(self.home / name, ignore_errors=True)
            (self.home / name).mkdir(parents=True)

    def run(self, call: str, place: str, **environment: str) -> Taken:
        """Call one of its functions, with its job at s3://PLACE; WrongResultError if it fails."""
        path = self.home / "script"
        path.write_text(self._script(call, place))
        return timed(["bash", path], {**self.environment, **environment})

    def _script(self, call: str, place: str) -> str:
        given = [
            assignment("SOLVER_HOME", str(self.home)),
            assignment("JOB_REGION", REGION),
            assignment("DEADLINE", int(time.time()) + DAY),
            *programs(),
        ]
        # A failing function must not be followed by what removes WORK and ends well.
        last = f"S3=s3://{place}\ntrap 'rm -rf \"$WORK\"' EXIT\n{call}\n"
        return joined(given, SCRIPTS) + last

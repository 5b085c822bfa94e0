"""The functions of the scripts by themselves, in a real bash."""

from __future__ import annotations

import subprocess
from pathlib import Path

from cloud.config import PACKAGE


def run(home: Path, *lines: str, files: tuple[str, ...] = ("steps.sh",), now: int | None = None) -> list[str]:
    """What commands print, behind the functions of some files of userdata/; all of them has ten seconds.

    now: stops the clock at this second.
    """
    clock = [] if now is None else ["unset EPOCHSECONDS", f"EPOCHSECONDS={now}"]
    sources = [f". {PACKAGE / 'userdata' / name}" for name in files]
    done = subprocess.run(
        ["bash", "-c", "\n".join([*clock, 'mkdir -p "$SOLVER_HOME/state"', *sources, *lines])],
        env={
            "PATH": "/usr/bin:/bin",
            "SOLVER_HOME": str(home),
            **{f"JOB_{name}": "0" for name in ("DEADLINE", "PRICE", "BUDGET", "DISK_PRICE", "LAUNCHED_AT")},
        },
        capture_output=True,
        text=True,
        timeout=10,
        check=False,
    )
    return done.stdout.splitlines()

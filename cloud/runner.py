"""What each child of a sweep runs in its container: the same scripts that an instance's user data is made of."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from .userdata import SHARED, array, assignment, joined, program, programs

SCRIPTS = (*SHARED, "child.sh")
"""The files of userdata/ in the order in which they make one script; the last calls `main`."""

RETRY = 75
"""The exit code of a child that is to be tried again, as userdata/child.sh has it."""

HOME = "/solver"
"""Where a child keeps its files, so that the trainer finds the paths that it has on an instance."""

CONFIG, OUTPUT = f"{HOME}/config/config.yaml", f"{HOME}/output"
"""What the trainer gets to read and to write into; one command line fits all children."""

KEY = "SOLVER_KEY"
"""The environment variable by which Batch hands the sweep's key to its children; the trainer does not get it."""

TOOLS = ("aws", "curl", "python3")
"""What the trainer's image must have for it, besides bash and coreutils."""

FIND_TOOLS = f"""\
for tool in sha256sum {" ".join(TOOLS)}; do
    command -v "$tool" >/dev/null || {{ echo "the image has no $tool, which a sweep needs" >&2; exit 1; }}
done
"""

START = f"""\
{FIND_TOOLS}script=$(aws s3 cp --only-show-errors "$SOLVER_RUNNER" -) || exit {RETRY}
if [[ $(printf '%s\\n' "$script" | sha256sum) != "${{SOLVER_RUNNER##*/}}  -" ]]; then
    echo "$SOLVER_RUNNER is not the script that was submitted (its sha256 differs): nothing was run" >&2
    exit 1
fi
exec bash -c "$script"
"""
"""The command of the job definition. SOLVER_RUNNER is where in S3 the script is, and its name there is its sha256: a
command of Batch would be too short for it (https://docs.aws.amazon.com/batch/latest/userguide/service_limits.html)."""


@dataclass(frozen=True)
class Runner:
    """What the children of one submission have to know; all but their number, which Batch tells each."""

    sweep: str
    bucket: str
    region: str
    children: tuple[int, ...]
    """The numbers of the children, by their place in the array; empty if they are the same."""
    trainer: tuple[str, ...]
    """The trainer's command line, with the paths of the container."""
    asked: dict[str, Any]
    """What was asked of all of them, for their records."""
    submitted_at: int
    """Seconds since 1970."""
    max_seconds: int
    sync_seconds: int
    vcpus: int
    types: tuple[tuple[str, int, int], ...]
    """Types of machines: name, vCPUs, micro-dollars an hour on demand (0 if unknown)."""
    spot: tuple[tuple[str, str, int], ...]
    """Spot prices when it was submitted: type, zone, micro-dollars an hour."""
    budget: int = 0
    """Micro-dollars that each child may cost; 0 for no cap."""


def script(runner: Runner) -> str:
    """The whole bash script."""
    return joined(_assignments(runner), SCRIPTS)


def script_key(content: bytes) -> str:
    """Where in S3 a script is: its name is its sha256, which START checks before it runs it."""
    return f"runners/{hashlib.sha256(content).hexdigest()}"


def config_key(sweep: str, index: int) -> str:
    """Where in S3 the configuration of a child is."""
    return f"configs/{sweep}/{index}/config.yaml"


def _assignments(runner: Runner) -> Iterator[str]:
    yield f"SOLVER_HOME=${{SOLVER_HOME:-{HOME}}}"
    values: dict[str, str | int] = {
        "JOB_SWEEP": runner.sweep,
        "JOB_BUCKET": runner.bucket,
        "JOB_REGION": runner.region,
        "JOB_ASKED": json.dumps(runner.asked),
        "JOB_LAUNCHED_AT": runner.submitted_at,
        "JOB_MAX_SECONDS": runner.max_seconds,
        "JOB_DEADLINE": 0,
        "JOB_SYNC_SECONDS": runner.sync_seconds,
        "JOB_VCPUS": runner.vcpus,
        "JOB_TYPES": _lines(runner.types),
        "JOB_SPOT_PRICES": _lines(runner.spot),
        "JOB_BUDGET": runner.budget,
        "JOB_PRICE": 0,
        "JOB_DISK_PRICE": 0,
    }
    for name, value in values.items():
        yield assignment(name, value)
    yield array("JOB_CHILDREN", map(str, runner.children))
    yield array("JOB_TRAINER", runner.trainer)
    yield from programs()
    yield program("sign.py")


def _lines(rows: tuple[tuple[str | int, ...], ...]) -> str:
    return "\n".join(" ".join(map(str, row)) for row in rows)

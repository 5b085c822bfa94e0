"""How long it takes from RunInstances to the trainer's first line, beside `docker run` of the same image by hand.

On the local cloud: a container boots with cloud-init and runs the real user data, on an engine that has the image. What
EC2 takes to start a machine, and a pull over the network, are not in it.
"""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable
from datetime import datetime
from itertools import count
from pathlib import Path

from .figures import Figure, Goal, Sample, alternate, check, run
from .launch import RUN, end
from .peers import program_version
from .slow_aws import SlowAws, local_cloud
from .user import User, inv, on_local_cloud

BY_HAND = "docker run by hand"
SECONDS = 120
TRAINER = ["poker-solver-trainer", "train", "--config", "/solver/config/model.yaml", "--output", "/solver/output"]
ITERATIONS = 1_000_000_000
"""More than any run here gets to."""
FIRST = "poker-solver-trainer"


def first_line_at(container: str) -> float:
    """When a container printed its first line, as the engine has noted it; waits for it."""
    deadline = time.monotonic() + SECONDS
    while True:
        words = ["docker", "logs", "--timestamps", container]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        if done.stdout:
            moment, _, text = done.stdout.splitlines()[0].partition(" ")
            check(text.startswith(FIRST), f"the trainer's first line is {text!r}")
            # Nanoseconds, of which datetime takes six digits.
            return datetime.fromisoformat(f"{moment[:26]}+00:00").timestamp()
        check(time.monotonic() < deadline, f"{container} prints nothing: {done.stderr}")
        time.sleep(0.2)


def of_a_job(user: User, slow: SlowAws, seed: int) -> float:
    """Seconds from RunInstances' answer to the first line of a job."""
    slow.calls.clear()
    words = inv(*user.launch_words(seed=seed, iterations=ITERATIONS, report_every=100_000))
    job = run(words, user.home, {**user.environment, "AWS_ENDPOINT_URL": slow.address}).stdout.strip()
    answered = next(one.ended for one in slow.calls if one.operation == RUN)
    seconds = first_line_at(f"{job}-solver") - answered
    end(user, job)
    return seconds


def by_hand(image: str, config: Path) -> float:
    """Seconds from `docker run` to the first line."""
    began = time.time()
    mount = ["--volume", f"{config}:/solver/config/model.yaml:ro", "--tmpfs", "/solver/output"]
    name = run(["docker", "run", "--detach", "--init", "--tty", *mount, image, *TRAINER]).stdout.strip()
    try:
        return first_line_at(name) - began
    finally:
        run(["docker", "rm", "--force", name])


def measure(runs: int = 5, scale: float = 1) -> list[Figure]:
    """Jobs on the local cloud by turns with containers; there is no data, so `scale` changes nothing."""
    with on_local_cloud() as user, local_cloud(user) as slow:
        seeds = count()
        job = user.launch(seed=next(seeds))  # builds the image and pushes it
        image = json.loads(user.inv("status", job, "--json").stdout)["image"]
        end(user, job)
        actions: dict[str, Callable[[], float]] = {
            "job": lambda: of_a_job(user, slow, next(seeds)),
            BY_HAND: lambda: by_hand(image, user.home / "model.yaml"),
        }
        found = alternate(runs, actions)
    pairs = zip(found["job"].values, found[BY_HAND].values, strict=True)
    more = Sample("ours", tuple(job - hand for job, hand in pairs))
    what = "RunInstances to the trainer's first line"
    versions = {"docker": program_version("docker", "--version")}
    return [
        Figure(what, "s", found["job"], (found[BY_HAND],), None, "inv launch …", versions),
        Figure(f"{what}: more than by hand", "s", more, (), Goal(5)),
    ]

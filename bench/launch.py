"""How long `inv launch` takes with the image already in ECR, each call of AWS's API answered 100 ms late.

A call here is one round trip, as on a connection that is open: what DNS, TCP and TLS add to the first is not in it. The
local cloud's own time for an answer comes on top of the 100 ms, ours and the peer's.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import count

from .figures import Figure, Goal, Sample, alternate, check, run
from .peers import beside, own_version, venv, version
from .slow_aws import SlowAws, local_cloud, round_trips
from .user import User, inv, on_local_cloud

LATENCY = 0.1
NINE = "nine aws calls in a row"
SECONDS = 120
RUN = "RunInstances"


def end(user: User, job: str) -> None:
    """End a job and wait until its instance has ended, so that it does not compete with the next."""
    user.inv("terminate", job)
    deadline = time.monotonic() + SECONDS
    while json.loads(user.inv("status", job, "--json").stdout)["state"] not in ("terminated", "gone"):
        check(time.monotonic() < deadline, f"{job} does not end")
        time.sleep(0.5)


def nine_calls(user: User, aws: str, tag: str) -> list[list[str]]:
    """What a script calls for the same launch, one after the other; the last only asks whether it may."""
    repository, query = ["--repository-name", "solver-cloud"], ["--output", "text", "--query"]
    bucket = run([aws, "s3api", "list-buckets", *query, "Buckets[0].Name"], environment=user.environment).stdout.strip()
    parameter = "/aws/service/ecs/optimized-ami/amazon-linux-2023/recommended/image_id"
    ask = ["ssm", "get-parameters", "--names", parameter, *query, "Parameters[0].Value"]
    ami = run([aws, *ask], environment=user.environment).stdout.strip()
    config = user.home / "nine.yaml"
    config.write_text("seed: 1\n")
    calls = [
        ["sts", "get-caller-identity"],
        ["ecr", "describe-repositories", "--repository-names", "solver-cloud"],
        ["ecr", "describe-images", *repository, "--image-ids", f"imageTag={tag}"],
        ["ssm", "get-parameters", "--names", parameter],
        ["ec2", "describe-images", "--image-ids", ami],
        ["ec2", "describe-security-groups", "--filters", "Name=group-name,Values=solver-cloud"],
        ["ec2", "describe-subnets", "--filters", "Name=default-for-az,Values=true"],
        ["s3", "cp", str(config), f"s3://{bucket}/configs/nine.yaml"],
        ["ec2", "run-instances", "--dry-run", "--image-id", ami, "--instance-type", "c7i.4xlarge"],
    ]
    return [[aws, *words] for words in calls]


def call(user: User, slow: SlowAws, command: list[str]) -> float:
    """Run one of the nine; returns its seconds."""
    environment = {**user.environment, "AWS_ENDPOINT_URL": slow.address, "AWS_PAGER": ""}
    if "--dry-run" in command:  # which ends as an error, whatever the answer
        command = ["sh", "-c", '"$@" 2>&1 | grep DryRunOperation', "sh", *command]
    done = run(command, cwd=user.home, environment=environment)
    check(done.stdout.strip() != "", f"`{' '.join(command)}` says nothing")
    return done.seconds


@dataclass
class Launches:
    """Launches of one image, each of a config of its own, with each call so many seconds late; and what was noted."""

    user: User
    slow: SlowAws
    latency: float
    seeds: Iterator[int]
    trips: list[float] = field(default_factory=list)
    """How many calls were waited for, one after the other, until RunInstances was answered, that one included."""
    until_run: list[float] = field(default_factory=list)
    """Seconds from the beginning until then."""

    def one(self) -> float:
        """Launch a job and end it; returns the seconds of the launch."""
        self.slow.calls.clear()
        self.slow.latency = self.latency
        words = inv(*self.user.launch_words(seed=next(self.seeds)))
        began = time.time()
        done = run(words, self.user.home, {**self.user.environment, "AWS_ENDPOINT_URL": self.slow.address})
        asked = [one for one in self.slow.calls if one.operation == RUN]
        check(len(asked) == 1 and done.stdout.startswith("i-"), f"{len(asked)} RunInstances, and {done.stdout!r}")
        self.until_run.append(asked[0].ended - began)
        self.trips.append(float(round_trips(self.slow.calls, asked[0])))
        end(self.user, done.stdout.strip())
        return done.seconds


def measure(runs: int = 5, scale: float = 1) -> list[Figure]:
    """Launches on the local cloud; there is no data, so `scale` changes nothing."""
    bin = venv("awscli")
    with on_local_cloud() as user, local_cloud(user) as slow:
        seeds = count()
        late, prompt = Launches(user, slow, LATENCY, seeds), Launches(user, slow, 0, seeds)
        job = user.launch(seed=next(seeds))  # builds the image and pushes it
        image = json.loads(user.inv("status", job, "--json").stdout)["image"]
        end(user, job)
        actions: dict[str, Callable[[], float]] = {"late": late.one, "prompt": prompt.one}
        if bin:
            commands = nine_calls(user, str(bin / "aws"), image.rpartition(":")[2])

            def nine() -> float:
                slow.latency = LATENCY
                return sum(call(user, slow, command) for command in commands)

            actions[NINE] = nine
        found = alternate(runs, actions)
    what = "launch of an image that is in ECR"
    until = Sample("ours", tuple(late.until_run[-runs:]))
    trips = Sample("ours", tuple(late.trips[-runs:]))
    versions = {"awscli": version(bin, "awscli"), "boto3": own_version("boto3"), "moto": own_version("moto")}
    peers, command = beside(found, NINE), "inv launch …"
    return [
        Figure(f"{what}: calls in a row until RunInstances answers", "calls", trips, (), Goal(5), command, versions),
        Figure(f"{what}, each call 100 ms late: whole process", "s", found["late"], peers, Goal(1.2), command),
        Figure(f"{what}, each call 100 ms late: until RunInstances answers", "s", until, peers),
        Figure(f"{what}, no call late: whole process", "s", found["prompt"]),
    ]

"""How long `inv status JOB` takes for a running job, beside the AWS CLI's commands that a script would run instead.

On the local cloud, whose answers take both sides the same time. The trainer is paused, so as not to compete with them.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable

from .figures import Figure, Goal, alternate, check, run
from .peers import beside, own_version, venv, version
from .user import User, on_local_cloud

SIX, ONE, BARE = "six aws calls", "one aws call", "boto3 alone, one call of EC2 and one of S3"
SECONDS = 300
LEAST = """
import sys, boto3
session = boto3.Session()
session.client("ec2").describe_instances(InstanceIds=[sys.argv[1]])
print(session.client("s3").get_object(Bucket=sys.argv[2], Key=sys.argv[3])["ContentLength"])
"""
"""What a process can do no less than if it asks EC2 and S3 through boto3."""


def until_training(user: User, job: str) -> dict[str, str]:
    """The job as `status` shows it, once its trainer is at work and its log is in S3."""
    deadline = time.monotonic() + SECONDS
    while True:
        found: dict[str, str] = json.loads(user.inv("status", job, "--json").stdout)
        if found["phase"] == "training" and found["latest_line"]:
            return found
        check(time.monotonic() < deadline, f"{job} does not train: {found}")
        time.sleep(1)


def measure(runs: int = 10, scale: float = 1) -> list[Figure]:
    """One job on the local cloud; there is no data, so `scale` changes nothing."""
    bin = venv("awscli")
    with on_local_cloud() as user:
        job = user.launch(iterations=1_000_000_000, report_every=100_000, checkpoint_every=1_000_000)
        found = until_training(user, job)
        run(["docker", "pause", f"{job}-solver"])

        def ours() -> float:
            done = user.inv("status", job)
            check("training" in done.stdout, f"`inv status {job}` says: {done.stdout}")
            return done.seconds

        place = found["s3_path"]
        bucket, _, prefix = place.removeprefix("s3://").partition("/")
        bare = [sys.executable, "-c", LEAST, job, bucket, f"{prefix}job.json"]

        def least() -> float:
            done = run(bare, cwd=user.home, environment=user.environment)
            check(int(done.stdout) > 0, "job.json is empty")
            return done.seconds

        actions: dict[str, Callable[[], float]] = {"ours": ours, BARE: least}
        if bin:
            commands = [
                ["ec2", "describe-instances", "--instance-ids", job],
                ["ec2", "describe-spot-instance-requests", "--filters", f"Name=instance-id,Values={job}"],
                ["s3", "ls", place],
                ["s3", "cp", f"{place}job.json", "-"],
                ["s3api", "head-object", "--bucket", bucket, "--key", f"{prefix}logs/boot.log"],
                ["s3", "cp", f"{place}logs/trainer.log", "-"],
            ]
            aws = str(bin / "aws")
            environment = {**user.environment, "AWS_PAGER": os.devnull}

            def call(words: list[str]) -> float:
                done = run([aws, *words], cwd=user.home, environment=environment)
                check(done.stdout.strip() != "", f"`aws {' '.join(words)}` says nothing")
                return done.seconds

            actions |= {SIX: lambda: sum(map(call, commands)), ONE: lambda: call(commands[0])}
        samples = alternate(runs, actions)
        run(["docker", "unpause", f"{job}-solver"])
        user.inv("terminate", job)
    return [
        Figure(
            "`inv status JOB`, whole process",
            "s",
            samples["ours"],
            beside(samples, SIX, ONE, BARE),
            Goal(0.06, SIX),
            "inv status JOB",
            {"awscli": version(bin, "awscli"), "boto3": own_version("boto3")},
        )
    ]

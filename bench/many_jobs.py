"""How long `inv status` takes with 1,000 running and 10,000 finished jobs, beside botocore's parsing of the answers."""

from __future__ import annotations

import json
import math
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from cloud.config import PACKAGE

from .canned import BUCKET, PAGE
from .figures import Figure, Goal, Sample, alternate, check, run
from .peers import own_version
from .user import environment, inv

PARSE = "botocore's parse"
PARSER = f"""
import boto3
session = boto3.Session()
filters = [{{"Name": "tag:solver-cloud", "Values": ["solver-cloud"]}}]
pages = session.client("ec2").get_paginator("describe_instances").paginate(Filters=filters)
found = [one for page in pages for group in page["Reservations"] for one in group["Instances"]]
s3 = session.client("s3").get_paginator("list_objects_v2")
ids = [one["Prefix"] for page in s3.paginate(Bucket="{BUCKET}", Prefix="asked/jobs/", Delimiter=".")
       for one in page["CommonPrefixes"]]
print(len(found), len(ids))
"""


@contextmanager
def account(running: int, finished: int) -> Iterator[str]:
    """The address of a server that answers as AWS does for an account with so many jobs."""
    command = [sys.executable, "-m", "bench.canned", str(running), str(finished)]
    with subprocess.Popen(command, cwd=PACKAGE, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout
            yield process.stdout.readline().strip()
        finally:
            process.kill()


def counts(address: str) -> dict[str, int]:
    with urllib.request.urlopen(f"{address}/counts", timeout=60) as answer:
        found: dict[str, int] = json.load(answer)
    return found


def measure(runs: int = 10, scale: float = 1) -> list[Figure]:
    """The table and the JSON, each as a process; scale: of the numbers of jobs."""
    running, finished = int(1000 * scale), int(10_000 * scale)
    calls = {"DescribeInstances": math.ceil(running / PAGE), "ListObjectsV2": math.ceil((running + finished) / PAGE)}
    with tempfile.TemporaryDirectory() as name, account(running, finished) as address:
        home = Path(name)
        there = {"AWS_ENDPOINT_URL": address, "AWS_ACCESS_KEY_ID": "bench", "AWS_SECRET_ACCESS_KEY": "bench"}
        shell = environment(home, **there, AWS_DEFAULT_REGION="us-east-1", INVOKE_SOLVER_BUCKET=BUCKET)

        def counted(command: list[str], right: Callable[[str], bool], **more: int) -> Callable[[], float]:
            def action() -> float:
                before = counts(address)
                done = run(command, cwd=home, environment=shell)
                after = counts(address)
                made = {name: after[name] - before.get(name, 0) for name in after if after[name] != before.get(name)}
                check(made == calls | more, f"{command[-1]} made the calls {made}, not {calls | more}")
                check(right(done.stdout), f"{command[-1]} does not show all of the {running + finished} jobs")
                return done.seconds

            return action

        def all_json(text: str) -> bool:
            states = [job["status"] for job in json.loads(text)]
            return states.count("running") == running and states.count("complete") == finished

        first = counted(inv("status", "--json"), all_json, GetObject=2 * finished, GetCallerIdentity=1)()
        found = alternate(
            runs,
            {
                "table": counted(inv("status"), lambda text: text.count("i-0") == running + finished),
                "json": counted(inv("status", "--json"), all_json),
                PARSE: counted(
                    [sys.executable, "-c", PARSER], lambda text: text.split() == [str(running), str(running + finished)]
                ),
            },
        )
    jobs = f"{running:,} running and {finished:,} finished jobs"
    peers, versions = (found[PARSE],), {"botocore": own_version("botocore"), "rich": own_version("rich")}
    goal = Goal(1.2, PARSE)
    return [
        Figure(f"`inv status`, {jobs}", "s", found["table"], peers, goal, "inv status", versions),
        Figure(f"`inv status --json`, {jobs}", "s", found["json"], peers, goal, "inv status --json", versions),
        Figure("`inv status --json` for the first time: every entry and record read", "s", Sample("json", (first,))),
        Figure(
            "calls of EC2, of S3's listing, and for single jobs",
            "calls",
            Sample("calls", (float(sum(calls.values())),)),
            goal=Goal(sum(calls.values())),
        ),
    ]

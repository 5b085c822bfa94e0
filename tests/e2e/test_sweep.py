"""A sweep on the local cloud: real machines of AWS Batch, real containers, real reclaims."""

from __future__ import annotations

import csv
import io
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from ..localcloud.conftest import eventually
from .conftest import EXAMPLE, User
from .test_story import trained_by_hand, tree

LASTING = {"report_every": 100, "checkpoint_every": 100, "rest_milliseconds": 100}
"""A training of so many iterations lasts a second for each thousand, whatever else runs, and is mostly at rest."""


@pytest.fixture(scope="module")
def sweeper(user: User) -> User:
    """A user whose account is set up for sweeps. Children load the AWS CLI for each call, so they sync more rarely."""
    user.run("setup", "--batch")
    return User(user.home, {**user.environment, "INVOKE_SOLVER_SYNC_SECONDS": "5"})


def sweep(user: User, *words: str) -> str:
    """Submit a sweep; returns its id."""
    options = ("--source", str(EXAMPLE), "--output", "~/models/sweep", "--max-hours", "1")
    return user.run("sweep", *words, *options).stdout.strip()


def children(user: User, id: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(user.run("status", id, "--json").stdout)["children"]
    return found


def machines(ec2_client: Any, name: str = "solver-cloud") -> list[str]:
    """The machines of Batch that have not ended."""
    filters = [
        {"Name": "tag:solver:batch", "Values": [name]},
        {"Name": "instance-state-name", "Values": ["pending", "running", "stopping", "stopped", "shutting-down"]},
    ]
    found = ec2_client.describe_instances(Filters=filters)["Reservations"]
    return [one["InstanceId"] for group in found for one in group["Instances"]]


def configs(user: User, number: int, broken: int) -> list[Path]:
    """Configurations of one algorithm, one of which the trainer refuses."""
    made = [user.config(f"seed-{seed:02}.yaml", seed=seed, iterations=12_000, **LASTING) for seed in range(number)]
    made[broken].write_text(made[broken].read_text().replace("game: leduc", "game: chess"))
    return made


@pytest.mark.parametrize(
    ("number", "reclaimed", "broken"), [(3, (0,), 2), pytest.param(12, (0, 4, 7), 9, marks=pytest.mark.long)]
)
def test_reclaims_and_a_failure(
    sweeper: User, number: int, reclaimed: tuple[int, ...], broken: int, tmp_path: Path
) -> None:
    """The models are those of runs by hand, one child fails with its log, and `retry` runs just that one."""
    user, made = sweeper, configs(sweeper, number, broken)
    named = [word for config in made for word in ("--config", str(config))]
    # Each has a machine of its own; four run at a time.
    id = sweep(user, *named, "--instance", "c7i.2xlarge", "--vcpus", "8", "--memory", "8", "--max-vcpus", "32")
    image = json.loads(user.run("status", id, "--json").stdout)["asked"]["image"]
    with ThreadPoolExecutor() as meanwhile:
        by_hand = {
            index: meanwhile.submit(trained_by_hand, image, renamed(config, tmp_path), tmp_path / f"by-hand-{index}")
            for index, config in enumerate(made)
            if index != broken
        }
        for index in reclaimed:
            user.until(f"{id}/{index}", lambda child: child["state"] == "running" and bool(child["latest"]))
            user.run("local.interrupt", f"{id}/{index}", "--notice", "12")
        ended = user.run("wait", id, code=1, timeout=600)
    assert f"{id}: {number - 1} complete, 1 failed" in ended.stderr
    found = children(user, id)
    assert [child["index"] for child in found if child["state"] != "complete"] == [broken]
    assert [child["attempts"] for child in found] == [2 if child in reclaimed else 1 for child in range(number)]
    assert all(child["exact"] and child["dollars"] > 0 for child in found)
    assert "chess" in user.run("logs", f"{id}/{broken}").stdout
    assert found[broken]["exit_code"] not in (0, None)

    directory = Path(user.run("download", id).stdout.strip())
    for index, model in by_hand.items():
        assert tree(directory / made[index].stem) == model.result(), index
    assert not (directory / made[broken].stem).exists()
    assert "0 files fetched" in user.run("download", id).stderr

    assert user.run("retry", id).stdout.strip() == id
    ended = user.run("wait", id, code=1)
    assert f"{number - 1} complete, 1 failed" in ended.stderr
    runs = json.loads(user.run("status", id, "--json").stdout)["runs"]
    assert [run["children"] for run in runs] == [[], [broken]]
    rows = list(csv.DictReader(io.StringIO(user.run("results", id, "--csv").stdout)))
    assert [row["child"] for row in rows] == [str(index) for index in range(number) if index != broken]
    assert all(float(row["exploitability"]) < 0.01 for row in rows)
    eventually(lambda: not machines(user.aws.ec2), 30)


def renamed(config: Path, directory: Path) -> Path:
    """A configuration in a directory of its own, under the name that it has in every child's container."""
    copy = directory / f"in-{config.stem}" / "config.yaml"
    copy.parent.mkdir()
    copy.write_bytes(config.read_bytes())
    return copy


def test_a_sweep_that_is_terminated_keeps_what_it_has(sweeper: User) -> None:
    config = sweeper.config("long.yaml", iterations=10**9, **LASTING)
    id = sweep(sweeper, "--config", str(config), "--grid", "seed=1,2", "--instance", "c7i.2xlarge")
    sweeper.until(f"{id}/1", lambda child: child["state"] == "running" and bool(child["latest"]))
    assert sweep(sweeper, "--config", str(config), "--grid", "seed=1,2", "--instance", "c7i.2xlarge") == id
    refused = sweeper.run("teardown", "--yes", code=1)
    assert f"not while a sweep lives: {id}" in refused.stderr
    sweeper.run("terminate", id)
    ended = sweeper.run("wait", id, code=1)
    assert f"{id}: 2 terminated" in ended.stderr
    listed = client_files(sweeper, f"sweeps/{id}/1/output/")
    assert any(name.endswith("checkpoint.bin") for name in listed)


def client_files(user: User, prefix: str) -> list[str]:
    """What is in the bucket below a prefix."""
    listed = user.aws.s3.list_objects_v2(Bucket=user.aws.bucket, Prefix=prefix)
    return [one["Key"] for one in listed.get("Contents", [])]

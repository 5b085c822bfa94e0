"""A child of a sweep on a machine of AWS Batch, of which nothing is real but the script, bash and coreutils."""

from __future__ import annotations

import contextlib
import json
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cloud.runner import RETRY, Runner, script

from .machine import BUCKET, COMMANDS, Machine

SWEEP = "sweep-0123456789ab"
TRAINER = """
echo "iteration $((++n))"
echo model >"$OUT/strategy.csv"
"""
ENDLESS = """
trap 'echo checkpoint >"$OUT/checkpoint.bin"; exit 143' TERM
echo training
echo model >"$OUT/strategy.csv"
while sleep 0.1; do :; done
"""


class Child(Machine):
    """A container of AWS Batch on a fake machine: one attempt of one child for each boot."""

    name = "sweeps"
    sweep: dict[str, Any]

    def __init__(self, root: Path, index: int = 3, **sweep: Any) -> None:
        super().__init__(root)
        self.index, self.sweep, self.attempt = index, sweep, 0
        for name in ("tee",):
            (self.bin / name).symlink_to(f"/usr/bin/{name}")
        self.write("metadata/instance-id", "i-0cccccccccccccccc")
        self.write(f"s3/{BUCKET}/sweeps/{SWEEP}/{index}/config/config.yaml", "game: leduc\n")
        self.write("trainer", TRAINER)

    def start(self, **environment: str) -> subprocess.Popen[bytes]:
        """An attempt in a container of its own, and come back while it runs."""
        self.attempt += 1
        subprocess.run(["rm", "-rf", str(self.home)], check=True)
        output = self.home / "output"
        values: dict[str, Any] = {
            "sweep": SWEEP,
            "bucket": BUCKET,
            "region": "us-east-1",
            "children": (),
            "trainer": ("env", f"OUT={output}", "bash", str(self.root / "trainer")),
            "asked": {"sweep": SWEEP},
            "submitted_at": int(time.time()) - 600,
            "max_seconds": 3600,
            "sync_seconds": 0,
            "vcpus": 2,
            "types": (("c7i.4xlarge", 16, 714_000),),
            "spot": (("c7i.4xlarge", "us-east-1a", 320_000),),
            **self.sweep,
        }
        self.write("script", script(Runner(**values)))
        self.process = subprocess.Popen(
            ["/bin/bash", str(self.root / "script")],
            env={
                "PATH": str(self.bin),
                "FAKES": str(self.root),
                "FAKE_COMMANDS": str(COMMANDS),
                "FAKE_PYTHON": "python3",
                "SOLVER_HOME": str(self.home),
                "AWS_BATCH_JOB_ARRAY_INDEX": str(self.index),
                "AWS_BATCH_JOB_ATTEMPT": str(self.attempt),
                **environment,
            },
            stdin=subprocess.DEVNULL,
            stdout=(self.root / "console").open("ab"),
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        return self.process

    def kill(self) -> None:
        """The machine's plug is pulled."""
        self.power_off()
        self.process.wait(20)

    def stored(self, path: str) -> str:
        file = self.root / "s3" / BUCKET / "sweeps" / SWEEP / str(self.index) / path
        return file.read_text() if file.exists() else ""

    @property
    def log(self) -> str:
        return (self.root / "console").read_text()

    @property
    def costs(self) -> list[int]:
        """What it has noted as its cost, in micro-dollars."""
        top = self.root / "s3" / BUCKET / "sweeps" / SWEEP / "costs" / str(self.index)
        return sorted(int(path.name) for path in top.glob("*"))


@pytest.fixture
def child(tmp_path: Path) -> Iterator[Child]:
    child = Child(tmp_path)
    yield child
    child.power_off()


@contextlib.contextmanager
def training(child: Child) -> Iterator[Child]:
    """A child whose trainer has written something."""
    child.start()
    child.until(lambda: (child.home / "output/strategy.csv").exists())
    yield child
    child.ended()


def test_a_child_that_ends_well_leaves_a_bundle_and_a_record_and_exits_with_0(child: Child) -> None:
    child.boot()
    assert child.process.returncode == 0, child.log
    record = child.record
    assert record
    assert record["status"] == "complete"
    assert record["job"] == f"{SWEEP}/3"
    assert [file["path"] for file in record["bundle"]] == ["strategy.csv"]
    assert record["asked"] == {
        "sweep": SWEEP,
        "index": 3,
        "instance": "i-0cccccccccccccccc",
        "instance_type": "c7i.4xlarge",
        "market": "spot",
        "zone": "us-east-1a",
        "price": 0.04,
    }
    assert child.stored("bundle/strategy.csv") == "model\n"
    assert child.stored("output/strategy.csv") == ""  # it ended before the first sync
    assert child.stored("logs/trainer.log") == "iteration 1\n"
    assert len(child.costs) == 1


def test_nothing_is_asked_of_ec2_and_nothing_shut_down(child: Child) -> None:
    child.boot()
    assert child.called("aws ec2") == []
    assert child.called("shutdown") == []


def test_a_trainer_that_fails_ends_the_child_with_its_own_code(child: Child) -> None:
    child.write("trainer", "echo partial >$OUT/half\necho 'no such game' >&2\nexit 3\n")
    child.boot()
    assert child.process.returncode == 3, child.log
    assert child.record
    assert (child.record["status"], child.record["reason"]) == ("failed", "trainer exited with 3")
    assert child.stored("output/half") == "partial\n"
    assert child.stored("logs/trainer.log") == "no such game\n"


def test_a_trainer_cannot_ask_for_another_attempt(child: Child) -> None:
    child.write("trainer", f"exit {RETRY}\n")
    child.boot()
    assert child.process.returncode == 1


def test_what_is_not_the_trainers_fault_is_tried_again(child: Child) -> None:
    child.write("outage", "Could not connect to the endpoint URL")
    child.boot()
    assert child.process.returncode == RETRY


def test_a_model_that_cannot_be_uploaded_is_no_success(child: Child) -> None:
    """The trainer's exit code is 0, which would be the end of the child for Batch."""
    child.write("fail", "aws s3 sync */bundle")
    child.boot()
    assert child.process.returncode == RETRY


def test_told_to_stop_it_saves_a_checkpoint_and_the_next_attempt_goes_on_from_there(child: Child) -> None:
    child.write("trainer", ENDLESS)
    with training(child):
        child.process.send_signal(signal.SIGTERM)
    assert child.process.returncode == RETRY, child.log
    assert child.stored("output/checkpoint.bin") == "checkpoint\n"
    assert child.record
    assert child.record["status"] == "interrupted"
    child.write("trainer", 'echo "on from $(<"$OUT/checkpoint.bin")"\nrm "$OUT/checkpoint.bin"\n')
    child.boot()
    assert child.process.returncode == 0, child.log
    assert child.stored("logs/trainer.log") == "training\non from checkpoint\n"
    assert child.record["status"] == "complete"
    assert len(child.record["attempts"]) == 2


def test_a_spot_notice_stops_the_trainer_and_the_child_waits_for_the_machines_end(child: Child) -> None:
    child.write("trainer", ENDLESS)
    with training(child):
        child.write("metadata/spot/instance-action", json.dumps({"action": "terminate"}))
        child.until(lambda: child.record and child.record["status"] == "interrupted")
        child.until(lambda: "waiting for EC2" in child.log)
        assert child.process.poll() is None
        child.process.send_signal(signal.SIGTERM)  # as the machine's shutdown has it
    assert child.process.returncode == RETRY
    assert child.stored("output/checkpoint.bin") == "checkpoint\n"


def test_an_attempt_that_was_cut_off_is_counted_and_its_synced_output_used(child: Child) -> None:
    child.write("trainer", ENDLESS)
    child.start()
    child.until(lambda: child.stored("output/strategy.csv") and child.stored("logs/attempts"))
    child.kill()
    child.write("trainer", 'cat "$OUT/strategy.csv"\n')
    child.boot()
    assert child.process.returncode == 0, child.log
    assert child.record
    assert [attempt["seconds"] >= 60 for attempt in child.record["attempts"]] == [True, False]


def test_a_child_that_is_complete_already_notes_its_cost_only(child: Child) -> None:
    child.boot()
    shutil.rmtree(child.root / "s3" / BUCKET / "sweeps" / SWEEP / "costs")  # it was cut off before
    child.write("trainer", "exit 1\n")
    child.boot()
    assert child.process.returncode == 0
    assert "it is complete already" in child.log
    assert len(child.costs) == 1


def test_its_hours_are_those_of_all_attempts_together(child: Child) -> None:
    child.write(f"s3/{BUCKET}/sweeps/{SWEEP}/3/logs/attempts", "1 2000 100 40000 ended\n2001 1700 100 40000 ended\n")
    child.boot()
    assert child.process.returncode == 1, child.log
    assert child.record
    assert (child.record["status"], child.record["reason"]) == ("failed", "max hours reached")


def test_on_demand_its_share_costs_what_the_table_says(child: Child) -> None:
    child.write("metadata/instance-life-cycle", "on-demand")
    child.boot()
    assert child.record
    assert child.record["asked"]["price"] == pytest.approx(0.714 * 2 / 16, abs=1e-6)
    assert child.called("aws ec2 describe-spot-price-history") == []


def test_the_children_of_a_retried_sweep_keep_their_numbers(tmp_path: Path) -> None:
    child = Child(tmp_path, children=(3, 7))
    child.boot(AWS_BATCH_JOB_ARRAY_INDEX="0")
    assert child.process.returncode == 0, child.log
    assert child.record
    assert child.record["job"] == f"{SWEEP}/3"

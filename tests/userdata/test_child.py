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

from cloud import signatures
from cloud.runner import RETRY, START, Runner, script, script_key

from .machine import BUCKET, COMMANDS, Machine

SWEEP = "sweep-0123456789ab"
KEY = "0123456789abcdef" * 4
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
        self.write(f"s3/{BUCKET}/configs/{SWEEP}/{index}/config.yaml", "game: leduc\n")
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
                "SOLVER_KEY": KEY,
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
        told = [signatures.cost(path.name, f"{SWEEP}/{self.index}", KEY) for path in top.glob("*")]
        assert None not in told
        return sorted(round((dollars or 0) * 1_000_000) for dollars in told)


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
    child.sweep["sync_seconds"] = 60
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
    assert child.stored("logs/trainer.log").startswith("training\n")
    assert child.stored("logs/trainer.log").endswith("on from checkpoint\n")
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


def lives(file: Path) -> bool:
    """Whether the process whose id the file has runs; one that nobody has waited for yet does not: proc(5)."""
    stat = Path(f"/proc/{file.read_text().strip()}/stat")
    return stat.exists() and stat.read_text().rpartition(")")[2].split()[0] != "Z"


def test_a_trainer_behind_a_shell_gets_its_checkpoint_written(child: Child) -> None:
    """The shell dies of the signal; the trainer takes its time."""
    slow = "trap 'sleep 0.5; echo checkpoint >\"$OUT/checkpoint.bin\"; exit 143' TERM\n"
    child.write("real-trainer", slow + 'echo model >"$OUT/strategy.csv"\nwhile sleep 0.1; do :; done\n')
    child.write("trainer", f"exec /bin/sh -c 'bash {child.root}/real-trainer; true'\n")
    with training(child):
        child.process.send_signal(signal.SIGTERM)
    assert child.process.returncode == RETRY, child.log
    assert child.stored("output/checkpoint.bin") == "checkpoint\n"


def test_a_trainer_that_does_not_mind_being_told_is_killed_with_all_it_has_started(child: Child) -> None:
    deaf = f"trap '' TERM\necho $$ >{child.root}/deaf\nwhile sleep 0.1; do :; done\n"
    child.write("deaf-trainer", deaf)
    child.write("trainer", f'bash {child.root}/deaf-trainer &\necho model >"$OUT/strategy.csv"\nwait\n')
    child.start(SOLVER_PATIENCE="2")
    child.until(lambda: (child.home / "output/strategy.csv").exists() and (child.root / "deaf").exists())
    child.process.send_signal(signal.SIGTERM)
    child.process.wait(20)
    child.until(lambda: not lives(child.root / "deaf"), 5)


def test_what_a_trainer_leaves_running_ends_with_it(child: Child) -> None:
    """On an instance its container ends; here a bundle would change while it is uploaded."""
    left = f"while sleep 0.1; do :; done &\necho $! >{child.root}/left\n"
    child.write("trainer", left + 'echo model >"$OUT/strategy.csv"\n')
    child.boot()
    assert child.process.returncode == 0, child.log
    assert not lives(child.root / "left")


def test_it_signs_its_record_and_the_trainer_does_not_get_the_key(child: Child) -> None:
    child.write("trainer", 'echo "key: ${SOLVER_KEY-none}"\n')
    child.boot()
    assert child.stored("logs/trainer.log") == "key: none\n"
    assert child.record
    assert signatures.is_signed(child.record, KEY)
    assert not signatures.is_signed({**child.record, "exit_code": 1}, KEY)
    assert not signatures.is_signed(child.record, KEY[::-1])


def test_children_of_a_sweep_from_before_there_were_keys_sign_nothing(child: Child) -> None:
    child.boot(SOLVER_KEY="")
    assert child.process.returncode == 0, child.log
    assert child.record
    assert "signature" not in child.record
    top = child.root / "s3" / BUCKET / "sweeps" / SWEEP / "costs/3"
    assert [path.name.isdigit() for path in top.iterdir()] == [True]


def test_a_record_that_it_has_not_signed_does_not_keep_it_from_training(child: Child) -> None:
    """Children of every sweep may write there."""
    child.write(f"s3/{BUCKET}/sweeps/{SWEEP}/3/job.json", '{"status": "complete", "signature": "00"}')
    child.write(f"s3/{BUCKET}/sweeps/{SWEEP}/3/logs/exit-code", "0 00\n")
    child.write(f"s3/{BUCKET}/sweeps/{SWEEP}/3/config/config.yaml", "game: another\n")
    child.write("trainer", f'cat {child.home}/config/config.yaml >"$OUT/strategy.csv"\n')
    child.boot()
    assert child.process.returncode == 0, child.log
    assert child.stored("bundle/strategy.csv") == "game: leduc\n"


def test_a_training_that_ended_well_is_not_repeated_for_what_failed_after_it(child: Child) -> None:
    child.write("trainer", f"{TRAINER}echo trained >>{child.root}/trainings\n")
    child.write("fail", "aws s3 sync*/bundle")
    child.boot()
    assert child.process.returncode == RETRY, child.log
    assert child.record
    assert child.record["reason"] == "uploading the bundle: aws: it went wrong"
    (child.root / "fail").unlink()
    child.boot()
    assert child.process.returncode == 0, child.log
    assert (child.root / "trainings").read_text() == "trained\n"
    assert child.stored("bundle/strategy.csv") == "model\n"
    assert child.record["status"] == "complete"


def test_output_that_did_not_come_to_s3_is_trained_again(child: Child) -> None:
    """Only what an attempt has found there would be uploaded: the model as of the last sync."""
    child.write("trainer", f"{TRAINER}echo trained >>{child.root}/trainings\n")
    child.write("fail", "aws s3 sync*/[bo]u*")
    child.boot()
    assert child.process.returncode == RETRY, child.log
    (child.root / "fail").unlink()
    child.boot()
    assert child.process.returncode == 0, child.log
    assert (child.root / "trainings").read_text() == "trained\ntrained\n"


def test_what_is_not_in_s3_is_not_asked_for_again(child: Child) -> None:
    (child.root / f"s3/{BUCKET}/configs/{SWEEP}/3/config.yaml").unlink()
    child.boot()
    assert child.process.returncode == 1, child.log


@pytest.mark.parametrize("forged", [False, True])
def test_only_the_script_that_was_submitted_is_run(child: Child, forged: bool) -> None:
    """Its name is its sha256; Batch says the name."""
    submitted = f"echo ran >{child.root}/ran\n".encode()
    key = script_key(submitted)
    child.write(f"s3/{BUCKET}/{key}", submitted.decode() + ("# and more\n" if forged else ""))
    ended = subprocess.run(
        ["bash", "-c", START],
        env={
            **{"PATH": str(child.bin), "FAKES": str(child.root), "AWS_BATCH_JOB_ATTEMPT": "1"},
            "SOLVER_RUNNER": f"s3://{BUCKET}/{key}",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == int(forged), ended.stderr
    assert ("is not the script that was submitted" in ended.stderr) is forged
    assert (child.root / "ran").exists() is not forged

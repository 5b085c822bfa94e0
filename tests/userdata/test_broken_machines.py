"""What surrounds the job is slow, full, cut off or locked out: what can be saved is, and the machine ends."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from .machine import COMPLETE, JOB, TERMINATION, Machine, training
from .test_endings import UNTIL_STOPPED
from .test_failing_steps import NEEDED, SPEECHLESS, TOLERATED, WATCHED_TRAINER, ended

KINDS = ("aws *", "docker *", "python3 *")
EVERY_STEP = (*NEEDED, *TOLERATED, *SPEECHLESS[:-1])

NO_DNS = 'Could not connect to the endpoint URL: "https://s3.us-east-1.amazonaws.com/"\n'
EXPIRED = "An error occurred (ExpiredToken) when calling the PutObject operation: The provided token has expired.\n"
OUTAGES = pytest.mark.parametrize("outage", [NO_DNS, EXPIRED], ids=["no-dns", "expired"])

FILL = "cat /dev/zero >filler 2>/dev/null; echo table >table.csv"
"""A trainer that takes all the room there is; what it wants to write after that is empty."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Kinds of commands, or every command by itself with --all."""
    everything = metafunc.config.getoption("--all")
    if "slow" in metafunc.fixturenames:
        metafunc.parametrize("slow", EVERY_STEP if everything else KINDS)
    if "hanging" in metafunc.fixturenames:
        metafunc.parametrize("hanging", EVERY_STEP if everything else ("aws s3 *", "docker *"))


@pytest.fixture
def small(machine: Machine) -> Iterator[Machine]:
    """A machine whose disk holds 24 MB, of which the job keeps 16 for its end."""
    machine.home.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(machine.home)]
    if subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("only root can mount a small disk")
    yield machine
    machine.power_off()
    subprocess.run(["umount", "--lazy", str(machine.home)], check=True)


def end(machine: Machine) -> tuple[str, str]:
    """How the record says that the job ended; the machine has."""
    assert ended(machine)
    assert machine.record is not None
    return machine.record["status"], machine.record["reason"]


def failed_syncs(machine: Machine) -> int:
    return machine.log.count("failed (exit 255): syncing output")


def test_a_step_that_takes_its_time_costs_no_job(machine: Machine, slow: str) -> None:
    machine.write("trainer", WATCHED_TRAINER)
    machine.write("slow", slow)
    machine.boot()
    assert end(machine) == ("complete", "")


def test_a_machine_ends_whatever_hangs(machine: Machine, hanging: str) -> None:
    machine.write("trainer", WATCHED_TRAINER)
    machine.write("hang", hanging)
    machine.job["deadline"] = int(time.time()) + 8
    machine.boot(SOLVER_PATIENCE="1")
    assert ended(machine)


@OUTAGES
def test_an_outage_while_training_costs_nothing(machine: Machine, outage: str) -> None:
    machine.write("trainer", UNTIL_STOPPED)
    with training(machine):
        machine.until(lambda: machine.stored("output/table.csv"))
        machine.write("outage", outage)
        machine.until(lambda: failed_syncs(machine) > 1)
        (machine.root / "outage").unlink()
        (machine.home / "output/table.csv").write_text("better\n")
        machine.until(lambda: machine.stored("output/table.csv") == "better\n")
        machine.write("go")
    assert end(machine) == ("complete", "")
    assert outage.strip() in machine.stored("logs/boot.log")
    assert machine.stored("bundle/runs") == "1\n"


@OUTAGES
def test_a_result_waits_for_the_end_of_an_outage(machine: Machine, outage: str) -> None:
    machine.write("trainer", UNTIL_STOPPED)
    with training(machine):
        machine.write("outage", outage)
        machine.write("go")
        machine.until(lambda: len([call for call in machine.called("aws s3 sync") if call.endswith("/bundle")]) > 3)
        (machine.root / "outage").unlink()
    assert end(machine) == ("complete", "")
    assert machine.stored("bundle/runs") == "1\n"


def test_what_a_failed_trainer_leaves_waits_for_the_end_of_an_outage(machine: Machine) -> None:
    machine.write("trainer", "until [[ -e $FAKES/outage ]]; do sleep 0.05; done; echo half >table.csv; exit 3")
    with training(machine):
        machine.write("outage", NO_DNS)
        machine.until(lambda: "failed while training" in machine.log)
        calls = len(machine.called("aws s3 sync"))
        machine.until(lambda: len(machine.called("aws s3 sync")) > calls + 3)
        (machine.root / "outage").unlink()
    assert end(machine) == ("failed", "trainer exited with 3")
    assert machine.stored("output/table.csv") == "half\n"
    assert "failed while training: trainer exited with 3" in machine.stored("logs/boot.log")


def test_an_outage_at_boot_is_waited_for(machine: Machine) -> None:
    machine.write("outage", NO_DNS)
    machine.write("trainer", COMPLETE)
    machine.start()
    machine.until(lambda: len(machine.called("aws ec2 describe-instances")) > 2)
    (machine.root / "outage").unlink()
    machine.ended()
    assert end(machine) == ("complete", "")


@pytest.mark.parametrize(
    ("outage", "market"), [(NO_DNS, "spot"), pytest.param(EXPIRED, "on-demand", marks=pytest.mark.long)]
)
def test_an_outage_without_end_ends_at_the_deadline(tmp_path: Path, outage: str, market: str) -> None:
    machine = Machine(tmp_path, deadline=int(time.time()) + 6)
    machine.write("metadata/instance-life-cycle", market)
    machine.write("trainer", UNTIL_STOPPED)
    with training(machine):
        machine.write("outage", outage)
    assert "max hours reached" in machine.log
    assert (machine.home / "output/checkpoint").read_text() == "checkpoint 1\n"
    assert machine.last_call == "shutdown -h now"
    assert bool(machine.called(TERMINATION)) == (market == "spot")


def test_a_trainer_that_fills_the_disk_leaves_all_that_it_wrote(small: Machine) -> None:
    small.write("trainer", f"echo checkpoint >checkpoint; echo iteration 1; {FILL} || exit 28")
    small.boot()
    assert end(small) == ("failed", "trainer exited with 28")
    assert small.stored("output/checkpoint") == "checkpoint\n"
    assert small.listed("output") == ["checkpoint", "filler", "table.csv"]
    assert small.stored("logs/trainer.log").startswith("iteration 1\n")
    assert "failed while training: trainer exited with 28" in small.stored("logs/boot.log")
    assert (small.home / "state/attempts").read_text().endswith(" ended\n")


def test_a_model_that_fills_the_disk_is_complete(small: Machine) -> None:
    """At the end nothing is copied: the bundle is made of links."""
    small.write("trainer", FILL.replace("; echo", " || rm filler; head -c 7M /dev/zero >filler; echo"))
    small.boot()
    assert end(small) == ("complete", "")
    assert small.listed("bundle") == ["filler", "table.csv"]


def test_a_disk_that_is_full_for_a_while_costs_nothing(small: Machine) -> None:
    small.write("trainer", f"{FILL}; {UNTIL_STOPPED}")
    with training(small):
        before = len(small.called("python3 snapshot"))
        small.until(lambda: len(small.called("python3 snapshot")) > before + 4)
        (small.home / "output/filler").unlink()
        (small.home / "output/table.csv").write_text("better\n")
        small.until(lambda: small.stored("output/table.csv") == "better\n")
        small.write("go")
    assert end(small) == ("complete", "")
    assert small.stored("bundle/table.csv") == "better\n"


def test_a_disk_that_is_full_at_boot_ends_the_job(small: Machine) -> None:
    subprocess.run(["dd", "if=/dev/zero", f"of={small.home}/filler"], capture_output=True, check=False)
    small.boot()
    status, reason = end(small)
    assert status == "failed"
    assert reason.startswith("fetching config: ")
    assert small.tags["status"] == "failed"
    assert (small.record or {})["job"] == JOB

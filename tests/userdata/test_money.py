"""What a job may cost: counted over every boot, on the disk, and the job ended when the money is used up."""

from __future__ import annotations

import signal
import time
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from .machine import TERMINATION, Machine, training
from .test_endings import UNTIL_STOPPED

DOLLAR = 1_000_000
A_DOLLAR_A_SECOND = 3600 * DOLLAR
PRICE_CALL = "aws ec2 describe-spot-price-history"
NOT_STARTED = 60
"""Seconds that are counted before the script's first: EC2 bills a minute at least, and the machine has to boot."""


def on_demand(root: Path, **job: Any) -> Machine:
    """A machine whose price is what the launch says."""
    machine = Machine(root, **job)
    machine.write("metadata/instance-life-cycle", "on-demand")
    return machine


def ended(machine: Machine) -> tuple[str, str]:
    """How the record says that the job ended; the machine has."""
    assert machine.last_call in ("shutdown -h now", TERMINATION)
    assert machine.record is not None
    return machine.record["status"], machine.record["reason"]


def attempts(machine: Machine) -> list[dict[str, Any]]:
    assert machine.record is not None
    return list(machine.record["attempts"])


def counted(machine: Machine) -> list[str]:
    """The lines on the disk."""
    path = machine.home / "state/attempts"
    return path.read_text().splitlines() if path.exists() else []


def test_the_record_says_what_each_boot_has_cost(machine: Machine) -> None:
    before = int(time.time())
    machine.boot()
    (attempt,) = attempts(machine)
    assert before <= datetime.fromisoformat(attempt["started_at"]).timestamp() <= before + 20
    assert NOT_STARTED <= attempt["seconds"] <= time.time() - before + NOT_STARTED
    assert attempt["dollars"] == pytest.approx(attempt["seconds"] * 0.36 / 3600, abs=0.0001)
    (line,) = counted(machine)
    assert line.endswith(" 360000 ended")


def test_what_a_spot_instance_costs_is_asked_for_its_type_and_zone(machine: Machine) -> None:
    machine.boot()
    (call,) = machine.called(PRICE_CALL)
    assert "--instance-types c7i.4xlarge --availability-zone us-east-1a --product-descriptions Linux/UNIX" in call
    assert "the machine costs $0.360000 an hour" in machine.log


def test_at_the_last_cent_the_trainer_is_stopped_and_its_checkpoint_saved(tmp_path: Path) -> None:
    machine = on_demand(tmp_path, budget=(NOT_STARTED + 6) * DOLLAR, price=A_DOLLAR_A_SECOND, sync_seconds=60)
    machine.write("trainer", UNTIL_STOPPED)
    machine.boot()
    assert ended(machine) == ("failed", "max cost reached")
    assert machine.stored("output/checkpoint") == "checkpoint 1\n"
    assert (machine.root / "timer-minutes").read_text() == "11\n"
    assert machine.record is not None
    assert machine.record["exit_code"] == 143
    assert NOT_STARTED + 6 <= attempts(machine)[0]["dollars"] < NOT_STARTED + 30
    assert "(max cost)" in machine.stored("logs/boot.log")


def test_the_last_hour_counts_where_it_comes_before_the_last_cent(tmp_path: Path) -> None:
    machine = Machine(tmp_path, budget=DOLLAR, price=360000, deadline=int(time.time()) + 4)
    machine.write("trainer", UNTIL_STOPPED)
    machine.boot()
    assert ended(machine) == ("failed", "max hours reached")


def test_a_boot_without_money_starts_nothing(tmp_path: Path) -> None:
    """After an interruption: the second minute that EC2 bills at least is more than there is left."""
    machine = Machine(tmp_path, budget=100 * DOLLAR)
    machine.write("spot-price", "3600.000000\n")
    machine.write("trainer", UNTIL_STOPPED)
    with training(machine):
        machine.process.send_signal(signal.SIGTERM)
    assert machine.tags["status"] == "interrupted"
    (machine.root / "calls").unlink()
    machine.boot()
    assert ended(machine) == ("failed", "max cost reached")
    assert machine.calls[0] == "shutdown -h +MINUTES"
    assert (machine.root / "timer-minutes").read_text() == "10\n"
    assert not machine.called("tmux new-session")
    assert [attempt["dollars"] >= NOT_STARTED for attempt in attempts(machine)] == [True, True]


def test_the_timer_knows_what_the_boots_before_have_cost(tmp_path: Path) -> None:
    """It is armed before anybody can be asked: from the disk."""
    machine = Machine(tmp_path, budget=1000 * DOLLAR)
    machine.write("home/state/attempts", f"1795507200 880 {880 * DOLLAR} {A_DOLLAR_A_SECOND} ended\n")
    machine.write("hang", "curl */api/token")
    machine.boot(SOLVER_PATIENCE="1")
    assert (machine.root / "timer-minutes").read_text() in ("11\n", "12\n")  # $60 left


def test_a_higher_price_brings_the_end_nearer(tmp_path: Path) -> None:
    machine = Machine(tmp_path, budget=5 * DOLLAR)
    machine.write("impatient")  # the hour until EC2 is asked again passes at once
    machine.write("trainer", UNTIL_STOPPED)
    with training(machine):
        assert (machine.root / "timer-minutes").read_text() == "70\n"
        machine.write("spot-price", "3600.000000\n")
    assert ended(machine) == ("failed", "max cost reached")
    assert (machine.root / "timer-minutes").read_text() == "11\n"
    assert machine.stored("output/checkpoint") == "checkpoint 1\n"
    assert 4 <= attempts(machine)[0]["dollars"] < 30, "the minute before costs what it did"


def test_a_lower_price_puts_the_end_off(tmp_path: Path) -> None:
    machine = Machine(tmp_path, budget=(NOT_STARTED + 900) * DOLLAR)
    machine.write("spot-price", "3600.000000\n")
    machine.write("impatient")
    machine.write("trainer", UNTIL_STOPPED)
    with training(machine):
        assert int((machine.root / "timer-minutes").read_text()) <= 25
        machine.write("spot-price", "0.360000\n")
        machine.until(lambda: (machine.root / "timer-minutes").read_text() == "70\n")
        machine.write("go")
    assert ended(machine) == ("complete", "")


@pytest.mark.parametrize("answer", [None, "", "None\n"])
def test_without_an_answer_the_last_known_price_goes_on(tmp_path: Path, answer: str | None) -> None:
    machine = Machine(tmp_path, budget=5 * DOLLAR, price=360000)
    machine.write("home/state/attempts", f"1795507200 60 21600 {A_DOLLAR_A_SECOND} ended\n")
    machine.write("fail", "" if answer is not None else f"{PRICE_CALL} *")
    machine.write("spot-price", answer or "")
    machine.boot()
    assert machine.called(PRICE_CALL)
    assert ended(machine) == ("failed", "max cost reached")


@pytest.mark.parametrize("budget", [0, DOLLAR // 100])
def test_an_unknown_price_ends_no_job(tmp_path: Path, budget: int) -> None:
    machine = on_demand(tmp_path, budget=budget, disk_price=DOLLAR).boot()
    assert ended(machine) == ("complete", "")
    (attempt,) = attempts(machine)
    assert attempt["dollars"] is None
    assert attempt["seconds"] >= NOT_STARTED


def test_without_a_cap_any_price_is_paid(tmp_path: Path) -> None:
    machine = on_demand(tmp_path, price=A_DOLLAR_A_SECOND, disk_price=A_DOLLAR_A_SECOND).boot()
    assert ended(machine) == ("complete", "")
    assert attempts(machine)[0]["dollars"] >= NOT_STARTED


@pytest.mark.parametrize(("dollars", "end"), [(2, ("failed", "max cost reached")), (3, ("complete", ""))])
def test_the_disk_is_paid_for_while_the_machine_is_stopped(tmp_path: Path, dollars: int, end: tuple[str, str]) -> None:
    """Two hours since the launch, at a dollar an hour, of which the machine has run for a minute."""
    launched = int(time.time()) - 7200
    machine = Machine(tmp_path, budget=dollars * DOLLAR, price=360000, disk_price=DOLLAR, launched_at=launched)
    machine.write("home/state/attempts", f"{launched} 60 6000 360000 ended\n")
    machine.boot()
    assert ended(machine) == end


def test_an_attempt_that_is_cut_off_counts_a_minute_more_than_its_last_line(machine: Machine) -> None:
    machine.write("trainer", UNTIL_STOPPED)
    machine.start()
    machine.until_called("docker wait")
    machine.until(lambda: counted(machine)[0].endswith(" 360000 open"))
    machine.power_off()
    machine.write("docker/status", "exited\n")
    begun, seconds, cost, price, _ = counted(machine)[0].split()
    machine.write("go")
    machine.boot()
    assert ended(machine) == ("complete", "")
    assert counted(machine)[0] == f"{begun} {int(seconds) + 60} {int(cost) + 6000} {price} ended"
    assert attempts(machine)[0]["seconds"] == int(seconds) + 60


def test_an_attempt_is_counted_while_a_step_takes_long(machine: Machine) -> None:
    machine.write("hang", "docker pull *")
    machine.start()
    machine.until_called("docker pull")
    first = counted(machine)
    machine.until(lambda: counted(machine) != first)
    machine.power_off()


def test_lines_that_are_none_cost_nothing(tmp_path: Path) -> None:
    """Nor does the end of the job, if the disk has lost what was written."""
    machine = Machine(tmp_path, budget=DOLLAR)
    machine.write("home/state/attempts", "\0\0\0\nhalf a li\n1795507200 99 a[$(reboot)] 1 open\n")
    machine.boot()
    assert ended(machine) == ("complete", "")
    assert len(attempts(machine)) == 1


def test_no_look_is_longer_than_the_money(tmp_path: Path) -> None:
    machine = on_demand(tmp_path, budget=(NOT_STARTED + 20) * DOLLAR, price=A_DOLLAR_A_SECOND, keep_seconds=1800)
    machine.write("trainer", "exit 1")
    before = time.time()
    machine.boot()
    assert datetime.fromisoformat(machine.tags["kept-until"]).timestamp() <= before + 30
    assert ended(machine) == ("failed", "trainer exited with 1")

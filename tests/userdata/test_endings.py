"""The other ways a job ends, is interrupted, or goes on."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from .machine import BUCKET, COMPLETE, JOB, ROLE, TERMINATION, Machine, training

UNTIL_STOPPED = """
echo $((runs = $(cat runs 2>/dev/null || echo 0) + 1)) >runs
trap 'echo checkpoint $runs >checkpoint; exit 143' TERM
echo working >table.csv
until [[ -e $FAKES/go ]]; do sleep 0.05; done
"""
"""A trainer that goes on until it is told to stop, and writes a checkpoint then."""
SLOW_TO_STOP = UNTIL_STOPPED.replace("'echo", "'sleep 3; echo")
"""The same, and the checkpoint takes longer than it is until the next sync."""


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (1, "trainer exited with 1"),
        (130, "stopped from the terminal (exit 130)"),
        (137, "trainer exited with 137 (SIGKILL)"),
    ],
)
def test_a_trainer_that_fails_leaves_its_output_and_the_reason(machine: Machine, code: int, reason: str) -> None:
    machine.write("trainer", f"echo half >table.csv; echo it broke; exit {code}")
    machine.boot()
    assert machine.record is not None
    assert machine.record["status"] == "failed"
    assert machine.record["reason"] == reason
    assert machine.record["exit_code"] == code
    assert machine.record["phase"] == "training"
    assert "bundle" not in machine.record
    assert machine.tags == machine.tags | {"status": "failed", "phase": "training"}
    assert machine.stored("output/table.csv") == "half\n"
    assert machine.stored("logs/trainer.log") == "it broke\n"
    assert machine.listed("bundle") == []
    assert machine.calls[-2:] == [
        "aws ec2 cancel-spot-instance-requests --spot-instance-request-ids sir-0bbbbbbb",
        TERMINATION,
    ]


def test_the_instance_of_a_failed_job_stays_for_a_look_if_asked(tmp_path: Path) -> None:
    machine = Machine(tmp_path, keep_seconds=1800)
    machine.write("trainer", "exit 1")
    machine.start()
    machine.until(lambda: machine.tags.get("kept-until"))
    assert machine.tags["status"] == "failed"
    assert machine.record is not None
    assert machine.record["ended_at"]
    assert machine.called("aws ec2 cancel-spot-instance-requests")
    assert not machine.called(TERMINATION)
    machine.process.send_signal(signal.SIGTERM)
    machine.ended()
    assert machine.last_call == TERMINATION


def test_no_look_is_longer_than_the_deadline(tmp_path: Path) -> None:
    machine = Machine(tmp_path, keep_seconds=1800, deadline=int(time.time()) - 5).boot()
    assert "kept-until" not in machine.tags
    assert machine.last_call == TERMINATION


def test_after_the_deadline_nothing_is_started(tmp_path: Path) -> None:
    """The timer leaves ten minutes all the same, for what was not saved before."""
    machine = Machine(tmp_path, deadline=int(time.time()) - 3600).boot()
    assert machine.calls[0] == "shutdown -h +MINUTES"
    assert (machine.root / "timer-minutes").read_text() == "10\n"
    assert machine.record is not None
    assert (machine.record["status"], machine.record["reason"]) == ("failed", "max hours reached")
    assert not machine.called("docker pull")
    assert machine.last_call == TERMINATION


def test_at_the_deadline_the_trainer_is_stopped_and_its_checkpoint_saved(tmp_path: Path) -> None:
    machine = Machine(tmp_path, deadline=int(time.time()) + 4, sync_seconds=60)
    machine.write("trainer", UNTIL_STOPPED)
    machine.boot()
    assert machine.record is not None
    assert (machine.record["status"], machine.record["reason"]) == ("failed", "max hours reached")
    assert machine.record["exit_code"] == 143
    assert machine.stored("output/checkpoint") == "checkpoint 1\n"
    assert machine.last_call == TERMINATION


@pytest.mark.parametrize(
    "shown",
    [
        "",  # its launch's instance is terminated, and this one, which the spot request has started, has no tags
        "2026-11-24T08:00:00+00:00 i-0cccccccccccccccc\n",
        f"2026-11-24T08:00:00+00:00 i-0cccccccccccccccc\n2026-11-24T08:01:00+00:00 {JOB}\n",
    ],
)
def test_a_launch_of_another_instance_is_left_alone(machine: Machine, shown: str) -> None:
    machine.write("launch", shown)
    machine.boot()
    assert machine.record is None
    assert machine.tags == {}
    assert not machine.called("docker")
    assert machine.calls[-2:] == [
        "aws ec2 cancel-spot-instance-requests --spot-instance-request-ids sir-0bbbbbbb",
        TERMINATION,
    ]


def test_an_instance_that_ec2_shows_late_is_its_own_launchs(machine: Machine) -> None:
    machine.write("launch", "")
    machine.start()
    machine.until_called("aws ec2 describe-instances --output text")
    machine.write("launch", f"2026-11-24T08:00:00+00:00 {JOB}\n2026-11-24T08:00:01+00:00 i-0cccccccccccccccc\n")
    machine.ended()
    assert machine.record is not None
    assert machine.record["status"] == "complete"


def test_a_later_boot_knows_that_the_launch_is_its_own(machine: Machine) -> None:
    """EC2 calls a launch what is the last start, so the order of two instances may be another then."""
    machine.write("trainer", UNTIL_STOPPED)
    with training(machine):
        interrupt(machine)
    machine.write("launch", f"2026-11-24T08:00:00+00:00 i-0cccccccccccccccc\n2026-11-24T09:00:00+00:00 {JOB}\n")
    machine.write("trainer", "echo model >strategy.csv")
    (machine.root / "metadata/spot/instance-action").unlink()
    machine.boot()
    assert machine.record is not None
    assert machine.record["status"] == "complete"


def test_s3_is_asked_with_the_credentials_of_the_jobs_role(machine: Machine) -> None:
    """The fake S3 refuses every other call. They are asked for once in half an hour, and nobody else reads them."""
    machine.write("trainer", f"{COMPLETE}\nPATH=/usr/bin:/bin stat -c %a /dev/shm/solver.*/credentials >modes")
    machine.boot()
    assert machine.record is not None
    assert machine.record["status"] == "complete"
    (asked,) = machine.called("aws sts assume-role")
    assert asked.endswith(f"--role-arn {ROLE} --role-session-name {JOB} --tags Key=job,Value={JOB}")
    assert set(machine.stored("bundle/modes").split()) == {"600"}
    assert "SessionToken" not in machine.log
    assert "SessionToken" not in (machine.root / "console").read_text()


def interrupt(machine: Machine) -> None:
    """A spot notice, everything the script does about it, and the end of the machine."""
    machine.write("metadata/spot/instance-action", '{"action": "stop", "time": "2026-11-24T08:22:00Z"}')
    machine.until(lambda: "waiting for EC2" in machine.log)
    machine.process.send_signal(signal.SIGTERM)


def test_a_spot_notice_saves_everything_and_ends_nothing(machine: Machine) -> None:
    machine.write("trainer", UNTIL_STOPPED)
    with training(machine):
        interrupt(machine)
    assert machine.called("docker stop") == ["docker stop -t 60 solver"]
    assert machine.stored("output/checkpoint") == "checkpoint 1\n"
    assert machine.tags == machine.tags | {"status": "interrupted", "phase": "stopping"}
    assert machine.record is not None
    assert machine.record["status"] == "interrupted"
    assert machine.record["ended_at"] is None
    assert machine.record["exit_code"] is None
    assert not machine.called("aws ec2 cancel-spot-instance-requests")
    assert not machine.called("shutdown -h now")
    assert not machine.called("aws ec2 terminate-instances")


def test_the_next_boot_goes_on_from_the_disk(machine: Machine) -> None:
    machine.write("trainer", UNTIL_STOPPED)
    with training(machine):
        interrupt(machine)
    assert machine.record is not None
    started = machine.record["started_at"]
    (machine.root / "metadata/spot/instance-action").unlink()
    (machine.root / "calls").unlink()
    machine.write("go")
    machine.boot()
    assert machine.called("shutdown -h +MINUTES")
    assert machine.called("docker pull") == machine.called("docker create") == []
    assert machine.record["status"] == "complete"
    assert machine.record["started_at"] == started
    assert machine.stored("bundle/checkpoint") == "checkpoint 1\n"
    assert machine.stored("bundle/runs") == "2\n"


def test_an_interruption_that_does_not_come_costs_no_job(machine: Machine) -> None:
    machine.write("trainer", UNTIL_STOPPED)
    with training(machine):
        machine.write("impatient")
        machine.write("metadata/spot/instance-action", "{}")
        machine.until_called("python3 record interrupted")
        (machine.root / "metadata/spot/instance-action").unlink()
        machine.write("go")
    assert machine.tags["status"] == "complete"
    assert machine.stored("bundle/runs") == "2\n"


def test_a_job_that_was_interrupted_while_uploading_is_not_trained_again(machine: Machine) -> None:
    machine.write("trainer", 'echo run >>"runs"')
    machine.write("hang", "aws s3 sync */bundle")
    machine.start()
    machine.until_called(f"aws s3 sync --only-show-errors --delete home/snapshot s3://{BUCKET}/jobs/{JOB}/bundle")
    machine.process.send_signal(signal.SIGTERM)
    machine.ended()
    assert machine.tags == machine.tags | {"status": "interrupted", "phase": "uploading"}
    (machine.root / "hang").unlink()
    machine.boot()
    assert machine.tags["status"] == "complete"
    assert machine.stored("bundle/runs") == "run\n"


def test_a_machine_that_is_stopped_without_notice_saves_what_it_can(machine: Machine) -> None:
    machine.write("trainer", UNTIL_STOPPED)
    with training(machine):
        machine.process.send_signal(signal.SIGTERM)
    assert machine.stored("output/checkpoint") == "checkpoint 1\n"
    assert machine.tags["status"] == "interrupted"
    assert not machine.called("aws ec2 cancel-spot-instance-requests")


def test_however_long_the_checkpoint_takes_all_is_saved(tmp_path: Path) -> None:
    """Bash leaves the commands of a trap in their middle when it ran within a `read -t` whose time is up by then."""
    machine = Machine(tmp_path, sync_seconds=2)
    machine.write("trainer", SLOW_TO_STOP)
    with training(machine):
        machine.until(lambda: (machine.home / "output/table.csv").exists())
        machine.process.send_signal(signal.SIGTERM)
    assert machine.stored("output/checkpoint") == "checkpoint 1\n"
    assert machine.tags["status"] == "interrupted"


def test_terminate_has_the_last_word(machine: Machine) -> None:
    """It tags the instance, then EC2 tells the machine to stop; output and log are still saved."""
    machine.write("trainer", UNTIL_STOPPED)
    with training(machine):
        machine.until(lambda: machine.tags.get("phase") == "training")
        machine.write("tags/status", "terminated\n")
        machine.process.send_signal(signal.SIGTERM)
    assert machine.tags["status"] == "terminated"
    assert not machine.called("python3 record interrupted")
    assert machine.stored("output/checkpoint") == "checkpoint 1\n"


def test_a_script_that_is_killed_on_a_machine_that_goes_on_fails_the_job(machine: Machine) -> None:
    (machine.root / "systemd").mkdir()
    machine.write("trainer", UNTIL_STOPPED)
    with training(machine, SOLVER_DETACHED="1"):
        machine.process.send_signal(signal.SIGTERM)
    assert machine.record is not None
    assert (machine.record["status"], machine.record["reason"]) == ("failed", "the job's script was told to stop")
    assert machine.stored("output/checkpoint") == "checkpoint 1\n"
    assert machine.last_call == TERMINATION


def test_a_trainer_that_a_stopping_machine_ends_first_has_not_failed(machine: Machine) -> None:
    """Docker may be told to stop before the script is."""
    machine.write("trainer", UNTIL_STOPPED)
    with training(machine):
        os.kill(int((machine.root / "docker/pid").read_text()), signal.SIGTERM)
        machine.until_called("docker container inspect --format {{.State.Running}} {{.State.ExitCode}}")
        machine.process.send_signal(signal.SIGTERM)
    assert machine.tags["status"] == "interrupted"
    assert not (machine.home / "state/exit-code").exists()


def test_the_trainer_outlives_its_tmux_session(machine: Machine) -> None:
    machine.write("trainer", UNTIL_STOPPED)
    with training(machine):
        os.killpg(int((machine.root / "session").read_text()), signal.SIGKILL)
        syncs = len(machine.called("aws s3 sync"))
        machine.until(lambda: len(machine.called("aws s3 sync")) > syncs + 2)
        machine.write("go")
    assert machine.tags["status"] == "complete"
    assert machine.stored("bundle/runs") == "1\n"


def test_a_recommendation_to_rebalance_syncs_at_once(tmp_path: Path) -> None:
    machine = Machine(tmp_path, sync_seconds=900)
    machine.write("trainer", UNTIL_STOPPED)
    with training(machine):
        machine.write("metadata/events/recommendations/rebalance", "{}")
        machine.until(lambda: machine.stored("output/table.csv"))
        machine.write("go")
    assert machine.tags["status"] == "complete"


def test_a_sync_under_way_does_not_delay_the_answer_to_a_spot_notice(machine: Machine) -> None:
    """Its upload is ended, so that it cannot put an older version over the last one."""
    machine.write("trainer", UNTIL_STOPPED)
    machine.write("hang", "aws s3 sync */output")
    with training(machine):
        machine.until(lambda: [call for call in machine.called("aws s3 sync") if call.endswith("/output")])
        (machine.root / "hang").unlink()
        interrupt(machine)
        assert [line for line in machine.processes().values() if line.startswith("sleep 1000")] == []
    assert machine.stored("output/checkpoint") == "checkpoint 1\n"
    assert machine.tags["status"] == "interrupted"


def test_a_spot_instance_asks_for_its_end_until_it_is_granted(machine: Machine) -> None:
    """A shutdown would only stop it, and its disk would go on costing."""
    machine.write("trainer", "echo model >model")
    machine.write("fail-once", TERMINATION)
    machine.boot()
    assert len(machine.called(TERMINATION)) == 2
    assert not machine.called("shutdown -h now")


def test_what_was_begun_at_the_boot_cannot_come_after_the_end(machine: Machine) -> None:
    """A first record that was uploaded late would take the place of the last."""
    machine.write("hang", "python3 record starting *")
    machine.write("fail", "docker version *")
    machine.start()
    machine.process.wait(40)
    hanging = [line for line in machine.processes().values() if line.startswith("sleep 1000")]
    machine.power_off()
    assert machine.record is not None
    assert machine.record["reason"] == "starting Docker: docker: it went wrong"
    assert hanging == []


def test_the_last_tag_is_written_before_the_machine_ends(machine: Machine) -> None:
    """Or one that is under way is lost with it; what hangs is not waited for longer than its limit."""
    machine.write("trainer", "echo model >model")
    machine.write("hang", "aws ec2 create-tags * Key=solver:status,Value=complete *")
    machine.boot(SOLVER_PATIENCE="2")
    lines = [line.partition(" ")[2] for line in machine.log.splitlines()]
    told, cancelling = (
        lines.index("failed (exit 124): complete: done: timed out"),
        lines.index("cancelling sir-0bbbbbbb"),
    )
    assert told < cancelling
    assert machine.last_call == TERMINATION

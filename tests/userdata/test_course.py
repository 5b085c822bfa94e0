"""A job that goes well, from boot to shutdown: what is done, in which order, and what is left in S3."""

from __future__ import annotations

import hashlib
import subprocess
from pathlib import Path

import pytest

from .machine import BUCKET, JOB, TERMINATION, Machine, training

S3 = f"s3://{BUCKET}/jobs/{JOB}"


def positions(machine: Machine, *beginnings: str) -> list[int]:
    """Where in the calls the first ones are that begin so."""
    return [next(i for i, call in enumerate(machine.calls) if call.startswith(b)) for b in beginnings]


def test_the_timer_comes_first_and_the_end_in_its_order(machine: Machine) -> None:
    machine.boot()
    order = positions(
        machine,
        "shutdown -h +MINUTES",
        "curl http://169.254.169.254/latest/api/token",
        "aws ec2 describe-instances --output text",
        "docker create",
        "tmux new-session",
        "python3 record running training",
        "docker wait",
        f"aws s3 sync --only-show-errors --delete home/snapshot {S3}/output",
        f"aws s3 sync --only-show-errors --delete home/snapshot {S3}/bundle",
        "python3 record complete done with the bundle",
        f"aws ec2 create-tags --resources {JOB} --tags Key=solver:status,Value=complete Key=solver:phase,Value=done",
        "aws ec2 cancel-spot-instance-requests --spot-instance-request-ids sir-0bbbbbbb",
        TERMINATION,
    )
    assert order == sorted(order)
    assert order[0] == 0
    assert order[-1] == len(machine.calls) - 1


@pytest.mark.parametrize(
    "errand",
    [
        "aws ec2 describe-instances --instance-ids",
        f"aws s3 cp --only-show-errors WORK/ssh-host-keys {S3}/ssh-host-keys",
        f"aws s3 cp --only-show-errors home/config/fast_buckets.yaml {S3}/config/fast_buckets.yaml",
        "python3 record starting",
        "aws ec2 describe-spot-price-history",
    ],
)
def test_what_the_job_needs_of_aws_it_has_before_it_trains(machine: Machine, errand: str) -> None:
    machine.boot()
    order = positions(machine, "aws ec2 describe-instances --output text", errand, "docker create")
    assert order == sorted(order)


def test_the_pull_begins_when_the_job_is_the_instances_own_and_waits_for_nothing_else(machine: Machine) -> None:
    machine.write("hang", "python3 record starting")
    machine.start(SOLVER_PATIENCE="20")
    machine.until_called("docker pull")
    assert not machine.called("docker create")
    machine.power_off()
    machine.process.wait()
    order = positions(
        machine, "aws ec2 describe-instances --output text", "docker login --username AWS", "docker pull --quiet"
    )
    assert order == sorted(order)


def test_an_early_pull_that_fails_is_tried_again(machine: Machine) -> None:
    machine.write("fail-once", "docker pull *")
    machine.boot()
    assert len(machine.called("docker pull")) == 2
    assert machine.record is not None
    assert machine.record["status"] == "complete"


def test_what_a_complete_job_leaves_in_s3(machine: Machine) -> None:
    machine.boot()
    record = machine.record
    assert record is not None
    assert {key: record[key] for key in ("job", "status", "phase", "reason", "exit_code", "asked")} == {
        "job": JOB,
        "status": "complete",
        "phase": "done",
        "reason": "",
        "exit_code": 0,
        "asked": {"market": "spot", "output": "~/models/ünï"},
    }
    assert record["launched_at"] < record["started_at"] <= record["ended_at"]
    assert machine.listed("bundle") == ["strategy.csv", "tables/convergence.csv"]
    assert machine.stored("bundle/strategy.csv") == "better\n"
    assert " ended" in machine.called("python3 snapshot")[-1]  # so no file is too new to be part of it
    assert record["bundle"][0] == {
        "path": "strategy.csv",
        "size": 7,
        "sha256": hashlib.sha256(b"better\n").hexdigest(),
    }
    assert machine.stored("config/fast_buckets.yaml") == "game: leduc\n"
    assert machine.stored("ssh-host-keys") == "ssh-ed25519 AAAAC3\n"
    assert "uploading the bundle" in machine.stored("logs/boot.log")
    assert machine.tags == {"status": "complete", "phase": "done", "s3-path": f"{S3}/"}


def test_a_job_that_resumes_another_starts_from_its_output(tmp_path: Path) -> None:
    machine = Machine(tmp_path, origin="i-0ddddddddddddddddd")
    machine.write(f"s3/{BUCKET}/jobs/i-0ddddddddddddddddd/output/checkpoint", "half\n")
    machine.write("trainer", "cp checkpoint seen")
    machine.boot()
    assert machine.stored("bundle/seen") == "half\n"
    assert "Key=solver:phase,Value=fetching output" in " ".join(machine.calls)


def test_status_and_phase_as_they_pass(machine: Machine) -> None:
    machine.boot()
    calls = machine.called("aws ec2 create-tags")
    passed = [call.split("Key=solver:status,Value=")[1].split(" Key=solver:s3-path")[0] for call in calls]
    assert [text.replace(" Key=solver:phase,Value=", ": ") for text in passed] == [
        "starting: installing",
        "starting: pulling image",
        "running: training",
        "uploading: uploading",
        "complete: done",
    ]


def test_the_log_is_on_the_console_too(machine: Machine) -> None:
    machine.boot()
    assert "creating the container" in (machine.root / "console").read_text()


def test_the_password_of_the_registry_reaches_docker_and_no_log(machine: Machine) -> None:
    machine.boot()
    assert (machine.root / "docker/password").read_text() == "password-of-the-registry\n"
    assert "password-of-the-registry" not in machine.log


def test_the_timer_is_set_from_the_deadline(tmp_path: Path) -> None:
    """An hour until the deadline, and ten minutes for the job to end by itself."""
    machine = Machine(tmp_path).boot()
    assert (machine.root / "timer-minutes").read_text() == "70\n"


def test_an_on_demand_job_asks_for_no_spot_request(machine: Machine) -> None:
    machine.write("metadata/instance-life-cycle", "on-demand")
    machine.boot()
    assert machine.tags["status"] == "complete"
    assert not [call for call in machine.calls if "spot" in call.lower()]
    assert machine.last_call == "shutdown -h now"


def test_only_what_is_missing_is_installed(tmp_path: Path) -> None:
    machine = Machine(tmp_path, without=("apt-get", "yum", "tmux", "aws")).boot()
    assert machine.called("dnf") == ["dnf --assumeyes --quiet install awscli-2", "dnf --assumeyes --quiet install tmux"]
    assert machine.tags["status"] == "complete"


def test_an_installation_that_fails_once_is_tried_again(tmp_path: Path) -> None:
    machine = Machine(tmp_path, without=("apt-get", "yum", "tmux"))
    machine.write("fail-once", "dnf *")
    machine.boot()
    assert machine.called("dnf") == ["dnf --assumeyes --quiet install tmux"] * 2
    assert machine.tags["status"] == "complete"


def test_a_debian_machine_has_its_own_names_for_packages(tmp_path: Path) -> None:
    machine = Machine(tmp_path, without=("dnf", "yum", "docker", "aws")).boot()
    assert [call.split()[-1] for call in machine.called("apt-get") if " install " in call] == ["awscli", "docker.io"]
    assert machine.tags["status"] == "complete"


def test_docker_is_started_and_the_ecs_agent_is_not(machine: Machine) -> None:
    machine.write("docker-is-down")
    machine.write("ecs")
    machine.boot()
    assert machine.called("systemctl disable") == ["systemctl disable --now --no-block ecs.service"]
    assert set(machine.called("systemctl start")) == {"systemctl start docker"}  # for the early pull, too
    assert machine.tags["status"] == "complete"


def test_with_systemd_the_job_goes_on_as_a_unit_of_its_own(machine: Machine) -> None:
    """cloud-init, and whatever waits for it, is not kept until the training is over."""
    (machine.root / "systemd").mkdir()
    assert machine.start().wait(10) == 0
    machine.until_called(TERMINATION)
    assert machine.calls[0] == "shutdown -h +MINUTES"
    assert machine.calls[1].startswith("systemd-run --no-block --collect --unit=solver-cloud")
    assert machine.tags["status"] == "complete"


def test_without_a_unit_of_its_own_the_job_runs_all_the_same(machine: Machine) -> None:
    (machine.root / "systemd").mkdir()
    machine.write("fail", "systemd-run *")
    machine.boot()
    assert machine.tags["status"] == "complete"


def test_output_is_synced_while_the_trainer_runs(machine: Machine) -> None:
    machine.write("trainer", "echo first >table.csv; until [[ -e $FAKES/go ]]; do sleep 0.05; done")
    with training(machine):
        machine.until(lambda: machine.stored("output/table.csv") == "first\n")
        (machine.home / "output/table.csv").write_text("other\n")
        machine.until(lambda: machine.stored("output/table.csv") == "other\n")
        (machine.home / "output/table.csv").unlink()
        machine.until(lambda: machine.listed("output") == [])
        machine.write("go")
    assert machine.tags["status"] == "complete"


def test_the_trainers_output_is_in_s3_while_it_runs(machine: Machine) -> None:
    machine.write("trainer", "echo iteration 1; until [[ -e $FAKES/go ]]; do sleep 0.05; done")
    with training(machine):
        machine.until(lambda: machine.stored("logs/trainer.log") == "iteration 1\n")
        machine.write("go")


def test_the_real_terminal_multiplexer_takes_the_command(machine: Machine, tmp_path: Path) -> None:
    """The fakes believe anything; tmux itself has to know every option that it is given."""
    machine.boot()
    command = next(call for call in machine.calls if call.startswith("tmux new-session"))
    session, *options = command.removeprefix("tmux ").split(" ; ")
    before, _, _ = session.partition("exec sudo")
    socket = str(tmp_path / "tmux")
    words = [*before.split(), "exec sleep 60"]
    for option in options:
        words += [";", *option.split()]
    try:
        subprocess.run(["tmux", "-S", socket, "-f", "/dev/null", *words], check=True)
        shown = subprocess.run(
            ["tmux", "-S", socket, "display", "-p", "-t", "solver", "#{window_width}x#{window_height} #{status-right}"],
            check=True,
            capture_output=True,
            text=True,
        )
    finally:
        subprocess.run(["tmux", "-S", socket, "kill-server"], check=False)
    assert shown.stdout == f"200x50 {JOB}\n"

"""Every command that the script runs fails in turn, and some hang: the machine always shuts down and says why.

Every third of them in the quick set, all with --all.
"""

from __future__ import annotations

from fnmatch import fnmatchcase
from pathlib import Path

import pytest

from .machine import BUCKET, JOB, TERMINATION, Machine

TRAINER = 'until grep -q "s3 sync .*/logs" "$FAKES/calls"; do sleep 0.05; done'
"""Ends once the first sync is over."""

WATCHED_TRAINER = f'{TRAINER}; until grep -q recommendations/rebalance "$FAKES/calls"; do sleep 0.05; done'
"""Ends once the metadata service has been asked for everything, too."""

NEEDED = {
    "curl */instance-life-cycle": "asking for the market: curl: it went wrong",
    "aws ec2 describe-instances *solver:launch*": "asking who owns this launch: aws: it went wrong",
    "aws s3 cp * WORK/ssh-host-keys *": "publishing the ssh host keys: aws: it went wrong",
    "python3 record starting *": "writing the record: python3: it went wrong",
    "docker version *": "starting Docker: docker: it went wrong",
    "aws ecr get-login-password": "pulling image: aws: it went wrong",
    "docker login *": "pulling image: docker: it went wrong",
    "docker pull *": "pulling image: docker: it went wrong",
    "aws s3 cp * s3://*/configs/sha/* *": "fetching config: aws: it went wrong",
    "aws s3 cp * s3://*/configs/*/programs.sh *": "fetching programs: aws: it went wrong",
    "aws s3 cp * s3://*/config/*": "fetching config: aws: it went wrong",
    "docker create *": "creating the container: docker: it went wrong",
    "docker container inspect *.StartedAt*": "looking at the container: docker: it went wrong",
    "tmux new-session *": "starting the tmux session: tmux: it went wrong",
    "sudo -H -u ec2-user -- tmux *": "starting the tmux session: sudo: it went wrong",
    "docker start *": "starting the trainer: docker: it went wrong",
    "docker container inspect *Running*ExitCode*": "Docker no longer answers",
    "python3 snapshot * ended": "finishing the bundle: python3: it went wrong",
    "aws s3 sync */bundle": "uploading the bundle: aws: it went wrong",
    "python3 record complete *": "writing the record: python3: it went wrong",
}
"""Steps that a job cannot do without, with the reason that its record gives."""

TOLERATED = (
    "shutdown -h +MINUTES",
    "curl */instance-type",
    "curl */availability-zone",
    "aws ec2 describe-spot-price-history *",
    "aws ec2 describe-instances *SpotInstanceRequestId*",
    "aws ec2 create-tags *",
    "python3 record running *",
    "systemctl cat ecs.service",
    "docker container inspect *.Id*",
    "docker container inspect *.Running}} solver",
    "docker image inspect *",
    "tmux kill-session *",
    "sudo docker start *",
    "docker start --attach *",
    "docker wait *",
    "curl */spot/instance-action",
    "curl */recommendations/rebalance",
    "python3 snapshot * running",
    "aws s3 sync */output",
    "docker logs *",
    "python3 keep_log *",
    "aws s3 sync */logs",
    "aws ec2 cancel-spot-instance-requests *",
    "aws ec2 terminate-instances *",
)
"""Steps whose failure costs no job that goes well otherwise."""

SPEECHLESS = ("curl */api/token", "curl */instance-id", "aws sts *", "aws s3 cp *WORK/job.json *", "aws *")
"""Steps without which nothing can be said in the record."""


HANGING = {
    "curl */instance-life-cycle": "asking for the market: timed out",
    "aws ec2 describe-instances *solver:launch*": "asking who owns this launch: timed out",
    "docker pull *": "pulling image: timed out",
    "docker create *": "creating the container: timed out",
    "tmux new-session *": "starting the tmux session: timed out",
    "aws s3 sync */bundle": "uploading the bundle: timed out",
    "python3 record complete *": "writing the record: timed out",
    "docker start *": "starting the trainer: timed out",
}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    every = 1 if metafunc.config.getoption("--all") else 3
    for name, steps in (("needed", NEEDED), ("tolerated", TOLERATED), ("hanging", HANGING)):
        if name in metafunc.fixturenames:
            metafunc.parametrize(name, list(steps)[::every])


def ended(machine: Machine) -> bool:
    """Whether the last thing the script did was to end the machine."""
    return machine.last_call in ("shutdown -h now", TERMINATION)


def test_every_step_of_the_job_is_made_to_fail_below(machine: Machine) -> None:
    """A step that is new needs a line in one of the tables."""
    machine.write("trainer", WATCHED_TRAINER)
    machine.boot()
    known = (*NEEDED, *TOLERATED, *SPEECHLESS[:-1], "tmux has-session *")
    assert [call for call in machine.calls if not any(fnmatchcase(call, pattern) for pattern in known)] == []


def test_a_step_that_is_needed_fails_and_the_record_says_why(machine: Machine, needed: str) -> None:
    machine.write("trainer", TRAINER)
    machine.write("fail", needed)
    machine.boot()
    assert machine.record is not None
    assert (machine.record["status"], machine.record["reason"]) == ("failed", NEEDED[needed])
    assert machine.record["ended_at"]
    assert machine.tags["status"] == "failed"
    assert machine.tags["phase"] == machine.record["phase"] != "done"
    assert "failed while" in machine.stored("logs/boot.log")
    assert machine.called("aws ec2 cancel-spot-instance-requests")
    assert ended(machine)


def test_a_job_whose_start_cannot_be_fetched_trains_nothing(tmp_path: Path) -> None:
    machine = Machine(tmp_path, origin="i-0ddddddddddddddddd")
    machine.write("fail", "aws s3 sync * s3://*/output home/output")
    machine.boot()
    assert machine.record is not None
    assert machine.record["reason"] == "fetching output of i-0ddddddddddddddddd: aws: it went wrong"
    assert not machine.called("docker create")
    assert ended(machine)


def test_a_step_that_is_not_needed_fails_and_the_job_completes(machine: Machine, tolerated: str) -> None:
    machine.write("trainer", WATCHED_TRAINER)
    machine.write("fail", tolerated)
    machine.boot()
    assert machine.record is not None
    assert machine.record["status"] == "complete"
    assert [call for call in machine.calls if fnmatchcase(call, tolerated)], "the step was not reached"
    assert ended(machine)


@pytest.mark.parametrize("step", SPEECHLESS)
def test_a_machine_that_cannot_say_anything_shuts_down(machine: Machine, step: str) -> None:
    machine.write("fail", step)
    machine.boot()
    assert machine.record is None
    assert ended(machine)


def test_without_a_record_the_tag_tells_of_the_failure(machine: Machine) -> None:
    machine.write("fail", "aws s3 *")
    machine.boot()
    assert machine.tags == {"status": "failed", "phase": "installing", "s3-path": f"s3://{BUCKET}/jobs/{JOB}/"}
    assert ended(machine)


@pytest.mark.parametrize("missing", ["docker", "tmux"])
def test_what_cannot_be_installed_is_named(tmp_path: Path, missing: str) -> None:
    machine = Machine(tmp_path, without=("apt-get", "yum", missing))
    machine.write("fail", "dnf *")
    machine.boot()
    assert machine.record is not None
    assert machine.record["reason"] == f"installing {missing}: dnf: it went wrong"
    assert machine.tags == machine.tags | {"status": "failed", "phase": "installing"}
    assert ended(machine)


def test_without_the_aws_cli_there_is_nothing_but_the_shutdown(tmp_path: Path) -> None:
    machine = Machine(tmp_path, without=("apt-get", "yum", "aws"))
    machine.write("fail", "dnf *")
    machine.boot()
    assert machine.last_call == "shutdown -h now"


def test_a_config_that_is_not_the_one_launched_is_refused(tmp_path: Path) -> None:
    machine = Machine(tmp_path, config_sha256="0" * 64).boot()
    assert machine.record is not None
    assert machine.record["reason"] == "fetching config: its sha256 is not what was launched"


def test_a_trainer_that_is_not_in_the_image_is_named(machine: Machine) -> None:
    machine.write("no-such-program")
    machine.boot()
    assert machine.record is not None
    assert machine.record["reason"].startswith('starting the trainer: Error response from daemon: exec: "poker-solver')
    assert ended(machine)


def test_a_trainer_that_takes_its_time_to_start_is_started_once(machine: Machine) -> None:
    machine.write("trainer", "echo run >>runs; sleep 1")
    machine.write("slow-start")
    machine.write("fail", "tmux has-session *")
    machine.boot()
    assert machine.stored("bundle/runs") == "run\n"


@pytest.mark.parametrize(
    ("market", "calls"),
    [("on-demand", ["shutdown -h now", TERMINATION]), ("spot", [TERMINATION, "shutdown -h now"])],
)
def test_a_machine_that_does_not_end_is_ended_the_other_way(machine: Machine, market: str, calls: list[str]) -> None:
    machine.write("metadata/instance-life-cycle", market)
    machine.write("immortal")
    machine.boot()
    assert machine.calls[-2:] == calls


def test_a_disk_that_takes_nothing_keeps_no_job_from_ending_well(machine: Machine) -> None:
    """Neither log nor state can be written, for a file is where their directories ought to be."""
    machine.write("home/logs")
    machine.write("home/state")
    machine.write("trainer", "exit 1")
    machine.boot()
    assert machine.record is not None
    assert (machine.record["status"], machine.record["reason"]) == ("failed", "trainer exited with 1")
    assert ended(machine)


def test_a_step_that_hangs_is_ended(machine: Machine, hanging: str) -> None:
    machine.write("trainer", TRAINER)
    machine.write("hang", hanging)
    machine.boot(SOLVER_PATIENCE="2")
    assert machine.record is not None
    assert (machine.record["status"], machine.record["reason"]) == ("failed", HANGING[hanging])
    assert ended(machine)


@pytest.mark.parametrize("step", ["aws s3 sync */output", "aws ec2 create-tags *training", "shutdown -h now"])
def test_a_hanging_step_that_is_not_needed_does_not_keep_the_machine(machine: Machine, step: str) -> None:
    machine.write("trainer", TRAINER)
    machine.write("metadata/instance-life-cycle", "on-demand")
    machine.write("hang", step)
    machine.boot(SOLVER_PATIENCE="2")
    assert machine.record is not None
    assert machine.record["status"] == "complete"
    assert ended(machine)

"""EC2 takes spot instances back: notice, stop, start, and what a user can do meanwhile.

https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/interruption-behavior.html
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import docker
import pytest

from localcloud import prerequisites, supervisor
from localcloud.errors import LocalCloudError
from localcloud.state import Running, State

from .conftest import FakeCloud, eventually, in_state, look, refusal
from .test_machines import every_boot
from .test_spot import PERSISTENT, after, request, request_in, spot

Run = Callable[..., dict[str, Any]]

SCARCE = {"InstanceType": "c7i.2xlarge"}
"""A type that no other test uses: while there is none of it, what EC2 stopped stays stopped."""
STOPPED = "instance-stopped-no-capacity"


@pytest.fixture
def running(cloud: FakeCloud) -> Running:
    assert cloud.running
    return cloud.running


@pytest.fixture
def interrupted(ec2: Any, run: Run, running: Running) -> Iterator[Callable[..., tuple[str, str]]]:
    """Launch a spot instance, take its type's capacity away, and have it interrupted; returns instance and request."""

    def interrupted(**options: Any) -> tuple[str, str]:
        instance = in_state(ec2, run(**spot(**PERSISTENT, **options), **SCARCE)["InstanceId"], "running")
        supervisor.change_capacity(running, SCARCE["InstanceType"], "none")
        supervisor.interrupt(running, instance["InstanceId"], notice="0")
        in_state(ec2, instance["InstanceId"], "stopped")
        return instance["InstanceId"], instance["SpotInstanceRequestId"]

    yield interrupted
    supervisor.change_capacity(running, SCARCE["InstanceType"], "back")


def told(cloud: FakeCloud, instance: str, word: str) -> list[str]:
    """What the machine of an instance was told of that kind, in order."""
    lines = (cloud.state.machines / "calls").read_text().splitlines()
    return [line.split()[2] for line in lines if line.startswith(f"{word} {instance} ")]


def test_an_interrupted_instance_is_given_notice_stopped_at_once_and_started_again(
    ec2: Any, run: Run, cloud: FakeCloud, running: Running
) -> None:
    instance = in_state(ec2, run(**spot(**PERSISTENT))["InstanceId"], "running")
    id, sir = instance["InstanceId"], instance["SpotInstanceRequestId"]
    first, then = supervisor.interrupt(running, id, notice="1")
    assert first.startswith(f"{id} is stopped at ")
    assert then == "EC2 starts it again 0.3 s after that"
    marked = request(ec2, sir)
    assert (marked["State"], marked["Status"]["Code"]) == ("active", "marked-for-stop")
    assert look(ec2, id)["State"]["Name"] == "running"
    assert told(cloud, id, "notice") == ["stop"]
    eventually(lambda: cloud.calls(id)[-1] == "start")
    again = in_state(ec2, id, "running")
    fulfilled = request(ec2, sir)
    assert (fulfilled["State"], fulfilled["Status"]["Code"]) == ("active", "fulfilled")
    assert fulfilled["InstanceId"] == id
    assert again["StateReason"]["Code"] == ""
    assert told(cloud, id, "stop") == ["True"]
    assert told(cloud, id, "notice") == ["stop", "None"]


def test_no_notice_means_none(ec2: Any, run: Run, cloud: FakeCloud, running: Running) -> None:
    id = in_state(ec2, run(**spot(**PERSISTENT))["InstanceId"], "running")["InstanceId"]
    assert supervisor.interrupt(running, id, notice="0")[0] == f"{id} is stopped now, without notice"
    eventually(lambda: cloud.calls(id) == ["boot", "stop", "start"])


def test_without_capacity_it_stays_stopped_and_only_ec2_can_start_it(
    ec2: Any, run: Run, running: Running, interrupted: Callable[..., tuple[str, str]]
) -> None:
    id, sir = interrupted()
    stopped = request(ec2, sir)
    assert (stopped["State"], stopped["Status"]["Code"]) == ("disabled", STOPPED)
    instance = look(ec2, id)
    assert instance["StateReason"]["Code"] == "Server.SpotInstanceShutdown"
    assert instance["StateTransitionReason"].startswith("Service initiated (")
    assert refusal(ec2.start_instances, InstanceIds=[id])[0] == "IncorrectSpotRequestState"
    # By the time that another has its instance back, this one would have it too.
    probe = in_state(ec2, run(**spot(**PERSISTENT))["InstanceId"], "running")["InstanceId"]
    supervisor.interrupt(running, probe, notice="0")
    in_state(ec2, probe, "stopped")
    in_state(ec2, probe, "running")
    assert look(ec2, id)["State"]["Name"] == "stopped"
    supervisor.change_capacity(running, SCARCE["InstanceType"], "back")
    in_state(ec2, id, "running")
    assert request(ec2, sir)["Status"]["Code"] == "fulfilled"


def test_cancelling_the_request_of_an_interrupted_instance_terminates_it(
    ec2: Any, interrupted: Callable[..., tuple[str, str]]
) -> None:
    id, sir = interrupted()
    ec2.cancel_spot_instance_requests(SpotInstanceRequestIds=[sir])
    assert in_state(ec2, id, "terminated")["StateReason"]["Code"] == "Server.SpotInstanceTermination"
    ended = request(ec2, sir)
    assert (ended["State"], ended["Status"]["Code"]) == ("cancelled", "instance-terminated-by-service")


def test_an_interrupted_instance_is_terminated_when_its_request_expires(
    ec2: Any, interrupted: Callable[..., tuple[str, str]]
) -> None:
    id, sir = interrupted(ValidUntil=after(3))
    assert request_in(ec2, sir, "cancelled")["Status"]["Code"] == "instance-terminated-by-service"
    in_state(ec2, id, "terminated")


def test_a_request_cancelled_during_the_notice_ends_its_instance(ec2: Any, run: Run, running: Running) -> None:
    instance = in_state(ec2, run(**spot(**PERSISTENT))["InstanceId"], "running")
    supervisor.interrupt(running, instance["InstanceId"], notice="0.5")
    ec2.cancel_spot_instance_requests(SpotInstanceRequestIds=[instance["SpotInstanceRequestId"]])
    in_state(ec2, instance["InstanceId"], "terminated")


def test_an_instance_that_ends_itself_during_the_notice_stays_as_it_is(ec2: Any, run: Run, running: Running) -> None:
    instance = in_state(ec2, run(**spot(**PERSISTENT), UserData="halt")["InstanceId"], "running")
    supervisor.interrupt(running, instance["InstanceId"], notice="1")
    in_state(ec2, instance["InstanceId"], "stopped")
    assert request(ec2, instance["SpotInstanceRequestId"])["Status"]["Code"] == "instance-stopped-by-user"


def test_a_terminated_instance_waits_for_capacity_as_an_open_request(
    ec2: Any, running: Running, interrupted: Callable[..., tuple[str, str]]
) -> None:
    id, sir = interrupted()
    ec2.terminate_instances(InstanceIds=[id])
    eventually(lambda: request(ec2, sir)["Status"]["Code"] == "capacity-not-available")
    assert request(ec2, sir)["State"] == "open"
    supervisor.change_capacity(running, SCARCE["InstanceType"], "back")
    assert request_in(ec2, sir, "active")["InstanceId"] != id


def test_a_one_time_instance_is_terminated(ec2: Any, run: Run, cloud: FakeCloud, running: Running) -> None:
    instance = in_state(ec2, run(**spot())["InstanceId"], "running")
    lines = supervisor.interrupt(running, instance["InstanceId"], notice="0.5")
    assert [line.split(" at ")[0] for line in lines] == [f"{instance['InstanceId']} is terminated"]
    marked = request(ec2, instance["SpotInstanceRequestId"])
    assert (marked["State"], marked["Status"]["Code"]) == ("active", "marked-for-termination")
    ended = in_state(ec2, instance["InstanceId"], "terminated")
    assert ended["StateReason"]["Code"] == "Server.SpotInstanceTermination"
    closed = request(ec2, instance["SpotInstanceRequestId"])
    assert (closed["State"], closed["Status"]["Code"]) == ("closed", "instance-terminated-no-capacity")
    assert told(cloud, instance["InstanceId"], "notice") == ["terminate"]


def test_a_rebalance_recommendation_is_all_that_happens(ec2: Any, run: Run, cloud: FakeCloud, running: Running) -> None:
    instance = in_state(ec2, run(**spot(**PERSISTENT))["InstanceId"], "running")
    supervisor.recommend_rebalance(running, "latest")
    assert told(cloud, instance["InstanceId"], "rebalance") == ["recommended"]
    assert request(ec2, instance["SpotInstanceRequestId"])["Status"]["Code"] == "fulfilled"


def test_what_cannot_be_interrupted_is_refused_in_one_line(ec2: Any, run: Run, running: Running) -> None:
    on_demand = in_state(ec2, run()["InstanceId"], "running")["InstanceId"]
    booting = run(**spot(**PERSISTENT), UserData="slow")["InstanceId"]
    marked = in_state(ec2, run(**spot(**PERSISTENT))["InstanceId"], "running")["InstanceId"]
    supervisor.interrupt(running, marked, notice="600")
    for job, notice, problem in (
        (on_demand, "0", f"{on_demand} is not a spot instance"),
        (booting, "0", f"{booting} is not running: it is pending"),
        (marked, "0", f"{marked} is being interrupted already"),
        ("i-none", "0", "there is no instance 'i-none'"),
        ("i-", "0", "'i-' is the beginning of more than one instance"),
        (marked, "soon", "a notice lasts some seconds, not 'soon'"),
        (marked, "-1", "a notice lasts some seconds, not '-1'"),
    ):
        with pytest.raises(LocalCloudError) as error:
            supervisor.interrupt(running, job, notice=notice)
        assert error.value.problem.startswith(problem)
    ec2.terminate_instances(InstanceIds=[booting])


@pytest.fixture
def real(
    instance_image: str, registry_program: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[State, Running]]:
    """A cloud of its own whose machines are real."""
    found = prerequisites.Found(instance_image, registry_program, "builder", "runtime", stand_ins=True)
    monkeypatch.setenv("SOLVER_LOCAL_STATE", str(tmp_path / "state"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setattr(prerequisites, "ensure", lambda *_: found)
    state = State.default()
    yield state, supervisor.up(state, lambda _: None, supervisor.Options(relaunch_seconds=0))[0]
    supervisor.down(state, lambda _: None)


@pytest.mark.long  # in the quick set a job does: tests/e2e/test_spot.py
def test_a_real_machine_reads_the_notice_loses_its_power_and_boots_again_from_its_disk(
    real: tuple[State, Running], ami: str
) -> None:
    state, running = real
    key = state.key()
    session = boto3.Session(aws_access_key_id=key.id, aws_secret_access_key=key.secret, region_name="us-east-1")
    ec2: Any = session.client("ec2", endpoint_url=running.endpoint)
    script = """#!/bin/bash
echo boot >> /opt/seen
trap 'echo asked to end >> /opt/seen' TERM
base=http://169.254.169.254/latest
token=$(curl -s -X PUT $base/api/token -H 'X-aws-ec2-metadata-token-ttl-seconds: 60')
get() { curl -s -f -H "X-aws-ec2-metadata-token: $token" "$base/meta-data/spot/instance-action"; }
touch /run/ready
until get >> /opt/seen; do sleep 0.1; done
"""
    launch = {"ImageId": ami, "InstanceType": "c7i.large", "MinCount": 1, "MaxCount": 1}
    id = ec2.run_instances(**launch, **spot(**PERSISTENT), UserData=every_boot(script))["Instances"][0]["InstanceId"]
    machine = f"{state.cloud}-{id}"

    def inside(command: str) -> str:
        container = docker.from_env().containers.get(machine)
        printed: Any = container.exec_run(["bash", "-c", command])[1]
        return str(printed.decode())

    eventually(lambda: look(ec2, id)["State"]["Name"] == "running", 30)
    eventually(lambda: inside("ls /run/ready").strip() == "/run/ready", 30)
    supervisor.interrupt(running, id, notice="2")
    eventually(lambda: '"action": "stop"' in inside("cat /opt/seen"), 10)
    eventually(lambda: look(ec2, id)["StateReason"].get("Code") == "Server.SpotInstanceShutdown", 10)
    eventually(lambda: look(ec2, id)["State"]["Name"] == "running", 30)
    eventually(lambda: inside("grep -c boot /opt/seen").strip() == "2", 30)
    assert "asked to end" not in inside("cat /opt/seen")
    assert inside("cat /opt/seen").count('"action"') == 1  # the second boot finds no notice

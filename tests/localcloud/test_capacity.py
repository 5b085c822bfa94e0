"""EC2 has none of a type: what it refuses, and how it says so."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError

from localcloud import supervisor
from localcloud.errors import LocalCloudError
from localcloud.state import Running

from .conftest import FakeCloud, in_state, look, refusal
from .test_spot import PERSISTENT, spot

Run = Callable[..., dict[str, Any]]

TYPE = "c7i.xlarge"
CODE = "InsufficientInstanceCapacity"


@pytest.fixture
def running(cloud: FakeCloud) -> Iterator[Running]:
    assert cloud.running
    yield cloud.running
    supervisor.change_capacity(cloud.running, TYPE, "back")


def test_launches_are_refused_as_ec2_does_until_capacity_is_back(ec2: Any, run: Run, running: Running) -> None:
    supervisor.change_capacity(running, TYPE, "none")
    assert supervisor.types_without_capacity(running) == [TYPE]
    with pytest.raises(ClientError) as error:
        run(InstanceType=TYPE, Placement={"AvailabilityZone": "us-east-1b"})
    # A server error: SDKs send it again by themselves.
    assert error.value.response["ResponseMetadata"]["HTTPStatusCode"] == 500
    assert error.value.response["Error"] == {
        "Code": CODE,
        "Message": f"We currently do not have sufficient {TYPE} capacity in the Availability Zone you requested "
        "(us-east-1b). Our system will be working on provisioning additional capacity.",
    }
    before = len(ec2.describe_spot_instance_requests()["SpotInstanceRequests"])
    assert refusal(run, InstanceType=TYPE, **spot(**PERSISTENT)) == (
        CODE,
        "There is no Spot capacity available that matches your request.",
    )
    assert len(ec2.describe_spot_instance_requests()["SpotInstanceRequests"]) == before
    in_state(ec2, run(InstanceType="c7i.large")["InstanceId"], "running")
    supervisor.change_capacity(running, TYPE, "back")
    assert supervisor.types_without_capacity(running) == []
    in_state(ec2, run(InstanceType=TYPE)["InstanceId"], "running")


def test_a_launch_that_was_made_is_answered_again_by_its_token(run: Run, running: Running) -> None:
    first = run(InstanceType=TYPE, ClientToken="made-before")
    supervisor.change_capacity(running, TYPE, "none")
    assert run(InstanceType=TYPE, ClientToken="made-before")["InstanceId"] == first["InstanceId"]
    assert refusal(run, InstanceType=TYPE, ClientToken="refused-first")[0] == CODE
    supervisor.change_capacity(running, TYPE, "back")
    assert run(InstanceType=TYPE, ClientToken="refused-first")["InstanceId"] != first["InstanceId"]


@pytest.mark.parametrize(
    ("market", "message"),
    [
        ({}, "Insufficient capacity."),
        (spot(**PERSISTENT), "You can't start the Spot Instance '{}' because there is no available Spot capacity."),
    ],
)
def test_a_stopped_instance_cannot_be_started_without_capacity(
    ec2: Any, run: Run, running: Running, market: dict[str, Any], message: str
) -> None:
    id = in_state(ec2, run(InstanceType=TYPE, **market)["InstanceId"], "running")["InstanceId"]
    supervisor.change_capacity(running, TYPE, "none")
    assert look(ec2, id)["State"]["Name"] == "running"
    ec2.stop_instances(InstanceIds=[id])
    in_state(ec2, id, "stopped")
    assert refusal(ec2.start_instances, InstanceIds=[id]) == (CODE, message.format(id))
    supervisor.change_capacity(running, TYPE, "back")
    ec2.start_instances(InstanceIds=[id])
    in_state(ec2, id, "running")


@pytest.mark.parametrize(
    ("instance_type", "state", "problem"),
    [("c7i.huge", "none", "there is no instance type 'c7i.huge'"), (TYPE, "full", "capacity is `none` or `back`")],
)
def test_what_makes_no_sense_is_refused_in_one_line(
    running: Running, instance_type: str, state: str, problem: str
) -> None:
    with pytest.raises(LocalCloudError) as error:
        supervisor.change_capacity(running, instance_type, state)
    assert error.value.problem.startswith(problem)

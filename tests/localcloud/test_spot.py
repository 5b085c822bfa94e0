"""Spot requests made by RunInstances, as AWS documents their states.

https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/spot-request-status.html
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from .conftest import FakeCloud, eventually, in_state, look, refusal

Run = Callable[..., dict[str, Any]]

PERSISTENT = {"SpotInstanceType": "persistent", "InstanceInterruptionBehavior": "stop"}


def spot(**options: Any) -> dict[str, Any]:
    return {"InstanceMarketOptions": {"MarketType": "spot", "SpotOptions": options}}


def after(seconds: float) -> datetime:
    return datetime.now(UTC) + timedelta(seconds=seconds)


def request(ec2: Any, id: str) -> dict[str, Any]:
    found: dict[str, Any] = ec2.describe_spot_instance_requests(SpotInstanceRequestIds=[id])["SpotInstanceRequests"][0]
    return found


def request_in(ec2: Any, id: str, state: str) -> dict[str, Any]:
    """The request once it is in that state."""

    def there() -> dict[str, Any] | None:
        found = request(ec2, id)
        return found if found["State"] == state else None

    found: dict[str, Any] = eventually(there)
    return found


def test_a_spot_launch_makes_a_request_that_can_be_found(ec2: Any, run: Run) -> None:
    tags = [{"Key": "owner", "Value": "me"}]
    until = after(3600).replace(microsecond=0)
    id = run(
        **spot(**PERSISTENT, ValidUntil=until, MaxPrice="0.5"),
        TagSpecifications=[{"ResourceType": "spot-instances-request", "Tags": tags}],
    )["InstanceId"]
    instance = in_state(ec2, id, "running")
    assert instance["InstanceLifecycle"] == "spot"
    assert instance.get("Tags", []) == []
    for name, value in {
        "instance-id": id,
        "spot-instance-request-id": instance["SpotInstanceRequestId"],
        "tag:owner": "me",
        "tag-key": "owner",
    }.items():
        filters = [{"Name": name, "Values": [value]}, {"Name": "state", "Values": ["active"]}]
        found = ec2.describe_spot_instance_requests(Filters=filters)["SpotInstanceRequests"]
        assert [one["InstanceId"] for one in found] == [id]
    assert found[0]["Tags"] == tags
    assert found[0]["Type"] == "persistent"
    assert found[0]["InstanceInterruptionBehavior"] == "stop"
    assert found[0]["ValidUntil"] == until
    assert float(found[0]["SpotPrice"]) == 0.5
    assert found[0]["Status"]["Code"] == "fulfilled"
    filters = [{"Name": "instance-lifecycle", "Values": ["spot"]}, {"Name": "instance-id", "Values": [id]}]
    assert len(ec2.describe_instances(Filters=filters)["Reservations"]) == 1


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        (spot(InstanceInterruptionBehavior="stop"), "InvalidParameterCombination"),
        (spot(SpotInstanceType="persistent"), "InvalidParameterCombination"),
        (spot(ValidUntil=after(3600)), "InvalidParameterCombination"),
        (spot(**PERSISTENT, ValidUntil=after(-60)), "InvalidTime"),
        (spot(MaxPrice="0.0001"), "InvalidParameterValue"),
        ({**spot(**PERSISTENT), "InstanceInitiatedShutdownBehavior": "terminate"}, "InvalidParameterCombination"),
    ],
)
def test_options_that_do_not_go_together_are_refused(ec2: Any, run: Run, changes: dict[str, Any], code: str) -> None:
    before = len(ec2.describe_spot_instance_requests()["SpotInstanceRequests"])
    assert refusal(run, **changes)[0] == code
    assert len(ec2.describe_spot_instance_requests()["SpotInstanceRequests"]) == before


def test_cancelling_leaves_a_running_instance_alone(ec2: Any, run: Run) -> None:
    instance = in_state(ec2, run(**spot(**PERSISTENT))["InstanceId"], "running")
    sir = instance["SpotInstanceRequestId"]
    answer = ec2.cancel_spot_instance_requests(SpotInstanceRequestIds=[sir])["CancelledSpotInstanceRequests"]
    assert answer == [{"SpotInstanceRequestId": sir, "State": "cancelled"}]
    assert request(ec2, sir)["Status"]["Code"] == "request-canceled-and-instance-running"
    assert look(ec2, instance["InstanceId"])["State"]["Name"] == "running"
    assert refusal(ec2.stop_instances, InstanceIds=[instance["InstanceId"]])[0] == "IncorrectSpotRequestState"
    ec2.terminate_instances(InstanceIds=[instance["InstanceId"]])
    in_state(ec2, instance["InstanceId"], "terminated")
    assert request(ec2, sir)["State"] == "cancelled"
    assert refusal(ec2.cancel_spot_instance_requests, SpotInstanceRequestIds=["sir-none"])[0] == (
        "InvalidSpotInstanceRequestID.NotFound"
    )


def test_a_request_whose_instance_its_user_stopped_is_disabled_until_the_start(ec2: Any, run: Run) -> None:
    instance = in_state(ec2, run(**spot(**PERSISTENT))["InstanceId"], "running")
    id, sir = instance["InstanceId"], instance["SpotInstanceRequestId"]
    ec2.stop_instances(InstanceIds=[id])
    in_state(ec2, id, "stopped")
    disabled = request(ec2, sir)
    assert (disabled["State"], disabled["Status"]["Code"]) == ("disabled", "instance-stopped-by-user")
    ec2.start_instances(InstanceIds=[id])
    in_state(ec2, id, "running")
    assert request(ec2, sir)["State"] == "active"


def test_cancelling_terminates_a_stopped_instance(ec2: Any, run: Run) -> None:
    instance = in_state(ec2, run(**spot(**PERSISTENT))["InstanceId"], "running")
    ec2.stop_instances(InstanceIds=[instance["InstanceId"]])
    in_state(ec2, instance["InstanceId"], "stopped")
    ec2.cancel_spot_instance_requests(SpotInstanceRequestIds=[instance["SpotInstanceRequestId"]])
    in_state(ec2, instance["InstanceId"], "terminated")
    assert request(ec2, instance["SpotInstanceRequestId"])["State"] == "cancelled"


def test_a_terminated_instance_of_an_uncancelled_request_comes_back_without_its_tags(
    ec2: Any, run: Run, cloud: FakeCloud, instance_profile: str
) -> None:
    tags = [{"ResourceType": "instance", "Tags": [{"Key": "Name", "Value": "first"}]}]
    launch = {"UserData": "again", "IamInstanceProfile": {"Name": instance_profile}, "TagSpecifications": tags}
    first = in_state(ec2, run(**spot(**PERSISTENT), **launch)["InstanceId"], "running")
    sir = first["SpotInstanceRequestId"]
    ec2.terminate_instances(InstanceIds=[first["InstanceId"]])
    request_in(ec2, sir, "open")
    second = request_in(ec2, sir, "active")["InstanceId"]
    assert second != first["InstanceId"]
    instance = in_state(ec2, second, "running")
    assert instance["SpotInstanceRequestId"] == sir
    assert instance.get("Tags", []) == []
    assert f"boot {second} spot {instance_profile} None again" in (cloud.state.machines / "calls").read_text()
    ec2.cancel_spot_instance_requests(SpotInstanceRequestIds=[sir])
    ec2.terminate_instances(InstanceIds=[second])
    in_state(ec2, second, "terminated")


def test_cancelling_an_open_request_launches_nothing_more(ec2: Any, run: Run) -> None:
    instance = in_state(ec2, run(**spot(**PERSISTENT))["InstanceId"], "running")
    sir = instance["SpotInstanceRequestId"]
    ec2.terminate_instances(InstanceIds=[instance["InstanceId"]])
    request_in(ec2, sir, "open")
    ec2.cancel_spot_instance_requests(SpotInstanceRequestIds=[sir])
    cancelled = request(ec2, sir)
    assert (cancelled["State"], cancelled["Status"]["Code"]) == ("cancelled", "canceled-before-fulfillment")
    probe = in_state(ec2, run(**spot(**PERSISTENT))["InstanceId"], "running")
    ec2.terminate_instances(InstanceIds=[probe["InstanceId"]])
    request_in(ec2, probe["SpotInstanceRequestId"], "open")
    request_in(ec2, probe["SpotInstanceRequestId"], "active")  # by now, the other would have its instance too
    assert "InstanceId" not in request(ec2, sir)


def test_a_one_time_request_closes_with_its_instance(ec2: Any, run: Run) -> None:
    instance = in_state(ec2, run(**spot())["InstanceId"], "running")
    assert refusal(ec2.stop_instances, InstanceIds=[instance["InstanceId"]])[0] == "UnsupportedOperation"
    ec2.terminate_instances(InstanceIds=[instance["InstanceId"]])
    in_state(ec2, instance["InstanceId"], "terminated")
    assert request(ec2, instance["SpotInstanceRequestId"])["State"] == "closed"


def test_a_one_time_instance_that_shuts_down_is_terminated(ec2: Any, run: Run) -> None:
    id = run(**spot(), UserData="halt")["InstanceId"]
    assert in_state(ec2, id, "terminated")["StateReason"]["Code"] == "Client.InstanceInitiatedShutdown"


def test_a_persistent_instance_that_shuts_down_is_stopped_and_its_request_disabled(ec2: Any, run: Run) -> None:
    instance = in_state(ec2, run(**spot(**PERSISTENT), UserData="halt")["InstanceId"], "stopped")
    assert request(ec2, instance["SpotInstanceRequestId"])["Status"]["Code"] == "instance-stopped-by-user"


def test_an_instance_that_shuts_down_after_cancelling_its_request_is_terminated(ec2: Any, run: Run) -> None:
    instance = run(**spot(**PERSISTENT), UserData="halt")
    ec2.cancel_spot_instance_requests(SpotInstanceRequestIds=[instance["SpotInstanceRequestId"]])
    in_state(ec2, instance["InstanceId"], "terminated")


def test_an_expired_request_launches_nothing_more_and_leaves_its_instance(ec2: Any, run: Run) -> None:
    instance = in_state(ec2, run(**spot(**PERSISTENT, ValidUntil=after(1.5)))["InstanceId"], "running")
    request_in(ec2, instance["SpotInstanceRequestId"], "cancelled")
    assert look(ec2, instance["InstanceId"])["State"]["Name"] == "running"


def test_ended_requests_are_forgotten_with_their_instances(ec2: Any, run: Run, cloud: FakeCloud) -> None:
    instance = in_state(ec2, run(**spot())["InstanceId"], "running")
    ec2.terminate_instances(InstanceIds=[instance["InstanceId"]])
    in_state(ec2, instance["InstanceId"], "terminated")
    cloud.post("forget")
    found = ec2.describe_spot_instance_requests()["SpotInstanceRequests"]
    assert instance["SpotInstanceRequestId"] not in [one["SpotInstanceRequestId"] for one in found]

"""RunInstances where EC2 does not sell: to whom, in which zone, for how much, and how it says so.

Codes: https://docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError

from .conftest import FakeCloud, eventually, in_state, refusal
from .market import REGION, Launch, SetMarket, launch, region, set_market
from .test_spot import PERSISTENT, request_in, spot

__all__ = ["launch", "region", "set_market"]  # fixtures

A, B, C = f"{REGION}a", f"{REGION}b", f"{REGION}c"


def at(zone: str) -> dict[str, Any]:
    return {"Placement": {"AvailabilityZone": zone}}


def type_in(**zones: str) -> str:
    """A scenario for c7i.4xlarge; zones by their last letter."""
    named = ", ".join(f"{REGION}{letter}: {what}" for letter, what in zones.items())
    return f"types: {{c7i.4xlarge: {{zones: {{{named}}}}}}}"


def status(call: Callable[..., Any], **arguments: Any) -> tuple[int, str]:
    with pytest.raises(ClientError) as error:
        call(**arguments)
    return error.value.response["ResponseMetadata"]["HTTPStatusCode"], error.value.response["Error"]["Code"]


def test_a_zone_without_capacity_refuses_and_names_the_others(launch: Launch, set_market: SetMarket) -> None:
    set_market(type_in(a="none"))
    assert status(launch, **at(A)) == (500, "InsufficientInstanceCapacity")
    assert refusal(launch, **at(A))[1] == (
        f"We currently do not have sufficient c7i.4xlarge capacity in the Availability Zone you requested ({A}). Our "
        "system will be working on provisioning additional capacity. You can currently get c7i.4xlarge capacity by not "
        f"specifying an Availability Zone in your request or choosing {B}, {C}."
    )
    assert launch(**at(B))["Placement"]["AvailabilityZone"] == B


@pytest.mark.parametrize(
    ("capacity", "spot_goes", "on_demand_goes"),
    [("enough", True, True), ("none", False, False), ("spot-none", False, True), ("on-demand-none", True, False)],
)
def test_capacity_can_lack_in_one_market_alone(
    launch: Launch, set_market: SetMarket, capacity: str, spot_goes: bool, on_demand_goes: bool
) -> None:
    set_market(type_in(a=f"{{capacity: {capacity}}}"))
    for goes, market in ((spot_goes, spot()), (on_demand_goes, {})):
        if goes:
            assert launch(**at(A), **market)["Placement"]["AvailabilityZone"] == A
        else:
            assert refusal(launch, **at(A), **market)[0] == "InsufficientInstanceCapacity"


def test_ec2_itself_chooses_a_zone_that_has_capacity(launch: Launch, set_market: SetMarket) -> None:
    set_market(type_in(a="none", b="spot-none"))
    assert launch()["Placement"]["AvailabilityZone"] == B
    assert launch(**spot())["Placement"]["AvailabilityZone"] == C
    set_market("types: {c7i.4xlarge: {capacity: none}}")
    assert refusal(launch)[0] == "InsufficientInstanceCapacity"
    assert launch(InstanceType="c7i.2xlarge")["InstanceId"]


def test_a_subnet_asks_for_its_zone(region: Any, launch: Launch, set_market: SetMarket) -> None:
    set_market(type_in(a="none", b="unsupported"))
    filters = [{"Name": "default-for-az", "Values": ["true"]}]
    subnets = {one["AvailabilityZone"]: one["SubnetId"] for one in region.describe_subnets(Filters=filters)["Subnets"]}
    assert refusal(launch, SubnetId=subnets[A])[0] == "InsufficientInstanceCapacity"
    assert refusal(launch, SubnetId=subnets[B])[0] == "Unsupported"
    interface = {"DeviceIndex": 0, "SubnetId": subnets[A]}
    assert refusal(launch, NetworkInterfaces=[interface])[0] == "InsufficientInstanceCapacity"
    assert launch(SubnetId=subnets[C])["Placement"]["AvailabilityZone"] == C


def test_a_zone_that_does_not_sell_the_type_is_unsupported(region: Any, launch: Launch, set_market: SetMarket) -> None:
    set_market(type_in(b="unsupported"))
    assert status(launch, **at(B)) == (400, "Unsupported")
    assert f"choosing {A}, {C}." in refusal(launch, **at(B))[1]
    set_market(type_in(a="unsupported", b="unsupported", c="unsupported"))
    assert refusal(launch)[0] == "Unsupported"


def test_a_maximum_price_below_the_spot_price_is_too_low(launch: Launch, set_market: SetMarket) -> None:
    set_market(type_in(a="{spot: 0.31}", b="{spot: 0.25, capacity: none}", c="{spot: 0.4}"))
    assert status(launch, **at(A), **spot(MaxPrice="0.3")) == (400, "SpotMaxPriceTooLow")
    assert refusal(launch, **at(A), **spot(MaxPrice="0.3"))[1] == (
        "Your Spot request price of 0.3 is lower than the minimum required Spot request fulfillment price of 0.31."
    )
    assert "fulfillment price of 0.25." in refusal(launch, **spot(MaxPrice="0.2"))[1]
    assert refusal(launch, **spot(MaxPrice="0.3"))[0] == "InsufficientInstanceCapacity"
    assert launch(**spot(MaxPrice="0.31"))["Placement"]["AvailabilityZone"] == A
    assert launch(**at(C))["InstanceId"]


def test_quotas_count_the_vcpus_that_run(region: Any, launch: Launch, set_market: SetMarket) -> None:
    set_market("quotas: {spot: 32, on-demand: 16}")
    first = launch(**spot())
    launch(**spot())
    assert status(launch, **spot()) == (400, "MaxSpotInstanceCountExceeded")
    assert refusal(launch, **spot())[1] == "Max spot instance count exceeded"
    launch()
    assert status(launch, InstanceType="c7i.large") == (400, "VcpuLimitExceeded")
    assert "your current vCPU limit of 16 allows" in refusal(launch, InstanceType="c7i.large")[1]
    launch(InstanceType="g4dn.xlarge")
    region.terminate_instances(InstanceIds=[first["InstanceId"]])
    in_state(region, first["InstanceId"], "terminated")
    assert launch(**spot())["InstanceId"]


def test_gpus_have_quotas_of_their_own_which_count_at_a_start_too(
    region: Any, launch: Launch, set_market: SetMarket
) -> None:
    set_market("quotas: {on-demand-gpu: 4, spot-gpu: 0}")
    id = launch(InstanceType="g4dn.xlarge")["InstanceId"]
    assert refusal(launch, InstanceType="g4dn.xlarge")[0] == "VcpuLimitExceeded"
    assert refusal(launch, InstanceType="g4dn.xlarge", **spot())[0] == "MaxSpotInstanceCountExceeded"
    in_state(region, id, "running")
    region.stop_instances(InstanceIds=[id])
    in_state(region, id, "stopped")
    launch(InstanceType="g4dn.xlarge")
    assert refusal(region.start_instances, InstanceIds=[id])[0] == "VcpuLimitExceeded"


def test_a_denied_action_is_unauthorized_with_a_message_that_sts_decodes(
    cloud: FakeCloud, region: Any, launch: Launch, set_market: SetMarket
) -> None:
    set_market("denied: [RunInstances, DescribeSpotPriceHistory, ListServiceQuotas]")
    assert status(launch) == (403, "UnauthorizedOperation")
    message = refusal(launch)[1]
    assert "is not authorized to perform: ec2:RunInstances on resource:" in message
    encoded = message.partition("Encoded authorization failure message: ")[2]
    sts = cloud.client("sts")
    decoded = json.loads(sts.decode_authorization_message(EncodedMessage=encoded)["DecodedMessage"])
    assert (decoded["allowed"], decoded["context"]["action"]) == (False, "ec2:RunInstances")
    assert decoded["context"]["principal"]["arn"] == sts.get_caller_identity()["Arn"]
    wrong = refusal(sts.decode_authorization_message, EncodedMessage="made-up")
    assert wrong[0] == "InvalidAuthorizationMessageException"
    assert status(region.describe_spot_price_history) == (403, "UnauthorizedOperation")
    assert "Encoded" not in refusal(region.describe_spot_price_history)[1]
    quotas = cloud.client("service-quotas", region_name=REGION)
    assert refusal(quotas.list_service_quotas, ServiceCode="ec2")[0] == "AccessDeniedException"
    assert cloud.client("ec2").describe_spot_price_history(MaxResults=1)["SpotPriceHistory"]


def test_a_dry_run_launches_nothing_and_asks_for_no_capacity(
    region: Any, launch: Launch, set_market: SetMarket
) -> None:
    before = region.describe_instances()["Reservations"]
    set_market(type_in(a="none", b="unsupported") + "\nquotas: {spot: 0}")
    assert status(launch, DryRun=True, **at(A), **spot()) == (412, "DryRunOperation")
    assert refusal(launch, DryRun=True, **at(B))[0] == "Unsupported"
    set_market("denied: [RunInstances]")
    assert refusal(launch, DryRun=True)[0] == "UnauthorizedOperation"
    assert region.describe_instances()["Reservations"] == before


def test_spot_needs_its_service_linked_role(cloud: FakeCloud, launch: Launch, set_market: SetMarket) -> None:
    set_market("spot_role: missing")
    assert status(launch, **spot()) == (403, "AuthFailure.ServiceLinkedRoleCreationNotPermitted")
    launch()
    iam = cloud.client("iam")
    iam.create_service_linked_role(AWSServiceName="spot.amazonaws.com")
    assert launch(**spot())["InstanceId"]
    iam.delete_role(RoleName="AWSServiceRoleForEC2Spot")
    assert refusal(launch, **spot())[0] == "AuthFailure.ServiceLinkedRoleCreationNotPermitted"


def test_an_open_request_waits_for_its_price_and_for_capacity(
    region: Any, launch: Launch, set_market: SetMarket
) -> None:
    set_market(type_in(a="{spot: 0.3}"))
    instance = in_state(region, launch(**at(A), **spot(**PERSISTENT, MaxPrice="0.35"))["InstanceId"], "running")
    sir = instance["SpotInstanceRequestId"]

    def code() -> str:
        found = region.describe_spot_instance_requests(SpotInstanceRequestIds=[sir])["SpotInstanceRequests"][0]
        return str(found["Status"]["Code"])

    set_market(type_in(a="{spot: 0.4}"))
    region.terminate_instances(InstanceIds=[instance["InstanceId"]])
    eventually(lambda: code() == "price-too-low")
    set_market(type_in(a="{spot: 0.3, capacity: spot-none}"))
    eventually(lambda: code() == "capacity-not-available")
    set_market(type_in(a="{spot: 0.3}"))
    second = request_in(region, sir, "active")["InstanceId"]
    region.cancel_spot_instance_requests(SpotInstanceRequestIds=[sir])
    region.terminate_instances(InstanceIds=[second])

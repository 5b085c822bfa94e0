"""A launch asks for one offer after the other: which, in which order, and what the user reads when none is granted."""

from __future__ import annotations

from typing import Any

import pytest

from cloud.errors import CloudError
from cloud.provision import SPOT_ROLE

from .market import shop
from .shop import ALL_ON_DEMAND, ALL_SPOT, BOTH, C7I, DRY, FALLBACK, M7I, SMALL, SPOT, Shop, offers

__all__ = ["shop"]  # a fixture

DEARER = {**SPOT, C7I: {"a": 0.31, "b": 0.5, "c": 0.32}}


@pytest.mark.parametrize(
    ("lacks", "instance", "settings", "asked"),
    [
        pytest.param({}, C7I, {}, offers(C7I, "spot", "b"), id="the cheapest zone"),
        pytest.param({"spot_none": {C7I: "b"}}, C7I, {}, offers(C7I, "spot", "ba"), id="the next zone"),
        pytest.param({"unsupported": {C7I: "b"}}, C7I, {}, offers(C7I, "spot", "a"), id="a zone that sells it"),
        pytest.param(
            {"spot_none": {C7I: "abc"}}, BOTH, {}, offers(C7I, "spot", "bac") + offers(M7I, "spot", "a"), id="next type"
        ),
        pytest.param(
            {"spot_none": {M7I: "a", C7I: "ac"}},
            f"{M7I},{C7I}",
            {},
            offers(C7I, "spot", "b"),
            id="cheapest type, in whatever order they are typed",
        ),
        pytest.param({"spot_none": DRY}, BOTH, FALLBACK, ALL_SPOT + ALL_ON_DEMAND[:1], id="on demand"),
        pytest.param(
            {"none": {C7I: "abc"}, "spot_none": {M7I: "abc"}},
            BOTH,
            FALLBACK,
            [*ALL_SPOT, *ALL_ON_DEMAND[:4]],
            id="on demand of the next type",
        ),
        pytest.param({"none": {C7I: "a"}}, C7I, {"on_demand": True}, offers(C7I, "on-demand", "ab"), id="no spot"),
        pytest.param(
            {"spot_none": {C7I: "b"}},
            BOTH,
            {"max_price": 0.41, **FALLBACK},
            offers(C7I, "spot", "ba"),
            id="below a highest price",
        ),
    ],
)
def test_the_next_cheapest_is_asked_for(
    shop: Shop, lacks: dict[str, Any], instance: str, settings: dict[str, Any], asked: list[str]
) -> None:
    shop.sells(**lacks)
    job = shop.launch(instance, **settings)
    assert shop.asked() == asked
    (instance_there,) = shop.instances()
    assert instance_there["InstanceId"] == job
    assert asked[-1].startswith(instance_there["InstanceType"])
    assert asked[-1].endswith(instance_there["Placement"]["AvailabilityZone"])
    assert ("spot" in asked[-1]) == ("InstanceLifecycle" in instance_there)


@pytest.mark.parametrize(
    ("then", "instance", "settings", "asked", "refused"),
    [
        pytest.param(
            {"spot": DEARER},
            C7I,
            {"max_price": 0.35},
            offers(C7I, "spot", "ba"),
            "Your Spot request price of 0.35 is lower than the minimum required Spot request fulfillment price of 0.5. "
            "(SpotMaxPriceTooLow)",
            id="the price has risen",
        ),
        pytest.param(
            {"unsupported": {C7I: "b"}},
            C7I,
            {},
            offers(C7I, "spot", "ba"),
            "Your requested instance type (c7i.4xlarge) is not supported in your requested Availability Zone "
            "(eu-west-2b). Please retry your request by not specifying an Availability Zone or choosing eu-west-2a, "
            "eu-west-2c. (Unsupported)",
            id="the offering was stale",
        ),
        pytest.param(
            {"quotas": {"spot": 8}},
            f"{C7I},{SMALL}",
            {},
            offers(C7I, "spot", "b") + offers(SMALL, "spot", "a"),
            "Max spot instance count exceeded (MaxSpotInstanceCountExceeded)",
            id="a spot quota that only a smaller type fits into",
        ),
        pytest.param(
            {"quotas": {"spot": 8}},
            C7I,
            FALLBACK,
            offers(C7I, "spot", "b") + offers(C7I, "on-demand", "a"),
            "Max spot instance count exceeded (MaxSpotInstanceCountExceeded)",
            id="the spot quota, and there is another for on demand",
        ),
    ],
)
def test_what_has_changed_since_it_was_looked_up_is_passed_by(
    shop: Shop,
    capsys: pytest.CaptureFixture[str],
    then: dict[str, Any],
    instance: str,
    settings: dict[str, Any],
    asked: list[str],
    refused: str,
) -> None:
    shop.then_sells(**then)
    job = shop.launch(instance, **settings)
    assert shop.asked() == asked
    assert [one["InstanceId"] for one in shop.instances()] == [job]
    said = capsys.readouterr().err.splitlines()
    assert [line for line in said if line.startswith("refused: ")] == [f"refused: {refused}"]


def test_what_ec2_refuses_for_want_of_quota_says_how_much_to_ask_for(shop: Shop) -> None:
    """16 vCPUs run, the quota has become 20, so 32 are not enough to ask for: 20 and 16 are 36."""
    shop.launch(config="other.yaml")
    shop.then_sells(quotas={"spot": 20})
    with pytest.raises(CloudError) as refused:
        shop.launch()
    assert (
        refused.value.problem == "no c7i.4xlarge spot: Max spot instance count exceeded (MaxSpotInstanceCountExceeded)"
    )
    assert "--quota-code L-34B43A08 --desired-value 36 --region eu-west-2" in (refused.value.fix or "")
    assert shop.asked()[1:] == offers(C7I, "spot", "b")


def test_a_throttled_request_is_sent_again_and_not_another_one(shop: Shop) -> None:
    shop.surprises += [lambda: shop.fault("throttled", percent="100", of="RunInstances"), lambda: shop.fault("none")]
    job = shop.launch()
    assert shop.asked() == offers(C7I, "spot", "bb")
    assert len({call.body["ClientToken"] for call in shop.calls if call.operation == "RunInstances"}) == 1
    assert [one["InstanceId"] for one in shop.instances()] == [job]


def test_without_the_service_linked_role_no_spot_is_asked_for_again(shop: Shop) -> None:
    iam = shop.client("iam")
    iam.delete_role(RoleName=SPOT_ROLE)
    try:
        shop.sells(spot_role="missing")
        with pytest.raises(CloudError) as refused:
            shop.launch(BOTH)
        assert str(refused.value) == (
            "no spot machine: the account has no AWSServiceRoleForEC2Spot "
            "(AuthFailure.ServiceLinkedRoleCreationNotPermitted)\n"
            "  once, by someone who may: aws iam create-service-linked-role --aws-service-name spot.amazonaws.com"
        )
        assert shop.asked() == ALL_SPOT[:1]
        shop.launch(BOTH, **FALLBACK)
        assert shop.asked()[1:] == [*ALL_SPOT[:1], *ALL_ON_DEMAND[:1]]
    finally:
        iam.create_service_linked_role(AWSServiceName="spot.amazonaws.com")

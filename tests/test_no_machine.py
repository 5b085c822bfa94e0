"""What a user reads when no machine is granted: every reason, every fix; and that nothing is built or left for it."""

from __future__ import annotations

import time
from typing import Any

import pytest

from cloud.aws import Aws
from cloud.errors import CloudError

from .market import shop
from .shop import ALL_ON_DEMAND, ALL_SPOT, BOTH, C7I, DRY, FALLBACK, SMALL, Shop, offers

__all__ = ["shop"]  # a fixture

NO_SPOT = """no machine is to be had:
  c7i.4xlarge spot in eu-west-2b, eu-west-2a, eu-west-2c
  m7i.4xlarge spot in eu-west-2a, eu-west-2b, eu-west-2c
    no capacity (InsufficientInstanceCapacity)
    later, or another --instance, --region or --fallback on-demand"""
NOTHING = """no machine is to be had:
  c7i.4xlarge spot in eu-west-2b, eu-west-2a, eu-west-2c
  m7i.4xlarge spot in eu-west-2a, eu-west-2b, eu-west-2c
  c7i.4xlarge on-demand in eu-west-2a, eu-west-2b, eu-west-2c
  m7i.4xlarge on-demand in eu-west-2a, eu-west-2b, eu-west-2c
    no capacity (InsufficientInstanceCapacity)
    later, or another --instance or --region"""
ONE_ZONE = """no c7i.4xlarge spot in eu-west-2b: no capacity (InsufficientInstanceCapacity)
  later, or another --instance, --region or --fallback on-demand"""
TOO_DEAR = """no machine is to be had:
  m7i.4xlarge spot
    from $0.4000 an hour, over --max-price 0.315
    a higher --max-price, or another --instance
  c7i.4xlarge on-demand
    from $0.9000 an hour, over --max-price 0.315
    a higher --max-price, or another --instance
  m7i.4xlarge on-demand
    from $1.0000 an hour, over --max-price 0.315
    a higher --max-price, or another --instance
  c7i.4xlarge spot in eu-west-2b, eu-west-2a
    no capacity (InsufficientInstanceCapacity)
    later, or another --instance or --region"""
NO_ON_DEMAND_QUOTA = """no machine is to be had:
  c7i.4xlarge on-demand
    quota 'Running On-Demand Standard (A, C, D, H, I, M, R, T, Z) instances' (L-1216C47A): 8 of 8 vCPUs left, it has 16
    ask for more: aws service-quotas request-service-quota-increase --service-code ec2 --quota-code L-1216C47A \
--desired-value 16 --region eu-west-2
  c7i.4xlarge spot in eu-west-2b, eu-west-2a, eu-west-2c
    no capacity (InsufficientInstanceCapacity)
    later, or another --instance or --region"""


@pytest.mark.parametrize(
    ("sells", "instance", "settings", "asked", "read"),
    [
        pytest.param({"spot_none": DRY}, BOTH, {}, ALL_SPOT, NO_SPOT, id="spot"),
        pytest.param({"none": DRY}, BOTH, FALLBACK, ALL_SPOT + ALL_ON_DEMAND, NOTHING, id="spot and on demand"),
        pytest.param(
            {"spot_none": {C7I: "b"}},
            C7I,
            {"max_price": 0.305},
            ALL_SPOT[:1],
            ONE_ZONE,
            id="the one zone below a price",
        ),
        pytest.param(
            {"spot_none": {C7I: "ab"}},
            BOTH,
            {"max_price": 0.315, **FALLBACK},
            ALL_SPOT[:2],
            TOO_DEAR,
            id="what costs too much is never asked for",
        ),
        pytest.param(
            {"spot_none": DRY, "quotas": {"on-demand": 8}},
            C7I,
            FALLBACK,
            ALL_SPOT[:3],
            NO_ON_DEMAND_QUOTA,
            id="spot has no capacity and on demand no quota",
        ),
    ],
)
def test_when_nothing_is_to_be_had_every_reason_and_every_fix_is_read(
    shop: Shop, sells: dict[str, Any], instance: str, settings: dict[str, Any], asked: list[str], read: str
) -> None:
    shop.sells(**sells)
    began = time.monotonic()
    with pytest.raises(CloudError) as refused:
        shop.launch(instance, **settings)
    assert str(refused.value) == read
    assert refused.value.code == 1
    assert shop.asked() == asked
    # A lack of capacity is HTTP 500, which botocore would ask about for half a minute in each zone.
    assert shop.sent.count("RunInstances") == len(asked)
    assert time.monotonic() - began < 20
    assert shop.instances() == []


SPOT_QUOTA = "quota 'All Standard (A, C, D, H, I, M, R, T, Z) Spot Instance Requests' (L-34B43A08)"
GPU_QUOTA = "quota 'All G and VT Spot Instance Requests' (L-3819A6DF)"
ON_DEMAND_QUOTA = "quota 'Running On-Demand Standard (A, C, D, H, I, M, R, T, Z) instances' (L-1216C47A)"


def increase(code: str, vcpus: int) -> str:
    return (
        f"ask for more: aws service-quotas request-service-quota-increase --service-code ec2 --quota-code {code} "
        f"--desired-value {vcpus} --region eu-west-2"
    )


@pytest.mark.parametrize(
    ("quotas", "instance", "settings", "read"),
    [
        pytest.param(
            {"spot": 8},
            C7I,
            {},
            f"no c7i.4xlarge spot: {SPOT_QUOTA}: 8 of 8 vCPUs left, it has 16\n  {increase('L-34B43A08', 16)}",
            id="spot",
        ),
        pytest.param(
            {"spot": 0, "on-demand": 8},
            C7I,
            FALLBACK,
            "no machine is to be had:\n"
            f"  c7i.4xlarge spot\n    {SPOT_QUOTA}: 0 of 0 vCPUs left, it has 16\n    {increase('L-34B43A08', 16)}\n"
            f"  c7i.4xlarge on-demand\n    {ON_DEMAND_QUOTA}: 8 of 8 vCPUs left, it has 16\n"
            f"    {increase('L-1216C47A', 16)}",
            id="spot and on demand",
        ),
        pytest.param(
            {"spot-gpu": 0},
            "g4dn.xlarge",
            {},
            f"no g4dn.xlarge spot: {GPU_QUOTA}: 0 of 0 vCPUs left, it has 4\n  {increase('L-3819A6DF', 4)}",
            id="GPUs",
        ),
    ],
)
def test_a_quota_is_looked_at_before_anything_is_built(
    shop: Shop, quotas: dict[str, int], instance: str, settings: dict[str, Any], read: str
) -> None:
    shop.sells(quotas=quotas)
    with pytest.raises(CloudError) as refused:
        shop.launch(instance, source=shop.unbuilt(), **settings)
    assert str(refused.value) == read
    assert shop.asked() == []
    shop.sells()
    with pytest.raises(CloudError, match="Docker"):  # so it would be built, if there were an engine
        shop.launch(instance, source=shop.unbuilt(), **settings)


def test_what_runs_counts_and_a_smaller_type_is_still_asked_for(shop: Shop) -> None:
    shop.sells(quotas={"spot": 24})
    first = shop.launch(config="first.yaml")
    with pytest.raises(CloudError, match=r"8 of 24 vCPUs left, it has 16\n.*--desired-value 32 --region eu-west-2"):
        shop.launch()
    second = shop.launch(f"{C7I},{SMALL}")
    assert shop.asked() == offers(C7I, "spot", "b") + offers(SMALL, "spot", "a")
    assert {one["InstanceId"] for one in shop.instances()} == {first, second}


def test_of_many_types_with_one_reason_some_are_named_and_the_rest_counted(shop: Shop) -> None:
    shop.sells(quotas={"spot": 0, "spot-gpu": 0})
    with pytest.raises(CloudError) as refused:
        shop.launch(None, cpus="96", max_cost=5)
    lines = str(refused.value).splitlines()
    assert lines[1:3] == ["  c5a.24xlarge spot", "  c5d.24xlarge spot"]
    assert lines[7].startswith("  and ")
    assert lines[8:10] == [f"    {SPOT_QUOTA}: 0 of 0 vCPUs left, it has 96", f"    {increase('L-34B43A08', 96)}"]
    assert "    EC2 does not sell it on spot\n    --on-demand, or another --instance" in str(refused.value)
    assert "    AWS does not tell its price, so --max-cost cannot be kept\n    --max-hours instead" in str(
        refused.value
    )
    assert len(lines) < 50


UNAUTHORIZED = "cannot start a c7i.4xlarge: this profile may not (UnauthorizedOperation)"


@pytest.mark.parametrize("decodes", [True, False])
def test_a_denied_launch_says_what_to_allow_and_asks_for_nothing_else(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, decodes: bool
) -> None:
    shop.sells(denied=["RunInstances"])
    if not decodes:
        shop.fault("throttled", percent="100", of="DecodeAuthorizationMessage")
        monkeypatch.setattr(Aws, "sts", property(lambda _: shop.client("sts")))  # which does not try again
    with pytest.raises(CloudError) as refused:
        shop.launch(BOTH, **FALLBACK)
    assert refused.value.problem == UNAUTHORIZED
    fix = refused.value.fix or ""
    who = shop.client("sts").get_caller_identity()["Arn"]
    if decodes:
        assert fix.startswith("allow ec2:RunInstances on arn:aws:ec2:eu-west-2:")
        assert fix.endswith(f" for {who}")
    else:
        assert fix.startswith("to see what is missing: aws sts decode-authorization-message --encoded-message ")
    assert shop.asked() == ALL_SPOT[:1]

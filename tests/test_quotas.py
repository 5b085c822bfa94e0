"""What an account may run at once, and how much of that is in use."""

from __future__ import annotations

from typing import Any

import pytest

from cloud import quotas
from cloud.aws import Aws
from cloud.instance_types import InstanceType
from cloud.quotas import Quota

from .market import shop
from .shop import C7I, SMALL, Shop

__all__ = ["shop"]  # a fixture

SPOT: dict[str, Any] = {"InstanceMarketOptions": {"MarketType": "spot"}}


def start(aws: Aws, type: str, **options: Any) -> str:
    image = aws.ssm.get_parameter(Name="/aws/service/ecs/optimized-ami/amazon-linux-2023/recommended/image_id")
    made = aws.ec2.run_instances(
        ImageId=image["Parameter"]["Value"],
        MinCount=1,
        MaxCount=1,
        InstanceType=type,  # type: ignore[arg-type]
        **options,
    )
    return made["Instances"][0]["InstanceId"]


def in_use(aws: Aws) -> dict[str, int]:
    return {one.market: one.used for one in quotas.find(aws, [C7I], ("spot", "on-demand"))}


def test_what_runs_and_what_is_about_to_run_counts_in_its_market(shop: Shop) -> None:
    """A quota is of vCPUs of running instances, and one that is pending will run:
    https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/ec2-instance-quotas.html"""
    aws = shop.aws()
    assert in_use(aws) == {"spot": 0, "on-demand": 0}
    booting = start(aws, C7I, UserData="slow")
    assert in_use(aws) == {"spot": 0, "on-demand": 16}
    assert shop.instances()[0]["State"]["Name"] == "pending"
    start(aws, SMALL, **SPOT)
    start(aws, "g4dn.xlarge")
    assert in_use(aws) == {"spot": 8, "on-demand": 16}
    aws.ec2.terminate_instances(InstanceIds=[booting])
    assert in_use(aws) == {"spot": 8, "on-demand": 0}


def test_of_what_may_not_be_looked_at_nothing_is_said(shop: Shop) -> None:
    shop.sells(denied=["GetServiceQuota"])
    assert quotas.find(shop.aws(), [C7I], ("spot",)) == []
    assert quotas.find(shop.aws(), [], ("spot",)) == []
    assert quotas.find(shop.aws(), ["u-6tb1.metal"], ("spot",)) == []


def test_each_family_and_market_has_a_quota_of_its_own() -> None:
    """https://docs.aws.amazon.com/ec2/latest/instancetypes/ec2-instance-quotas.html"""
    codes = {
        (family, market): quotas.CODES[found][0] if (found := quotas.key(family, market)) else ""
        for family in ("c", "vt", "p", "x")
        for market in ("spot", "on-demand")
    }
    assert codes == {
        ("c", "spot"): "L-34B43A08",
        ("c", "on-demand"): "L-1216C47A",
        ("vt", "spot"): "L-3819A6DF",
        ("vt", "on-demand"): "L-DB2E81BA",
        ("p", "spot"): "L-7212CCBC",
        ("p", "on-demand"): "L-417A185B",
        ("x", "spot"): "",
        ("x", "on-demand"): "",
    }


def test_a_type_falls_under_the_quota_of_its_family_and_market() -> None:
    spot = Quota("L-34B43A08", "All Standard … Spot", "a c d h i m r t z", "spot", 32, 20)
    full = Quota("L-1216C47A", "Running On-Demand …", "a c d h i m r t z", "on-demand", 32, 40)
    kind, gpu = InstanceType(C7I, "x86_64", 16, 32.0), InstanceType("g4dn.xlarge", "x86_64", 4, 16.0)
    assert quotas.of([spot, full], kind, "on-demand") == full
    assert quotas.of([full, spot], kind, "spot") == spot
    assert quotas.of([full], kind, "spot") is None
    assert quotas.of([spot, full], gpu, "spot") is None
    assert (spot.left, full.left) == (12, 0)


def test_a_quota_is_asked_for_with_one_command() -> None:
    assert quotas.increase("L-34B43A08", 32, "eu-west-2") == (
        "aws service-quotas request-service-quota-increase --service-code ec2 --quota-code L-34B43A08 "
        "--desired-value 32 --region eu-west-2"
    )


def test_what_aws_fails_to_say_is_no_quota_of_zero(account: Aws, monkeypatch: pytest.MonkeyPatch) -> None:
    from botocore.exceptions import ClientError

    from cloud.errors import CloudError

    def answer(code: str) -> Any:
        def refuse(**_: object) -> None:
            raise ClientError({"Error": {"Code": code, "Message": "No."}}, "GetServiceQuota")

        return refuse

    monkeypatch.setattr(account.service_quotas, "get_service_quota", answer("NoSuchResourceException"))
    assert quotas.find(account, [C7I], ("spot",)) == []
    monkeypatch.setattr(account.service_quotas, "get_service_quota", answer("ServiceException"))
    with pytest.raises(CloudError, match="cannot look at the quotas: No"):
        quotas.find(account, [C7I], ("spot",))

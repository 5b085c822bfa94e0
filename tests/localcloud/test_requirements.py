"""Which types there are to choose from: by what they have, by where they are sold, by quotas and by scores."""

from __future__ import annotations

from typing import Any

import pytest

from .conftest import FakeCloud, refusal
from .market import REGION, SetMarket, region, set_market

__all__ = ["region", "set_market"]  # fixtures

QUOTAS = {
    "L-34B43A08": "All Standard (A, C, D, H, I, M, R, T, Z) Spot Instance Requests",
    "L-1216C47A": "Running On-Demand Standard (A, C, D, H, I, M, R, T, Z) instances",
    "L-3819A6DF": "All G and VT Spot Instance Requests",
    "L-DB2E81BA": "Running On-Demand G and VT instances",
    "L-7212CCBC": "All P4, P3 and P2 Spot Instance Requests",
    "L-417A185B": "Running On-Demand P instances",
}


def fitting(ec2: Any, architecture: str = "x86_64", **requirements: Any) -> list[str]:
    asked = {"VCpuCount": {"Min": 4, "Max": 4}, "MemoryMiB": {"Min": 1}, **requirements}
    pages = ec2.get_paginator("get_instance_types_from_instance_requirements").paginate(
        ArchitectureTypes=[architecture], VirtualizationTypes=["hvm"], InstanceRequirements=asked
    )
    return [one["InstanceType"] for page in pages for one in page["InstanceTypes"]]


def test_only_types_that_have_what_is_required_are_found(ec2: Any) -> None:
    found = fitting(ec2, MemoryMiB={"Min": 8192, "Max": 8192}, InstanceGenerations=["current"])
    assert {"c7i.xlarge", "c7a.xlarge"} < set(found)
    assert not {"c7i.2xlarge", "m7i.xlarge", "c7g.xlarge", "t3.xlarge", "c3.xlarge"} & set(found)
    infos = ec2.describe_instance_types(InstanceTypes=found[:100])["InstanceTypes"]
    assert {(one["VCpuInfo"]["DefaultVCpus"], one["MemoryInfo"]["SizeInMiB"]) for one in infos} == {(4, 8192)}


@pytest.mark.parametrize(
    ("requirements", "there", "not_there"),
    [
        ({"AcceleratorCount": {"Max": 0}}, "c7i.xlarge", "g4dn.xlarge"),
        ({"AcceleratorCount": {"Min": 1}}, "g4dn.xlarge", "c7i.xlarge"),
        ({"AcceleratorManufacturers": ["nvidia"], "AcceleratorTypes": ["gpu"]}, "g5.xlarge", "inf1.xlarge"),
        ({"AcceleratorNames": ["t4"]}, "g4dn.xlarge", "g5.xlarge"),
        ({"BurstablePerformance": "required"}, "t3.xlarge", "c7i.xlarge"),
        ({"BurstablePerformance": "included"}, "t3.xlarge", "t3.large"),
        ({"LocalStorage": "required"}, "c6id.xlarge", "c7i.xlarge"),
        ({"CpuManufacturers": ["amd"]}, "c7a.xlarge", "c7i.xlarge"),
        ({"MemoryGiBPerVCpu": {"Min": 4, "Max": 4}}, "m7i.xlarge", "c7i.xlarge"),
        ({"InstanceGenerations": ["previous"]}, "m4.xlarge", "m7i.xlarge"),
        ({"AllowedInstanceTypes": ["c7*"]}, "c7i.xlarge", "c6i.xlarge"),
        ({"ExcludedInstanceTypes": ["c7i.*"]}, "c7a.xlarge", "c7i.xlarge"),
    ],
)
def test_each_requirement_is_looked_at(ec2: Any, requirements: dict[str, Any], there: str, not_there: str) -> None:
    found = fitting(ec2, **requirements)
    assert there in found
    assert not_there not in found


def test_bare_metal_is_excluded_unless_it_is_asked_for(ec2: Any) -> None:
    wanted: dict[str, Any] = {"VCpuCount": {"Min": 96, "Max": 96}, "AllowedInstanceTypes": ["c7i.*"]}
    assert fitting(ec2, **wanted) == ["c7i.24xlarge"]
    assert fitting(ec2, **wanted, BareMetal="required") == ["c7i.metal-24xl"]
    assert fitting(ec2, **wanted, BareMetal="included") == ["c7i.24xlarge", "c7i.metal-24xl"]


def test_types_for_arm_are_found_by_their_architecture(ec2: Any) -> None:
    assert "c7g.xlarge" in fitting(ec2, "arm64")
    assert "c7i.xlarge" not in fitting(ec2, "arm64")


def test_allowed_and_excluded_types_do_not_go_together(ec2: Any) -> None:
    with pytest.raises(Exception, match="InvalidParameterCombination"):
        fitting(ec2, AllowedInstanceTypes=["c7*"], ExcludedInstanceTypes=["c7i.*"])


def test_the_types_come_in_pages(ec2: Any) -> None:
    asked: dict[str, Any] = {"ArchitectureTypes": ["x86_64"], "VirtualizationTypes": ["hvm"]}
    asked["InstanceRequirements"] = {"VCpuCount": {"Min": 1}, "MemoryMiB": {"Min": 1}}
    first = ec2.get_instance_types_from_instance_requirements(**asked, MaxResults=5)
    assert len(first["InstanceTypes"]) == 5
    second = ec2.get_instance_types_from_instance_requirements(**asked, MaxResults=5, NextToken=first["NextToken"])
    assert not {one["InstanceType"] for one in first["InstanceTypes"]} & {
        one["InstanceType"] for one in second["InstanceTypes"]
    }


def test_what_a_scenario_does_not_sell_is_neither_offered_nor_found(region: Any, set_market: SetMarket) -> None:
    nowhere = ", ".join(f"{REGION}{letter}: unsupported" for letter in "abc")
    set_market(f"types: {{c7i.xlarge: {{zones: {{{nowhere}}}}}, c7a.xlarge: {{zones: {{{REGION}b: unsupported}}}}}}")
    found = fitting(region)
    assert "c7a.xlarge" in found
    assert "c7i.xlarge" not in found
    filters = [{"Name": "instance-type", "Values": ["c7?.xlarge"]}]
    for location_type, where in (
        ("region", [REGION]),
        ("availability-zone", [f"{REGION}a", f"{REGION}c"]),
        ("availability-zone-id", ["euw2-az1", "euw2-az2"]),
    ):
        offers = region.describe_instance_type_offerings(LocationType=location_type, Filters=filters)
        offered = [(one["InstanceType"], one["Location"]) for one in offers["InstanceTypeOfferings"]]
        assert sorted(where) == sorted(location for name, location in offered if name == "c7a.xlarge")
        assert "c7i.xlarge" not in [name for name, _ in offered]
        assert "c7g.xlarge" in [name for name, _ in offered]


def test_the_quotas_are_the_scenarios(cloud: FakeCloud, set_market: SetMarket) -> None:
    set_market("quotas: {spot: 64, on-demand: 0, spot-gpu: 8}")
    quotas = cloud.client("service-quotas", region_name=REGION)
    pages = quotas.get_paginator("list_service_quotas").paginate(ServiceCode="ec2", PaginationConfig={"PageSize": 4})
    listed = [one for page in pages for one in page["Quotas"]]
    assert {one["QuotaCode"]: one["QuotaName"] for one in listed} == QUOTAS
    assert [one["Value"] for one in listed] == [64, 0, 8, 5000, 8, 5000]
    one = quotas.get_service_quota(ServiceCode="ec2", QuotaCode="L-34B43A08")["Quota"]
    assert (one["Value"], one["Adjustable"], one["QuotaArn"].split(":")[3]) == (64, True, REGION)
    assert refusal(quotas.get_service_quota, ServiceCode="ec2", QuotaCode="L-0")[0] == "NoSuchResourceException"
    increase = {"ServiceCode": "ec2", "QuotaCode": "L-34B43A08", "DesiredValue": 100}
    assert refusal(quotas.request_service_quota_increase, **increase)[0] == "UnknownOperationException"


TYPES = ["c7i.4xlarge", "c7a.4xlarge", "m7i.4xlarge"]


def scores(ec2: Any, **asked: Any) -> list[dict[str, Any]]:
    asked = {"InstanceTypes": TYPES, "TargetCapacity": 1, "RegionNames": [REGION, "us-east-1"], **asked}
    found: list[dict[str, Any]] = ec2.get_spot_placement_scores(**asked)["SpotPlacementScores"]
    return found


def test_a_region_scores_by_the_types_that_it_has_on_spot(ec2: Any, set_market: SetMarket) -> None:
    assert {one["Region"]: one["Score"] for one in scores(ec2)} == {REGION: 10, "us-east-1": 10}
    set_market("types: {c7i.4xlarge: {capacity: spot-none}, c7a.4xlarge: {capacity: none}}")
    assert scores(ec2) == [{"Region": "us-east-1", "Score": 10}, {"Region": REGION, "Score": 4}]
    assert [one["Score"] for one in scores(ec2, InstanceTypes=TYPES[:1])] == [3, 1]


def test_zones_score_by_themselves(region: Any, set_market: SetMarket) -> None:
    empty = f"{{zones: {{{REGION}a: none}}}}"
    set_market("types: {" + ", ".join(f"{name}: {empty}" for name in TYPES) + "}")
    found = scores(region, SingleAvailabilityZone=True, RegionNames=[REGION])
    assert {one["AvailabilityZoneId"]: one["Score"] for one in found} == {"euw2-az1": 10, "euw2-az2": 1, "euw2-az3": 10}
    assert scores(region, RegionNames=[REGION])[0]["Score"] == 10


def test_scores_can_be_asked_for_by_requirements(ec2: Any) -> None:
    wanted: dict[str, Any] = {"ArchitectureTypes": ["x86_64"], "VirtualizationTypes": ["hvm"]}
    wanted["InstanceRequirements"] = {"VCpuCount": {"Min": 16}, "MemoryMiB": {"Min": 1}}
    found = ec2.get_spot_placement_scores(InstanceRequirementsWithMetadata=wanted, TargetCapacity=1)
    assert len(found["SpotPlacementScores"]) == 10
    assert {one["Score"] for one in found["SpotPlacementScores"]} == {10}
    assert refusal(ec2.get_spot_placement_scores, TargetCapacity=1)[0] == "MissingParameter"

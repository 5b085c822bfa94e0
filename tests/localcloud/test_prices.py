"""What things cost: the spot price history of EC2, and the price list."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from .conftest import FakeCloud, refusal
from .market import REGION, SetMarket, region, set_market

__all__ = ["region", "set_market"]  # fixtures

LINUX = {"operatingSystem": "Linux", "preInstalledSw": "NA", "tenancy": "Shared", "capacitystatus": "Used"}


def now() -> datetime:
    return datetime.now(UTC)


def spot_history(ec2: Any, **asked: Any) -> list[dict[str, Any]]:
    asked = {"InstanceTypes": ["c7i.4xlarge"], "ProductDescriptions": ["Linux/UNIX"], **asked}
    pages = ec2.get_paginator("describe_spot_price_history").paginate(**asked)
    return [one for page in pages for one in page["SpotPriceHistory"]]


def products(
    cloud: FakeCloud, page_size: Any = 100, service: str = "AmazonEC2", **attributes: str
) -> list[dict[str, Any]]:
    filters = [{"Type": "TERM_MATCH", "Field": field, "Value": value} for field, value in attributes.items()]
    pages = (
        cloud.client("pricing")
        .get_paginator("get_products")
        .paginate(ServiceCode=service, Filters=filters, PaginationConfig={"PageSize": page_size})
    )
    return [json.loads(text) for page in pages for text in page["PriceList"]]


def dollars(product: dict[str, Any]) -> tuple[str, float]:
    """Unit and price of a product's one on-demand rate."""
    (term,) = product["terms"]["OnDemand"].values()
    (rate,) = term["priceDimensions"].values()
    return rate["unit"], float(rate["pricePerUnit"]["USD"])


def test_the_spot_prices_now_are_a_share_of_the_on_demand_price_that_differs_by_zone(ec2: Any) -> None:
    prices = {one["AvailabilityZone"]: float(one["SpotPrice"]) for one in spot_history(ec2, StartTime=now())}
    assert sorted(prices) == [f"us-east-1{letter}" for letter in "abcdf"]
    assert len(set(prices.values())) == len(prices)
    assert all(0.30 * 0.714 - 1e-4 <= price <= 0.45 * 0.714 + 1e-4 for price in prices.values())
    assert prices == {one["AvailabilityZone"]: float(one["SpotPrice"]) for one in spot_history(ec2, StartTime=now())}


def test_the_price_in_force_at_the_start_belongs_to_the_history(ec2: Any) -> None:
    """https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DescribeSpotPriceHistory.html"""
    start = now() - timedelta(days=30)
    found = spot_history(ec2, StartTime=start, AvailabilityZone="us-east-1a")
    times = [one["Timestamp"] for one in found]
    assert times == sorted(times, reverse=True)
    assert [time for time in times if time <= start] == times[-1:]
    assert len(times) in (5, 6)
    assert len({one["SpotPrice"] for one in found}) > 1
    earlier = spot_history(ec2, StartTime=start, EndTime=start, AvailabilityZone="us-east-1a")
    assert earlier == found[-1:]


def test_without_filters_the_history_has_every_product_of_ninety_days(ec2: Any) -> None:
    found = spot_history(ec2, ProductDescriptions=[], AvailabilityZone="us-east-1a")
    latest: dict[str, float] = {}
    for one in found:
        latest.setdefault(one["ProductDescription"], float(one["SpotPrice"]))
    assert latest["Linux/UNIX"] < latest["Red Hat Enterprise Linux"] < latest["Windows"]
    oldest = min(one["Timestamp"] for one in found)
    assert now() - timedelta(days=98) < oldest < now() - timedelta(days=90)


@pytest.mark.parametrize(
    ("name", "value", "count"),
    [
        ("availability-zone", "us-east-1b", 1),
        ("availability-zone-id", "use1-az1", 1),
        ("instance-type", "c7i.4xl*", 5),
        ("instance-type", "m7i.*", 0),
        ("product-description", "Windows", 0),
    ],
)
def test_the_history_can_be_filtered(ec2: Any, name: str, value: str, count: int) -> None:
    assert len(spot_history(ec2, StartTime=now(), Filters=[{"Name": name, "Values": [value]}])) == count


def test_a_filter_that_the_history_does_not_have_is_refused(ec2: Any) -> None:
    filters = [{"Name": "flavour", "Values": ["sweet"]}]
    assert refusal(ec2.describe_spot_price_history, Filters=filters)[0] == "InvalidParameterValue"


def test_the_history_comes_in_pages(ec2: Any) -> None:
    asked = {"InstanceTypes": ["c7i.4xlarge", "m7i.large"], "StartTime": now(), "ProductDescriptions": ["Linux/UNIX"]}
    first = ec2.describe_spot_price_history(**asked, MaxResults=7)
    rest = ec2.describe_spot_price_history(**asked, MaxResults=7, NextToken=first["NextToken"])
    assert (len(first["SpotPriceHistory"]), len(rest["SpotPriceHistory"])) == (7, 3)
    assert not rest.get("NextToken")
    assert refusal(ec2.describe_spot_price_history, NextToken="none")[0] == "InvalidNextToken"


def test_types_without_a_known_price_have_no_spot_price_and_no_product(ec2: Any, cloud: FakeCloud) -> None:
    assert ec2.describe_instance_types(InstanceTypes=["c4.large"])["InstanceTypes"]
    assert spot_history(ec2, InstanceTypes=["c4.large"]) == []
    assert products(cloud, instanceType="c4.large", regionCode="us-east-1") == []


@pytest.mark.parametrize(
    ("instance_type", "region_code", "price"),
    [
        ("c7i.4xlarge", "us-east-1", 0.714),
        ("t3.medium", "us-east-1", 0.0416),
        ("p3.2xlarge", "us-east-1", 3.06),
        ("c6i.large", "eu-central-1", 0.097),
    ],
)
def test_the_usual_filters_leave_one_product_with_the_on_demand_price(
    cloud: FakeCloud, instance_type: str, region_code: str, price: float
) -> None:
    (product,) = products(cloud, instanceType=instance_type, regionCode=region_code, **LINUX)
    unit, asked = dollars(product)
    assert (unit, round(asked, 4)) == ("Hrs", price)
    assert product["product"]["productFamily"] == "Compute Instance"
    attributes = product["product"]["attributes"]
    assert attributes["usagetype"].endswith(f"BoxUsage:{instance_type}")
    sku = product["product"]["sku"]
    assert list(product["terms"]["OnDemand"]) == [f"{sku}.JRTCKXETXF"]


def test_a_region_can_be_named_by_its_location(cloud: FakeCloud) -> None:
    by_name = products(cloud, instanceType="c7i.large", location="EU (Ireland)", **LINUX)
    assert by_name == products(cloud, instanceType="c7i.large", regionCode="eu-west-1", **LINUX)
    assert len(by_name) == 1


def test_fewer_filters_leave_more_products_in_pages(cloud: FakeCloud) -> None:
    found = products(cloud, page_size=3, instanceType="c7i.large", regionCode="us-east-1")
    assert {one["product"]["attributes"]["operatingSystem"] for one in found} == {"Linux", "Windows"}
    assert len({one["product"]["sku"] for one in found}) == len(found) > 3


def test_a_price_can_be_asked_for_by_other_kinds_of_filter(cloud: FakeCloud) -> None:
    filters = [
        {"Type": "ANY_OF", "Field": "instanceType", "Value": "c7i.large,m7i.large"},
        {"Type": "CONTAINS", "Field": "usagetype", "Value": "BoxUsage"},
        {"Type": "NONE_OF", "Field": "operatingSystem", "Value": "Windows"},
        {"Type": "EQUALS", "Field": "regionCode", "Value": "us-east-1"},
    ]
    found = cloud.client("pricing").get_products(ServiceCode="AmazonEC2", Filters=filters)["PriceList"]
    kinds = [json.loads(one)["product"]["attributes"]["instanceType"] for one in found]
    assert sorted(kinds) == ["c7i.large", "m7i.large"]


@pytest.mark.parametrize(
    ("family", "unit", "price"),
    [
        ("Storage", "GB-Mo", 0.08),
        ("System Operation", "IOPS-Mo", 0.005),
        ("Provisioned Throughput", "GiBps-mo", 40.96),
    ],
)
def test_a_gp3_volume_costs_by_size_iops_and_throughput(cloud: FakeCloud, family: str, unit: str, price: float) -> None:
    (product,) = products(cloud, productFamily=family, volumeApiName="gp3", regionCode="us-east-1")
    assert dollars(product) == (unit, price)


def test_the_price_list_refuses_a_token_it_did_not_give(cloud: FakeCloud) -> None:
    pricing = cloud.client("pricing")
    assert refusal(pricing.get_products, ServiceCode="AmazonEC2", NextToken="!")[0] == "InvalidNextTokenException"
    assert pricing.get_products(ServiceCode="AmazonRDS")["PriceList"] == []


def test_storage_in_s3_gets_cheaper_with_its_amount(cloud: FakeCloud) -> None:
    """https://aws.amazon.com/s3/pricing/: the first 50 TB, the next 450, and what is over 500."""
    standard = {"productFamily": "Storage", "storageClass": "General Purpose", "volumeType": "Standard"}
    (product,) = products(cloud, service="AmazonS3", regionCode="us-east-1", **standard)
    assert product["serviceCode"] == product["product"]["attributes"]["servicecode"] == "AmazonS3"
    assert product["product"]["attributes"]["usagetype"] == "TimedStorage-ByteHrs"
    (term,) = product["terms"]["OnDemand"].values()
    tiers = [
        (one["beginRange"], one["endRange"], one["pricePerUnit"]["USD"]) for one in term["priceDimensions"].values()
    ]
    assert tiers == [
        ("0", "51200", "0.0230000000"),
        ("51200", "512000", "0.0220000000"),
        ("512000", "Inf", "0.0210000000"),
    ]
    (abroad,) = products(cloud, service="AmazonS3", location="EU (Ireland)", **standard)
    assert abroad["product"]["attributes"]["usagetype"] == "EU-TimedStorage-ByteHrs"
    assert len(products(cloud, service="AmazonS3", regionCode="us-east-1")) > 1


def test_a_scenario_sets_prices_by_zone_and_on_demand(cloud: FakeCloud, region: Any, set_market: SetMarket) -> None:
    set_market(f"types: {{c7i.4xlarge: {{on_demand: 1.0, zones: {{{REGION}a: {{spot: 0.31}}}}}}}}")
    prices = {one["AvailabilityZone"]: float(one["SpotPrice"]) for one in spot_history(region, StartTime=now())}
    assert prices[f"{REGION}a"] == 0.31
    assert 0.30 <= prices[f"{REGION}b"] <= 0.45
    (product,) = products(cloud, instanceType="c7i.4xlarge", regionCode=REGION, **LINUX)
    assert dollars(product) == ("Hrs", 1.0)

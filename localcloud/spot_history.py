"""DescribeSpotPriceHistory: what spot instances cost, by type, zone and product.

https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DescribeSpotPriceHistory.html
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from moto.ec2.exceptions import EC2ClientError

from . import catalog, price_table, prices
from .describe import matches
from .market import Market

LONGEST = timedelta(days=90)
SURCHARGES = {
    "Linux/UNIX": 0.0,
    "Red Hat Enterprise Linux": price_table.RED_HAT_PER_VCPU,
    "Windows": price_table.WINDOWS_PER_VCPU,
}
"""Products, and what a vCPU and hour of them costs on top of Linux. An account that has only VPCs is shown these names
for the ones that end in `(Amazon VPC)`, too."""
FILTERS = {
    "availability-zone": "AvailabilityZone",
    "availability-zone-id": "AvailabilityZoneId",
    "instance-type": "InstanceType",
    "product-description": "ProductDescription",
    "spot-price": "SpotPrice",
}


@dataclass(frozen=True)
class Query:
    """What is asked for; of each field, empty is everything."""

    instance_types: tuple[str, ...] = ()
    products: tuple[str, ...] = ()
    start: datetime | None = None
    end: datetime | None = None
    filters: tuple[tuple[str, tuple[str, ...]], ...] = ()
    """Names out of FILTERS, each with the values that it lets through; `*` and `?` are wildcards."""


def query(asked: Mapping[str, Any], filters: Mapping[str, Iterable[str]]) -> Query:
    """What a request asks for, by its parameters and its filters; raises EC2ClientError."""
    for name in filters:
        if name not in FILTERS:
            raise EC2ClientError("InvalidParameterValue", f"The filter '{name}' is invalid")
    chosen = {name: tuple(values) for name, values in filters.items()}
    for parameter, name in (("AvailabilityZone", "availability-zone"), ("AvailabilityZoneId", "availability-zone-id")):
        if asked.get(parameter):
            chosen[name] = (asked[parameter],)
    return Query(
        instance_types=tuple(asked.get("InstanceTypes") or ()),
        products=tuple(asked.get("ProductDescriptions") or ()),
        start=_aware(asked.get("StartTime")),
        end=_aware(asked.get("EndTime")),
        filters=tuple(chosen.items()),
    )


def _aware(moment: datetime | None) -> datetime | None:
    return moment.replace(tzinfo=UTC) if moment and moment.tzinfo is None else moment


def history(market: Market, region: str, query: Query) -> list[dict[str, Any]]:
    """Every change of a price in that time and the price in force at its start, latest first."""
    now = datetime.now(UTC)
    end = min(query.end or now, now)
    start = max(min(query.start or end - LONGEST, end), now - LONGEST)
    products = {product.removesuffix(" (Amazon VPC)") for product in query.products} or set(SURCHARGES)
    rows = [
        row
        for instance_type in query.instance_types or sorted(catalog.instance_types())
        for row in _rows(market, region, instance_type, sorted(products & set(SURCHARGES)), start, end)
        if all(matches(str(row[FILTERS[name]]), values) for name, values in query.filters)
    ]
    return sorted(rows, key=lambda row: row["Timestamp"], reverse=True)


def _rows(
    market: Market, region: str, instance_type: str, products: Iterable[str], start: datetime, end: datetime
) -> Iterable[dict[str, Any]]:
    usage = catalog.instance_types().get(instance_type, {}).get("SupportedUsageClasses", [])
    vcpus, ids = catalog.vcpus(instance_type) or 0, catalog.zone_ids(region)
    for zone in market.zones(region, instance_type) if "spot" in usage else []:
        for changed in prices.changes(zone, instance_type, start, end):
            price = prices.spot(market, region, zone, instance_type, changed)
            if price is None:
                break
            for product in products:
                yield {
                    "AvailabilityZone": zone,
                    "AvailabilityZoneId": ids.get(zone),
                    "InstanceType": instance_type,
                    "ProductDescription": product,
                    "SpotPrice": f"{price + SURCHARGES[product] * vcpus:.6f}",
                    "Timestamp": changed,
                }

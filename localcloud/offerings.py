"""DescribeInstanceTypeOfferings: which types a region, or each of its zones, sells.

https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DescribeInstanceTypeOfferings.html
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from moto.ec2.exceptions import EC2ClientError

from . import catalog
from .describe import matches
from .market import Market

FILTERS = ("instance-type", "location")


def offerings(
    market: Market, region: str, location_type: str, filters: Mapping[str, Iterable[str]]
) -> list[dict[str, str]]:
    """What is sold there. location_type: `region`, `availability-zone` or `availability-zone-id`.

    Raises EC2ClientError for a filter that does not exist.
    """
    for name in filters:
        if name not in FILTERS:
            raise EC2ClientError("InvalidParameterValue", f"The filter '{name}' is invalid")
    ids = catalog.zone_ids(region)
    patterns = list(filters.get("instance-type", ["*"]))
    rows = [
        {"InstanceType": instance_type, "LocationType": location_type, "Location": location}
        for instance_type in sorted(catalog.instance_types())
        if matches(instance_type, patterns) and (zones := market.zones(region, instance_type))
        for location in _locations(region, location_type, zones, ids)
    ]
    return [row for row in rows if "location" not in filters or matches(row["Location"], filters["location"])]


def _locations(region: str, location_type: str, zones: list[str], ids: Mapping[str, str]) -> list[str]:
    match location_type:
        case "availability-zone":
            return zones
        case "availability-zone-id":
            return [ids[zone] for zone in zones if zone in ids]
        case _:
            return [region]

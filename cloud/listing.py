"""What `offers` lists: every type that will do, in every zone that sells it, with what it costs and how sure it is."""

from __future__ import annotations

from dataclasses import dataclass

from . import offers
from .aws import DENIED, Aws, aws_errors, error_code
from .instance_types import InstanceType

FEWEST_SCORED = 3
"""With fewer types every score is low, whatever capacity there is:
https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/spot-placement-score.html (limitations)"""
MOST_SCORED = 1000
"""How many types GetSpotPlacementScores takes:
https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_GetSpotPlacementScores.html"""


@dataclass(frozen=True)
class Listed:
    """A type in a zone, with its prices in dollars an hour; None where AWS tells none."""

    type: InstanceType
    zone: str
    spot: float | None
    on_demand: float | None
    score: int | None
    """How likely spot capacity is there for one of all the types, 1 to 10; None if AWS does not tell."""


def look(aws: Aws, types: list[InstanceType]) -> list[Listed]:
    """One entry for each type and zone, the cheapest spot price first.

    The setting max_price leaves out what costs more on spot.
    """
    facts = offers.look(aws, [kind.name for kind in types], ("spot", "on-demand"))
    zones, scores = _zone_ids(aws), _scores(aws, types)
    found = [
        Listed(
            kind,
            zone,
            facts.spot.get((kind.name, zone)),
            facts.on_demand.get(kind.name),
            scores.get(zones.get(zone, "")),
        )
        for kind in types
        for zone in facts.subnets
        if (kind.name, zone) in facts.sold
    ]
    most = aws.settings.max_price
    if most is not None:
        found = [one for one in found if one.spot is not None and one.spot <= most]
    return sorted(found, key=lambda one: (one.spot is None, one.spot or 0, one.type.name, one.zone))


def _zone_ids(aws: Aws) -> dict[str, str]:
    """The ids of the zones by name: scores go by id, since names mean other zones in other accounts.

    https://docs.aws.amazon.com/ram/latest/userguide/working-with-az-ids.html
    """
    with aws_errors("look at the zones"):
        return {one["ZoneName"]: one["ZoneId"] for one in aws.ec2.describe_availability_zones()["AvailabilityZones"]}


def _scores(aws: Aws, types: list[InstanceType]) -> dict[str, int]:
    """How likely one spot machine of these types is to be had in each zone, 1 to 10, by zone id.

    None at all for too few types, or if AWS refuses to tell: it limits how many different questions it answers a day.
    https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/how-sps-works.html
    """
    if len(types) < FEWEST_SCORED:
        return {}
    pages = aws.ec2.get_paginator("get_spot_placement_scores").paginate(
        InstanceTypes=[kind.name for kind in types[:MOST_SCORED]],
        TargetCapacity=1,
        TargetCapacityUnitType="units",
        SingleAvailabilityZone=True,
        RegionNames=[aws.settings.region],
    )
    with aws_errors("ask for the spot placement scores"):
        try:
            scores = [one for page in pages for one in page["SpotPlacementScores"]]
        except aws.ec2.exceptions.ClientError as error:
            if error_code(error) not in {*DENIED, "MaxConfigLimitExceeded"}:
                raise
            return {}
    return {one["AvailabilityZoneId"]: one["Score"] for one in scores}

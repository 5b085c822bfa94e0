"""GetSpotPlacementScores: how likely a spot request is to succeed, by region or zone, from 1 to 10.

https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/how-sps-works.html. Here the score is the share of the types that
have spot capacity; quotas do not count.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from moto.ec2.exceptions import EC2ClientError, InvalidParameterCombination, MissingParameterError

from . import catalog, requirements
from .market import Market

FEW = 3
"""With fewer types the score is always low."""
LOW = 3
TOP = 10
"""How many regions or zones are told."""


def placement_scores(market: Market, asked: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The best scores, highest first.

    asked: the parameters of https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_GetSpotPlacementScores.html
    Raises EC2ClientError.
    """
    regions = asked.get("RegionNames") or catalog.regions()
    for region in regions:
        if region not in catalog.regions():
            raise EC2ClientError("InvalidParameterValue", f"Invalid region: {region}")
    scores: list[dict[str, Any]] = []
    for region in regions:
        wanted = _types(market, region, asked)
        if asked.get("SingleAvailabilityZone"):
            scores += [
                {"Region": region, "AvailabilityZoneId": zone_id, "Score": _score(market, region, [zone], wanted)}
                for zone, zone_id in sorted(catalog.zone_ids(region).items())
            ]
        else:
            zones = sorted(catalog.zone_ids(region))
            scores.append({"Region": region, "Score": _score(market, region, zones, wanted)})
    return sorted(scores, key=lambda one: one["Score"], reverse=True)[:TOP]


def _types(market: Market, region: str, asked: Mapping[str, Any]) -> list[str]:
    """The types that are asked for, by name or by what they must have."""
    named, described = asked.get("InstanceTypes"), asked.get("InstanceRequirementsWithMetadata")
    if named and described:
        raise InvalidParameterCombination("InstanceTypes and InstanceRequirementsWithMetadata exclude each other")
    if not (named or described):
        raise MissingParameterError("InstanceTypes")
    return list(named) if named else requirements.types(market, region, described or {})


def _score(market: Market, region: str, zones: list[str], types: list[str]) -> int:
    """How many of the types one of the zones has spot capacity for, from 1 for none to 10 for all."""
    there = [
        instance_type
        for instance_type in types
        if any(
            zone in zones and market.has_capacity(region, zone, instance_type, spot=True)
            for zone in market.zones(region, instance_type)
        )
    ]
    score = 1 + round(9 * len(there) / len(types)) if types else 1
    return min(score, LOW) if len(types) < FEW else score

"""What EC2 offers: a type in a zone of this region, on spot or on demand, with its price; and in which order to ask."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

from . import prices, quotas
from .aws import Aws, aws_errors
from .errors import CloudError
from .instance_types import InstanceType
from .quotas import Quota

if TYPE_CHECKING:
    from mypy_boto3_ec2.type_defs import SubnetTypeDef

MOST_NAMED = 6
"""How many types with one and the same reason a refusal names."""


@dataclass(frozen=True)
class Offer:
    """One way to get a machine."""

    type: InstanceType
    market: str
    """`spot` or `on-demand`."""
    zone: str
    subnet: str
    price: float | None
    """Dollars an hour; None if AWS does not tell."""

    def __str__(self) -> str:
        return f"{self.type.name} {self.market} in {self.zone}"


@dataclass(frozen=True)
class Refusal:
    """Why one offer is none, and what to do about it."""

    what: str
    """Type and market, and the zone if it is that zone only."""
    why: str
    fix: str


class NoMachine(CloudError):
    """No offer is to be had; says of each why, and what to do."""

    def __init__(self, refusals: Iterable[Refusal]) -> None:
        self.refusals = list(refusals)
        if len(self.refusals) == 1:
            one = self.refusals[0]
            super().__init__(f"no {one.what}: {one.why}", fix=one.fix)
        else:
            super().__init__("\n".join(["no machine is to be had:", *_grouped(self.refusals)]))


def _grouped(refusals: list[Refusal]) -> Iterator[str]:
    """Lines that say of each refusal what, why and what to do; what has the same reason stands together."""
    groups: dict[tuple[str, str], dict[str, list[str]]] = {}
    for one in refusals:
        kind, _, zone = one.what.partition(" in ")
        groups.setdefault((one.why, one.fix), {}).setdefault(kind, []).append(zone)
    for (why, fix), kinds in groups.items():
        for kind, zones in list(kinds.items())[:MOST_NAMED]:
            yield f"  {kind}" + (f" in {', '.join(zones)}" if any(zones) else "")
        if len(kinds) > MOST_NAMED:
            yield f"  and {len(kinds) - MOST_NAMED} more"
        yield f"    {why}"
        yield f"    {fix}"


@dataclass(frozen=True)
class Market:
    """What there is for a launch: offers in the order in which to ask for them, and what was ruled out beforehand."""

    offers: tuple[Offer, ...]
    refusals: tuple[Refusal, ...] = ()

    def check(self) -> None:
        """Raises NoMachine when there is nothing to ask for."""
        if not self.offers:
            raise NoMachine(self.refusals)


@dataclass(frozen=True)
class Facts:
    """What AWS says of some types in this region."""

    region: str
    subnets: dict[str, str]
    """The default subnets by zone."""
    sold: set[tuple[str, str]]
    """Type and zone."""
    spot: dict[tuple[str, str], float]
    on_demand: dict[str, float | None]
    quotas: list[Quota]


@dataclass(frozen=True)
class Limits:
    """What the user wants to pay at most."""

    price: float | None = None
    """Dollars an hour."""
    cost: float | None = None
    """Dollars for the job."""
    of_needs: bool = False
    """Whether nobody has named the types: then only those with a known price are taken."""


def look(aws: Aws, names: Sequence[str], markets: tuple[str, ...]) -> Facts:
    """Gather what AWS says of these types, for the markets `spot`, `on-demand` or both; all of it at once."""
    _ = aws.ec2, aws.pricing, aws.service_quotas  # clients are made before the threads that use them
    with ThreadPoolExecutor(5) as pool:
        subnets = pool.submit(_subnets, aws)
        sold = pool.submit(_sold, aws, names)
        spot = pool.submit(prices.spot, aws, names) if "spot" in markets else None
        full = pool.submit(prices.on_demand, aws, names) if "on-demand" in markets else None
        limits = pool.submit(quotas.find, aws, names, markets)
        return Facts(
            region=aws.settings.region,
            subnets={one["AvailabilityZone"]: one["SubnetId"] for one in subnets.result() if one.keys() >= SUBNET},
            sold=sold.result(),
            spot=spot.result() if spot else {},
            on_demand=full.result() if full else {},
            quotas=limits.result(),
        )


SUBNET = {"AvailabilityZone", "SubnetId"}


def _subnets(aws: Aws) -> list[SubnetTypeDef]:
    """The subnets of the default VPC that AWS made, one a zone."""
    with aws_errors("look for the default subnets"):
        found = aws.ec2.describe_subnets(Filters=[{"Name": "default-for-az", "Values": ["true"]}])["Subnets"]
    if not found:
        region = aws.settings.region
        raise CloudError(
            f"region {region} has no default subnet",
            fix=f"make one: aws ec2 create-default-subnet --availability-zone {region}a",
        )
    return found


def _sold(aws: Aws, names: Sequence[str]) -> set[tuple[str, str]]:
    """Which types are sold in which zones.

    A filter takes 200 values: https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/Using_Filtering.html
    """
    sold = set()
    with aws_errors("ask where the types are sold"):
        for start in range(0, len(names), 200):
            pages = aws.ec2.get_paginator("describe_instance_type_offerings").paginate(
                LocationType="availability-zone",
                Filters=[{"Name": "instance-type", "Values": list(names[start : start + 200])}],
            )
            offerings = [one for page in pages for one in page.get("InstanceTypeOfferings", [])]
            sold |= {(str(one.get("InstanceType")), one.get("Location", "")) for one in offerings}
    return sold


def choose(types: list[InstanceType], markets: tuple[str, ...], facts: Facts, limits: Limits) -> Market:
    """The offers in the order in which to ask for them: the first market first, and in it the cheapest first.

    An unknown price comes last. Pure.
    """
    offers: list[Offer] = []
    refusals: list[Refusal] = []
    for market in markets:
        found: list[Offer] = []
        for kind in types:
            here = _offers(kind, market, facts)
            if refusal := _ruled_out(kind, market, here, facts, limits):
                refusals.append(refusal)
            found += [one for one in here if not refusal and _affordable(one, limits)]
        offers += sorted(found, key=lambda one: (one.price is None, one.price or 0))
    return Market(tuple(offers), tuple(refusals))


def _offers(kind: InstanceType, market: str, facts: Facts) -> list[Offer]:
    return [
        Offer(
            kind,
            market,
            zone,
            subnet,
            facts.spot.get((kind.name, zone)) if market == "spot" else facts.on_demand.get(kind.name),
        )
        for zone, subnet in sorted(facts.subnets.items())
        if (kind.name, zone) in facts.sold
    ]


def _ruled_out(kind: InstanceType, market: str, here: list[Offer], facts: Facts, limits: Limits) -> Refusal | None:
    """Why a type is not to be had in a market at all; None if it may be."""
    what = f"{kind.name} {market}"
    if not here:
        return Refusal(what, f"not sold in the zones of {facts.region}", "another --instance or --region")
    if market not in kind.markets:
        fix = "--on-demand, or another --instance" if "on-demand" in kind.markets else "another --instance"
        return Refusal(what, f"EC2 does not sell it on {market.replace('-', ' ')}", fix)
    quota = quotas.of(facts.quotas, kind, market)
    if quota and quota.left < kind.vcpus:
        why = f"quota {quota.name!r} ({quota.code}): {quota.left} of {quota.vcpus} vCPUs left, it has {kind.vcpus}"
        return Refusal(what, why, "ask for more: " + quotas.increase(quota.code, quota.used + kind.vcpus, facts.region))
    known = [one.price for one in here if one.price is not None]
    if not known and (needed := _price_needed(market, limits)):
        return Refusal(what, f"AWS does not tell its price, {needed[0]}", needed[1])
    if limits.price and known and min(known) > limits.price:
        why = f"from ${min(known):.4f} an hour, over --max-price {limits.price:g}"
        return Refusal(what, why, "a higher --max-price, or another --instance")
    return None


def _price_needed(market: str, limits: Limits) -> tuple[str, str] | None:
    """Why a machine without a known price is none, and what to do; None where it may be one."""
    if limits.cost:
        return "so --max-cost cannot be kept", "--max-hours instead"
    if limits.price and market == "on-demand":  # of a spot request, EC2 itself keeps the highest price
        return "so --max-price cannot be kept", "another --instance"
    if limits.of_needs:
        return "so it is not chosen unasked", "name it: --instance"
    return None


def _affordable(offer: Offer, limits: Limits) -> bool:
    if offer.price is None:
        return not _price_needed(offer.market, limits)
    return not limits.price or offer.price <= limits.price


def find(aws: Aws, types: list[InstanceType], markets: tuple[str, ...], limits: Limits) -> Market:
    """The market for a launch; it has no offers when nothing is left to ask for."""
    return choose(types, markets, look(aws, [kind.name for kind in types], markets), limits)

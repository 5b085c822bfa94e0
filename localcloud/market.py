"""The market: what EC2 sells, where, for how much and to whom. Where a scenario says nothing, everything to everybody.

A scenario is a file that `inv local.market` reads (market_file.py); `inv local.capacity` is the quick form of one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from . import catalog

CAPACITIES = ("enough", "none", "spot-none", "on-demand-none")
QUOTAS = ("spot", "on-demand", "spot-gpu", "on-demand-gpu")
GENEROUS = 5000
"""vCPUs of every quota that no scenario sets; a new account of AWS has far fewer."""


@dataclass(frozen=True)
class Offer:
    """One type in one zone."""

    sold: bool = True
    spot: float | None = None
    """Dollars an hour; None: derived from the on-demand price."""
    capacity: str = "enough"
    """One of CAPACITIES."""

    def has_capacity(self, spot: bool) -> bool:
        return self.capacity not in ("none", "spot-none" if spot else "on-demand-none")


@dataclass(frozen=True)
class Sale:
    """One type in one region."""

    on_demand: float | None = None
    """Dollars an hour; None: as in the price table."""
    zones: Mapping[str, Offer] = field(default_factory=dict)
    elsewhere: Offer = Offer()
    """The zones that are not named."""


@dataclass(frozen=True)
class Region:
    """What one region sells, and what it lets the caller do."""

    quotas: Mapping[str, int] = field(default_factory=dict)
    """vCPUs, by the names in QUOTAS."""
    denied: frozenset[str] = frozenset()
    """Actions that the caller is not authorized to perform, such as RunInstances."""
    makes_spot_role: bool = True
    """Whether EC2 may make AWSServiceRoleForEC2Spot at the first spot request."""
    types: Mapping[str, Sale] = field(default_factory=dict)


@dataclass(frozen=True)
class Scenario:
    """All regions; one that is not named is as if there were no scenario."""

    regions: Mapping[str, Region] = field(default_factory=dict)
    file: str = ""
    """Where it was read; "" for no scenario."""

    def region(self, name: str) -> Region:
        return self.regions.get(name, Region())


@dataclass
class Market:
    """What EC2 sells at this moment."""

    scenario: Scenario = Scenario()
    exhausted: set[str] = field(default_factory=set)
    """The types that `local.capacity` has taken away, in every region."""

    def sale(self, region: str, instance_type: str) -> Sale:
        return self.scenario.region(region).types.get(instance_type, Sale())

    def offer(self, region: str, zone: str, instance_type: str) -> Offer:
        sale = self.sale(region, instance_type)
        return sale.zones.get(zone, sale.elsewhere)

    def zones(self, region: str, instance_type: str) -> list[str]:
        """The zones of a region that sell a type, in order, whether or not they have any left."""
        sold = catalog.zones_offering(instance_type, region)
        return [zone for zone in sold if self.offer(region, zone, instance_type).sold]

    def has_capacity(self, region: str, zone: str, instance_type: str, *, spot: bool) -> bool:
        offer = self.offer(region, zone, instance_type)
        return instance_type not in self.exhausted and offer.has_capacity(spot)

    def quota(self, region: str, name: str) -> int:
        """vCPUs. name: one of QUOTAS."""
        return self.scenario.region(region).quotas.get(name, GENEROUS)

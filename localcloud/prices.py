"""What an instance costs: on demand from the table or the scenario, on spot a share of that which drifts."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from . import catalog, price_table
from .market import Market

SPOT_SHARE = (0.30, 0.45)
"""Of the on-demand price. A type has another share in each zone, always the same."""
DRIFT = 0.03
"""By how much of itself a spot price changes at most, up or down."""
SPOT_CHANGES = timedelta(days=7)
"""How long a spot price stays in force."""


def on_demand(market: Market, region: str, instance_type: str) -> float | None:
    """Dollars an hour for Linux; None if it is not known."""
    set_price = market.sale(region, instance_type).on_demand
    if set_price is not None:
        return set_price
    vcpus, family = catalog.vcpus(instance_type), instance_type.split(".")[0]
    known = price_table.REGIONS.get(region)
    if vcpus is None or known is None:
        return None
    listed = price_table.BY_TYPE.get(instance_type)
    if listed is None and family in price_table.PER_VCPU:
        listed = price_table.PER_VCPU[family] * vcpus
    return None if listed is None else round(listed * known.factor, 6)


def spot(market: Market, region: str, zone: str, instance_type: str, at: datetime | None = None) -> float | None:
    """Dollars an hour for Linux in force at a moment, now if none is given; None if it is not known."""
    set_price = market.offer(region, zone, instance_type).spot
    listed = on_demand(market, region, instance_type)
    if set_price is not None or listed is None:
        return set_price
    low, high = SPOT_SHARE
    changed = last_change(zone, instance_type, at or datetime.now(UTC))
    share = low + (high - low) * _random(zone, instance_type)
    drift = 1 + DRIFT * (2 * _random(zone, instance_type, f"{changed:%Y%m%d}") - 1)
    return round(min(max(share * drift, low), high) * listed, 4)


def changes(zone: str, instance_type: str, start: datetime, end: datetime) -> Iterator[datetime]:
    """When the spot price changed in that time, latest first, and the last change before it."""
    moment = last_change(zone, instance_type, end)
    while moment > start:
        yield moment
        moment -= SPOT_CHANGES
    yield moment


def last_change(zone: str, instance_type: str, at: datetime) -> datetime:
    """When the spot price in force at a moment came into force."""
    offset = timedelta(seconds=round(SPOT_CHANGES.total_seconds() * _random("when", zone, instance_type)))
    epoch = datetime(2020, 1, 1, tzinfo=UTC) + offset
    return epoch + (at - epoch) // SPOT_CHANGES * SPOT_CHANGES


def _random(*what: str) -> float:
    """A number from 0 to 1 that is always the same for the same words."""
    return int.from_bytes(hashlib.sha256(" ".join(what).encode()).digest()[:4]) / 2**32

"""Whether EC2 launches what a RunInstances asks for, and in which zone; a valid request is no promise.

Codes: https://docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html
"""

from __future__ import annotations

from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING

from moto.ec2.exceptions import EC2ClientError

from . import capacity, prices, quotas
from .refusal import Refused

if TYPE_CHECKING:
    from .lifecycle import LifecycleBackend

SPOT_ROLE = "AWSServiceRoleForEC2Spot"
"""https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/service-linked-roles-spot-instance-requests.html"""


@dataclass(frozen=True)
class Wish:
    """What is to be launched."""

    instance_type: str
    zones: tuple[str, ...]
    """Where it may be: the zone that was asked for, else those that sell the type."""
    count: int = 1
    spot: bool = False
    max_price: float | None = None
    """Dollars an hour."""


def admit(backend: LifecycleBackend, wish: Wish) -> str:
    """The zone for it; raises what EC2 answers when it launches it nowhere."""
    if wish.spot:
        _check_spot_role(backend)
    quotas.check(backend, wish.instance_type, wish.count, spot=wish.spot)
    return zone_for(backend, wish)


def zone_for(backend: LifecycleBackend, wish: Wish) -> str:
    """The first zone where its price is met and that has capacity; raises SpotMaxPriceTooLow or Refused."""
    affordable = _affordable(backend, wish)
    market, region = backend.cloud.market, backend.region_name
    for zone in affordable:
        if market.has_capacity(region, zone, wish.instance_type, spot=wish.spot):
            return zone
    raise capacity.insufficient(market, region, wish.zones[0], wish.instance_type, spot=wish.spot)


def _affordable(backend: LifecycleBackend, wish: Wish) -> list[str]:
    """https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/spot-request-status.html (price-too-low)"""
    if not wish.spot or wish.max_price is None:
        return list(wish.zones)
    market, region = backend.cloud.market, backend.region_name
    asked = {zone: prices.spot(market, region, zone, wish.instance_type) or 0.0 for zone in wish.zones}
    affordable = [zone for zone, price in asked.items() if price <= wish.max_price]
    if not affordable:
        raise EC2ClientError(
            "SpotMaxPriceTooLow",
            f"Your Spot request price of {wish.max_price:g} is lower than the minimum required Spot request "
            f"fulfillment price of {min(asked.values()):g}.",
        )
    return affordable


def _check_spot_role(backend: LifecycleBackend) -> None:
    from moto.iam.models import iam_backends

    if backend.cloud.market.scenario.region(backend.region_name).makes_spot_role:
        return
    roles = iam_backends[backend.account_id][backend.partition].roles.values()
    if SPOT_ROLE not in [role.name for role in roles]:
        raise Refused(
            HTTPStatus.FORBIDDEN,
            "AuthFailure.ServiceLinkedRoleCreationNotPermitted",
            "The provided credentials do not have permission to create the service-linked role for EC2 Spot Instances.",
        )

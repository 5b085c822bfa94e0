"""Capacity: types of which EC2 has no machine left, and how it refuses them.

https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/troubleshooting-launch.html#troubleshooting-launch-capacity
"""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from . import quotas
from .catalog import architectures
from .errors import LocalCloudError
from .instances import LocalInstance
from .market import Market
from .refusal import Refused

if TYPE_CHECKING:
    from .lifecycle import LifecycleBackend

NO_SPOT = "There is no Spot capacity available that matches your request."


def insufficient(market: Market, region: str, zone: str, instance_type: str, *, spot: bool) -> Refused:
    """EC2's refusal of a launch in that zone."""
    if spot:
        return _refused(NO_SPOT)
    message = (
        f"We currently do not have sufficient {instance_type} capacity in the Availability Zone you requested "
        f"({zone}). Our system will be working on provisioning additional capacity."
    )
    others = [
        other
        for other in market.zones(region, instance_type)
        if other != zone and market.has_capacity(region, other, instance_type, spot=False)
    ]
    if others:
        message += (
            f" You can currently get {instance_type} capacity by not specifying an Availability Zone in your request "
            f"or choosing {', '.join(others)}."
        )
    return _refused(message)


def _refused(message: str) -> Refused:
    """A server error, unlike EC2's other refusals: SDKs send the request again before they give up."""
    return Refused(HTTPStatus.INTERNAL_SERVER_ERROR, "InsufficientInstanceCapacity", message)


def check_launch(backend: LifecycleBackend, arguments: dict[str, Any]) -> None:
    """Raise InsufficientInstanceCapacity if there is none for a `run_instances`, whose keyword arguments these are."""
    instance_type, market, region = arguments.get("instance_type") or "", backend.cloud.market, backend.region_name
    spot = arguments.get("instance_market_options") == "spot"
    subnet, zone = arguments.get("subnet_id"), arguments.get("placement")
    if subnet:
        zone = backend.get_subnet(subnet).availability_zone
    zone = zone or next(iter(market.zones(region, instance_type)), "")
    if not market.has_capacity(region, zone, instance_type, spot=spot):
        raise insufficient(market, region, zone, instance_type, spot=spot)


def check_start(backend: LifecycleBackend, instance: LocalInstance) -> None:
    """Raise what EC2 answers if a stopped instance cannot be started for want of quota or capacity."""
    market, region, zone = backend.cloud.market, backend.region_name, instance.availability_zone or ""
    spot = instance.spot_instance_request_id is not None
    quotas.check(backend, instance.instance_type, 1, spot=spot)
    if market.has_capacity(region, zone, instance.instance_type, spot=spot):
        return
    if spot:
        raise _refused(
            f"You can't start the Spot Instance '{instance.id}' because there is no available Spot capacity."
        )
    raise _refused("Insufficient capacity.")


def change(market: Market, instance_type: str, state: str) -> None:
    """Take all capacity of a type away (`none`) or give it back (`back`), in every region.

    Raises LocalCloudError for a type or a state that does not exist. What waits for capacity is not told here.
    """
    if architectures(instance_type) is None:
        raise LocalCloudError(f"there is no instance type {instance_type!r}", fix="for example: c7i.4xlarge")
    match state:
        case "none":
            market.exhausted.add(instance_type)
        case "back":
            market.exhausted.discard(instance_type)
        case _:
            raise LocalCloudError(f"capacity is `none` or `back`, not {state!r}")

"""Capacity: types of which EC2 has no machine left, and how it refuses them.

https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/troubleshooting-launch.html#troubleshooting-launch-capacity
The messages are EC2's; of those it has, these are the ones without another zone to go to.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from werkzeug.exceptions import HTTPException

from .catalog import architectures, zones_offering
from .credentials import Refusal
from .errors import LocalCloudError
from .instances import Cloud, LocalInstance

if TYPE_CHECKING:
    from .lifecycle import LifecycleBackend

NO_SPOT = "There is no Spot capacity available that matches your request."


class InsufficientInstanceCapacity(HTTPException):
    """EC2's refusal. It is a server error, unlike all of moto's: SDKs send the request again before they give up."""

    code = 500

    def __init__(self, message: str) -> None:
        self.kind, body = Refusal("ec2", "500 Internal Server Error", type(self).__name__, message).body()
        super().__init__(body)

    def get_headers(self, *_: Any, **__: Any) -> list[tuple[str, str]]:
        return [("Content-Type", self.kind)]


def check_launch(backend: LifecycleBackend, arguments: dict[str, Any]) -> None:
    """Raise InsufficientInstanceCapacity if there is none for a `run_instances`, whose keyword arguments these are."""
    instance_type = arguments.get("instance_type") or ""
    if instance_type not in backend.cloud.exhausted:
        return
    if arguments.get("instance_market_options") == "spot":
        raise InsufficientInstanceCapacity(NO_SPOT)
    subnet, zone = arguments.get("subnet_id"), arguments.get("placement")
    if subnet:
        zone = backend.get_subnet(subnet).availability_zone
    zone = zone or zones_offering(instance_type, backend.region_name)[0]
    raise InsufficientInstanceCapacity(
        f"We currently do not have sufficient {instance_type} capacity in the Availability Zone you requested "
        f"({zone}). Our system will be working on provisioning additional capacity."
    )


def check_start(backend: LifecycleBackend, instance: LocalInstance) -> None:
    """Raise InsufficientInstanceCapacity if there is none for the start of a stopped instance."""
    if instance.instance_type not in backend.cloud.exhausted:
        return
    if instance.spot_instance_request_id:
        raise InsufficientInstanceCapacity(
            f"You can't start the Spot Instance '{instance.id}' because there is no available Spot capacity."
        )
    raise InsufficientInstanceCapacity("Insufficient capacity.")


def change(cloud: Cloud, instance_type: str, state: str) -> None:
    """Take all capacity of a type away (`none`) or give it back (`back`), in every region.

    Raises LocalCloudError for a type or a state that does not exist. What waits for capacity is not told here.
    """
    if architectures(instance_type) is None:
        raise LocalCloudError(f"there is no instance type {instance_type!r}", fix="for example: c7i.4xlarge")
    match state:
        case "none":
            cloud.exhausted.add(instance_type)
        case "back":
            cloud.exhausted.discard(instance_type)
        case _:
            raise LocalCloudError(f"capacity is `none` or `back`, not {state!r}")

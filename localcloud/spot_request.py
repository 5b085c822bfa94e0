"""A spot request of RunInstances: what it asked for, its state, and the status that explains it.

https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/spot-instances-request-status-lifecycle.html
"""

# mypy: allow-subclassing-any
from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from moto.ec2.models.core import TaggedEC2Resource
from moto.ec2.utils import random_spot_request_id

from .instances import LocalInstance
from .spot_options import SpotOptions

if TYPE_CHECKING:
    from .spot import SpotBackend

NO_CAPACITY = "instance-stopped-no-capacity"
"""The status code while EC2 keeps an instance stopped that it interrupted."""


class SpotRequest(TaggedEC2Resource):
    """One request, as DescribeSpotInstanceRequests shows it."""

    valid_from = None
    product_description = "Linux/UNIX"

    def __init__(self, backend: SpotBackend, instance: LocalInstance, options: SpotOptions, tags: dict[str, str]):
        self.ec2_backend = backend
        self.id = self.spot_instance_request_id = random_spot_request_id()
        self.options = options
        self.type = options.type
        self.instance_interruption_behavior = options.interruption
        self.valid_until = options.valid_until
        self.spot_price = options.max_price
        self.create_time = datetime.now(UTC)
        self.launched_availability_zone = instance.availability_zone
        self.launch_specification = {
            "ImageId": instance.image_id,
            "InstanceType": instance.instance_type,
            "KeyName": instance.key_name,
            "SecurityGroups": [{"GroupId": group.id, "GroupName": group.name} for group in instance.security_groups],
            "Placement": {"AvailabilityZone": instance.availability_zone},
            "Monitoring": {"Enabled": False},
            "SubnetId": instance.subnet_id,
        }
        self.instance_id: str | None = None
        self.launch = instance.launch
        self.add_tags(tags)
        self.fulfil(instance)

    @property
    def uncancelled(self) -> bool:
        return self.state in ("open", "active", "disabled")

    @property
    def instance_type(self) -> str:
        return str(self.launch_specification["InstanceType"])

    @property
    def waits(self) -> bool:
        """Whether EC2 is to give it an instance: a new one, or the one it stopped itself."""
        return self.state == "open" or (self.state == "disabled" and self.status["Code"] == NO_CAPACITY)

    def enter(self, state: str, code: str, message: str) -> None:
        """Go into a state, with the status code and message that explain it."""
        self.state = state
        self.status: dict[str, Any] = {"Code": code, "Message": message, "UpdateTime": datetime.now(UTC)}

    def fulfil(self, instance: LocalInstance) -> None:
        """Give the request its instance."""
        self.instance_id = instance.id
        instance.spot_instance_request_id = self.id
        instance.lifecycle = "spot"
        self.enter("active", "fulfilled", "Your spot request is fulfilled.")

    def get_filter_value(self, filter_name: str, method_name: str | None = None) -> Any:
        match filter_name:
            case "status-code":
                return self.status["Code"]
            case "instance-id":
                return self.instance_id or ""
            case "launch.instance-type":
                return self.instance_type
            case _:
                return super().get_filter_value(filter_name, "DescribeSpotInstanceRequests")

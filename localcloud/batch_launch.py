"""What Batch buys of EC2 for a compute environment: which type, in which zone, and the RunInstances for it.

https://docs.aws.amazon.com/batch/latest/userguide/allocation-strategies.html
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from moto.batch.models import ComputeEnvironment

from . import catalog, prices

if TYPE_CHECKING:
    from .ec2 import Region

IMAGE = "resolve:ssm:/aws/service/ecs/optimized-ami/amazon-linux-2023/recommended/image_id"
"""https://docs.aws.amazon.com/batch/latest/userguide/ecs-ami-lifecycle.html"""
SERVICE_TAG = {"AWSBatchServiceTag": "batch"}
"""On all instances of Batch: https://docs.aws.amazon.com/batch/latest/userguide/using-service-linked-roles.html"""


@dataclass(frozen=True)
class Room:
    """vCPUs and memory (MiB)."""

    vcpus: float
    memory: int

    def slots(self, vcpus: float, memory: int) -> int:
        """How many jobs that need so much find room."""
        return int(min(self.vcpus // vcpus, self.memory // memory))

    def without(self, count: int, vcpus: float, memory: int) -> Room:
        return Room(self.vcpus - count * vcpus, self.memory - count * memory)


@dataclass(frozen=True)
class Offer:
    """An instance that could be bought."""

    instance_type: str
    subnet: str
    slots: int
    """How many of the waiting jobs find room on it."""
    dollars: float
    """An hour, for each of these jobs."""

    @property
    def vcpus(self) -> int:
        return catalog.vcpus(self.instance_type) or 0


def room_of(instance_type: str) -> Room:
    """What an instance has for jobs. Of the memory some is the system's and the agent's.

    https://docs.aws.amazon.com/batch/latest/userguide/memory-management.html
    """
    memory = int(catalog.instance_types()[instance_type]["MemoryInfo"]["SizeInMiB"])
    return Room(catalog.vcpus(instance_type) or 0, memory - max(256, memory // 25))


def is_spot(environment: ComputeEnvironment) -> bool:
    return bool(environment.compute_resources["type"] == "SPOT")


def offers(ec2: Region, environment: ComputeEnvironment, vcpus: float, memory: int, waiting: int) -> list[Offer]:
    """What there is for jobs that need so much, the cheapest for each job first.

    It stands for the price and capacity that AWS weighs; for the best fit on demand too, where price decides.
    """
    found = list(_offers(ec2, environment, vcpus, memory, waiting))
    return sorted(found, key=lambda offer: (offer.dollars, offer.vcpus))


def _offers(ec2: Region, environment: ComputeEnvironment, vcpus: float, memory: int, waiting: int) -> Iterator[Offer]:
    market, region, spot = ec2.cloud.market, ec2.region_name, is_spot(environment)
    resources = environment.compute_resources
    zones = {str(ec2.get_subnet(subnet).availability_zone): str(subnet) for subnet in resources["subnets"]}
    for instance_type in _types(resources["instanceTypes"]):
        slots = min(waiting, room_of(instance_type).slots(vcpus, memory))
        for zone in market.zones(region, instance_type) if slots else ():
            if zone in zones and market.has_capacity(region, zone, instance_type, spot=spot):
                price = (
                    prices.spot(market, region, zone, instance_type)
                    if spot
                    else prices.on_demand(market, region, instance_type)
                )
                yield Offer(instance_type, zones[zone], slots, (price or float("inf")) / slots)


def _types(names: list[str]) -> list[str]:
    """The types; a family's name stands for all of its."""
    known = catalog.instance_types()
    families = {name: [one for one in known if one.startswith(f"{name}.")] for name in names if name not in known}
    return [one for name in names for one in families.get(name, [name])]


def template_data(ec2: Region, environment: ComputeEnvironment) -> dict[str, Any]:
    """What the launch template of an environment says; empty without one."""
    named = environment.compute_resources.get("launchTemplate") or {}
    if not named:
        return {}
    names = {"launchTemplateName": "LaunchTemplateName", "launchTemplateId": "LaunchTemplateId", "version": "Version"}
    version = ec2._get_template_from_args({names[key]: value for key, value in named.items() if key in names})
    return dict(version.data)


def request(environment: ComputeEnvironment, template: Mapping[str, Any], offer: Offer) -> dict[str, Any]:
    """The RunInstances for an offer: the launch template's settings, and the environment's over them.

    https://docs.aws.amazon.com/batch/latest/userguide/launch-templates.html
    """
    resources = environment.compute_resources
    tagged: dict[str, dict[str, str]] = {"instance": {}}
    for spec in template.get("TagSpecifications") or []:
        if spec["ResourceType"] != "launch-template":  # moto keeps the template's own tags here too
            tagged.setdefault(spec["ResourceType"], {}).update({tag["Key"]: tag["Value"] for tag in spec["Tags"]})
    tagged["instance"] |= {**SERVICE_TAG, **(resources.get("tags") or {})}
    profile = resources["instanceRole"]
    asked = {
        "ImageId": resources.get("imageId") or IMAGE,
        "InstanceInitiatedShutdownBehavior": "terminate",
        **{name: value for name, value in template.items() if name not in ("InstanceMarketOptions", "UserData")},
        "InstanceType": offer.instance_type,
        "MinCount": 1,
        "MaxCount": 1,
        "SubnetId": offer.subnet,
        "SecurityGroupIds": resources["securityGroupIds"],
        "IamInstanceProfile": {"Arn" if profile.startswith("arn:") else "Name": profile},
        "TagSpecifications": [
            {"ResourceType": kind, "Tags": [{"Key": key, "Value": value} for key, value in tags.items()]}
            for kind, tags in tagged.items()
        ],
    }
    if user_data := template.get("UserData"):
        asked["UserData"] = base64.b64decode(str(user_data))
    if is_spot(environment):
        asked["InstanceMarketOptions"] = {"MarketType": "spot"}
    return asked

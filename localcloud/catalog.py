"""What EC2 has: moto's data, and what it lacks, which is p3.2xlarge and the disks of the ECS-optimized images."""

from __future__ import annotations

import copy
from functools import cache
from typing import Any

TWIN = "g4dn.xlarge"
"""p3.2xlarge is offered wherever moto's data has this other small GPU machine."""

P3_2XLARGE: dict[str, Any] = {
    "InstanceType": "p3.2xlarge",
    "CurrentGeneration": False,
    "Hypervisor": "xen",
    "NitroEnclavesSupport": "unsupported",
    "HibernationSupported": False,
    "InstanceStorageSupported": False,
    "InstanceStorageInfo": None,
    "ProcessorInfo": {
        "Manufacturer": "Intel",
        "SupportedArchitectures": ["x86_64"],
        "SustainedClockSpeedInGhz": 2.7,
    },
    "VCpuInfo": {
        "DefaultVCpus": 8,
        "DefaultCores": 4,
        "DefaultThreadsPerCore": 2,
        "ValidCores": [1, 2, 3, 4],
        "ValidThreadsPerCore": [1, 2],
    },
    "MemoryInfo": {"SizeInMiB": 62464},
    "GpuInfo": {
        "Gpus": [{"Name": "V100", "Manufacturer": "NVIDIA", "Count": 1, "MemoryInfo": {"SizeInMiB": 16384}}],
        "TotalGpuMemoryInMiB": 16384,
    },
    "EbsInfo": {
        "EbsOptimizedSupport": "default",
        "EncryptionSupport": "supported",
        "EbsOptimizedInfo": {
            "BaselineBandwidthInMbps": 1750,
            "BaselineThroughputInMBps": 218.75,
            "BaselineIops": 10000,
            "MaximumBandwidthInMbps": 1750,
            "MaximumThroughputInMBps": 218.75,
            "MaximumIops": 10000,
        },
        "NvmeSupport": "unsupported",
    },
    "NetworkInfo": {
        "NetworkPerformance": "Up to 10 Gigabit",
        "MaximumNetworkInterfaces": 4,
        "MaximumNetworkCards": 1,
        "DefaultNetworkCardIndex": 0,
        "NetworkCards": [
            {"NetworkCardIndex": 0, "NetworkPerformance": "Up to 10 Gigabit", "MaximumNetworkInterfaces": 4}
        ],
        "Ipv4AddressesPerInterface": 15,
        "Ipv6AddressesPerInterface": 15,
        "Ipv6Supported": True,
        "EnaSupport": "supported",
        "EfaSupported": False,
        "EncryptionInTransitSupported": False,
    },
}
"""Where it differs from its twin. https://docs.aws.amazon.com/ec2/latest/instancetypes/ac.html"""

ECS_ROOT_GB = 30
"""https://docs.aws.amazon.com/AmazonECS/latest/developerguide/ecs-AMI-windows-linux.html (storage of AL2023 images)"""


def install() -> None:
    """Add to moto's data; once per process."""
    from moto.ec2.models.amis import Ami
    from moto.ec2.models.instance_types import (
        INSTANCE_TYPE_OFFERINGS,
        INSTANCE_TYPES,
        InstanceType,
        InstanceTypeBackend,
    )

    name = P3_2XLARGE["InstanceType"]
    if name in INSTANCE_TYPES:
        return
    whole = copy.deepcopy(INSTANCE_TYPES[TWIN]) | copy.deepcopy(P3_2XLARGE)
    INSTANCE_TYPES[name] = {key: value for key, value in whole.items() if value is not None}
    InstanceTypeBackend.instance_types.append(InstanceType(name))
    for regions in INSTANCE_TYPE_OFFERINGS.values():
        for offerings in regions.values():
            offerings += [{**offer, "InstanceType": name} for offer in offerings if offer["InstanceType"] == TWIN]
    Ami.block_device_mappings = property(_disks)


def _disks(ami: Any) -> list[dict[str, Any]]:
    """The volumes that an image asks for; moto gives every image 15 GB of the oldest kind."""
    size = ECS_ROOT_GB if "-ecs-" in (ami.name or "") else 8
    ebs = {
        "SnapshotId": ami.ebs_snapshot.id,
        "VolumeSize": size,
        "VolumeType": "gp3",
        "DeleteOnTermination": True,
        "Encrypted": False,
        **getattr(ami, "root_disk", {}),  # of an image of one's own
    }
    return [{"DeviceName": ami.root_device_name, "Ebs": ebs}]


def zones_offering(instance_type: str, region: str) -> list[str]:
    """The availability zones of a region in which EC2 sells a type, in order."""
    return _zones_by_type(region).get(instance_type, [])


@cache
def _zones_by_type(region: str) -> dict[str, list[str]]:
    from moto.ec2.models.instance_types import INSTANCE_TYPE_OFFERINGS

    offers = INSTANCE_TYPE_OFFERINGS["availability-zone"].get(region, [])
    zones: dict[str, list[str]] = {}
    for offer in sorted(offers, key=lambda one: str(one["Location"])):
        if offer["Location"] in zone_ids(region):  # moto's offers know zones that its accounts do not have
            zones.setdefault(offer["InstanceType"], []).append(offer["Location"])
    return zones


def architectures(instance_type: str) -> list[str] | None:
    """What a type's processor runs (`x86_64`, `arm64`, …); None for a type that does not exist."""
    from moto.ec2.models.instance_types import INSTANCE_TYPES

    known = INSTANCE_TYPES.get(instance_type)
    return list(known["ProcessorInfo"]["SupportedArchitectures"]) if known else None


def vcpus(instance_type: str) -> int | None:
    """How many vCPUs a type has; None for a type that does not exist."""
    from moto.ec2.models.instance_types import INSTANCE_TYPES

    known = INSTANCE_TYPES.get(instance_type)
    return int(known["VCpuInfo"]["DefaultVCpus"]) if known else None


def instance_types() -> dict[str, dict[str, Any]]:
    """What EC2 says of each type, in the form of DescribeInstanceTypes."""
    from moto.ec2.models.instance_types import INSTANCE_TYPES

    known: dict[str, dict[str, Any]] = INSTANCE_TYPES
    return known


def regions() -> list[str]:
    """The regions in which EC2 sells anything."""
    from moto.ec2.models.instance_types import INSTANCE_TYPE_OFFERINGS

    return sorted(INSTANCE_TYPE_OFFERINGS["availability-zone"])


def zone_ids(region: str) -> dict[str, str]:
    """The ids of a region's zones, by name."""
    from moto.ec2.models.availability_zones_and_regions import RegionsAndZonesBackend

    return {str(zone.name): str(zone.zone_id) for zone in RegionsAndZonesBackend.zones.get(region, [])}

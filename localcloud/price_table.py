"""On-demand prices in dollars, as AWS lists them for us-east-1, and how other regions differ.

https://aws.amazon.com/ec2/pricing/on-demand/ (Linux), https://aws.amazon.com/ebs/pricing/ and
https://aws.amazon.com/s3/pricing/. Within most families the price grows with the vCPUs, so one number prices a family.
What is not here has no price.
"""

from __future__ import annotations

from dataclasses import dataclass

PER_VCPU = {
    "c5": 0.0425,
    "c5a": 0.0385,
    "c6a": 0.03825,
    "c6g": 0.034,
    "c6i": 0.0425,
    "c7a": 0.05132,
    "c7g": 0.03625,
    "c7i": 0.044625,
    "c7i-flex": 0.042395,
    "c8g": 0.03988,
    "m5": 0.048,
    "m5a": 0.043,
    "m6a": 0.0432,
    "m6g": 0.0385,
    "m6i": 0.048,
    "m7a": 0.05796,
    "m7g": 0.0408,
    "m7i": 0.0504,
    "m7i-flex": 0.04788,
    "m8g": 0.04488,
    "r5": 0.063,
    "r6a": 0.0567,
    "r6g": 0.0504,
    "r6i": 0.063,
    "r7a": 0.076075,
    "r7g": 0.05355,
    "r7i": 0.06615,
    "r8g": 0.05891,
}
"""Dollars for a vCPU and hour, by family."""

BURSTABLE = ("nano", "micro", "small", "medium", "large", "xlarge", "2xlarge")
"""The sizes of the families whose price doubles from size to size."""
NANO = {"t3": 0.0052, "t3a": 0.0047, "t4g": 0.0042}
"""Dollars an hour for their smallest."""

BY_TYPE = {
    **{f"{family}.{size}": nano * 2**n for family, nano in NANO.items() for n, size in enumerate(BURSTABLE)},
    "g4dn.xlarge": 0.526,
    "g4dn.2xlarge": 0.752,
    "g4dn.4xlarge": 1.204,
    "g4dn.8xlarge": 2.176,
    "g4dn.12xlarge": 3.912,
    "g4dn.16xlarge": 4.352,
    "g4dn.metal": 7.824,
    "g5.xlarge": 1.006,
    "g5.2xlarge": 1.212,
    "g5.4xlarge": 1.624,
    "g5.8xlarge": 2.448,
    "g5.12xlarge": 5.672,
    "g5.16xlarge": 4.096,
    "g5.24xlarge": 8.144,
    "g5.48xlarge": 16.288,
    "g5g.xlarge": 0.42,
    "g5g.2xlarge": 0.556,
    "g5g.4xlarge": 0.828,
    "g5g.8xlarge": 1.372,
    "g5g.16xlarge": 2.744,
    "g6.xlarge": 0.8048,
    "g6.2xlarge": 0.9776,
    "g6.4xlarge": 1.3232,
    "g6.8xlarge": 2.0144,
    "g6.12xlarge": 4.6016,
    "g6.16xlarge": 3.3968,
    "g6.24xlarge": 6.6752,
    "g6.48xlarge": 13.3504,
    "g6e.xlarge": 1.861,
    "g6e.2xlarge": 2.24208,
    "g6e.4xlarge": 3.00424,
    "g6e.8xlarge": 4.52856,
    "g6e.12xlarge": 10.49264,
    "g6e.16xlarge": 7.57719,
    "g6e.24xlarge": 15.06559,
    "g6e.48xlarge": 30.13118,
    "p3.2xlarge": 3.06,
    "p3dn.24xlarge": 31.212,
    "p4d.24xlarge": 21.957642,
    "p5.48xlarge": 55.04,
}
"""Dollars an hour, where one number for the family would not do."""

WINDOWS_PER_VCPU = 0.046
RED_HAT_PER_VCPU = 0.0144
"""Dollars for a vCPU and hour on top of Linux."""


@dataclass(frozen=True)
class PriceRegion:
    """How the price list speaks of a region, and how dear it is."""

    location: str
    """The attribute `location`."""
    usage: str
    """What its usage types begin with."""
    factor: float
    """Times the prices of us-east-1; taken from c6i, near enough for the rest."""


REGIONS = {
    "us-east-1": PriceRegion("US East (N. Virginia)", "", 1),
    "us-east-2": PriceRegion("US East (Ohio)", "USE2-", 1),
    "us-west-1": PriceRegion("US West (N. California)", "USW1-", 1.247),
    "us-west-2": PriceRegion("US West (Oregon)", "USW2-", 1),
    "ca-central-1": PriceRegion("Canada (Central)", "CAN1-", 1.094),
    "eu-central-1": PriceRegion("EU (Frankfurt)", "EUC1-", 1.141),
    "eu-north-1": PriceRegion("EU (Stockholm)", "EUN1-", 1.071),
    "eu-south-1": PriceRegion("EU (Milan)", "EUS1-", 1.188),
    "eu-west-1": PriceRegion("EU (Ireland)", "EU-", 1.073),
    "eu-west-2": PriceRegion("EU (London)", "EUW2-", 1.188),
    "eu-west-3": PriceRegion("EU (Paris)", "EUW3-", 1.188),
    "ap-northeast-1": PriceRegion("Asia Pacific (Tokyo)", "APN1-", 1.259),
    "ap-northeast-2": PriceRegion("Asia Pacific (Seoul)", "APN2-", 1.129),
    "ap-south-1": PriceRegion("Asia Pacific (Mumbai)", "APS3-", 1),
    "ap-southeast-1": PriceRegion("Asia Pacific (Singapore)", "APS1-", 1.153),
    "ap-southeast-2": PriceRegion("Asia Pacific (Sydney)", "APS2-", 1.306),
    "sa-east-1": PriceRegion("South America (Sao Paulo)", "SAE1-", 1.541),
}


@dataclass(frozen=True)
class VolumePrice:
    """One product of EBS."""

    volume: str
    """The attribute `volumeApiName`."""
    family: str
    """`Storage`, `System Operation` (IOPS) or `Provisioned Throughput`."""
    usage: str
    unit: str
    dollars: float


VOLUMES = (
    VolumePrice("gp2", "Storage", "EBS:VolumeUsage.gp2", "GB-Mo", 0.10),
    VolumePrice("gp3", "Storage", "EBS:VolumeUsage.gp3", "GB-Mo", 0.08),
    VolumePrice("io1", "Storage", "EBS:VolumeUsage.piops", "GB-Mo", 0.125),
    VolumePrice("io2", "Storage", "EBS:VolumeUsage.io2", "GB-Mo", 0.125),
    VolumePrice("st1", "Storage", "EBS:VolumeUsage.st1", "GB-Mo", 0.045),
    VolumePrice("sc1", "Storage", "EBS:VolumeUsage.sc1", "GB-Mo", 0.015),
    VolumePrice("standard", "Storage", "EBS:VolumeUsage", "GB-Mo", 0.05),
    VolumePrice("gp3", "System Operation", "EBS:VolumeP-IOPS.gp3", "IOPS-Mo", 0.005),
    VolumePrice("io1", "System Operation", "EBS:VolumeP-IOPS.piops", "IOPS-Mo", 0.065),
    VolumePrice("io2", "System Operation", "EBS:VolumeP-IOPS.io2", "IOPS-Mo", 0.065),
    VolumePrice("gp3", "Provisioned Throughput", "EBS:VolumeP-Throughput.gp3", "GiBps-mo", 40.96),
)
"""The price list counts throughput in GiB/s, so a MiB/s is a 1024th of it."""


@dataclass(frozen=True)
class StoragePrice:
    """One product of S3's family `Storage`."""

    volume: str
    """The attribute `volumeType`."""
    storage_class: str
    availability: str
    usage: str
    tiers: dict[int, float]
    """Dollars for a GB and month, by the GB from which on."""


STORAGE = (
    StoragePrice(
        "Standard",
        "General Purpose",
        "99.99%",
        "TimedStorage-ByteHrs",
        {0: 0.023, 50 * 1024: 0.022, 500 * 1024: 0.021},
    ),
    StoragePrice("Standard - Infrequent Access", "Infrequent Access", "99.9%", "TimedStorage-SIA-ByteHrs", {0: 0.0125}),
    StoragePrice("Glacier Deep Archive", "Archive", "99.99%", "TimedStorage-GDA-Staging", {0: 0.021}),
)

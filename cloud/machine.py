"""The facts about the kind of machine to start, gathered before anything is built or paid for."""

from __future__ import annotations

from dataclasses import dataclass

from . import firewall, instance_types
from .aws import Aws, aws_errors
from .errors import CloudError, UsageError
from .instance_types import InstanceType, Wanted


@dataclass(frozen=True)
class Machine:
    """What EC2 needs to know to start one instance, whichever of the types it is."""

    types: tuple[InstanceType, ...]
    """Those that will do; all of one architecture, all with a GPU or all without."""
    ami: str
    root_device: str
    root_gb: int
    """Size of the AMI's own root volume; a smaller disk is refused by EC2."""
    security_group: str

    @property
    def architecture(self) -> str:
        return self.types[0].architecture

    @property
    def gpu(self) -> bool:
        return self.types[0].gpus > 0

    @property
    def platform(self) -> str:
        """Docker's name of the architecture."""
        return {"x86_64": "linux/amd64", "arm64": "linux/arm64"}[self.architecture]


def look(aws: Aws, wanted: Wanted) -> Machine:
    """Gather the facts about machines of these types, or of those that fit.

    Raises CloudError when a type does not exist here or setup has not been run.
    """
    group = firewall.find(aws)
    if group is None:
        raise CloudError(
            f"account {aws.account} is not set up for {aws.settings.name} in {aws.settings.region}",
            fix="run `inv setup` first",
        )
    types = instance_types.look(aws, wanted)
    parameter = aws.settings.image_parameter.format(variant=variant(types[0]))
    with aws_errors(f"find the machine image ({parameter})"):
        ami = aws.ssm.get_parameter(Name=parameter)["Parameter"]["Value"]
        image = aws.ec2.describe_images(ImageIds=[ami])["Images"][0]
    root = image["RootDeviceName"]
    sizes = [d["Ebs"].get("VolumeSize", 0) for d in image["BlockDeviceMappings"] if d.get("DeviceName") == root]
    return Machine(tuple(types), ami, root, max(sizes, default=0), group["GroupId"])


def variant(kind: InstanceType) -> str:
    """Which of the public ECS-optimized AMIs a type needs.

    https://docs.aws.amazon.com/AmazonECS/latest/developerguide/retrieve-ecs-optimized_AMI.html
    Raises UsageError where there is none.
    """
    if kind.gpus and kind.architecture == "arm64":
        raise UsageError(
            f"{kind.name} has a GPU and an ARM processor, and there is no machine image with a driver for that",
            fix="choose a GPU machine with an x86_64 processor, such as g5.xlarge",
        )
    return "gpu/recommended" if kind.gpus else "arm64/recommended" if kind.architecture == "arm64" else "recommended"

"""The facts about the kind of machine to start, gathered before anything is built or paid for."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from . import firewall, instance_types, machine_images
from .aws import Aws, aws_errors
from .errors import CloudError, UsageError
from .instance_types import InstanceType, Wanted

if TYPE_CHECKING:
    from mypy_boto3_ec2.type_defs import ImageTypeDef


VARIANTS = ("recommended", "arm64/recommended", "gpu/recommended")
"""Of the ECS-optimized AMIs:
https://docs.aws.amazon.com/AmazonECS/latest/developerguide/retrieve-ecs-optimized_AMI.html"""


PLATFORMS = {"x86_64": "linux/amd64", "arm64": "linux/arm64"}
"""Docker's names of the architectures."""


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
        return PLATFORMS[self.architecture]


def look(aws: Aws, wanted: Wanted) -> Machine:
    """Gather the facts about machines of these types, or of those that fit.

    Raises CloudError when a type does not exist here or setup has not been run.
    """
    _ = aws.ec2, aws.ssm  # clients are made before the threads that use them
    with ThreadPoolExecutor(2) as pool:
        finding = pool.submit(firewall.required, aws)
        naming = pool.submit(_recommended, aws)
        types = instance_types.look(aws, wanted)
        parameter = aws.settings.image_parameter.format(variant=variant(types[0]))
        ami = naming.result().get(parameter)
        if ami is None:
            raise CloudError(f"there is no machine image {parameter}", fix="setting solver.image_parameter names it")
        looking = pool.submit(_image, aws, ami)
        group, image = finding.result(), looking.result()
    root = image["RootDeviceName"]
    sizes = [d["Ebs"].get("VolumeSize", 0) for d in image["BlockDeviceMappings"] if d.get("DeviceName") == root]
    return Machine(tuple(types), ami, root, max(sizes, default=0), group)


def _image(aws: Aws, ami: str) -> ImageTypeDef:
    with aws_errors(f"look at the machine image {ami}"):
        return aws.ec2.describe_images(ImageIds=[ami])["Images"][0]


def _recommended(aws: Aws) -> dict[str, str]:
    """The AMIs that AWS recommends now, by the name of their public parameter: all kinds, in one call."""
    names = {aws.settings.image_parameter.format(variant=one) for one in VARIANTS}
    with aws_errors("find the machine image"):
        found = aws.ssm.get_parameters(Names=sorted(names))["Parameters"]
    return {one["Name"]: one["Value"] for one in found}


def with_image(kind: Machine, ours: Iterable[ImageTypeDef], image: str) -> Machine:
    """The same machine with our own AMI, if `bake` has made one that has the trainer's image already.

    ours: our machine images, newest first. image: repository URI with tag.
    """
    baked = machine_images.fitting(ours, kind.ami, image)
    return replace(kind, ami=baked["ImageId"], root_gb=machine_images.gigabytes(baked)) if baked else kind


def variant(kind: InstanceType) -> str:
    """Which of VARIANTS a type needs. Raises UsageError where there is none."""
    if kind.gpus and kind.architecture == "arm64":
        raise UsageError(
            f"{kind.name} has a GPU and an ARM processor, and there is no machine image with a driver for that",
            fix="choose a GPU machine with an x86_64 processor, such as g5.xlarge",
        )
    return "gpu/recommended" if kind.gpus else "arm64/recommended" if kind.architecture == "arm64" else "recommended"

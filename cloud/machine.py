"""The facts about the machine to start, gathered before anything is built or paid for."""

from __future__ import annotations

from dataclasses import dataclass

from . import firewall
from .aws import Aws, aws_errors, error_code
from .errors import CloudError, UsageError


@dataclass(frozen=True)
class Machine:
    """What EC2 needs to know to start one instance."""

    type: str
    architecture: str
    """`x86_64` or `arm64`."""
    ami: str
    root_device: str
    root_gb: int
    """Size of the AMI's own root volume; a smaller disk is refused by EC2."""
    security_group: str

    @property
    def platform(self) -> str:
        """Docker's name of the architecture."""
        return {"x86_64": "linux/amd64", "arm64": "linux/arm64"}[self.architecture]


def look(aws: Aws, instance_type: str) -> Machine:
    """Gather the facts about a machine of that type.

    Raises CloudError when the type does not exist here or setup has not been run.
    """
    group = firewall.find(aws)
    if group is None:
        raise CloudError(
            f"account {aws.account} is not set up for {aws.settings.name} in {aws.settings.region}",
            fix="run `inv setup` first",
        )
    architecture = _architecture(aws, instance_type)
    variant = "arm64/recommended" if architecture == "arm64" else "recommended"
    parameter = aws.settings.image_parameter.format(variant=variant)
    with aws_errors(f"find the machine image ({parameter})"):
        ami = aws.ssm.get_parameter(Name=parameter)["Parameter"]["Value"]
        image = aws.ec2.describe_images(ImageIds=[ami])["Images"][0]
    root = image["RootDeviceName"]
    sizes = [d["Ebs"].get("VolumeSize", 0) for d in image["BlockDeviceMappings"] if d.get("DeviceName") == root]
    return Machine(instance_type, architecture, ami, root, max(sizes, default=0), group["GroupId"])


def _architecture(aws: Aws, instance_type: str) -> str:
    with aws_errors(f"look up {instance_type}"):
        try:
            found = aws.ec2.describe_instance_types(InstanceTypes=[instance_type])["InstanceTypes"]  # type: ignore[list-item]
        except aws.ec2.exceptions.ClientError as error:
            if error_code(error) != "InvalidInstanceType":
                raise
            found = []
    if not found:
        raise UsageError(
            f"there is no instance type {instance_type!r} in {aws.settings.region}",
            fix="`aws ec2 describe-instance-types --query InstanceTypes[].InstanceType` lists them",
        )
    supported = found[0]["ProcessorInfo"]["SupportedArchitectures"]
    for architecture in ("x86_64", "arm64"):
        if architecture in supported:
            return architecture
    raise UsageError(f"{instance_type} is a machine for {', '.join(supported)}, and no image can be built for that")

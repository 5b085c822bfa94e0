"""Instance types: what was typed, or what fits the needs that were typed, as EC2 describes it."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import takewhile
from typing import TYPE_CHECKING, Any

from .aws import Aws, aws_errors, error_code
from .config import Settings, check_instance_types, check_number
from .errors import CloudError, UsageError

if TYPE_CHECKING:
    from mypy_boto3_ec2.type_defs import InstanceTypeInfoTypeDef

MOST = 100
"""How many types DescribeInstanceTypes takes by name:
https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DescribeInstanceTypes.html"""


@dataclass(frozen=True)
class InstanceType:
    """What EC2 says of a type."""

    name: str
    architecture: str
    """`x86_64` or `arm64`."""
    vcpus: int
    memory_gib: float
    gpus: int = 0
    gpu: str = ""
    """The GPU's name, such as `V100`."""
    markets: tuple[str, ...] = ("spot", "on-demand")
    """On which EC2 sells it."""

    @property
    def family(self) -> str:
        """Its family, by which EC2 counts quotas."""
        return family(self.name)


def family(name: str) -> str:
    """The letters in front of a type's generation: `c` of c7i.4xlarge."""
    return "".join(takewhile(str.isalpha, name))


@dataclass(frozen=True)
class Needs:
    """What the machine has to have, where no type is named."""

    cpus: int = 1
    memory_gib: float = 0
    gpus: int = 0
    architecture: str = "x86_64"


Wanted = tuple[str, ...] | Needs
"""Names of types, or what one has to have."""


def wanted(
    names: str | None, settings: Settings, *, cpus: str | None, memory: str | None, gpus: str | None, arm: bool
) -> Wanted:
    """What a user typed: types by name, or needs; the types of the settings if neither.

    Raises UsageError for both, or for what is no type or no number.
    """
    needs = Needs(
        cpus=int(check_number("--cpus", cpus, least=1, whole=True) or 1),
        memory_gib=check_number("--memory", memory) or 0,
        gpus=int(check_number("--gpus", gpus, least=1, whole=True) or 0),
        architecture="arm64" if arm else "x86_64",
    )
    if needs == Needs() and not cpus:
        return check_instance_types(names or settings.instance)
    if names:
        raise UsageError("both types and needs", fix="either --instance, or --cpus, --memory, --gpus and --arm")
    return needs


def look(aws: Aws, wanted: Wanted) -> list[InstanceType]:
    """The types that were named, or those that fit."""
    return fitting(aws, wanted) if isinstance(wanted, Needs) else named(aws, wanted)


def named(aws: Aws, names: tuple[str, ...]) -> list[InstanceType]:
    """The types of these names, in that order.

    Raises UsageError for one that this region does not have, and for types that cannot stand in for one another.
    """
    types = existing(aws, names)
    there = {kind.name for kind in types}
    for name in names:
        if name not in there:
            raise UsageError(
                f"there is no instance type {name!r} in {aws.settings.region}",
                fix="`inv offers --cpus 16 --memory 32` lists those that fit",
            )
    return types


def existing(aws: Aws, names: tuple[str, ...]) -> list[InstanceType]:
    """The types of these names that this region has, in that order.

    Raises UsageError for types that cannot stand in for one another.
    """
    found: dict[str, InstanceTypeInfoTypeDef] = {}
    for start in range(0, len(names), MOST):
        found |= _described(aws, names[start : start + MOST])
    types = [_parsed(found[name]) for name in names if name in found]
    _check_alike(types)
    return types


def _check_alike(types: list[InstanceType]) -> None:
    """Raises UsageError, with each list that would do, for types that need different images.

    A launch has one image, of the trainer and of the machine: its price is said, its disk checked and the trainer
    built before the launch is claimed, and not between two offers.
    """
    kinds: dict[tuple[str, bool], list[str]] = {}
    for one in types:
        kinds.setdefault((one.architecture, one.gpus > 0), []).append(one.name)
    if len(kinds) > 1:
        first, other, *_ = kinds.values()
        raise UsageError(
            f"{first[0]} and {other[0]} need different machine images",
            fix="one launch for each: " + " or ".join(f"--instance {','.join(names)}" for names in kinds.values()),
        )


def fitting(aws: Aws, needs: Needs) -> list[InstanceType]:
    """The types of current generation that have at least what is needed, by EC2's own choice.

    Raises UsageError when there are none.
    """
    requirements: dict[str, Any] = {
        "VCpuCount": {"Min": needs.cpus},
        "MemoryMiB": {"Min": int(needs.memory_gib * 1024)},
        "AcceleratorCount": {"Min": needs.gpus} if needs.gpus else {"Max": 0},
        **({"AcceleratorTypes": ["gpu"], "AcceleratorManufacturers": ["nvidia"]} if needs.gpus else {}),
        "InstanceGenerations": ["current"],
    }
    pages = aws.ec2.get_paginator("get_instance_types_from_instance_requirements").paginate(
        ArchitectureTypes=[needs.architecture],  # type: ignore[list-item]
        VirtualizationTypes=["hvm"],
        InstanceRequirements=requirements,  # type: ignore[arg-type]
    )
    with aws_errors("find the instance types that fit"):
        names = tuple(sorted(one["InstanceType"] for page in pages for one in page["InstanceTypes"]))
    if not names:
        raise UsageError(f"no instance type in {aws.settings.region} has all of that", fix="ask for less")
    return named(aws, names)


def _described(aws: Aws, names: tuple[str, ...]) -> dict[str, InstanceTypeInfoTypeDef]:
    """What EC2 says of those names that exist."""
    with aws_errors(f"look up {', '.join(names[:3])}"):
        try:
            found = aws.ec2.describe_instance_types(InstanceTypes=list(names))["InstanceTypes"]  # type: ignore[arg-type]
        except aws.ec2.exceptions.ClientError as error:
            if error_code(error) != "InvalidInstanceType":
                raise
            # One name that does not exist spoils the answer for all.
            halves = [names[: len(names) // 2], names[len(names) // 2 :]] if len(names) > 1 else []
            return {name: one for half in halves for name, one in _described(aws, half).items()}
    return {one["InstanceType"]: one for one in found}


def _parsed(info: InstanceTypeInfoTypeDef) -> InstanceType:
    """Raises CloudError when EC2 does not say all that has to be known, or it is a machine of another kind."""
    supported = info.get("ProcessorInfo", {}).get("SupportedArchitectures", [])
    vcpus, memory = info.get("VCpuInfo", {}).get("DefaultVCpus"), info.get("MemoryInfo", {}).get("SizeInMiB")
    if not supported or not vcpus or not memory:
        raise CloudError(f"EC2 does not tell processor, vCPUs and memory of {info['InstanceType']}", fix="name another")
    architecture = next((one for one in ("x86_64", "arm64") if one in supported), None)
    if architecture is None:
        raise CloudError(f"{info['InstanceType']} is a machine for {', '.join(supported)}, which no image is made for")
    gpus = info.get("GpuInfo", {}).get("Gpus", [])
    return InstanceType(
        name=info["InstanceType"],
        architecture=architecture,
        vcpus=vcpus,
        memory_gib=memory / 1024,
        gpus=sum(gpu.get("Count", 0) for gpu in gpus),
        gpu=gpus[0].get("Name", "") if gpus else "",
        markets=tuple(info.get("SupportedUsageClasses", [])),
    )

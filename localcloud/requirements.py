"""Attribute-based selection of instance types: which of those that a region sells meet InstanceRequirements.

https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_InstanceRequirementsRequest.html
Price protection and BaselinePerformanceFactors are not modelled: they leave everything in.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from moto.ec2.exceptions import InvalidParameterCombination

from . import catalog
from .describe import matches
from .market import Market

Info = dict[str, Any]
"""A type as DescribeInstanceTypes shows it."""

MANUFACTURERS = {"aws": "amazon-web-services"}
"""Where the requirements have another name for a maker than DescribeInstanceTypes."""


def types(market: Market, region: str, asked: Mapping[str, Any]) -> list[str]:
    """The names of the types that fit.

    asked: ArchitectureTypes, VirtualizationTypes and InstanceRequirements, as in
    https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_GetInstanceTypesFromInstanceRequirements.html
    Raises InvalidParameterCombination.
    """
    requirements = asked.get("InstanceRequirements") or {}
    if requirements.get("AllowedInstanceTypes") and requirements.get("ExcludedInstanceTypes"):
        raise InvalidParameterCombination("AllowedInstanceTypes and ExcludedInstanceTypes cannot be used together")
    return sorted(
        name
        for name, info in catalog.instance_types().items()
        if _any_of(info["ProcessorInfo"]["SupportedArchitectures"], asked.get("ArchitectureTypes"))
        and _any_of(info["SupportedVirtualizationTypes"], asked.get("VirtualizationTypes"))
        and _fits(name, info, requirements)
        and market.zones(region, name)
    )


def _fits(name: str, info: Info, wanted: Mapping[str, Any]) -> bool:
    makers = {gpu["Manufacturer"].lower() for gpu in _accelerators(info)}
    models = {gpu["Name"].lower().replace(" ", "-") for gpu in _accelerators(info)}
    cpu_maker = str(info["ProcessorInfo"].get("Manufacturer", "")).lower()
    generation = "current" if info["CurrentGeneration"] else "previous"
    return (
        all(_within(measure(info), wanted.get(of)) for of, measure in MEASURES.items())
        and _admits(wanted.get("BareMetal") or "excluded", info["BareMetal"])
        and _admits(wanted.get("BurstablePerformance") or "excluded", info["BurstablePerformanceSupported"])
        and _admits(wanted.get("LocalStorage") or "included", info["InstanceStorageSupported"])
        and _any_of({generation}, wanted.get("InstanceGenerations"))
        and _any_of({MANUFACTURERS.get(cpu_maker, cpu_maker)}, wanted.get("CpuManufacturers"))
        and _any_of({MANUFACTURERS.get(maker, maker) for maker in makers}, wanted.get("AcceleratorManufacturers"))
        and _any_of(models, wanted.get("AcceleratorNames"))
        and _any_of(_accelerator_types(info), wanted.get("AcceleratorTypes"))
        and not (wanted.get("RequireHibernateSupport") and not info["HibernationSupported"])
        and matches(name, wanted.get("AllowedInstanceTypes") or ["*"])
        and not matches(name, wanted.get("ExcludedInstanceTypes") or [])
    )


def _within(value: float, limits: Mapping[str, float] | None) -> bool:
    low, high = (limits or {}).get("Min"), (limits or {}).get("Max")
    return (low is None or value >= low) and (high is None or value <= high)


def _admits(rule: str, has: bool) -> bool:
    """rule: `included`, `required` or `excluded`."""
    return rule == "included" or has == (rule == "required")


def _any_of(has: Any, wanted: list[str] | None) -> bool:
    return not wanted or bool(set(has) & set(wanted))


def _accelerators(info: Info) -> list[Info]:
    return [
        *info.get("GpuInfo", {}).get("Gpus", []),
        *info.get("FpgaInfo", {}).get("Fpgas", []),
        *info.get("InferenceAcceleratorInfo", {}).get("Accelerators", []),
        *info.get("MediaAcceleratorInfo", {}).get("Accelerators", []),
    ]


def _accelerator_types(info: Info) -> set[str]:
    kinds = {"GpuInfo": "gpu", "FpgaInfo": "fpga", "InferenceAcceleratorInfo": "inference"}
    return {kind for field, kind in {**kinds, "MediaAcceleratorInfo": "media"}.items() if field in info}


def _vcpus(info: Info) -> int:
    return int(info["VCpuInfo"]["DefaultVCpus"])


MEASURES: dict[str, Callable[[Info], float]] = {
    "VCpuCount": _vcpus,
    "MemoryMiB": lambda info: info["MemoryInfo"]["SizeInMiB"],
    "MemoryGiBPerVCpu": lambda info: info["MemoryInfo"]["SizeInMiB"] / 1024 / _vcpus(info),
    "NetworkInterfaceCount": lambda info: info["NetworkInfo"]["MaximumNetworkInterfaces"],
    "NetworkBandwidthGbps": lambda info: sum(
        card.get("BaselineBandwidthInGbps", 0) for card in info["NetworkInfo"].get("NetworkCards", [])
    ),
    "BaselineEbsBandwidthMbps": lambda info: (
        info["EbsInfo"].get("EbsOptimizedInfo", {}).get("BaselineBandwidthInMbps", 0)
    ),
    "TotalLocalStorageGB": lambda info: info.get("InstanceStorageInfo", {}).get("TotalSizeInGB", 0),
    "AcceleratorCount": lambda info: sum(one.get("Count", 0) for one in _accelerators(info)),
    "AcceleratorTotalMemoryMiB": lambda info: sum(
        one.get("Count", 0) * one.get("MemoryInfo", {}).get("SizeInMiB", 0) for one in _accelerators(info)
    ),
}
"""What the requirements set a minimum or maximum for."""

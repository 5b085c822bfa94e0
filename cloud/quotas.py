"""EC2's quotas, in vCPUs: looked at before anything is built, since new accounts often have none for what they want."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .aws import DENIED, Aws, aws_errors, error_code, instances
from .instance_types import InstanceType, family
from .parsing import price

if TYPE_CHECKING:
    from mypy_boto3_ec2.type_defs import InstanceTypeDef

STANDARD = "a c d h i m r t z"
CODES = {
    ("spot", STANDARD): ("L-34B43A08", "All Standard (A, C, D, H, I, M, R, T, Z) Spot Instance Requests"),
    ("on-demand", STANDARD): ("L-1216C47A", "Running On-Demand Standard (A, C, D, H, I, M, R, T, Z) instances"),
    ("spot", "g vt"): ("L-3819A6DF", "All G and VT Spot Instance Requests"),
    ("on-demand", "g vt"): ("L-DB2E81BA", "Running On-Demand G and VT instances"),
    ("spot", "p"): ("L-7212CCBC", "All P4, P3 and P2 Spot Instance Requests"),
    ("on-demand", "p"): ("L-417A185B", "Running On-Demand P instances"),
}
"""Code and name of each quota, by market and families:
https://docs.aws.amazon.com/ec2/latest/instancetypes/ec2-instance-quotas.html"""


@dataclass(frozen=True)
class Quota:
    """How many vCPUs of some families and one market an account may run at once in a region."""

    code: str
    name: str
    families: str
    """Letters of instance types, separated by spaces."""
    market: str
    vcpus: int
    used: int

    @property
    def left(self) -> int:
        return max(0, self.vcpus - self.used)


def increase(code: str, vcpus: int, region: str) -> str:
    """The command that asks for a quota of so many vCPUs."""
    return (
        f"aws service-quotas request-service-quota-increase --service-code ec2 --quota-code {code} "
        f"--desired-value {vcpus} --region {region}"
    )


def find(aws: Aws, names: Iterable[str], markets: Iterable[str]) -> list[Quota]:
    """The quotas that types of these names fall under in these markets, with what is in use.

    Those that the profile may not look at are left out: EC2 will say so itself.
    """
    wanted = sorted({found for name in names for market in markets if (found := key(family(name), market))})
    if not wanted:
        return []
    _ = aws.ec2, aws.service_quotas  # made before the threads that use them
    with ThreadPoolExecutor(4) as pool:
        counting = pool.submit(_running, aws)
        found_limits = dict(zip(wanted, pool.map(lambda one: _limit(aws, CODES[one][0]), wanted), strict=True))
        running = counting.result()
    limits = {one: limit for one, limit in found_limits.items() if limit is not None}
    if not limits:
        return []
    vcpus = _vcpus(aws, {one["InstanceType"] for one in running})
    return [
        Quota(*CODES[market, families], families, market, limit, _used(running, vcpus, market, families))
        for (market, families), limit in limits.items()
    ]


def of(quotas: Iterable[Quota], kind: InstanceType, market: str) -> Quota | None:
    """The quota that a type falls under; None where it is not known."""
    return next((one for one in quotas if one.market == market and kind.family in one.families.split()), None)


def key(family: str, market: str) -> tuple[str, str] | None:
    """The key in CODES of the quota that a family falls under in a market; None where there is none that we know."""
    return next((one for one in CODES if one[0] == market and family in one[1].split()), None)


def _limit(aws: Aws, code: str) -> int | None:
    """An account's quota, else AWS's default for it.

    https://docs.aws.amazon.com/servicequotas/2019-06-24/apireference/API_GetServiceQuota.html
    """
    with aws_errors("look at the quotas"):
        try:
            found = aws.service_quotas.get_service_quota(ServiceCode="ec2", QuotaCode=code)
        except aws.service_quotas.exceptions.ClientError as error:
            if error_code(error) not in {*DENIED, "NoSuchResourceException"}:
                raise
            return None
    limit = price(found.get("Quota", {}).get("Value"))
    return None if limit is None else int(limit)


def _running(aws: Aws) -> list[InstanceTypeDef]:
    with aws_errors("count what runs"):
        return instances(aws, [{"Name": "instance-state-name", "Values": ["pending", "running"]}])


def _vcpus(aws: Aws, types: set[str]) -> dict[str, int]:
    """The vCPUs of types. A filter takes 200 values: more kinds of machines hardly run in one region."""
    if not types:
        return {}
    pages = aws.ec2.get_paginator("describe_instance_types").paginate(
        Filters=[{"Name": "instance-type", "Values": sorted(types)[:200]}]
    )
    with aws_errors("count what runs"):
        kinds = [one for page in pages for one in page.get("InstanceTypes", [])]
    return {one["InstanceType"]: one.get("VCpuInfo", {}).get("DefaultVCpus", 0) for one in kinds}


def _used(running: list[InstanceTypeDef], vcpus: dict[str, int], market: str, families: str) -> int:
    """vCPUs in use of a market and families; quotas count every vCPU of what runs, whoever started it."""
    return sum(
        vcpus.get(instance["InstanceType"], 0)
        for instance in running
        if ("spot" if instance.get("InstanceLifecycle") == "spot" else "on-demand") == market
        and family(instance["InstanceType"]) in families.split()
    )

"""EC2's quotas: how many vCPUs may run at once, on spot and on demand, by kind of instance.

https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/ec2-instance-quotas.html
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from moto.core import DEFAULT_ACCOUNT_ID
from moto.ec2.exceptions import EC2ClientError

from . import catalog
from .json_services import ServiceError
from .market import Market
from .paging import BadToken, page

if TYPE_CHECKING:
    from .instances import LocalInstance
    from .lifecycle import LifecycleBackend


@dataclass(frozen=True)
class Quota:
    """One quota of the service `ec2`."""

    code: str
    name: str
    kind: str
    """What `kind` says of the instance types that it counts."""
    spot: bool

    def vcpus(self, market: Market, region: str) -> int:
        name = ("spot" if self.spot else "on-demand") + ("" if self.kind == "standard" else "-gpu")
        return market.quota(region, name)


QUOTAS = (
    Quota("L-34B43A08", "All Standard (A, C, D, H, I, M, R, T, Z) Spot Instance Requests", "standard", True),
    Quota("L-1216C47A", "Running On-Demand Standard (A, C, D, H, I, M, R, T, Z) instances", "standard", False),
    Quota("L-3819A6DF", "All G and VT Spot Instance Requests", "g", True),
    Quota("L-DB2E81BA", "Running On-Demand G and VT instances", "g", False),
    Quota("L-7212CCBC", "All P4, P3 and P2 Spot Instance Requests", "p", True),
    Quota("L-417A185B", "Running On-Demand P instances", "p", False),
)


def kind(instance_type: str) -> str:
    """Which quotas count a type: `standard`, `g` or `p`; the family's letters for one that has quotas of its own."""
    letters = (re.match(r"[a-z]+", instance_type) or [""])[0]
    if letters in ("g", "gr", "vt"):
        return "g"
    own = letters in ("dl", "f", "hpc", "inf", "mac", "p", "trn", "u", "x")
    return letters if own or letters[:1] not in "acdhimrtz" else "standard"


def check(backend: LifecycleBackend, instance_type: str, count: int, *, spot: bool) -> None:
    """Raise what EC2 answers when so many more instances of a type would be over the quota."""
    quota = next((one for one in QUOTAS if one.kind == kind(instance_type) and one.spot == spot), None)
    if quota is None:
        return
    running = sum(catalog.vcpus(one.instance_type) or 0 for one in _running(backend) if _counts(quota, one))
    limit = quota.vcpus(backend.cloud.market, backend.region_name)
    if running + count * (catalog.vcpus(instance_type) or 0) <= limit:
        return
    if spot:
        raise EC2ClientError("MaxSpotInstanceCountExceeded", "Max spot instance count exceeded")
    raise EC2ClientError(
        "VcpuLimitExceeded",
        f"You have requested more vCPU capacity than your current vCPU limit of {limit} allows for the instance bucket "
        "that the specified instance type belongs to. Please visit http://aws.amazon.com/contact-us/ec2-request to "
        "request an adjustment to this limit.",
    )


def _running(backend: LifecycleBackend) -> list[LocalInstance]:
    return [one for one in backend.all_instances() if one.state in ("pending", "running")]


def _counts(quota: Quota, instance: LocalInstance) -> bool:
    return quota.kind == kind(instance.instance_type) and quota.spot == (instance.lifecycle == "spot")


def get_service_quota(market: Market, region: str, asked: dict[str, Any]) -> dict[str, Any]:
    """https://docs.aws.amazon.com/servicequotas/2019-06-24/apireference/API_GetServiceQuota.html"""
    for quota in QUOTAS if asked.get("ServiceCode") == "ec2" else ():
        if quota.code == asked.get("QuotaCode"):
            return {"Quota": _described(market, region, quota)}
    raise ServiceError("NoSuchResourceException", "The request failed because the specified quota does not exist.")


def list_service_quotas(market: Market, region: str, asked: dict[str, Any]) -> dict[str, Any]:
    """https://docs.aws.amazon.com/servicequotas/2019-06-24/apireference/API_ListServiceQuotas.html"""
    if asked.get("ServiceCode") != "ec2":
        raise ServiceError("NoSuchResourceException", "The request failed because the service does not exist.")
    wanted = [one for one in QUOTAS if asked.get("QuotaCode", one.code) == one.code]
    try:
        shown, following = page(wanted, int(asked.get("MaxResults") or 100), asked.get("NextToken"))
    except BadToken:
        raise ServiceError("InvalidPaginationTokenException", "Invalid NextToken") from None
    answer = {"Quotas": [_described(market, region, one) for one in shown]}
    return {**answer, "NextToken": following} if following else answer


def _described(market: Market, region: str, quota: Quota) -> dict[str, Any]:
    return {
        "ServiceCode": "ec2",
        "ServiceName": "Amazon Elastic Compute Cloud (Amazon EC2)",
        "QuotaArn": f"arn:aws:servicequotas:{region}:{DEFAULT_ACCOUNT_ID}:ec2/{quota.code}",
        "QuotaCode": quota.code,
        "QuotaName": quota.name,
        "Value": float(quota.vcpus(market, region)),
        "Unit": "None",
        "Adjustable": True,
        "GlobalQuota": False,
        "QuotaAppliedAtLevel": "ACCOUNT",
    }

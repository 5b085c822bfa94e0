"""The Price List API: GetProducts of AmazonEC2, for instances and volumes, and of AmazonS3, for storage.

https://docs.aws.amazon.com/aws-cost-management/latest/APIReference/API_pricing_GetProducts.html
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from typing import Any

from . import catalog, price_table, prices
from .json_services import ServiceError
from .market import Market
from .paging import BadToken, page

ON_DEMAND, PER_UNIT = "JRTCKXETXF", "6YS6EN2CT7"
"""The codes that AWS gives to the on-demand term and to its one rate."""
TIERS = ("PGHJ3S3EYE", "D42MF2PVJS", "PXJDJ3YRG3")
"""The codes of its rates where the price falls with the amount."""
NAMES = {"AmazonEC2": "Amazon Elastic Compute Cloud", "AmazonS3": "Amazon Simple Storage Service"}
"""Services, by code."""
COMPUTE, BARE_METAL = "Compute Instance", "Compute Instance (bare metal)"
"""The product families of machines."""
FAMILIES = {"c": "Compute optimized", "m": "General purpose", "r": "Memory optimized", "t": "General purpose"}
FAMILIES |= {"g": "GPU instance", "p": "GPU instance"}
PUBLISHED = "2026-01-01T00:00:00Z"
MOST = 100

Attributes = dict[str, str]


def get_products(market: Market, _region: str, asked: dict[str, Any]) -> dict[str, Any]:
    """One page of the products that all filters let through, each as a JSON text. Raises ServiceError."""
    size = int(asked.get("MaxResults") or MOST)
    if not 1 <= size <= MOST:
        raise ServiceError("InvalidParameterException", f"MaxResults is 1 to {MOST}")
    filters = [(one["Field"], one.get("Type", "TERM_MATCH"), one["Value"]) for one in asked.get("Filters", [])]
    sold = _products(market, asked.get("ServiceCode", ""), filters)
    found = [product for product in sold if all(_lets_through(product, *one) for one in filters)]
    try:
        shown, following = page(found, size, asked.get("NextToken"))
    except BadToken:
        raise ServiceError("InvalidNextTokenException", "The pagination token is invalid.") from None
    answer = {"FormatVersion": "aws_v1", "PriceList": [json.dumps(product) for product in shown]}
    return {**answer, "NextToken": following} if following else answer


def _lets_through(product: dict[str, Any], field: str, kind: str, value: str) -> bool:
    """https://docs.aws.amazon.com/aws-cost-management/latest/APIReference/API_pricing_Filter.html"""
    about = product["product"]
    found = {**about["attributes"], "productFamily": about["productFamily"], "sku": about["sku"]}.get(field)
    match kind:
        case "CONTAINS":
            return found is not None and value in found
        case "ANY_OF":
            return found in value.split(",")
        case "NONE_OF":
            return found is not None and found not in value.split(",")
        case _:
            return found == value


def _products(market: Market, service: str, filters: list[tuple[str, str, str]]) -> Iterator[dict[str, Any]]:
    """Everything of a service in the price list, less what filters for one region, family or type leave out."""
    exact = {field: value for field, kind, value in filters if kind in ("TERM_MATCH", "EQUALS")}
    for region, known in price_table.REGIONS.items():
        if region != exact.get("regionCode", region) or known.location != exact.get("location", known.location):
            continue
        if service == "AmazonS3":
            yield from _storage(region)
        elif service == "AmazonEC2":
            machines = exact.get("productFamily", COMPUTE) in (COMPUTE, BARE_METAL)
            for instance_type in catalog.instance_types() if machines else ():
                if instance_type == exact.get("instanceType", instance_type):
                    yield from _instances(market, region, instance_type)
            if "instanceType" not in exact:
                yield from _volumes(region)


def _instances(market: Market, region: str, instance_type: str) -> Iterator[dict[str, Any]]:
    """What there is of one type in one region: for Linux and Windows, shared and dedicated, used and reserved."""
    price = prices.on_demand(market, region, instance_type)
    if price is None or not catalog.zones_offering(instance_type, region):
        return
    known = catalog.instance_types()[instance_type]
    vcpus = int(known["VCpuInfo"]["DefaultVCpus"])
    gpus = sum(gpu["Count"] for gpu in known.get("GpuInfo", {}).get("Gpus", []))
    common = _where("AmazonEC2", region) | {
        "instanceType": instance_type,
        "vcpu": str(vcpus),
        "memory": f"{known['MemoryInfo']['SizeInMiB'] / 1024:g} GiB",
        "currentGeneration": "Yes" if known["CurrentGeneration"] else "No",
        "instanceFamily": FAMILIES.get(instance_type[0], ""),
        "physicalProcessor": str(known["ProcessorInfo"].get("Manufacturer", "")),
        "networkPerformance": str(known["NetworkInfo"]["NetworkPerformance"]),
        "storage": "NVMe SSD" if known.get("InstanceStorageSupported") else "EBS only",
        "licenseModel": "No License required",
        "preInstalledSw": "NA",
        "marketoption": "OnDemand",
        **({"gpu": str(gpus)} if gpus else {}),
    }
    family = BARE_METAL if known["BareMetal"] else COMPUTE
    usage = price_table.REGIONS[region].usage
    for system, operation, surcharge in (
        ("Linux", "RunInstances", 0.0),
        ("Windows", "RunInstances:0002", price_table.WINDOWS_PER_VCPU * vcpus),
    ):
        for tenancy, status, kind, dollars in (
            ("Shared", "Used", "BoxUsage", price + surcharge),
            ("Shared", "UnusedCapacityReservation", "UnusedBox", price + surcharge),
            ("Shared", "AllocatedCapacityReservation", "Reservation", 0.0),
            ("Dedicated", "Used", "DedicatedUsage", 1.1 * price + surcharge),
        ):
            attributes = common | {
                "operatingSystem": system,
                "operation": operation,
                "tenancy": tenancy,
                "capacitystatus": status,
                "usagetype": f"{usage}{kind}:{instance_type}",
            }
            what = f"per {tenancy} {system} {instance_type} Instance Hour"
            yield _product(family, attributes, "Hrs", {0: dollars}, what)


def _volumes(region: str) -> Iterator[dict[str, Any]]:
    known = price_table.REGIONS[region]
    for one in price_table.VOLUMES:
        where = _where("AmazonEC2", region)
        attributes = where | {"volumeApiName": one.volume, "usagetype": f"{known.usage}{one.usage}"}
        yield _product(
            one.family, attributes, one.unit, {0: one.dollars * known.factor}, f"per {one.unit} of {one.volume}"
        )


def _storage(region: str) -> Iterator[dict[str, Any]]:
    known = price_table.REGIONS[region]
    for one in price_table.STORAGE:
        attributes = _where("AmazonS3", region) | {
            "storageClass": one.storage_class,
            "volumeType": one.volume,
            "availability": one.availability,
            "durability": "99.999999999%",
            "usagetype": f"{known.usage}{one.usage}",
        }
        tiers = {start: dollars * known.factor for start, dollars in one.tiers.items()}
        yield _product("Storage", attributes, "GB-Mo", tiers, f"per GB-Mo of storage used in {one.volume}")


def _where(service: str, region: str) -> Attributes:
    return {
        "servicecode": service,
        "servicename": NAMES[service],
        "regionCode": region,
        "location": price_table.REGIONS[region].location,
        "locationType": "AWS Region",
    }


def _product(family: str, attributes: Attributes, unit: str, tiers: dict[int, float], what: str) -> dict[str, Any]:
    """https://docs.aws.amazon.com/awsaccountbilling/latest/aboutv2/reading-service-price-list-file-for-services.html

    tiers: dollars for a unit, by the units from which on.
    """
    sku = hashlib.sha256(json.dumps([family, attributes]).encode()).hexdigest()[:16].upper()
    codes = TIERS if len(tiers) > 1 else (PER_UNIT,)
    rates = [
        {
            "rateCode": f"{sku}.{ON_DEMAND}.{code}",
            "description": f"${dollars:g} {what}",
            "beginRange": str(start),
            "endRange": str(end),
            "unit": unit,
            "pricePerUnit": {"USD": f"{dollars:.10f}"},
            "appliesTo": [],
        }
        for code, (start, dollars), end in zip(codes, tiers.items(), [*list(tiers)[1:], "Inf"], strict=True)
    ]
    term = {
        "sku": sku,
        "offerTermCode": ON_DEMAND,
        "effectiveDate": PUBLISHED,
        "termAttributes": {},
        "priceDimensions": {rate["rateCode"]: rate for rate in rates},
    }
    return {
        "product": {"productFamily": family, "attributes": attributes, "sku": sku},
        "serviceCode": attributes["servicecode"],
        "terms": {"OnDemand": {f"{sku}.{ON_DEMAND}": term}},
        "version": "20260101000000",
        "publicationDate": PUBLISHED,
    }

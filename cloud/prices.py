"""What machines, disks and S3 cost, in dollars: asked of AWS, never guessed. What AWS does not tell, or not to this
profile, is unknown: None."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Self

from .aws import DENIED, Aws, aws_errors, error_code
from .config import Settings
from .parsing import decode, mapping, price

MONTH_HOURS = 730
"""AWS's month: https://aws.amazon.com/ebs/pricing/ counts its prices per GB and month so."""
GB = 1 << 30
"""AWS's gigabyte, in bytes, of which S3's price is: https://aws.amazon.com/s3/faqs/ (Billing)"""
GP3_IOPS, GP3_THROUGHPUT = 3000, 125
"""What a gp3 volume has at no extra price: https://aws.amazon.com/ebs/general-purpose/"""


def spot(aws: Aws, types: Iterable[str]) -> dict[tuple[str, str], float]:
    """The spot prices now, dollars an hour, by type and zone; zones without a price do not sell the type on spot.

    A StartTime of now gives the prices in force:
    https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DescribeSpotPriceHistory.html
    """
    pages = aws.ec2.get_paginator("describe_spot_price_history").paginate(
        InstanceTypes=list(types),  # type: ignore[arg-type]
        ProductDescriptions=["Linux/UNIX"],
        StartTime=datetime.now(UTC),
    )
    with aws_errors("ask for the spot prices"):
        try:
            history = [one for page in pages for one in page.get("SpotPriceHistory", [])]
        except aws.ec2.exceptions.ClientError as error:
            if error_code(error) not in DENIED:
                raise
            return {}  # who may not ask for prices may launch all the same
    known = [one for one in history if one.keys() >= SPOT_PRICE]
    told = {
        (str(one["InstanceType"]), one["AvailabilityZone"]): price(one["SpotPrice"])
        for one in sorted(known, key=lambda one: one["Timestamp"])
    }
    return {where: dollars for where, dollars in told.items() if dollars is not None}


SPOT_PRICE = {"InstanceType", "AvailabilityZone", "SpotPrice", "Timestamp"}


def on_demand(aws: Aws, types: Iterable[str]) -> dict[str, float | None]:
    """The on-demand prices of types, dollars an hour for Linux in this region; None for one that AWS does not tell.

    The filters are those that leave one product:
    https://docs.aws.amazon.com/awsaccountbilling/latest/aboutv2/using-price-list-query-api.html
    """
    linux = {"operatingSystem": "Linux", "preInstalledSw": "NA", "tenancy": "Shared", "capacitystatus": "Used"}
    names = list(types)
    with aws_errors("ask for the on-demand prices"), ThreadPoolExecutor(16) as pool:
        client = aws.pricing  # made before the threads are: they share it
        asked = pool.map(lambda name: _dollars(_products(client, aws, "AmazonEC2", instanceType=name, **linux)), names)
        return dict(zip(names, asked, strict=True))


@dataclass(frozen=True)
class Disk:
    """A root volume, as the settings want it."""

    gb: int
    type: str
    iops: int | None = None
    throughput: int | None = None
    """MiB/s."""

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """The disk of an instance."""
        return cls(settings.disk_gb, settings.disk_type, settings.disk_iops, settings.disk_throughput)


def disk(aws: Aws, wanted: Disk) -> float | None:
    """What a volume costs, dollars an hour; None when AWS does not tell."""
    extra_iops = max(0, (wanted.iops or 0) - GP3_IOPS) if wanted.type == "gp3" else wanted.iops or 0
    extra_throughput = max(0, (wanted.throughput or 0) - GP3_THROUGHPUT)
    parts = [("Storage", float(wanted.gb))]
    parts += [("System Operation", float(extra_iops))] if extra_iops else []
    parts += [("Provisioned Throughput", extra_throughput / 1024)] if extra_throughput else []
    monthly = 0.0
    with aws_errors("ask for the price of the disk"):
        for family, amount in parts:
            found = _products(aws.pricing, aws, "AmazonEC2", productFamily=family, volumeApiName=wanted.type)
            dollars = _dollars(found)
            if dollars is None:
                return None
            monthly += dollars * amount
    return monthly / MONTH_HOURS


def storage(aws: Aws) -> float | None:
    """What a GB costs in S3, dollars a month in the storage class Standard; None when AWS does not tell.

    The usage type, TimedStorage-ByteHrs, begins with a code for the region, and S3 Tables, Files and Vectors have ones
    that end in it: class and kind of volume leave one product. It has three tiers; this is the price of the first,
    50 TB, which is the highest: https://aws.amazon.com/s3/pricing/
    """
    standard = {"productFamily": "Storage", "storageClass": "General Purpose", "volumeType": "Standard"}
    with aws_errors("ask for the price of S3"):
        return _dollars(_products(aws.pricing, aws, "AmazonS3", **standard))


def _products(client: Any, aws: Aws, service: str, **attributes: str) -> list[str]:
    """The products of a service, such as AmazonEC2, in this region that have these attributes; each is JSON."""
    filters = [
        {"Type": "TERM_MATCH", "Field": field, "Value": value}
        for field, value in {"regionCode": aws.settings.region, **attributes}.items()
    ]
    pages = client.get_paginator("get_products").paginate(ServiceCode=service, Filters=filters)
    try:
        return [product for page in pages for product in page.get("PriceList", [])]
    except client.exceptions.ClientError as error:
        if error_code(error) not in DENIED:
            raise
        return []  # who may not ask for prices may do the rest all the same


def _dollars(products: list[str]) -> float | None:
    """The one price of products; the highest if there are several, None if there is none above zero, or that of one
    makes no sense."""
    try:
        prices = [dollars for product in products for dollars in _prices(decode(product))]
    except ValueError:
        return None
    return max((one for one in prices if one > 0), default=None)


def _prices(product: Any) -> Iterator[float]:
    """The prices of a product on demand, in dollars; raises ValueError for one that is no price."""
    terms = mapping(mapping(product, "a product").get("terms", {}), "terms")
    for term in mapping(terms.get("OnDemand", {}), "OnDemand").values():
        for dimension in mapping(mapping(term, "a term").get("priceDimensions"), "priceDimensions").values():
            units = mapping(mapping(dimension, "a dimension").get("pricePerUnit"), "pricePerUnit")
            if "USD" in units:
                dollars = price(units["USD"])
                if dollars is None:
                    raise ValueError("no price")
                yield dollars

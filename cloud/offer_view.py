"""Offers and launches as a user sees them: prices, the table of `offers`, what a dry run says."""

from __future__ import annotations

from collections.abc import Sequence

from .display import dollars
from .listing import Listed
from .offers import Offer
from .plan import Plan

HEADINGS = ("TYPE", "VCPU", "GIB", "GPU", "ARCH", "ZONE", "SPOT $/H", "ON-DEMAND $/H", "SAVING", "SCORE")
SPARE = ("SCORE", "ARCH", "GPU", "SAVING")
"""What a narrow terminal does without."""


def price_line(plan: Plan) -> str:
    """What a launch costs at the first of its offers, and at most."""
    offer = plan.market.offers[0]
    if offer.price is None:
        return f"{offer}: price unknown"
    text = f"{offer}: {hourly(offer)} an hour"
    most = plan.most(offer)
    return text + (f", at most {dollars(most)} for {plan.max_hours:g} h with its disk" if most is not None else "")


def hourly(offer: Offer) -> str:
    """The price of an hour as EC2 tells it."""
    return "unknown" if offer.price is None else f"${offer.price:.4f}"


def row(one: Listed) -> tuple[str, ...]:
    """One line of `offers` under HEADINGS."""
    kind = one.type
    return (
        kind.name,
        str(kind.vcpus),
        f"{kind.memory_gib:g}",
        f"{kind.gpus} {kind.gpu}" if kind.gpus else "",
        kind.architecture,
        one.zone,
        _price(one.spot),
        _price(one.on_demand),
        f"{1 - one.spot / one.on_demand:.0%}" if one.spot is not None and one.on_demand else "",
        "" if one.score is None else f"{one.score}/10",
    )


def _price(dollars_an_hour: float | None) -> str:
    return "unknown" if dollars_an_hour is None else f"{dollars_an_hour:.4f}"


def preview(plan: Plan, *, built: bool, bucket: str) -> Sequence[str]:
    """What a launch would do, line by line. built: whether the image would be built and pushed, as ECR has none."""
    return (
        f"would build and push {plan.image}" if built else f"image {plan.image} is in ECR: nothing to build",
        f"would put the config into s3://{bucket}/{plan.config_key}",
        *(f"would ask EC2 for {offer}: {hourly(offer)} an hour" for offer in plan.market.offers),
        *(f"not for {one.what}: {one.why}" for one in plan.market.refusals),
        price_line(plan),
    )

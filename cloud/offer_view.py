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
    text = f"{offer}: {hourly(offer)}"
    if offer.price is None:
        return text
    most = plan.most(offer)
    if most is None:
        return f"{text}, the price of its disk is unknown"
    text += f", at most {dollars(most)} for {plan.max_hours:g} h with its disk"
    dearest = plan.dearest
    return text + (f"; {dollars(dearest)} with the dearest" if dearest is not None and dearest > most else "")


def hourly(offer: Offer) -> str:
    """The price of an hour as EC2 tells it."""
    return "price unknown" if offer.price is None else f"${offer.price:.4f} an hour"


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


def preview(plan: Plan, *, bucket: str) -> Sequence[str]:
    """What a launch would do, line by line."""
    return (
        f"image {plan.image} is in ECR: nothing to build" if plan.pushed else f"would build and push {plan.image}",
        f"would put the config into s3://{bucket}/{plan.config_key}",
        *(f"would ask EC2 for {offer}: {hourly(offer)}" for offer in plan.market.offers),
        *(f"not for {one.what}: {one.why}" for one in plan.market.refusals),
        price_line(plan),
    )

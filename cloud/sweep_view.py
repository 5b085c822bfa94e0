"""Sweeps as a user sees them: what a dry run says, the table of the children, one child in full, JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from datetime import timedelta
from typing import Any

from . import children
from .child import Child
from .display import dollars, duration
from .sweep_plan import Plan
from .sweep_record import Sweep

HEADINGS = ("CHILD", "TRAINING", "STATE", "ATTEMPTS", "RAN", "COST", "LATEST")
SPARE = ("ATTEMPTS", "LATEST", "RAN", "COST")
"""What a narrow terminal does without."""

PLANNED = ("CHILD", "TRAINING")


def planned(plan: Plan) -> list[tuple[str, str]]:
    """The children of a plan, under PLANNED."""
    return [(str(child.index), child.name) for child in plan.children]


def price_line(plan: Plan) -> str:
    """What a sweep costs: an hour of a child, from the cheapest to the dearest machine, and all of it at most."""
    number, hours = len(plan.children), plan.asked["max_hours"]
    text = f"{number} {'child' if number == 1 else 'children'} of {plan.vcpus} vCPUs and {plan.memory_gib:g} GiB"
    for market in ("spot", "on-demand"):
        prices = [one.dollars for one in plan.shares if one.market == market]
        if prices:
            text += f"; {market} {_range(min(prices), max(prices))} an hour each"
    if plan.most is None:
        return f"{text}; AWS tells no price"
    cap = plan.asked["max_cost"]
    limit = f"{hours:g} h" + ("" if cap is None else f" or {dollars(cap)}")
    return f"{text}; at most {dollars(plan.most)} if all run for {limit}"


def _range(low: float, high: float) -> str:
    return f"${low:.4f}" if f"{low:.4f}" == f"{high:.4f}" else f"${low:.4f} to ${high:.4f}"


def preview(plan: Plan, bucket: str) -> Sequence[str]:
    """What a sweep would do, line by line."""
    return (
        f"image {plan.image} is in ECR: nothing to build" if plan.pushed else f"would build and push {plan.image}",
        f"would put {len(plan.children)} configurations into s3://{bucket}/sweeps/",
        f"would submit them to the queue {plan.queue}",
        f"machines: at most {plan.pool.max_vcpus} vCPUs of {', '.join(plan.pool.types)}",
        price_line(plan),
    )


LISTED = ("SWEEP", "SUBMITTED", "CHILDREN", "LAST RUN")


def listed(sweep: Sweep, summary: str) -> tuple[str, ...]:
    """A sweep as one row under LISTED. summary: of its last run; "" if Batch has forgotten it, which takes a week."""
    return (sweep.id, f"{sweep.submitted_at:%Y-%m-%d %H:%M}", str(len(sweep.children)), summary or "over")


def row(child: Child) -> tuple[str, ...]:
    """A child as one row under HEADINGS."""
    return (
        str(child.index),
        training(child),
        child.state,
        str(child.attempts),
        duration(timedelta(seconds=child.seconds)) if child.seconds else "",
        _cost(child),
        ": ".join(filter(None, (child.reason, child.latest))),
    )


def training(child: Child) -> str:
    """What a child is given, in a few words."""
    return " ".join([child.asked.config, *(f"{key}={value}" for key, value in child.asked.parameters.items())])


def _cost(child: Child) -> str:
    if not child.attempts:
        return ""
    return dollars(child.dollars) if child.exact else f"~{dollars(child.dollars)}"


def total(sweep: Sweep, found: Sequence[Child]) -> str:
    """How the children are, and what they have cost so far."""
    known = [child.dollars for child in found if child.dollars is not None]
    about = "" if all(child.exact for child in found) else "about "
    return f"{sweep.id}: {children.counted(found)}; {about}{dollars(sum(known))}"


def facts(sweep: Sweep, child: Child, bucket: str) -> dict[str, str]:
    """A child in full, by heading; what is not known is left out."""
    told = {
        "child": child.id,
        "training": child.asked.name,
        "status": child.state,
        "reason": child.reason,
        "trainer": child.latest,
        "exit code": "" if child.exit_code is None else str(child.exit_code),
        "attempts": str(child.attempts),
        "ran": duration(timedelta(seconds=child.seconds)) if child.seconds else "",
        "cost": _cost(child),
        "config": child.asked.config,
        "image": sweep.asked["image"],
        "s3": f"s3://{bucket}/{child.prefix}",
    }
    return {key: value for key, value in told.items() if value}


def sweep_json(sweep: Sweep, found: Sequence[Child]) -> dict[str, Any]:
    """A sweep as JSON has it, with its children."""
    known = [child.dollars for child in found if child.dollars is not None]
    return {
        "id": sweep.id,
        "submitted_at": sweep.submitted_at,
        "asked": sweep.asked,
        "runs": [asdict(run) for run in sweep.runs],
        "dollars": sum(known),
        "children": [child_json(child) for child in found],
    }


def child_json(child: Child) -> dict[str, Any]:
    """A child as JSON has it."""
    told = dict(vars(child))
    asked = told.pop("asked")
    return {"id": child.id, "name": asked.name, "config": asked.config, "parameters": asked.parameters, **told}

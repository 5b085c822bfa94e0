"""What the tags of an instance, a volume or a spot request say."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from .config import Settings
from .parsing import moment, price
from .policies import OURS
from .records import STATUSES


def tags_of(resource: Any) -> dict[str, str]:
    """The tags of a resource as EC2 describes it."""
    return {tag["Key"]: tag["Value"] for tag in resource.get("Tags", [])}


def specification(resource: str, tags: dict[str, str]) -> dict[str, Any]:
    """The tags that a call of EC2 gives to what it makes, as one of its TagSpecifications.

    resource: the kind of what is made: `instance`, `volume`, `spot-instances-request`, `image` or `snapshot`.
    """
    return {"ResourceType": resource, "Tags": [{"Key": key, "Value": value} for key, value in tags.items()]}


def is_ours(resource: Any, settings: Settings) -> bool:
    """Whether a resource of EC2 has our tag."""
    return tags_of(resource).get(OURS) == settings.name


MOMENTS = ("solver:launched-at", "solver:kept-until")


def moment_of(tags: dict[str, str], tag: str) -> datetime | None:
    """The moment that a tag tells; None when it tells none."""
    try:
        return moment(tags[tag], tag) if tag in tags else None
    except ValueError:
        return None


def status_of(tags: dict[str, str]) -> str:
    """The status that an instance's tags tell; "" for none that we know."""
    status = tags.get("solver:status", "")
    return status if status in STATUSES else ""


def hours_of(tags: dict[str, str]) -> float | None:
    """For how many hours a job was launched, as its tags tell; None when they do not."""
    hours = price(tags.get("solver:max-hours"))
    return hours if hours and hours < MOST_HOURS else None


MOST_HOURS = 100_000
"""More than eleven years."""


def garbage(tags: dict[str, str]) -> str:
    """What in an instance's tags makes no sense; "" for nothing."""
    wrong = [tag for tag in MOMENTS if tag in tags and moment_of(tags, tag) is None]
    wrong += ["solver:status"] if tags.get("solver:status") and not status_of(tags) else []
    wrong += ["solver:max-hours"] if "solver:max-hours" in tags and hours_of(tags) is None else []
    return "; ".join(f"the tag {tag} is {tags[tag]!r}" for tag in wrong)

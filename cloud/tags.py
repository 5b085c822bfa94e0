"""What the tags of an instance, a volume or a spot request say."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from .config import Settings
from .policies import OURS


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


def kept_until(tags: dict[str, str]) -> datetime | None:
    """Until when an instance stays for a look, as its tags say; None if it does not."""
    text = tags.get("solver:kept-until")
    return datetime.fromisoformat(text) if text else None

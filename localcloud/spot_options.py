"""The spot options of a RunInstances request, and which of them EC2 takes together."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from moto.ec2.exceptions import EC2ClientError


@dataclass(frozen=True)
class SpotOptions:
    """InstanceMarketOptions.SpotOptions with the defaults filled in."""

    type: str
    """`one-time` or `persistent`."""
    interruption: str
    """`terminate`, `stop` or `hibernate`."""
    valid_until: datetime | None
    max_price: str | None


def read_options(parameters: dict[str, Any]) -> SpotOptions | None:
    """The spot options of a RunInstances request; None when it asks for an on-demand instance.

    Raises what EC2 answers to options that do not go together:
    https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_SpotMarketOptions.html
    """
    market = parameters.get("InstanceMarketOptions") or {}
    if market.get("MarketType") != "spot":
        return None
    given = market.get("SpotOptions") or {}
    until = given.get("ValidUntil")
    options = SpotOptions(
        type=given.get("SpotInstanceType") or "one-time",
        interruption=given.get("InstanceInterruptionBehavior") or "terminate",
        valid_until=until.replace(tzinfo=UTC) if until else None,
        max_price=given.get("MaxPrice"),
    )
    if (options.type == "persistent") == (options.interruption == "terminate"):
        raise EC2ClientError(
            "InvalidParameterCombination",
            f"The request with type '{options.type}' is not supported when instanceInterruptionBehavior is set to "
            f"'{options.interruption}'.",
        )
    # Not in the documentation, but what EC2 answers: a machine that EC2 is to stop may not end itself for good.
    shutdown = parameters.get("InstanceInitiatedShutdownBehavior")
    if options.interruption != "terminate" and shutdown == "terminate":
        raise EC2ClientError(
            "InvalidParameterCombination",
            f"The request with instanceInitiatedShutdownBehavior '{shutdown}' is not supported when "
            f"instanceInterruptionBehavior is set to '{options.interruption}'.",
        )
    if options.valid_until and options.type == "one-time":
        raise EC2ClientError("InvalidParameterCombination", "validUntil is not supported for one-time requests.")
    if options.valid_until and options.valid_until <= datetime.now(UTC):
        raise EC2ClientError("InvalidTime", "validUntil must be in the future.")
    if options.max_price is not None:
        _check_price(options.max_price)
    return options


def _check_price(price: str) -> None:
    try:
        enough = float(price) >= 0.001
    except ValueError:
        enough = False
    if not enough:
        raise EC2ClientError("InvalidParameterValue", f"Invalid value '{price}' for MaxPrice.")

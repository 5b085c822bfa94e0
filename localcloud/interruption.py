"""What EC2 does when it wants a spot instance back: recommend, give notice, and stop or terminate it.

https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/spot-interruptions.html
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Literal

from .errors import LocalCloudError
from .instances import SPOT_STOP, SPOT_TERMINATION, LocalInstance, background, later

if TYPE_CHECKING:
    from .spot import SpotBackend
    from .spot_request import SpotRequest

MARKS = {
    "stop": ("marked-for-stop", "The Spot Instance is marked for stopping."),
    "terminate": ("marked-for-termination", "The Spot Instance is marked for termination."),
}
"""Status code and message of the request while the notice runs."""


@dataclass(frozen=True)
class Interruption:
    """What EC2 is going to do, and when."""

    action: Literal["stop", "terminate"]
    at: datetime


def named(instances: Sequence[LocalInstance], reference: str) -> LocalInstance:
    """The instance that a user means by an id, a unique beginning of one, or `latest`.

    instances: those to choose from. Raises LocalCloudError when there is none, or more than one.
    """
    if not instances:
        raise LocalCloudError(
            "there is no instance in the local cloud", fix="`inv launch --profile local …` starts one"
        )
    if reference == "latest":
        return max(instances, key=lambda instance: instance.launch.at)
    matching = [instance for instance in instances if reference and instance.id.startswith(reference)]
    if len(matching) == 1:
        return matching[0]
    if not matching:
        raise LocalCloudError(f"there is no instance {reference!r}", fix="`inv local.status` lists them")
    ids = ", ".join(instance.id for instance in matching)
    raise LocalCloudError(f"{reference!r} is the beginning of more than one instance", fix=f"give more of it: {ids}")


def seconds(text: str) -> float:
    """The length of a notice as a user wrote it; raises LocalCloudError for what is none."""
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 <= number < math.inf:
        raise LocalCloudError(
            f"a notice lasts some seconds, not {text!r}", fix="120 as on AWS, or 0 for no notice at all"
        )
    return number


def interrupt(backend: SpotBackend, instance: LocalInstance, notice: float) -> list[str]:
    """Interrupt a running spot instance as its request says, and return at once with what will happen, line by line.

    notice: seconds until then, during which the metadata service tells the instance; 0 is no notice at all.
    Raises LocalCloudError for an instance that cannot be interrupted now.
    """
    with backend.lock:
        request = _check(backend, instance)
        action = _action(request)
        interruption = Interruption(action, datetime.now(UTC) + timedelta(seconds=notice))
        instance.interruption = interruption
        if notice:
            instance.announced = True
            request.enter(request.state, *MARKS[action])
    if notice:
        backend.cloud.machines.notice(instance.id, action, interruption.at)
        later(notice, _reclaim, backend, instance, interruption)
    else:
        _reclaim(backend, instance, interruption)
    done = {"stop": "stopped", "terminate": "terminated"}[action]
    when = f"at {interruption.at:%H:%M:%S} UTC, in {notice:g} s, and told so" if notice else "now, without notice"
    return [f"{instance.id} is {done} {when}", *_afterwards(backend, request)]


def recommend_rebalance(backend: SpotBackend, instance: LocalInstance) -> list[str]:
    """Tell a running spot instance that an interruption is more likely than usual, and do nothing else.

    https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/rebalance-recommendations.html
    Returns and raises as `interrupt` does.
    """
    with backend.lock:
        _check(backend, instance)
        instance.announced = True
    backend.cloud.machines.rebalance(instance.id, datetime.now(UTC))
    return [f"{instance.id} is told now that it may be interrupted; nothing else happens"]


def _check(backend: SpotBackend, instance: LocalInstance) -> SpotRequest:
    """The request of an instance that can be interrupted now; raises LocalCloudError for any other."""
    request = backend.spot_request(instance)
    if request is None:
        raise LocalCloudError(f"{instance.id} is not a spot instance", fix="EC2 interrupts no other")
    if instance.state != "running":
        raise LocalCloudError(f"{instance.id} is not running: it is {instance.state}")
    if instance.interruption:
        raise LocalCloudError(f"{instance.id} is being interrupted already, at {instance.interruption.at:%H:%M:%S} UTC")
    return request


def _action(request: SpotRequest) -> Literal["stop", "terminate"]:
    match request.instance_interruption_behavior:
        case "stop":
            return "stop"
        case "terminate":
            return "terminate"
        case other:
            raise LocalCloudError(f"the local cloud cannot {other} an instance", fix="use `stop` or `terminate`")


def _reclaim(backend: SpotBackend, instance: LocalInstance, interruption: Interruption) -> None:
    """Pull the plug, unless it went by itself. EC2 asks the system to shut down, but promises nothing."""
    with backend.lock:
        if instance.state != "running" or instance.interruption is not interruption:
            return
        if interruption.action == "terminate":
            backend.end(instance, *SPOT_TERMINATION)
        else:
            instance.explain(*SPOT_STOP)
            instance.enter("stopping")
            background(backend._stop, instance, True)


def _afterwards(backend: SpotBackend, request: SpotRequest) -> list[str]:
    """What comes after an interruption, as things are now."""
    if request.instance_interruption_behavior == "terminate":
        return []
    if request.state == "cancelled":
        return ["its request is cancelled, so EC2 then terminates it"]
    market, zone = backend.cloud.market, request.launched_availability_zone or ""
    if request.instance_type in market.exhausted:
        return [f"it stays stopped until `inv local.capacity {request.instance_type} back`"]
    if not market.has_capacity(backend.region_name, zone, request.instance_type, spot=True):
        return [f"it stays stopped until {zone} has spot capacity again (`inv local.market`)"]
    return [f"EC2 starts it again {backend.cloud.relaunch_seconds:g} s after that"]

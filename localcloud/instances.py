"""What an instance is here: moto's, with the launch that made it and EC2's reasons for its states."""

# mypy: allow-subclassing-any
from __future__ import annotations

import base64
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, ClassVar

from moto.ec2.exceptions import EC2ClientError
from moto.ec2.models.instances import Instance, InstanceState, StateReason
from moto.ec2.utils import filter_iam_instance_profiles

from . import gpu
from .machines import Machines, MachineSpec
from .market import Market

if TYPE_CHECKING:
    from .interruption import Interruption
    from .lifecycle import LifecycleBackend

CODES = {"pending": 0, "running": 16, "shutting-down": 32, "terminated": 48, "stopping": 64, "stopped": 80}
USER = ("Client.UserInitiatedShutdown", "Client.UserInitiatedShutdown: User initiated shutdown")
SPOT_STOP = ("Server.SpotInstanceShutdown", "Server.SpotInstanceShutdown: Spot instance shutdown")
SPOT_TERMINATION = ("Server.SpotInstanceTermination", "Server.SpotInstanceTermination: Spot instance termination")


@dataclass(frozen=True)
class Cloud:
    """What all regions share."""

    machines: Machines
    forget_seconds: float
    """How long a terminated instance and its tags can still be described."""
    relaunch_seconds: float
    """How long EC2 takes to launch the next instance of a persistent spot request, or to start an interrupted one."""
    market: Market = field(default_factory=Market)
    """What EC2 sells now."""


@dataclass(frozen=True)
class Launch:
    """The arguments of one `run_instances`, so that it can be done again."""

    image_id: str
    user_data: Any
    security_group_names: list[str]
    rest: dict[str, Any]
    at: datetime = field(default_factory=lambda: datetime.now(UTC))


class LocalInstance(Instance):
    """moto's instance, with what EC2 shows besides."""

    spot_instance_request_id: str | None = None
    launch: Launch
    watchers: ClassVar[list[Callable[[], None]]] = []
    """Called, with the lock of EC2 held, when the state of any instance changes."""
    ended_at: datetime | None = None
    interruption: Interruption | None = None
    """What EC2 has in store for it, or has done to it, since it last started."""
    announced: bool = False
    """Whether its metadata service shows an interruption or a rebalance recommendation."""

    @property
    def public_dns_name(self) -> str | None:
        """The address itself: an AWS host name would lead off this machine."""
        address: str | None = self.public_ip
        return address

    def enter(self, state: str) -> None:
        self._state = InstanceState(state, CODES[state])
        for watcher in self.watchers:
            watcher()

    def explain(self, code: str, message: str) -> None:
        """Say why it left its state: https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_StateReason.html"""
        self.state_reason = StateReason(message, code)
        who = "User" if code == USER[0] else "Service" if code.startswith("Server.Spot") else None
        self._reason = f"{who} initiated ({datetime.now(UTC):%Y-%m-%d %H:%M:%S} GMT)" if who else ""

    def show_address(self, address: str | None) -> None:
        self.nics[0].public_ip = address


def require(instance: LocalInstance, done: str, *states: str) -> None:
    if instance.state not in states:
        raise EC2ClientError(
            "IncorrectInstanceState",
            f"The instance '{instance.id}' is not in a state from which it can be {done}.",
        )


def background(function: Callable[..., None], *arguments: Any) -> None:
    """Run a function in a thread of its own that does not keep the process alive."""
    threading.Thread(target=function, args=arguments, name=function.__name__, daemon=True).start()


def later(seconds: float, function: Callable[..., None], *arguments: Any) -> None:
    """Call a function after that time, in a thread that does not keep the process alive."""
    timer = threading.Timer(min(seconds, threading.TIMEOUT_MAX), function, arguments)
    timer.daemon = True
    timer.start()


def role_of_launch(backend: LifecycleBackend, arguments: dict[str, Any]) -> str | None:
    """The role in the instance profile that a `run_instances` names."""
    name, arn = arguments.get("iam_instance_profile_name"), arguments.get("iam_instance_profile_arn")
    if not (name or arn):
        return None
    profile = filter_iam_instance_profiles(backend.account_id, backend.partition, arn, name)
    return profile.roles[0].name if profile.roles else None


def _has_driver(backend: LifecycleBackend, image_id: str) -> bool:
    """Whether a machine image is the GPU variant, or one of our own, which may be made of it."""
    image = backend.amis.get(image_id)
    return image is not None and ("-gpu-" in (image.name or "") or image.owner_id == backend.account_id)


def machine_spec(backend: LifecycleBackend, instance: LocalInstance, role: str | None) -> MachineSpec:
    """What the machine of a new instance has to be."""
    key = backend.key_pairs.get(instance.key_name or "")
    return MachineSpec(
        instance_id=instance.id,
        instance_type=instance.instance_type,
        region=backend.region_name,
        availability_zone=instance.availability_zone or "",
        image_id=instance.image_id,
        private_ip=instance.private_ip or "",
        user_data=base64.b64decode(str(instance.user_data or "")),
        public_key=key.public_key.strip() if key else None,
        key_name=instance.key_name,
        role=role,
        gpus=gpu.of_type(instance.instance_type) if _has_driver(backend, instance.image_id) else (),
        lifecycle="spot" if instance.launch.rest.get("instance_market_options") == "spot" else "on-demand",
        metadata_tags=instance.metadata_options.instance_metadata_tags == "enabled",
    )

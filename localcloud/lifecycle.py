"""EC2 in one region: the states of its instances as AWS documents them, and the machine behind each.

https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/ec2-instance-lifecycle.html
"""

# mypy: allow-subclassing-any
from __future__ import annotations

import copy
import logging
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar

from moto.ec2.exceptions import EC2ClientError
from moto.ec2.models import EC2Backend
from moto.ec2.models.instances import InstanceState, Reservation, StateReason

from . import capacity
from .disks import attach_settings, whole_mapping
from .idempotency import Answers
from .instances import USER, Cloud, Launch, LocalInstance, background, machine_spec, require, role_of_launch
from .machines import MachineSpec

log = logging.getLogger(__name__)


class LifecycleBackend(EC2Backend):
    """One account's EC2 in one region, with real machines behind its instances.

    The lock guards every change of state. Machines are never called while it is held: they take their time, and
    call back.
    """

    cloud: ClassVar[Cloud]

    def __init__(self, region_name: str, account_id: str) -> None:
        self.lock = threading.RLock()
        self.answers = Answers()
        super().__init__(region_name, account_id)

    def run_instances(
        self, image_id: str, count: int, user_data: Any, security_group_names: list[str], **kwargs: Any
    ) -> Reservation:
        """Every way to launch passes here: RunInstances, fleets, spot requests."""
        with self.lock:
            capacity.check_launch(self, kwargs)
            launch = Launch(image_id, user_data, list(security_group_names), copy.copy(kwargs))
            role = role_of_launch(self, kwargs)
            kwargs["block_device_mappings"] = whole_mapping(self, image_id, kwargs.get("block_device_mappings") or [])
            reservation = super().run_instances(image_id, count, user_data, security_group_names, **kwargs)
            for instance in reservation.instances:
                instance.launch = launch
                instance.enter("pending")
                instance.show_address(None)
                attach_settings(self, instance, kwargs["block_device_mappings"])
                background(self._boot, instance, machine_spec(self, instance, role))
        return reservation

    def run_again(self, launch: Launch) -> LocalInstance:
        """Launch one more, without the tags of the first time."""
        rest = {**launch.rest, "tags": {}}
        reservation = self.run_instances(launch.image_id, 1, launch.user_data, launch.security_group_names, **rest)
        instance: LocalInstance = reservation.instances[0]
        name, arn = rest.get("iam_instance_profile_name"), rest.get("iam_instance_profile_arn")
        if name or arn:
            self.associate_iam_instance_profile(instance.id, name, arn)
        return instance

    def _boot(self, instance: LocalInstance, spec: MachineSpec) -> None:
        self._bring_up(instance, lambda: self.cloud.machines.boot(spec), when_it_fails=self._launch_failed)
        if instance.state in ("shutting-down", "terminated"):
            self.cloud.machines.terminate(instance.id)  # it was terminated while it booted

    def _bring_up(
        self,
        instance: LocalInstance,
        start: Callable[[], str],
        when_it_fails: Callable[[LocalInstance, str], None],
    ) -> None:
        """From pending to running, or whatever the failure leads to, unless somebody else was faster."""
        try:
            address = start()
        except Exception as error:
            log.exception("%s does not start", instance.id)
            with self.lock:
                if instance.state == "pending":
                    when_it_fails(instance, str(error))
            return
        with self.lock:
            if instance.state == "pending":
                instance.show_address(address)
                instance.enter("running")

    def _launch_failed(self, instance: LocalInstance, why: str) -> None:
        self.end(instance, "Server.InternalError", f"Server.InternalError: Internal error on launch: {why}")

    def _start_failed(self, instance: LocalInstance, why: str) -> None:
        instance.explain("Server.InternalError", f"Server.InternalError: Internal error on start: {why}")
        instance.enter("stopped")

    def end(self, instance: LocalInstance, code: str, message: str) -> None:
        """Start terminating; to be called with the lock held."""
        instance.explain(code, message)
        instance.enter("shutting-down")
        background(self._end, instance)

    def _end(self, instance: LocalInstance) -> None:
        self.cloud.machines.terminate(instance.id)
        with self.lock:
            reason, transition = instance.state_reason, instance._reason
            instance.terminate()  # moto frees what belonged to it, and gives a reason of its own
            instance.state_reason, instance._reason = reason, transition
            instance.show_address(None) if instance.nics else None
            instance.enter("terminated")
            instance.ended_at = datetime.now(UTC)
            self.instance_ended(instance)

    def terminate_instances(self, instance_ids: list[str]) -> list[tuple[LocalInstance, InstanceState]]:
        with self.lock:
            instances = self._named(instance_ids)
            for instance in instances:
                if instance.disable_api_termination is True:
                    raise EC2ClientError(
                        "OperationNotPermitted",
                        f"The instance '{instance.id}' may not be terminated. Modify its 'disableApiTermination' "
                        "instance attribute and try again.",
                    )
            before = [(instance, instance.instance_state) for instance in instances]
            for instance in instances:
                if instance.state not in ("shutting-down", "terminated"):
                    self.end(instance, *USER)
        return before

    def stop_instances(self, instance_ids: list[str], force: bool = False) -> list[tuple[LocalInstance, InstanceState]]:
        with self.lock:
            instances = self._named(instance_ids)
            for instance in instances:
                self.check_can_stop(instance)
            before = [(instance, instance.instance_state) for instance in instances]
            for instance in instances:
                if instance.state == "running":
                    instance.explain(*USER)
                    instance.enter("stopping")
                    background(self._stop, instance, force)
        return before

    def _stop(self, instance: LocalInstance, force: bool) -> None:
        self.cloud.machines.stop(instance.id, force=force)
        with self.lock:
            if instance.state == "stopping":
                self._stopped(instance)

    def _stopped(self, instance: LocalInstance) -> None:
        instance.show_address(None)
        instance.enter("stopped")
        self.instance_stopped(instance)

    def check_can_stop(self, instance: LocalInstance) -> None:
        if instance.disable_api_stop is True:
            raise EC2ClientError("OperationNotPermitted", f"The instance '{instance.id}' may not be stopped.")
        require(instance, "stopped", "running", "stopping", "stopped")

    def start_instances(self, instance_ids: list[str]) -> list[tuple[LocalInstance, InstanceState]]:
        with self.lock:
            instances = self._named(instance_ids)
            for instance in instances:
                self.check_can_start(instance)
            before = [(instance, instance.instance_state) for instance in instances]
            for instance in instances:
                if instance.state == "stopped":
                    self.start_stopped(instance)
        return before

    def check_can_start(self, instance: LocalInstance) -> None:
        require(instance, "started", "stopped", "pending", "running")

    def start_stopped(self, instance: LocalInstance) -> None:
        """Boot a stopped instance again from its disk; to be called with the lock held."""
        instance.state_reason, instance._reason = StateReason(), ""
        instance.enter("pending")
        instance.launch_time = datetime.now(UTC).replace(tzinfo=None)
        background(self._bring_up, instance, lambda: self.power_on(instance), self._start_failed)

    def power_on(self, instance: LocalInstance) -> str:
        """Have the machine of a stopped instance boot; returns its address. Called without the lock."""
        return self.cloud.machines.start(instance.id)

    def reboot_instances(self, instance_ids: list[str]) -> list[LocalInstance]:
        with self.lock:
            instances = self._named(instance_ids)
            for instance in instances:
                require(instance, "rebooted", "running", "pending")
        for instance in instances:
            background(self.cloud.machines.reboot, instance.id)
        return instances

    def halted(self, instance: LocalInstance) -> None:
        """The machine shut itself down: it stops or terminates, as its launch asked.

        https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/Using_ChangingInstanceInitiatedShutdownBehavior.html
        """
        code = "Client.InstanceInitiatedShutdown"
        message = f"{code}: Instance initiated shutdown"
        with self.lock:
            if instance.state not in ("pending", "running"):
                return
            if self.ends_at_shutdown(instance):
                self.end(instance, code, message)
            else:
                instance.explain(code, message)
                self._stopped(instance)

    def ends_at_shutdown(self, instance: LocalInstance) -> bool:
        """Whether a shutdown from inside terminates it, rather than stops it."""
        return bool(instance.instance_initiated_shutdown_behavior == "terminate")

    def instance_stopped(self, instance: LocalInstance) -> None:
        """Called with the lock held when a user has stopped an instance, or it has shut itself down."""

    def instance_ended(self, instance: LocalInstance) -> None:
        """Called with the lock held when an instance is terminated."""

    def _named(self, instance_ids: list[str]) -> list[LocalInstance]:
        instances: list[LocalInstance] = self.get_multi_instances_by_id(instance_ids)
        return instances

    def living_instance(self, instance_id: str | None) -> LocalInstance | None:
        """The instance of that id, unless it is terminated or on the way there."""
        instance = self.get_instance_by_id(instance_id) if instance_id else None
        return instance if instance and instance.state not in ("shutting-down", "terminated") else None

    def all_reservations(self, filters: Any = None) -> list[Reservation]:
        self.forget()
        reservations: list[Reservation] = super().all_reservations(filters)
        return reservations

    def forget(self, *, all_ended: bool = False) -> None:
        """Drop instances, with their tags, that terminated long enough ago, or all that terminated."""
        cutoff = datetime.now(UTC) - timedelta(seconds=0 if all_ended else self.cloud.forget_seconds)
        with self.lock:
            for reservation in list(self.reservations.values()):
                over = [i for i in reservation.instances if i.ended_at and i.ended_at <= cutoff]
                for instance in over:
                    self.tags.pop(instance.id, None)
                reservation.instances = [i for i in reservation.instances if i not in over]
                if not reservation.instances and over:
                    del self.reservations[reservation.id]

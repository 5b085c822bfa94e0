"""The machines of one local cloud: each EC2 instance is a container that behaves as a freshly booted instance."""

from __future__ import annotations

import logging
import shutil
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from .errors import LocalCloudError
from .labels import CLOUD, MACHINE

if TYPE_CHECKING:
    from .batch_task import TaskEnd, TaskSpec
    from .machine import Machine

log = logging.getLogger(__name__)

REBOOT = 64
"""The exit code with which an instance asks to be booted again; docker/instance/init.py has it too."""


@dataclass(frozen=True)
class MachineSpec:
    """What EC2 knows of an instance when it starts it."""

    instance_id: str
    instance_type: str
    region: str
    availability_zone: str
    image_id: str
    private_ip: str
    user_data: bytes
    """Decoded; empty if there is none."""
    public_key: str | None
    """A line as in authorized_keys."""
    key_name: str | None
    role: str | None
    """Name of the role in its instance profile."""
    lifecycle: Literal["spot", "on-demand"]
    gpus: tuple[str, ...] = ()
    """Names of its GPUs, if its machine image has a driver for them."""
    metadata_tags: bool = False
    """Whether its metadata service shows its tags."""


class Machines:
    """Boots, stops and removes the machines of one local cloud. Its methods may be called from any thread.

    state: directory for the machines' sockets.
    cloud: short unique name of this local cloud, by which its containers, volumes and network are known.
    ami: Docker image of the instances. endpoint: host and port of the AWS API, which instances reach through a socket.
    credentials: by role name, as the metadata service shows them. tags: an instance's, by its id.
    on_halt: called with the instance id, from a thread of its own, when a machine has shut itself down.
    registry: address and password of ECR's.
    """

    def __init__(
        self,
        *,
        state: Path,
        cloud: str,
        ami: str,
        endpoint: tuple[str, int],
        credentials: Callable[[str, str], dict[str, str]],
        tags: Callable[[str], dict[str, str]],
        on_halt: Callable[[str], None],
        registry: tuple[str, str] = ("", ""),
    ) -> None:
        import docker

        from .addresses import Addresses
        from .machine import Site
        from .saved import Disk

        self._engine = docker.from_env()
        self._state = state
        self._cloud = cloud
        self._credentials = credentials
        self._tags = tags
        self._on_halt = on_halt
        network, addresses = f"{cloud}-containers", Addresses(self._engine)
        self._site = Site(self._engine, cloud, network, ami, endpoint, addresses, registry, credentials)
        self._ami = Disk(ami)
        self._disks: dict[str, Disk] = {}
        """By image id; every other image is `ami`."""
        self._machines: dict[str, Machine] = {}
        self._consoles: dict[str, str] = {}
        self._lock = threading.Lock()
        label = {"label": [f"{CLOUD}={cloud}", MACHINE]}
        self._ends = self._engine.events(decode=True, filters={"type": "container", "event": "die", **label})
        threading.Thread(target=self._watch, name="machines", daemon=True).start()

    def boot(self, spec: MachineSpec) -> str:
        """Create a machine and wait until its sshd listens; returns its public address.

        Raises LocalCloudError, and leaves nothing behind, when it does not come up.
        """
        from .machine import Machine
        from .metadata import Metadata

        self._make_network()
        metadata = Metadata(spec, self._credentials, self._tags)
        disk = self._disks.get(spec.image_id, self._ami)
        machine = Machine(self._site, metadata, self._state / spec.instance_id, disk)
        self._machines[spec.instance_id] = machine
        with machine.lock:
            try:
                machine.create()
            except BaseException:
                self._remove(machine)
                raise
        return metadata.public_address or ""

    def stop(self, instance_id: str, *, force: bool = False) -> None:
        """Have a machine shut down, within 30 s, or at once by `force`. Its disk, and its containers on it, stay."""
        machine = self._machine(instance_id)
        with machine.lock:
            machine.stop(force=force)

    def start(self, instance_id: str) -> str:
        """Boot a stopped machine from its disk; returns its public address. Raises as `boot` does; its disk stays."""
        machine = self._machine(instance_id)
        with machine.lock:
            machine.start()
        return machine.metadata.public_address or ""

    def reboot(self, instance_id: str) -> None:
        """Have a machine shut down and boot again; returns at once."""
        self._machine(instance_id).reboot()

    def terminate(self, instance_id: str) -> None:
        """End a machine at once and remove all of it. One that is gone may be terminated again."""
        machine = self._machines.get(instance_id)
        if machine:
            with machine.lock:
                self._remove(machine)

    def run_task(self, instance_id: str, spec: TaskSpec, started: Callable[[], None]) -> TaskEnd:
        """Run a container on a machine to its end. started: is called once it runs."""
        from .batch_task import TaskEnd

        machine = self._machines.get(instance_id)
        return machine.tasks.run(spec, started) if machine else TaskEnd(host_ended=True)

    def stop_task(self, instance_id: str, task_id: str) -> None:
        """SIGTERM to a container that `run_task` runs, and SIGKILL later; returns when it has ended."""
        if machine := self._machines.get(instance_id):
            machine.tasks.stop(task_id)

    def drains(self, instance_id: str) -> bool:
        """Whether the agent of a machine takes no more containers once a spot interruption is announced."""
        machine = self._machines.get(instance_id)
        return machine is not None and machine.tasks.drains

    def save(self, instance_id: str, image_id: str) -> None:
        """Keep the disk of a stopped machine: those of that image boot from it."""
        machine = self._machine(instance_id)
        with machine.lock:
            self._disks[image_id] = machine.save(self._state / f"{image_id}.tar")

    def discard(self, image_id: str) -> None:
        """Remove a kept disk, if there is one."""
        from .saved import forget

        if disk := self._disks.pop(image_id, None):
            forget(self._engine, disk)

    def console(self, instance_id: str) -> str:
        """The end of what a machine has printed on its console, also when it is gone."""
        machine = self._machines.get(instance_id)
        return machine.console() if machine else self._consoles.get(instance_id, "")

    def notice(self, instance_id: str, action: Literal["stop", "terminate"] | None, at: datetime | None) -> None:
        """Announce a spot interruption in the metadata service; None for both takes it back."""
        self._machine(instance_id).metadata.notice = (action, at) if action and at else None

    def rebalance(self, instance_id: str, at: datetime | None) -> None:
        """Recommend a rebalance in the metadata service; None takes it back."""
        self._machine(instance_id).metadata.rebalance = at

    def close(self) -> None:
        """End and remove everything of this cloud, also what an earlier process with the same `cloud` has left."""
        from .containers import remove

        self._ends.close()
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(self.terminate, list(self._machines)))
            mine: dict[str, Any] = {"label": f"{CLOUD}={self._cloud}"}
            list(pool.map(remove, self._engine.containers.list(all=True, sparse=True, filters=mine)))
        for volume in self._engine.volumes.list(filters=mine):
            volume.remove()
        for network in self._engine.networks.list(filters=mine):
            network.remove()
        for image in self._engine.images.list(filters=mine):
            self._engine.images.remove(str(image.id), force=True)
        shutil.rmtree(self._state, ignore_errors=True)
        self._engine.close()

    @classmethod
    def sweep(cls, state: Path, cloud: str) -> None:
        """End and remove what an earlier process with this state and `cloud` has left."""
        cls(
            state=state,
            cloud=cloud,
            ami="",
            endpoint=("127.0.0.1", 0),
            credentials=lambda _, __: {},
            tags=lambda _: {},
            on_halt=lambda _: None,
        ).close()

    def _machine(self, instance_id: str) -> Machine:
        try:
            return self._machines[instance_id]
        except KeyError:
            raise LocalCloudError(f"there is no machine {instance_id}") from None

    def _remove(self, machine: Machine) -> None:
        if self._machines.pop(machine.id, None):
            self._consoles[machine.id] = machine.console()
            machine.remove()

    def _make_network(self) -> None:
        """The network of the instances' containers: no way out, so none to a metadata service either."""
        with self._lock:
            if not self._engine.networks.list(names=[self._site.network]):
                self._engine.networks.create(
                    self._site.network, driver="bridge", internal=True, labels={CLOUD: self._cloud}
                )

    def _watch(self) -> None:
        for event in self._ends:
            attributes = event["Actor"]["Attributes"]
            machine = self._machines.get(attributes[MACHINE])
            if machine and machine.went_down():
                react = partial(self._ended, machine, int(attributes["exitCode"]))
                threading.Thread(target=react, daemon=True).start()

    def _ended(self, machine: Machine, exit_code: int) -> None:
        """A machine is down: boot it again if it asked for that; tell if nobody had asked it to end."""
        with machine.lock:
            if not machine.unattended:  # it has been asked to end meanwhile
                return
            machine.end_containers()
            if exit_code == REBOOT:
                log.info("%s boots again", machine.id)
                machine.start_again()
                return
            machine.unattended = False
        log.info("%s has shut itself down", machine.id)
        self._on_halt(machine.id)

"""One machine: the container that is an EC2 instance, with its disk, its sockets and its own containers."""

from __future__ import annotations

import os
import shutil
import socket
import threading
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from . import gpu
from .addresses import Addresses
from .batch_container import Tasks
from .containers import kill, remove
from .engine_proxy import EngineProxy
from .engine_rules import VAR_LIB, Scope
from .errors import LocalCloudError
from .labels import ADDRESS, INSTANCE, MACHINE, labels
from .metadata import Metadata, host_name
from .saved import Disk, fill, save
from .task_credentials import TaskCredentials
from .unix_sockets import Door, forward_to

if TYPE_CHECKING:
    import docker
    from docker.models.containers import Container

SSH_PORT = 22
READY_SECONDS = 60
"""A boot that has no sshd by then has failed; it takes about one second."""
GRACE_SECONDS = 30
"""What an instance has to shut down when it is stopped."""
CONSOLE_LINES = 2000


@dataclass(frozen=True)
class Site:
    """What all machines of one local cloud share.

    network: of the instances' own containers. ami: Docker image of the instances. endpoint: host and port of the API.
    registry: address and password of ECR's. credentials: by role name.
    """

    engine: docker.DockerClient
    cloud: str
    network: str
    ami: str
    endpoint: tuple[str, int]
    addresses: Addresses
    registry: tuple[str, str]
    credentials: Callable[[str, str], dict[str, str]]


class Machine:
    """An instance from its first boot until it is removed. Not for two threads at once: its `lock` sees to that.

    directory: for its sockets, which are mounted into it. disk: what it is made from.
    """

    def __init__(self, site: Site, metadata: Metadata, directory: Path, disk: Disk) -> None:
        self.id = metadata.spec.instance_id
        self.metadata = metadata
        self.lock = threading.RLock()
        self.unattended = False
        """Whether it runs and nobody has asked it to end: if it ends now, it ended itself."""
        self.down = threading.Event()
        """Set when its container has ended."""
        self._site = site
        self._disk = disk
        self._pulled = set(disk.pulled)
        """Names of the Docker images on its disk."""
        self._directory = directory
        self._name = f"{site.cloud}-{self.id}"
        self._volume = f"{self.id}-var-lib"
        self._task_credentials = TaskCredentials(site.credentials)
        self.tasks = Tasks(site, self.id, self._name, directory, self._task_credentials)
        """The containers that Batch runs on it."""
        self._up = threading.Event()
        self._doors = ExitStack()

    def create(self) -> None:
        """Boot it for the first time and wait until sshd listens.

        Raises LocalCloudError, and leaves nothing behind, when it does not come up.
        """
        self._directory.mkdir(parents=True, exist_ok=True)
        # Only the cloud's owner may look into the state directory; inside the instance, the login user looks into this.
        os.chmod(self._directory, 0o755)
        site = self._site
        site.engine.volumes.create(self._volume, labels=labels(site.cloud, INSTANCE, self.id))
        self._open_doors()
        container = site.addresses.publish(self._create_container)
        self.metadata.public_address = site.addresses.of(container)
        self._wait_until_up()

    def start(self) -> None:
        """Boot it again from its disk; raises LocalCloudError when it does not come up."""
        import docker.errors

        self._expect_boot()
        container = self._container()
        try:
            container.start()
        except docker.errors.APIError as error:
            raise LocalCloudError(f"{self.id} does not start: {error.explanation}") from None
        self.metadata.public_address = self._site.addresses.of(container)
        self._wait_until_up()

    def start_again(self) -> None:
        """Let the reboot that it asked for go on."""
        self._up.clear()
        self.down.clear()
        self._container().start()

    def stop(self, *, force: bool) -> None:
        """Have it shut down, or pull the plug; its disk stays. Returns once it is down."""
        self.unattended = False
        container = self._container()
        if force:
            kill(container)
        else:
            container.stop(timeout=GRACE_SECONDS)
        self.end_containers()
        self.down.wait(READY_SECONDS)

    def reboot(self) -> None:
        """Have it shut down and boot again; returns at once."""
        self._container().kill(signal="SIGINT")

    def end_containers(self) -> None:
        """Kill the containers it has started: they die with it, and stay on its disk."""
        for container in self._own_containers():
            kill(container)

    def remove(self) -> None:
        """End it at once, and remove it with its containers and its disk. May be called for one that is half there."""
        import docker.errors

        self.unattended = False
        self.tasks.machine_leaves()
        self._doors.close()
        for container in self._own_containers():
            remove(container)
        with suppress(docker.errors.NotFound):
            remove(self._container())
        self._site.addresses.take_back(self.metadata.public_address or "")
        for volume in self._site.engine.volumes.list(filters={"label": f"{INSTANCE}={self.id}"}):
            volume.remove()
        shutil.rmtree(self._directory, ignore_errors=True)

    def console(self) -> str:
        """What it has printed on its console, all boots, the last lines; "" before its first boot."""
        import docker.errors

        try:
            printed: bytes = self._container().logs(tail=CONSOLE_LINES)
        except docker.errors.NotFound:
            return ""
        return printed.decode(errors="replace")

    def save(self, archive: Path) -> Disk:
        """Keep its disk, while it is stopped, for other machines."""
        return save(self._container(), archive, frozenset(self._pulled))

    def _create_container(self, address: str | None) -> Container:
        site = self._site
        container = site.engine.containers.create(
            self._disk.image,
            name=self._name,
            hostname=host_name(self.metadata.spec.private_ip),
            labels={**labels(site.cloud, MACHINE, self.id), ADDRESS: address or ""},
            environment={"AWS_ENDPOINT": "{}:{}".format(*site.endpoint)},
            cap_add=["NET_ADMIN"],  # its loopback interface gets the metadata service's address
            tmpfs={"/run": "exec,mode=755"},
            volumes={
                self._volume: {"bind": VAR_LIB, "mode": "rw"},
                str(self._directory): {"bind": "/run/instance", "mode": "ro"},
            },
            ports={f"{SSH_PORT}/tcp": (address, SSH_PORT)} if address else {},
        )
        fill(container, self._disk)
        if gpus := self.metadata.spec.gpus:
            gpu.install_driver(container, gpus)
        return container

    def _open_doors(self) -> None:
        site, directory = self._site, self._directory
        scope = Scope(
            site.engine,
            cloud=site.cloud,
            instance_id=self.id,
            network=site.network,
            container=self._name,
            volume=self._volume,
            images=self._pulled,
            gpus=bool(self.metadata.spec.gpus),
        )
        for door in (
            EngineProxy(directory / "docker.sock", scope),
            Door(directory / "metadata.sock", self.metadata.serve),
            Door(directory / "credentials.sock", self._task_credentials.serve),
            Door(directory / "aws.sock", forward_to(site.endpoint)),
            Door(directory / "notify.sock", self._notified),
        ):
            self._doors.callback(door.close)

    def _notified(self, connection: socket.socket) -> None:
        """The instance says how far it is, in the words of systemd's sd_notify, and waits until that is noted."""
        match connection.recv(64).split(b"\n")[0]:
            case b"READY=1":
                self.unattended = True
                self._up.set()
            case b"STATUS=booted":
                self.tasks.boot_is_over()
            case b"STOPPING=1":
                self.tasks.machine_leaves()

    def _expect_boot(self) -> None:
        self._up.clear()
        self.down.clear()
        self.unattended = False

    def went_down(self) -> bool:
        """To be called when its container has ended; returns whether nobody had asked for that.

        Told by now, since whoever asked goes on once `down` is set, perhaps to start it again.
        """
        unattended = self.unattended
        self.tasks.machine_leaves()
        self.down.set()
        self._up.set()
        return unattended

    def _wait_until_up(self) -> None:
        self._up.wait(READY_SECONDS)
        if not self.unattended:
            last = self.console().strip().rpartition("\n")[2]
            raise LocalCloudError(f"{self.id} does not boot: {last}")

    def _container(self) -> Container:
        return self._site.engine.containers.get(self._name)

    def _own_containers(self) -> list[Container]:
        found: list[Container] = self._site.engine.containers.list(
            all=True, sparse=True, filters={"label": f"{INSTANCE}={self.id}"}
        )
        return found

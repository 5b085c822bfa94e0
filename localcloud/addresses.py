"""The instances' public addresses: 127.0.77.N, on which the engine publishes their port 22."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from .errors import LocalCloudError
from .labels import ADDRESS

if TYPE_CHECKING:
    import docker
    from docker.models.containers import Container

POOL = tuple(f"127.0.77.{number}" for number in range(1, 255))


class Addresses:
    """Gives each instance an address that no instance of any local cloud of this engine has."""

    def __init__(self, engine: docker.DockerClient) -> None:
        self._engine = engine
        self._lock = threading.Lock()
        self._given: set[str] = set()
        """Addresses of containers that the engine may not list yet."""

    def publish(self, create: Callable[[str | None], Container]) -> Container:
        """Create a container with an address and start it, with the next address when another cloud was faster.

        create: makes the container that publishes its port at that address, or nowhere for None, which happens on a
        host whose own sshd holds port 22 of all addresses.
        Raises LocalCloudError when there is no address left or the container does not start.
        """
        import docker.errors

        address: str | None = self._next()
        while True:
            container = create(address)
            try:
                container.start()
            except docker.errors.APIError as error:
                container.remove(force=True)
                if "port is already allocated" in str(error.explanation):
                    address = self._next()
                elif "address already in use" in str(error.explanation) and address:
                    address = None
                else:
                    raise LocalCloudError(f"the instance does not start: {error.explanation}") from None
            else:
                return container

    def of(self, container: Container) -> str:
        """The address of a running container. One that could not be published has its own on Docker's bridge."""
        container.reload()
        bridge: str = container.attrs["NetworkSettings"]["IPAddress"]
        return container.labels[ADDRESS] or bridge

    def _next(self) -> str:
        with self._lock:
            listed = self._engine.api.containers(all=True, filters={"label": ADDRESS})
            taken = {container["Labels"][ADDRESS] for container in listed}
            free = [address for address in POOL if address not in taken and address not in self._given]
            if not free:
                raise LocalCloudError("InsufficientInstanceCapacity: all addresses of 127.0.77.0/24 are in use")
            self._given.add(free[0])
            return free[0]

    def take_back(self, address: str) -> None:
        """Let others have the address of an instance that is gone."""
        with self._lock:
            self._given.discard(address)

"""The image registry behind ECR: a real one, on loopback, with a password.

Either Debian's `docker-registry` as a process, or the image `registry:2` as a container. What is pushed goes when the
cloud goes, as everything else of it does.
"""

from __future__ import annotations

import base64
import http.client
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from .errors import LocalCloudError

IMAGE = "registry:2"
CONTAINER_PORT = 5000


class Registry:
    """A registry that runs from `start` to `stop`.

    state: directory for its files; name: of its container, if it is one.
    """

    def __init__(self, state: Path, name: str, *, binary: str | None) -> None:
        self.state = state
        self.name = name
        self.binary = binary
        self.password = secrets.token_urlsafe(24)
        self.backend = f"127.0.0.1:{free_port()}"
        """host:port of the registry itself."""
        self.address = self.backend
        """host:port that clients are told; the gate's, once there is one."""

    @property
    def authorization(self) -> str:
        """The header a client has to send."""
        return "Basic " + base64.b64encode(f"AWS:{self.password}".encode()).decode()

    def start(self) -> None:
        """Start it empty and wait until it answers; raises LocalCloudError when it does not."""
        self.sweep(self.state, self.name)
        shutil.rmtree(self.state, ignore_errors=True)
        (self.state / "data").mkdir(parents=True, mode=0o700)
        is_alive = self._start_process() if self.binary else self._start_container()
        while not self._answers():
            if not is_alive():
                raise LocalCloudError("the image registry ended at its start", fix=f"see {self.state / 'registry.log'}")

    def stop(self) -> None:
        self.sweep(self.state, self.name)

    def _start_process(self) -> Callable[[], bool]:
        config = self._configure(self.backend, self.state)
        with (self.state / "registry.log").open("w") as log:
            process = subprocess.Popen(
                [str(self.binary), "serve", str(config)], stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        (self.state / "pid").write_text(str(process.pid))

        def is_alive() -> bool:
            # The wait is the pause between two looks at the port.
            with suppress(subprocess.TimeoutExpired):
                process.wait(0.02)
            return process.returncode is None

        return is_alive

    def _start_container(self) -> Callable[[], bool]:
        import docker

        inside = Path("/var/lib/registry")
        config = self._configure(f":{CONTAINER_PORT}", inside)
        host, port = self.backend.split(":")
        container = docker.from_env().containers.run(
            IMAGE,
            name=self.name,
            detach=True,
            ports={f"{CONTAINER_PORT}/tcp": (host, int(port))},
            volumes={
                str(config): {"bind": "/etc/docker/registry/config.yml", "mode": "ro"},
                str(self.state): {"bind": str(inside), "mode": "rw"},
            },
        )

        def is_alive() -> bool:
            container.reload()
            return bool(container.status in ("created", "running"))

        return is_alive

    def _configure(self, address: str, root: Path) -> Path:
        """Write its files; root is where it finds them. https://distribution.github.io/distribution/about/configuration/"""
        import bcrypt

        # The cheapest bcrypt there is: the password is random, and the registry checks it at every request.
        digest = bcrypt.hashpw(self.password.encode(), bcrypt.gensalt(4)).decode()
        (self.state / "htpasswd").write_text(f"AWS:{digest}\n")
        config: dict[str, Any] = {
            "version": "0.1",
            "log": {"level": "warn", "accesslog": {"disabled": True}},
            "storage": {
                "filesystem": {"rootdirectory": str(root / "data")},
                "delete": {"enabled": True},
                "cache": {"blobdescriptor": "inmemory"},
            },
            "http": {"addr": address, "secret": secrets.token_hex(16)},
            "auth": {"htpasswd": {"realm": "solver-cloud local", "path": str(root / "htpasswd")}},
        }
        path = self.state / "config.yml"
        path.write_text(json.dumps(config))  # JSON is YAML
        return path

    def _answers(self) -> bool:
        connection = http.client.HTTPConnection(self.backend, timeout=5)
        try:
            connection.request("GET", "/v2/", headers={"Authorization": self.authorization})
            return connection.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    def delete(self, repository: str, digest: str) -> None:
        """Delete a manifest; nothing happens if it is not there."""
        connection = http.client.HTTPConnection(self.backend, timeout=30)
        try:
            headers = {"Authorization": self.authorization}
            connection.request("DELETE", f"/v2/{repository}/manifests/{digest}", headers=headers)
            connection.getresponse().read()
        finally:
            connection.close()

    @staticmethod
    def sweep(state: Path, name: str) -> None:
        """End what runs, or what a killed cloud has left running, and wait until it has ended."""
        import docker

        with suppress(FileNotFoundError):
            _end(int((state / "pid").read_text()), str(state / "config.yml"))
            (state / "pid").unlink()
        with suppress(docker.errors.NotFound, docker.errors.DockerException):
            docker.from_env().containers.get(name).remove(force=True, v=True)


def _end(pid: int, argument: str) -> None:
    """End the process of that id, if its command line shows that it is the one meant."""
    with suppress(ProcessLookupError, FileNotFoundError):
        if argument.encode() in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0"):
            wait_for_end = os.pidfd_open(pid)
            os.kill(pid, signal.SIGKILL)
            import select

            select.select([wait_for_end], [], [], 10)
            os.close(wait_for_end)


def free_port() -> int:
    """A port of this machine on which nobody listens right now."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])

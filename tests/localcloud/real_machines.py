"""Real machines for tests: containers of the host's Docker engine, booted from the real image."""

from __future__ import annotations

import http.server
import queue
import subprocess
import threading
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from localcloud.machines import Machines, MachineSpec

WAIT_SECONDS = 20


@dataclass(frozen=True)
class Key:
    """An ssh key: the private one's file, the public one's line."""

    path: Path
    line: str


class Api(http.server.ThreadingHTTPServer):
    """Stands where the AWS API would be: remembers the requests' headers, knows one answer."""

    def __init__(self) -> None:
        self.seen: queue.Queue[Any] = queue.Queue()
        seen = self.seen

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["Content-Length"]))
                seen.put(self.headers)
                body = b"<GetCallerIdentityResponse><GetCallerIdentityResult><Account>123456789012</Account>"
                body += b"</GetCallerIdentityResult></GetCallerIdentityResponse>"
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

        super().__init__(("127.0.0.1", 0), Handler)


@dataclass(frozen=True)
class Instance:
    """A machine as a test sees it."""

    spec: MachineSpec
    address: str
    container: Any
    key: Key

    @property
    def id(self) -> str:
        return self.spec.instance_id

    def run(self, command: str, user: str = "root", check: bool = True) -> str:
        """What a command prints on the instance, both streams; fails when the command does."""
        code, printed = self.container.exec_run(["bash", "-c", command], user=user)
        assert not check or code == 0, printed.decode()
        return str(printed.decode()).strip()

    def ssh(self, command: str, **options: Any) -> subprocess.CompletedProcess[str]:
        """Run a command through the ssh client, as the login user."""
        quiet = ["-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR"]
        ssh = ["ssh", "-i", str(self.key.path), "-o", "IdentitiesOnly=yes", *quiet, f"ec2-user@{self.address}"]
        return subprocess.run(
            [*ssh, command], capture_output=True, text=True, check=False, timeout=WAIT_SECONDS, **options
        )

    def wait_for(self, path: str) -> str:
        """The content of a file of the instance, once it has any."""
        return self.run(f"timeout {WAIT_SECONDS} sh -c 'until [ -s {path} ]; do sleep 0.05; done' && cat {path}")


class Cloud:
    """Machines with an API of their own."""

    def __init__(self, state: Path, engine: Any, ami: str, key: Key) -> None:
        self.name = f"solver-test-{uuid.uuid4().hex[:8]}"
        self.api = Api()
        self.halted: queue.Queue[str] = queue.Queue()
        self.key = key
        self._engine = engine
        threading.Thread(target=self.api.serve_forever, daemon=True).start()
        self.machines = Machines(
            state=state,
            cloud=self.name,
            ami=ami,
            endpoint=("127.0.0.1", self.api.server_port),
            credentials=self._credentials,
            tags=lambda _: {"solver:status": "starting"},
            on_halt=self.halted.put,
        )

    def boot(self, user_data: bytes | str = b"", **changes: Any) -> Instance:
        values: dict[str, Any] = {
            "instance_id": f"i-{uuid.uuid4().hex[:17]}",
            "instance_type": "c7i.large",
            "region": "us-east-1",
            "availability_zone": "us-east-1a",
            "image_id": "ami-12345678",
            "private_ip": "10.0.0.12",
            "user_data": user_data.encode() if isinstance(user_data, str) else user_data,
            "public_key": self.key.line,
            "key_name": "solver-cloud",
            "role": "job",
            "lifecycle": "spot",
        }
        spec = MachineSpec(**{**values, **changes})
        address = self.machines.boot(spec)
        return Instance(spec, address, self._engine.containers.get(f"{self.name}-{spec.instance_id}"), self.key)

    def close(self) -> None:
        self.machines.close()
        self.api.shutdown()
        self.api.server_close()

    @staticmethod
    def _credentials(role: str, session: str) -> dict[str, str]:
        expiration = datetime.now(UTC) + timedelta(hours=6)
        return {
            "AccessKeyId": f"ASIA{role.upper()}",
            "SecretAccessKey": "secret",
            "Token": "session-token",
            "Expiration": expiration.strftime("%Y-%m-%dT%H:%M:%SZ"),
        }

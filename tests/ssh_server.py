"""An ssh server in this process, with a host key of its own, that answers each command as a test wishes."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import paramiko
from paramiko.common import AUTH_FAILED, AUTH_SUCCESSFUL, OPEN_SUCCEEDED

Answer = Callable[[str], tuple[bytes, int | None]]
"""What a command prints, and its exit code; None breaks the connection off."""


class SshServer:
    """Listens on loopback; `commands` are those that came, `key` is its host key."""

    def __init__(self, answer: Answer, key: paramiko.PKey | None = None) -> None:
        self.answer = answer
        self.key = key or paramiko.ECDSAKey.generate()
        self.commands: list[str] = []
        self.open_to_all = True
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.transports: list[paramiko.Transport] = []

    @property
    def port(self) -> int:
        return int(self.listener.getsockname()[1])

    @property
    def line(self) -> str:
        """Its host key, as an instance puts it into S3."""
        return f"{self.key.get_name()} {self.key.get_base64()} root@ip-10-0-0-1"

    def serve(self) -> None:
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            transport = paramiko.Transport(connection)
            transport.add_server_key(self.key)
            self.transports.append(transport)
            with suppress(paramiko.SSHException, EOFError):  # a client that does not like the key
                transport.start_server(server=Door(self))


class Door(paramiko.ServerInterface):
    """One connection."""

    def __init__(self, server: SshServer) -> None:
        self.server = server

    def get_allowed_auths(self, username: str) -> str:
        return "publickey"

    def check_auth_publickey(self, username: str, key: paramiko.PKey) -> int:
        return AUTH_SUCCESSFUL if self.server.open_to_all else AUTH_FAILED

    def check_channel_request(self, kind: str, chanid: int) -> int:
        return OPEN_SUCCEEDED

    def check_channel_pty_request(self, *_: object) -> bool:
        return True

    def check_channel_exec_request(self, channel: paramiko.Channel, command: bytes) -> bool:
        self.server.commands.append(command.decode())
        threading.Thread(target=self.run, args=(channel, command.decode()), daemon=True).start()
        return True

    def run(self, channel: paramiko.Channel, command: str) -> None:
        # Once this is answered, the request has been, too: both by the same thread. Before that, nothing may be sent.
        channel.get_transport().global_request("ping@example.com", wait=True)
        printed, code = self.server.answer(command)
        with suppress(OSError):  # whose client has seen enough
            channel.sendall(printed)
            if code is not None:
                channel.send_exit_status(code)
            channel.close()


@contextmanager
def serving(answer: Answer) -> Iterator[SshServer]:
    server = SshServer(answer)
    thread = threading.Thread(target=server.serve, daemon=True)
    thread.start()
    yield server
    server.listener.shutdown(socket.SHUT_RDWR)
    server.listener.close()
    thread.join()
    for transport in server.transports:
        transport.close()

"""Unix sockets as the doors of a machine: who connects is known by the socket, and no network interface listens."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

CHUNK = 1 << 18


class Door:
    """A listening Unix socket; each connection is served in a thread of its own.

    path: of the socket, of any length. serve: gets the connection, which is closed when it returns. mode: who may
    connect; ourselves and, as it may do everything, the root user of the instance that has the socket.
    """

    def __init__(self, path: Path, serve: Callable[[socket.socket], None], *, mode: int = 0o600) -> None:
        self.path = path
        self._serve = serve
        self._socket = socket.socket(socket.AF_UNIX)
        path.unlink(missing_ok=True)
        # The address of a Unix socket has 108 bytes at most; through its directory's descriptor it is always short.
        directory = os.open(path.parent, os.O_PATH)
        try:
            self._socket.bind(f"/proc/self/fd/{directory}/{path.name}")
        finally:
            os.close(directory)
        path.chmod(mode)
        self._socket.listen(128)
        threading.Thread(target=self._accept, name=path.name, daemon=True).start()

    def close(self) -> None:
        """Let nobody in any more; connections that are open stay so."""
        with suppress(OSError):  # it may be closed already
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self.path.unlink(missing_ok=True)

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return  # closed
            threading.Thread(target=self._serve_one, args=(connection,), daemon=True).start()

    def _serve_one(self, connection: socket.socket) -> None:
        with connection, suppress(ConnectionError):  # the peer may leave at any time
            self._serve(connection)


def relay(one: socket.socket, other: socket.socket) -> None:
    """Copy bytes in both directions until both sides have said all they had to say.

    The end of one direction is passed on alone: a client that has sent everything still wants its answer.
    """
    back = threading.Thread(target=_copy, args=(other, one), daemon=True)
    back.start()
    _copy(one, other)
    back.join()


def _copy(source: socket.socket, target: socket.socket) -> None:
    with suppress(ConnectionError, OSError):  # either side may leave at any time, the other then sees the end
        while data := source.recv(CHUNK):
            target.sendall(data)
    with suppress(OSError):
        target.shutdown(socket.SHUT_WR)


def forward_to(address: tuple[str, int]) -> Callable[[socket.socket], None]:
    """What serves a door by relaying to a TCP address (host, port)."""

    def serve(connection: socket.socket) -> None:
        with socket.create_connection(address) as target:
            target.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            relay(connection, target)

    return serve

"""An HTTP server in front of an S3 server that breaks what it is told to, on real sockets."""

from __future__ import annotations

import http.client
import socket
import ssl
import struct
import threading
from collections import deque
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True)
class Fault:
    """What happens to one GET of an object: its body ends after some bytes, or an error comes in its place.

    how: "end" (the connection is closed), "reset" (by RST), "stall" (nothing more comes), or an HTTP status.
    """

    how: str | int
    after: int = 0


@dataclass(frozen=True)
class Seen:
    """A GET of an object as it arrived."""

    key: str
    range: str | None
    if_match: str | None
    authorization: str
    owner: str | None
    client: tuple[str, int]


@dataclass
class Proxy:
    """Its address, what it is to break next, and the GETs of objects that it has seen, in order."""

    address: str
    faults: deque[Fault] = field(default_factory=deque)
    always: Fault | None = None
    seen: list[Seen] = field(default_factory=list)
    released: threading.Event = field(default_factory=threading.Event)
    tunnels: list[tuple[str, str | None]] = field(default_factory=list)
    """The CONNECTs that it has seen: to where, and by whose Proxy-Authorization."""


class Server(ThreadingHTTPServer):
    """Takes http://127.0.0.1:<port>/bucket/key to an upstream on this machine."""

    daemon_threads = True

    def __init__(self, upstream: int, tls: ssl.SSLContext | None = None) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.upstream = upstream
        self.proxy = Proxy(f"{'https' if tls else 'http'}://127.0.0.1:{self.server_address[1]}")
        if tls:
            self.socket = tls.wrap_socket(self.socket, server_side=True, do_handshake_on_connect=False)

    def handle_error(self, *_: Any) -> None:
        """A client that goes away is no news."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def do_GET(self) -> None:
        proxy, key = self.server.proxy, self.path.split("?")[0]
        fault = None
        if self.command == "GET" and "/" in key.strip("/") and "list-type" not in self.path:
            headers = self.headers
            proxy.seen.append(
                Seen(
                    key,
                    headers["Range"],
                    headers["If-Match"],
                    headers["Authorization"],
                    headers["x-amz-expected-bucket-owner"],
                    self.client_address,
                )
            )
            fault = proxy.faults.popleft() if proxy.faults else proxy.always
        if fault and isinstance(fault.how, int):
            body = b"<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"
            self._answer(fault.how, [("Content-Length", str(len(body)))], body)
            return
        upstream = http.client.HTTPConnection("127.0.0.1", self.server.upstream, timeout=60)
        sent = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        upstream.request(self.command, self.path, sent, dict(self.headers))
        response = upstream.getresponse()
        body = response.read()
        upstream.close()
        headers_back = [
            (k, v) for k, v in response.getheaders() if k.lower() not in ("transfer-encoding", "connection")
        ]
        self._answer(response.status, headers_back, body if fault is None else body[: fault.after])
        if fault:
            self._break(fault)

    do_PUT = do_POST = do_DELETE = do_HEAD = do_GET

    def do_CONNECT(self) -> None:
        """A tunnel, as to a server that is spoken to by TLS."""
        self.server.proxy.tunnels.append((self.path, self.headers["Proxy-Authorization"]))
        host, _, port = self.path.rpartition(":")
        with socket.create_connection((host, int(port))) as upstream:
            self._answer(200, [], b"")
            back = threading.Thread(target=_pump, args=(upstream, self.connection))
            back.start()
            _pump(self.connection, upstream)
            back.join()
        self.close_connection = True

    def _answer(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
        self.send_response_only(status)
        for name, value in headers:
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def _break(self, fault: Fault) -> None:
        self.close_connection = True
        if fault.how == "stall":
            self.server.proxy.released.wait(30)
        if fault.how == "reset":
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()

    def log_message(self, *_: Any) -> None:
        pass


def _pump(source: socket.socket, target: socket.socket) -> None:
    """Everything that comes from one socket to another, and then its end."""
    with suppress(OSError):
        while data := source.recv(1 << 16):
            target.sendall(data)
    with suppress(OSError):
        target.shutdown(socket.SHUT_WR)

"""HTTP at a machine's door: each request answered by one function."""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from email.message import Message
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from typing import Any


@dataclass(frozen=True)
class Answer:
    """An HTTP answer."""

    status: HTTPStatus
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    content_type: str = "text/plain"


def serve_http(connection: socket.socket, answer: Callable[[str, str, Message], Answer], *, server: str) -> None:
    """Answer the HTTP requests of one connection.

    answer: gets method, path and headers. server: what the service calls itself.
    """

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        server_version = server
        sys_version = ""

        def respond(self) -> None:
            given = answer(self.command, self.path, self.headers)
            self.send_response(given.status)
            self.send_header("Content-Type", given.content_type)
            self.send_header("Content-Length", str(len(given.body)))
            for name, value in given.headers.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(given.body)

        do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = respond

        def log_message(self, format: str, *args: Any) -> None:
            """Keep quiet, as the real services do."""

    Handler(connection, ("", 0), None)  # type: ignore[arg-type]  # it keeps its server without a use for it

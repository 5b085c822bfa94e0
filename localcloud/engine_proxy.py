"""The Docker engine of one instance: the host's, showing and touching only what belongs to that instance.

Each connection carries one request. What needs no change, and everything that streams, goes through byte for byte.
"""

from __future__ import annotations

import http.client
import json
import os
import re
import socket
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, quote, unquote, urlencode

from . import engine_allowed
from .engine_allowed import Refused
from .engine_rules import Scope
from .errors import LocalCloudError
from .unix_sockets import CHUNK, Door, relay

HEADER = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+:[ \t]*[^\r\n\0]*")
"""https://www.rfc-editor.org/rfc/rfc9112#name-field-syntax"""
MOST_BYTES = 1 << 20
"""Of a request's head, and of a body that is looked at."""


def engine_socket() -> str:
    """The Unix socket of the host's Docker engine; raises LocalCloudError for an engine elsewhere."""
    host = os.environ.get("DOCKER_HOST") or "unix:///var/run/docker.sock"
    if not host.startswith("unix://"):
        raise LocalCloudError(f"instances cannot use the Docker engine at {host}", fix="use one with a unix:// address")
    return host.removeprefix("unix://")


@dataclass
class Request:
    """An HTTP request whose body may still be on its way."""

    method: str
    version: str
    """The API version in front of the path, as "/v1.41"; may be empty."""
    path: str
    query: list[tuple[str, str]]
    headers: list[tuple[str, str]]
    body: bytes
    """As much of the body as has arrived."""

    @classmethod
    def read(cls, connection: socket.socket) -> Request | None:
        """The next request of a connection; None when the client leaves without one."""
        data = b""
        while b"\r\n\r\n" not in data:
            received = connection.recv(CHUNK)
            if not received:
                return None
            data += received
            if len(data) > MOST_BYTES + CHUNK:
                raise Refused(431, "the head of the request is too large")
        head, _, body = data.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        # The engine takes a bare line feed for the end of a line: a second request could hide behind it.
        if len(first.split(" ")) != 3 or "\n" in first or not all(map(HEADER.fullmatch, lines)):
            raise Refused(400, "this is not a request of HTTP/1.1")
        method, target, _ = first.split(" ")
        path, _, query = target.partition("?")
        if {".", ".."} & set(unquote(path).split("/")):
            raise Refused(400, f"{path} is no path of the engine")
        version = re.match(r"/v\d+\.\d+(?=/)", path)
        prefix = version.group() if version else ""
        headers = [(name, value.strip()) for name, _, value in (line.partition(":") for line in lines)]
        parameters = parse_qsl(query, keep_blank_values=True)
        return cls(method, prefix, unquote(path.removeprefix(prefix)), parameters, headers, body)

    def header(self, name: str) -> str:
        return next((value for key, value in self.headers if key.lower() == name), "")

    def parameter(self, name: str) -> str | None:
        return next((value for key, value in self.query if key == name), None)

    def set_parameter(self, name: str, value: str) -> None:
        self.query = [*((key, old) for key, old in self.query if key != name), (name, value)]

    def read_json(self, connection: socket.socket) -> dict[str, Any]:
        """The whole body, which is a JSON object; raises Refused for any other."""
        length = self.header("content-length") or "0"
        if not length.isdecimal() or int(length) > MOST_BYTES or self.header("transfer-encoding"):
            raise Refused(400, "the body of this request has to be JSON, with its length, of at most 1 MiB")
        missing = int(length) - len(self.body)
        while missing > 0:
            received = connection.recv(min(missing, CHUNK))
            if not received:
                raise ConnectionError("the request ends early")
            self.body += received
            missing -= len(received)
        try:
            value = json.loads(self.body or b"{}")
        except (ValueError, RecursionError):
            raise Refused(400, "the body of this request is not JSON") from None
        if not isinstance(value, dict):
            raise Refused(400, "the body of this request is not a JSON object")
        return value

    def replace_json(self, value: dict[str, Any]) -> None:
        self.body = json.dumps(value).encode()
        others = [header for header in self.headers if header[0].lower() != "content-length"]
        self.headers = [*others, ("Content-Length", str(len(self.body)))]

    def encode(self) -> bytes:
        """The request for the engine: the only one of its connection.

        The engine takes a connection over for `attach` and `exec` because of `Upgrade`, whatever `Connection` says;
        any other it closes after the answer. Another request behind this one, which nobody has looked at, is not read.
        """
        headers = [header for header in self.headers if header[0].lower() != "connection"]
        headers = [*headers, ("Connection", "close")]
        query = f"?{urlencode(self.query)}" if self.query else ""
        lines = [f"{self.method} {self.version}{quote(self.path, safe='/:@')}{query} HTTP/1.1"]
        lines += [f"{name}: {value}" for name, value in headers]
        return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + self.body


class EngineProxy:
    """Serves the Docker API of one instance at a Unix socket until it is closed.

    path: of the socket. scope: the instance, its containers and its files.
    """

    def __init__(self, path: Path, scope: Scope) -> None:
        self._scope = scope
        self._engine = engine_socket()
        self._creating = threading.Lock()
        self._closed = False
        # The login user of an instance is in the group docker; nobody else on this computer gets here.
        self._door = Door(path, self._serve, mode=0o666)

    def close(self) -> None:
        """Once this returns, no container of the instance comes into being any more."""
        with self._creating:
            self._closed = True
        self._door.close()

    def _serve(self, connection: socket.socket) -> None:
        try:
            if request := Request.read(connection):
                self._answer(connection, request)
        except Refused as refusal:
            body = json.dumps({"message": str(refusal)}).encode()
            _respond(connection, refusal.status, body)

    def _answer(self, connection: socket.socket, request: Request) -> None:
        scope = self._scope
        match request.method, *request.path.strip("/").split("/"):
            case "POST", "containers", "create":
                request.replace_json(scope.creation(request.read_json(connection)))
                if name := request.parameter("name"):
                    request.set_parameter("name", scope.name(name))
                with self._creating:
                    if self._closed:
                        raise Refused(503, "the instance is being terminated")
                    self._exchange(connection, request)
            case "GET", "containers", "json":
                request.set_parameter("filters", scope.filters(request.parameter("filters")))
                self._exchange(connection, request)
            case ("POST", "containers", "prune") | ("GET", "events"):
                request.set_parameter("filters", scope.filters(request.parameter("filters")))
                self._pass_on(connection, request)
            case method, "containers", name, *action:
                if (method, action) == ("POST", ["exec"]):
                    wanted = request.read_json(connection)
                    engine_allowed.execution(wanted)
                    request.replace_json(wanted)
                id = scope.container(name)
                request.path = "/".join(["/containers", id, *action])
                if method == "POST" and action in (["start"], ["restart"]):
                    scope.unmoved(id)
                if action == ["rename"]:
                    request.set_parameter("name", scope.name(request.parameter("name") or ""))
                if method == "GET" and action == ["json"]:
                    self._exchange(connection, request)
                else:
                    self._pass_on(connection, request)
            case "POST", "images", "create":
                if not request.parameter("fromImage") or {"fromSrc", "repo", "changes"} & {
                    key for key, _ in request.query
                }:
                    raise Refused(403, "the local cloud's instances pull images from a registry only")
                scope.pulls(request.parameter("fromImage"), request.parameter("tag"))
                self._pass_on(connection, request)
            case "GET", "images", *name, "json":
                scope.image("/".join(name))
                self._pass_on(connection, request)
            case _, "exec", id, *_:
                scope.execution(id)
                self._pass_on(connection, request)
            case _ if engine_allowed.REQUESTS.fullmatch(f"{request.method} {request.path}"):
                self._pass_on(connection, request)
            case _:
                raise Refused(403, f"the local cloud's instances do not offer {request.method} {request.path}")

    def _pass_on(self, connection: socket.socket, request: Request) -> None:
        """Send the request, and from there on relay whatever the two sides say."""
        with socket.socket(socket.AF_UNIX) as engine:
            engine.connect(self._engine)
            engine.sendall(request.encode())
            relay(connection, engine)

    def _exchange(self, connection: socket.socket, request: Request) -> None:
        """Pass on one short request and its answer, in which the containers have the names their owner gave them."""
        with socket.socket(socket.AF_UNIX) as engine:
            engine.connect(self._engine)
            engine.sendall(request.encode())
            response = http.client.HTTPResponse(engine, method=request.method)
            response.begin()
            body = response.read()
        _respond(connection, response.status, self._scope.with_own_names(body))


def _respond(connection: socket.socket, status: int, body: bytes) -> None:
    reason = http.client.responses.get(status, "")
    head = f"HTTP/1.1 {status} {reason}\r\nContent-Type: application/json\r\nApi-Version: 1.41\r\n"
    connection.sendall(f"{head}Content-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode() + body)

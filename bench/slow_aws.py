"""AWS at a distance: a server in front of another one that is late by so many seconds for each call, and notes them."""

from __future__ import annotations

import http.client
import re
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

from .figures import check
from .user import User

HOP_BY_HOP = ("transfer-encoding", "connection")


@dataclass(frozen=True)
class Call:
    """One call of AWS's API, and the moments, as of time.time(), at which it came and was answered."""

    operation: str
    began: float
    ended: float


@dataclass
class SlowAws:
    """Where it is, by how many seconds each answer is late, and the calls so far."""

    address: str
    latency: float = 0
    calls: list[Call] = field(default_factory=list)

    def answered(self, operation: str) -> Call:
        """The last call of an operation; there has to be one."""
        return next(call for call in reversed(self.calls) if call.operation == operation)


def round_trips(calls: Sequence[Call], last: Call) -> int:
    """How many of the calls, at most, were made one after the other's answer, the last of them being `last`."""
    depth: dict[int, int] = {}
    ordered = sorted((call for call in calls if call.ended <= last.ended), key=lambda call: call.began)
    for number, call in enumerate(ordered):
        before = (depth[other] for other in range(number) if ordered[other].ended <= call.began)
        depth[number] = 1 + max(before, default=0)
        if call is last:
            return depth[number]
    raise ValueError(f"{last} is none of these calls")


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, endpoint: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.upstream = urlsplit(endpoint).netloc
        self.slow = SlowAws(f"http://127.0.0.1:{self.server_port}")


@contextmanager
def in_front_of(endpoint: str) -> Iterator[SlowAws]:
    """Put a slow server in front of an endpoint such as http://127.0.0.1:5000, while the block lasts."""
    with _Server(endpoint) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        try:
            yield server.slow
        finally:
            server.shutdown()


def calls_of(endpoint: str, action: Callable[[str], object], only: str) -> int:
    """How many calls an action makes that has nothing to do but to see that.

    endpoint: of the server; action: is given the address to call instead. only: the operation that all have to be.
    Raises WrongResultError if there are others, or none at all.
    """
    with in_front_of(endpoint) as aws:
        action(aws.address)
    others = [call.operation for call in aws.calls if call.operation != only]
    check(bool(aws.calls) and not others, f"nothing had changed, and yet: {others[:3] or 'no call at all'}")
    return len(aws.calls)


def local_cloud(user: User) -> AbstractContextManager[SlowAws]:
    """A slow server in front of a user's local cloud; a command goes there with AWS_ENDPOINT_URL set to its address."""
    said = dict(line.split(maxsplit=1) for line in user.inv("local.status").stdout.splitlines())
    return in_front_of(said["endpoint"])


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server

    def do_GET(self) -> None:
        began = time.time()
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        time.sleep(self.server.slow.latency)
        connection = http.client.HTTPConnection(self.server.upstream, timeout=60)
        connection.request(self.command, self.path, body, dict(self.headers))
        answer = connection.getresponse()
        content = answer.read()
        connection.close()
        self.server.slow.calls.append(Call(self._operation(body), began, time.time()))
        self.send_response_only(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in HOP_BY_HOP:
                self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    do_PUT = do_POST = do_DELETE = do_HEAD = do_GET

    def _operation(self, body: bytes) -> str:
        """An operation's name: of a header (JSON services) or a form (EC2, STS); S3 has a method and a path."""
        if target := self.headers.get("X-Amz-Target"):
            return str(target).rpartition(".")[2]
        form = re.match(rb"(?:.*&)?Action=(\w+)", body)
        return form[1].decode() if form else f"{self.command} {self.path.split('?')[0]}"

    def log_message(self, format: str, *args: object) -> None:
        pass

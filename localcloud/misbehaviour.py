"""How a request goes wrong: each function takes the place of the application for one request.

They are called with the fault that hits the request, and with the application and its arguments.
"""

from __future__ import annotations

import io
import os
import random
import re
import socket
import struct
import threading
from collections.abc import Iterable, Iterator
from typing import Any
from urllib.parse import unquote

from werkzeug.datastructures import Headers
from werkzeug.wsgi import get_input_stream

from .credentials import _expired
from .protocol import JSON_SERVICES, Application, Environ, Refusal, StartResponse


class Fault:
    """A fault while it is active: its figures, its chance, and what ends it.

    seed: the same one hits the same requests, if they come in the same order.
    seconds: how late an answer is. bytes_per_second: how fast a body is.
    """

    def __init__(self, *, seed: str, seconds: float, bytes_per_second: float) -> None:
        self.seconds = seconds
        self.bytes_per_second = bytes_per_second
        self.over = threading.Event()
        self._chance = random.Random(seed)

    def draw(self) -> float:
        """The next number from 0 up to 1."""
        return self._chance.random()


def service(environ: Environ) -> str:
    """The service a request is signed for; S3 if it is not signed, or in S3's old way.

    https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-signing-elements.html
    """
    signed = environ.get("HTTP_AUTHORIZATION") or unquote(environ.get("QUERY_STRING", ""))
    found = re.search(r"Credential=[^/]+/\d+/[^/]+/([^/]+)/aws4_request", signed)
    return found[1] if found else "s3"


def internal_error(
    fault: Fault, application: Application, environ: Environ, start_response: StartResponse
) -> Iterable[bytes]:
    """InternalError: the request may have been processed.

    https://docs.aws.amazon.com/AmazonS3/latest/userguide/ErrorBestPractices.html
    """
    _perhaps(fault, application, environ)
    refusal = Refusal(
        "s3", "500 Internal Server Error", "InternalError", "We encountered an internal error. Please try again."
    )
    return _refused(refusal, environ, start_response)


def throttled(_: Fault, __: Application, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """What the service says to those who ask too often."""
    return _refused(_throttling(service(environ)), environ, start_response)


def _throttling(name: str) -> Refusal:
    """EC2's code: https://docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html, which does not say that
    it comes with 503; SDKs report so. S3: https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html; others:
    https://docs.aws.amazon.com/AmazonECR/latest/APIReference/CommonErrors.html,
    https://docs.aws.amazon.com/servicequotas/2019-06-24/apireference/API_ListServiceQuotas.html and
    https://repost.aws/knowledge-center/iam-sts-throttling-error
    """
    match name:
        case "ec2":
            return Refusal(name, "503 Service Unavailable", "RequestLimitExceeded", "Request limit exceeded.")
        case "s3":
            return Refusal(name, "503 Slow Down", "SlowDown", "Please reduce your request rate.")
        case "batch":  # not in its documentation; so it was seen: https://github.com/nextflow-io/nextflow/issues/710
            return Refusal(name, "429 Too Many Requests", "TooManyRequestsException", "Too Many Requests")
        case "servicequotas":
            return Refusal(name, "400 Bad Request", "TooManyRequestsException", "Rate exceeded")
        case _:
            code = "ThrottlingException" if name in JSON_SERVICES else "Throttling"
            return Refusal(name, "400 Bad Request", code, "Rate exceeded")


def expired(_: Fault, __: Application, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """What the service says when a session is over."""
    return _refused(_expired(service(environ)), environ, start_response)


def late(fault: Fault, application: Application, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """The request is carried out at once; the answer comes late."""
    body = application(environ, start_response)
    fault.over.wait(fault.seconds)
    return body


def reset(fault: Fault, application: Application, environ: Environ, _: StartResponse) -> Iterable[bytes]:
    """The connection ends with RST, as by a close after SO_LINGER 0: socket(7).

    The server holds its files of the socket open. So another socket, at its end already, takes the descriptor.
    """
    _perhaps(fault, application, environ)
    connection: socket.socket = environ["werkzeug.socket"]
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    ended, other = socket.socketpair()
    with ended, other:
        os.dup2(ended.fileno(), connection.fileno(), inheritable=False)
    raise ConnectionResetError


def truncated(
    fault: Fault, application: Application, environ: Environ, start_response: StartResponse
) -> Iterator[bytes]:
    """A body that ends early, somewhere; its Content-Length is that of the whole."""
    left = 0

    def begin(status: str, headers: list[tuple[str, str]], *more: Any) -> Any:
        nonlocal left
        left = int(fault.draw() * int(Headers(headers).get("Content-Length", "0")))
        return start_response(status, headers, *more)

    body = application(environ, begin)
    try:
        for chunk in body:
            yield chunk[:left]
            left -= min(left, len(chunk))
    finally:
        _close(body)


def slow(fault: Fault, application: Application, environ: Environ, start_response: StartResponse) -> Iterator[bytes]:
    """Bodies trickle, the request's and the answer's."""
    environ["wsgi.input"] = io.BufferedReader(_Trickle(get_input_stream(environ), fault))
    environ["wsgi.input_terminated"] = True
    body = application(environ, start_response)
    step = _step(fault)
    try:
        for chunk in body:
            for start in range(0, len(chunk), step):
                piece = chunk[start : start + step]
                fault.over.wait(len(piece) / fault.bytes_per_second)
                yield piece
    finally:
        _close(body)


class _Trickle(io.RawIOBase):
    """A request's body, slowly."""

    def __init__(self, body: Any, fault: Fault) -> None:
        self._body = body
        self._fault = fault

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._body.read(min(len(buffer), _step(self._fault)))
        self._fault.over.wait(len(data) / self._fault.bytes_per_second)
        buffer[: len(data)] = data
        return len(data)


def _step(fault: Fault) -> int:
    """Bytes in a tenth of a second."""
    return max(1, int(fault.bytes_per_second / 10))


def _perhaps(fault: Fault, application: Application, environ: Environ) -> None:
    """Carry the request out, or do not: who gets no answer cannot know."""
    environ["wsgi.input"] = get_input_stream(environ)  # one that knows its end, whoever reads it first
    environ["wsgi.input_terminated"] = True
    if fault.draw() < 0.5:
        _close(application(environ, lambda *_: None))


def _close(body: Iterable[bytes]) -> None:
    if close := getattr(body, "close", None):
        close()


def _refused(refusal: Refusal, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """A refusal instead of an answer; the request is read to its end, as the client may not listen before."""
    rest = get_input_stream(environ)
    while rest.read(1 << 20):
        pass
    content_type, text = refusal.body()
    body = b"" if environ["REQUEST_METHOD"] == "HEAD" else text.encode()
    start_response(refusal.status, [("Content-Type", content_type), ("Content-Length", str(len(body)))])
    return [body]

"""What stands in front of the registry: ECR's rules on what may be pushed, and its eyes on what was.

A registry makes a repository with its first push; ECR knows only those that CreateRepository made. So every request
passes here, as a stream, and a manifest that came in is recorded as an image.
"""

from __future__ import annotations

import http.client
import json
import re
from collections.abc import Iterable, Iterator
from typing import Any

from moto.core import DEFAULT_ACCOUNT_ID

from . import ecr
from .protocol import Environ, StartResponse
from .registry import Registry

PATH = re.compile(r"/v2/(?P<name>.+)/(?P<kind>manifests|blobs|tags)/(?P<reference>.+)")
HOP_BY_HOP = {"connection", "keep-alive", "proxy-authenticate", "te", "trailer", "transfer-encoding", "upgrade"}
CHUNK = 1 << 20


class Gate:
    """A WSGI application that passes requests on to the registry."""

    def __init__(self, registry: Registry) -> None:
        self.registry = registry

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        found = PATH.fullmatch(environ["PATH_INFO"])
        # Who has no password is left to the registry, which asks for it.
        if found and environ.get("HTTP_AUTHORIZATION") == self.registry.authorization:
            return self._checked(environ, start_response, **found.groupdict())
        return self._pass_on(environ, start_response, _body(environ))

    def _checked(
        self, environ: Environ, start_response: StartResponse, name: str, kind: str, reference: str
    ) -> Iterable[bytes]:
        repository = ecr.repository(name)
        if repository is None:
            message = f"The repository with name '{name}' does not exist in the registry with id '{DEFAULT_ACCOUNT_ID}'"
            return _refuse(start_response, "404 Not Found", "NAME_UNKNOWN", message)
        if kind != "manifests":
            return self._pass_on(environ, start_response, _body(environ))
        by_tag = not reference.startswith("sha256:")
        tagged = ecr.image_tagged(repository, reference) if by_tag else None
        if environ["REQUEST_METHOD"] == "PUT":
            if tagged and repository.is_tag_immutable():
                # Also for the very same image: https://github.com/aws/containers-roadmap/issues/2179
                message = (
                    f"The image tag '{reference}' already exists in the '{name}' repository and cannot be overwritten "
                    "because the repository is immutable."
                )
                return _refuse(start_response, "400 Bad Request", "TAG_INVALID", message)
            return self._record(environ, start_response, repository, reference)
        if by_tag and tagged is None:
            # The registry cannot forget a tag alone; ECR has.
            return _refuse(start_response, "404 Not Found", "MANIFEST_UNKNOWN", "Requested image not found")
        return self._pass_on(environ, start_response, _body(environ))

    def _record(
        self, environ: Environ, start_response: StartResponse, repository: Any, reference: str
    ) -> Iterable[bytes]:
        manifest = b"".join(_body(environ))

        def noting(status: str, headers: list[tuple[str, str]]) -> Any:
            if status.startswith("201"):
                ecr.record_push(repository, reference, manifest, environ.get("CONTENT_TYPE", ""))
            return start_response(status, headers)

        return self._pass_on(environ, noting, iter([manifest]))

    def _pass_on(self, environ: Environ, start_response: StartResponse, body: Iterator[bytes]) -> Iterable[bytes]:
        connection = http.client.HTTPConnection(self.registry.backend, timeout=300)
        target = environ.get("RAW_URI") or environ["REQUEST_URI"]
        chunked = "chunked" in environ.get("HTTP_TRANSFER_ENCODING", "")
        connection.request(environ["REQUEST_METHOD"], target, body, _headers(environ), encode_chunked=chunked)
        answer = connection.getresponse()
        headers = [(key, value) for key, value in answer.getheaders() if key.lower() not in HOP_BY_HOP]
        start_response(f"{answer.status} {answer.reason}", headers)
        return _stream(connection, answer)


def _headers(environ: Environ) -> dict[str, str]:
    """The request's headers as they came, Host too: the registry makes its redirects from it."""
    headers = {
        key.removeprefix("HTTP_").replace("_", "-").title(): value
        for key, value in environ.items()
        if key.startswith("HTTP_") and key != "HTTP_CONNECTION"
    }
    for key, name in (("CONTENT_TYPE", "Content-Type"), ("CONTENT_LENGTH", "Content-Length")):
        if environ.get(key):
            headers[name] = environ[key]
    return headers


def _body(environ: Environ) -> Iterator[bytes]:
    """The request's body, piece by piece."""
    stream = environ["wsgi.input"]
    if "chunked" in environ.get("HTTP_TRANSFER_ENCODING", ""):
        left: float = float("inf")
    else:
        left = int(environ.get("CONTENT_LENGTH") or 0)
    while left and (piece := stream.read(int(min(left, CHUNK)))):
        left -= len(piece)
        yield piece


def _stream(connection: http.client.HTTPConnection, answer: http.client.HTTPResponse) -> Iterator[bytes]:
    try:
        while piece := answer.read(CHUNK):
            yield piece
    finally:
        connection.close()


def _refuse(start_response: StartResponse, status: str, code: str, message: str) -> Iterable[bytes]:
    """An error as registries give it: https://distribution.github.io/distribution/spec/api/#errors"""
    body = json.dumps({"errors": [{"code": code, "message": message}]}).encode()
    start_response(status, [("Content-Type", "application/json"), ("Content-Length", str(len(body)))])
    return [body]

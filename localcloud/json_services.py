"""Services that moto does not have, in AWS's JSON protocol: each operation a function of what was asked.

https://smithy.io/2.0/aws/protocols/aws-json-1_1-protocol.html
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from .credentials import Caller, read_caller
from .protocol import Application, Environ, StartResponse

Operation = Callable[[str, dict[str, Any]], dict[str, Any]]
"""Region and parameters to the answer; raises ServiceError."""


class ServiceError(Exception):
    """What a service refuses, by code and message."""

    def __init__(self, code: str, message: str) -> None:
        self.code, self.message = code, message
        super().__init__(message)


def middleware(
    application: Application,
    operations: Mapping[str, Operation],
    refuse: Callable[[Caller, str], str | None],
) -> Application:
    """Put services in front of an application.

    operations: by the header X-Amz-Target, which is the service and the operation with a dot between them.
    refuse: says why a caller is not authorized to perform an operation; None when it is.
    """

    def answered(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        target = environ.get("HTTP_X_AMZ_TARGET", "")
        if target.partition(".")[0] not in {name.partition(".")[0] for name in operations}:
            return application(environ, start_response)
        status, answer = _answer(environ, target)
        body = json.dumps(answer).encode()
        start_response(status, [("Content-Type", "application/x-amz-json-1.1"), ("Content-Length", str(len(body)))])
        return [body]

    def _answer(environ: Environ, target: str) -> tuple[str, dict[str, Any]]:
        asked = json.loads(environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0)) or b"{}")
        caller = read_caller(environ) or Caller("", "", None)
        try:
            if target not in operations:
                raise ServiceError("UnknownOperationException", f"{target} is not known here")
            if why := refuse(caller, target.partition(".")[2]):
                raise ServiceError("AccessDeniedException", why)
            return "200 OK", operations[target](caller.region, asked)
        except ServiceError as error:
            return "400 Bad Request", {"__type": error.code, "message": error.message}

    return answered

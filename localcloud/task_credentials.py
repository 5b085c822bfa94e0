"""The credentials of containers: each gets those of its own role, at a path that only it is told.

https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task-iam-roles.html
"""

from __future__ import annotations

import json
import socket
import uuid
from collections.abc import Callable
from email.message import Message
from http import HTTPStatus

from .http_door import Answer, serve_http

PATH = "/v2/credentials/"


class TaskCredentials:
    """What the ECS agent of one machine serves at 169.254.170.2.

    credentials: by role name and the session's, {"AccessKeyId", "SecretAccessKey", "Token", "Expiration" (ISO 8601)}.
    """

    def __init__(self, credentials: Callable[[str, str], dict[str, str]]) -> None:
        self._credentials = credentials
        self._roles: dict[str, str] = {}

    def grant(self, role_arn: str) -> str:
        """The path at which the role's credentials can be had from now on.

        Raises KeyError for a role that there is none of.
        """
        try:
            self._of(role_arn, "task")
        except Exception as error:  # whatever IAM has against it
            raise KeyError(role_arn) from error
        path = f"{PATH}{uuid.uuid4()}"
        self._roles[path] = role_arn
        return path

    def withdraw(self, path: str) -> None:
        """End what `grant` began."""
        self._roles.pop(path, None)

    def answer(self, method: str, path: str, headers: Message) -> Answer:
        """Answer one request, with fresh credentials."""
        role_arn = self._roles.get(path.partition("?")[0])
        if method != "GET" or role_arn is None:
            body = json.dumps({"code": "InvalidIdInRequest", "message": "CredentialsV2Request: ID not found"})
            return Answer(HTTPStatus.BAD_REQUEST, body.encode(), content_type="application/json")
        body = json.dumps({"RoleArn": role_arn, **self._of(role_arn, path.rpartition("/")[2])})
        return Answer(HTTPStatus.OK, body.encode(), content_type="application/json")

    def serve(self, connection: socket.socket) -> None:
        """Answer the HTTP requests of one connection."""
        serve_http(connection, self.answer, server="ECS")

    def _of(self, role_arn: str, task: str) -> dict[str, str]:
        return self._credentials(role_arn.rpartition("/")[2], task)

"""EC2's refusals with a status of their own; moto answers every error with 400."""

# mypy: allow-subclassing-any
from __future__ import annotations

from http import HTTPStatus
from typing import Any

from werkzeug.exceptions import HTTPException

from .protocol import Refusal


class Refused(HTTPException):
    """An error that EC2 answers with this status. SDKs send a request again that got a 5xx."""

    def __init__(self, status: HTTPStatus, code: str, message: str) -> None:
        self.code = status.value
        self.error_code, self.message = code, message
        self.kind, body = Refusal("ec2", f"{status.value} {status.phrase}", code, message).body()
        super().__init__(body)

    def get_headers(self, *_: Any, **__: Any) -> list[tuple[str, str]]:
        return [("Content-Type", self.kind)]

"""Client tokens: a request that is sent again makes nothing new.

https://docs.aws.amazon.com/ec2/latest/devguide/ec2-api-idempotency.html
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from typing import Any


class Mismatch(Exception):
    """The token was used before, with other parameters."""


class Answers:
    """The answers given to the client tokens of one account and region."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._locks: dict[tuple[str, str], threading.Lock] = {}
        self._given: dict[tuple[str, str], tuple[str, Any]] = {}

    def answer(self, action: str, token: str, parameters: dict[str, Any], make: Callable[[], Any]) -> tuple[Any, bool]:
        """What `make` returned for this action and token, now or the first time, and whether that was before.

        Two calls at once with one token wait for each other; a `make` that raises leaves the token unused.
        parameters: all that the client asked for. Raises Mismatch when they differ from the first time's.
        """
        key = (action, token)
        asked = json.dumps({**parameters, "ClientToken": None}, sort_keys=True, default=str)
        with self._lock:
            mine = self._locks.setdefault(key, threading.Lock())
        with mine:
            if key in self._given:
                before, answer = self._given[key]
                if before != asked:
                    raise Mismatch
                return answer, True
            answer = make()
            self._given[key] = (asked, answer)
            return answer, False

"""Pages of an answer, and the tokens that lead from one to the next."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from typing import TypeVar

Item = TypeVar("Item")


class BadToken(Exception):
    """A token that no page has given."""


def page(items: Sequence[Item], size: int, token: str | None) -> tuple[list[Item], str | None]:
    """One page of at most `size` items, and the token of the next page; raises BadToken."""
    try:
        start = int(base64.urlsafe_b64decode(token)) if token else 0
    except (ValueError, binascii.Error):
        raise BadToken(token) from None
    end = start + size
    following = base64.urlsafe_b64encode(str(end).encode()).decode() if end < len(items) else None
    return list(items[start:end]), following

"""What the children of a sweep sign with its key: their records, and what they have cost. userdata/sign.py signs.

All children share a role, so what one may write, those of every sweep may: only the signature tells whose word it is.
https://docs.python.org/3/library/hmac.html
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from typing import Any

COST = re.compile(r"([0-9]{1,18})(?:-([0-9a-f]{16}))?", re.ASCII)
"""The name of an object that tells a cost: micro-dollars, and the beginning of their signature."""


def signature(key: str, text: str) -> str:
    """HMAC-SHA256 in hex."""
    return hmac.new(key.encode(), text.encode(), hashlib.sha256).hexdigest()


def canonical(record: dict[str, Any]) -> str:
    """What of a record is signed: all but the signature, in one form, however it is written down."""
    rest = {name: value for name, value in record.items() if name != "signature"}
    return "record " + json.dumps(rest, sort_keys=True, separators=(",", ":"))


def is_signed(record: dict[str, Any], key: str) -> bool:
    """Whether a record has the signature of its sweep's key; of a sweep without a key, every record has."""
    given = str(record.get("signature", ""))
    return not key or hmac.compare_digest(given.encode(errors="replace"), signature(key, canonical(record)).encode())


def cost(name: str, child: str, key: str) -> float | None:
    """The dollars that the name of a cost's object tells; None if it is none, or not signed by its sweep.

    child: SWEEP/INDEX.
    """
    found = COST.fullmatch(name)
    if found is None:
        return None
    micro, signed = found[1], found[2] or ""
    if key and not hmac.compare_digest(signed, signature(key, f"cost {child} {micro}")[:16]):
        return None
    return int(micro) / 1_000_000

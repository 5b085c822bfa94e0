"""Signs what a child of a sweep says of itself, and tells whether what S3 has of it is its own.

All children share a role, so what one may write, those of every sweep may. The key of a sweep is in SOLVER_KEY of its
children only; a sweep from before there were keys has none, and its children sign nothing. cloud/signatures.py reads
it. Standard library of Python 3.9 only.

    sign text TEXT      prints its signature
    sign record FILE    prints the record with its signature
    sign check FILE     fails unless the record has its signature
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import sys
from pathlib import Path
from typing import Any


def signature(key: str, text: str) -> str:
    """HMAC-SHA256 in hex; "" without a key."""
    return hmac.new(key.encode(), text.encode(), hashlib.sha256).hexdigest() if key else ""


def canonical(record: dict[str, Any]) -> str:
    """What of a record is signed: all but the signature, in one form, however it is written down."""
    rest = {name: value for name, value in record.items() if name != "signature"}
    return "record " + json.dumps(rest, sort_keys=True, separators=(",", ":"))


def main(what: str, given: str, key: str) -> int:
    """Print what is asked for; returns the exit code."""
    if what == "text":
        print(signature(key, given))
        return 0
    record = json.loads(Path(given).read_text())
    expected = signature(key, canonical(record))
    if what == "check":
        return 0 if hmac.compare_digest(str(record.get("signature", "")).encode(), expected.encode()) else 1
    print(json.dumps({**record, "signature": expected} if key else record, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2], os.environ.get("SOLVER_KEY", "")))

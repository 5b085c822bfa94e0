"""What never changes once it is known, kept in the user's cache directory; losing it costs time only."""

from __future__ import annotations

import json
import os
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any


def path(name: str) -> Path:
    """Where something is kept: below XDG_CACHE_HOME, as https://specifications.freedesktop.org/basedir-spec/ says."""
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser() / "solver-cloud" / f"{name}.json"


def load(name: str) -> dict[str, Any]:
    """What was kept under a name; empty if nothing was, or it cannot be read."""
    try:
        found = json.loads(path(name).read_bytes())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def keep(name: str, values: dict[str, Any]) -> None:
    """Keep something under a name, whole or not at all; a directory that cannot be written to is no reason to fail."""
    target = path(name)
    with suppress(OSError):
        target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor, temporary = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
        try:
            with open(descriptor, "w", encoding="utf-8") as out:
                json.dump(values, out, separators=(",", ":"))
            os.replace(temporary, target)
        except BaseException:
            os.unlink(temporary)
            raise

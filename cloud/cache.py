"""What never changes once it is known, kept in the user's cache directory; losing it costs time only."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from pathlib import Path
from typing import Any


def directory() -> Path:
    """Where all of it is: below XDG_CACHE_HOME, as https://specifications.freedesktop.org/basedir-spec/ says.

    Raises RuntimeError where there is no home directory.
    """
    base = os.environ.get("XDG_CACHE_HOME", "")
    # "All paths set in these environment variables must be absolute", and others are to be ignored.
    return Path(base if os.path.isabs(base) else "~/.cache").expanduser() / "solver-cloud"


def path(name: str) -> Path:
    """Where something is kept. Raises RuntimeError where there is no home directory."""
    return directory() / f"{name}.json"


def load(name: str) -> dict[str, Any]:
    """What was kept under a name; empty if nothing was, or it cannot be read."""
    try:
        found = json.loads(path(name).read_bytes())
    except (OSError, RuntimeError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def keep(name: str, values: dict[str, Any]) -> None:
    """Keep something under a name, whole or not at all; a directory that cannot be written to is no reason to fail."""
    with suppress(OSError, RuntimeError):
        write(path(name), json.dumps(values, separators=(",", ":")))


def write(target: Path, text: str) -> None:
    """Write a file that only this user may read, whole or not at all; raises OSError."""
    import tempfile

    target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    descriptor, temporary = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    try:
        with open(descriptor, "w", encoding="utf-8", errors="backslashreplace") as out:
            out.write(text)
        os.replace(temporary, target)
    except BaseException:
        with suppress(OSError):
            os.unlink(temporary)
        raise

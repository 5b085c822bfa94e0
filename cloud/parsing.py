"""What others have written, in JSON or in tags: checked, so that nothing worse than ValueError comes of it.

Each check takes a value and what it is called, and returns the value; its ValueError says what is wrong in a few words.
"""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime
from typing import Any, NoReturn

MOST_TEXT = 4096
"""Characters of a text; S3's keys have 1,024 bytes, the values of tags 256 characters."""
EARLIEST, LATEST = datetime(2000, 1, 1, tzinfo=UTC), datetime(2200, 1, 1, tzinfo=UTC)
"""Between which a moment has to be, far from where Python's arithmetic ends."""
MOST_NUMBER, MOST_WHOLE = 1e7, 10**15
"""Of dollars, hours and seconds, more than anybody means, and before the end of Python's calendar; of bytes."""


class Malformed(ValueError):
    """What was read is not what it ought to be."""


def decode(body: bytes | str) -> Any:
    """What JSON says. NaN and Infinity are no JSON."""
    try:
        return json.loads(body, parse_constant=_no_constant)
    except RecursionError:
        raise Malformed("nested too deep") from None
    except UnicodeDecodeError:
        raise Malformed("not UTF-8") from None
    except json.JSONDecodeError as error:
        raise Malformed(f"no JSON: {error}") from None


def _no_constant(name: str) -> NoReturn:
    raise Malformed(f"no JSON: {name}")


def mapping(value: Any, what: str) -> dict[str, Any]:
    """An object of JSON."""
    if not isinstance(value, dict):
        raise Malformed(f"{what} is {_shown(value)}, not an object")
    return value


def listed(value: Any, what: str) -> list[Any]:
    """A list of JSON."""
    if not isinstance(value, list):
        raise Malformed(f"{what} is {_shown(value)}, not a list")
    return value


def text(value: Any, what: str) -> str:
    """A text that UTF-8 has a form for: half a surrogate pair, which JSON lets pass, becomes a question mark."""
    if not isinstance(value, str):
        raise Malformed(f"{what} is {_shown(value)}, not a text")
    if len(value) > MOST_TEXT:
        raise Malformed(f"{what} has {len(value):,} characters")
    return value if value.isascii() else value.encode(errors="replace").decode()


def number(value: Any, what: str) -> float:
    """A finite number that is not negative, such as an amount of money."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= MOST_NUMBER:
        raise Malformed(f"{what} is {_shown(value)}, not a number of 0 or more")
    return value


def whole(value: Any, what: str, least: int = 0, most: int = MOST_WHOLE) -> int:
    """A whole number, by default not negative."""
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise Malformed(
            f"{what} is {_shown(value)}, not a whole number" + (f" of {least} or more" if least >= 0 else "")
        )
    return value


def moment(value: Any, what: str) -> datetime:
    """A moment in ISO 8601 with its zone, in UTC."""
    try:
        found = datetime.fromisoformat(value)
        zoned = found if found.tzinfo is UTC else found.astimezone(UTC) if found.tzinfo else None
    except (TypeError, ValueError, OverflowError):
        zoned = None
    if zoned is None or not EARLIEST <= zoned < LATEST:
        raise Malformed(f"{what} is {_shown(value)}, not a time with its zone")
    return zoned


def price(value: Any) -> float | None:
    """Dollars as AWS writes them, in text; None for what is no price."""
    try:
        found = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return found if math.isfinite(found) and 0 <= found <= MOST_NUMBER else None


def _shown(value: Any) -> str:
    """A value in a few characters; one that is large is not written out for that."""
    if isinstance(value, str):
        return repr(value[:40])
    if value is None or isinstance(value, (bool, float)) or (isinstance(value, int) and abs(value) < 10**20):
        return json.dumps(value)
    return {dict: "an object", list: "a list", int: "a huge number"}.get(type(value), type(value).__name__)

"""What somebody gave a setting: in a file of invoke's, the environment, an AWS profile, on the command line."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .defaults import DEFAULTS, of_environment
from .errors import UsageError

MOST_OF_ALL = 1e9
"""What no number of ours is above: times and sums of what is larger overflow, or are a slip."""
MOST = {"max_hours": 87_600, "keep_on_failure": 5_256_000}
"""Of some settings: ten years, so that a deadline is a date."""
TRUTHS = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}


@dataclass(frozen=True)
class Given:
    """A value, and where it was given: `solver.max_hours`, `solver_max_hours`, `--max-hours`."""

    place: str
    value: Any


def given(prefix: str, values: Mapping[str, Any]) -> dict[str, Given]:
    """By setting name, what of `values` is not None, which means "not given" everywhere.

    prefix: `solver.`, `solver_` or `--`.
    """
    found = {name: Given(_place(prefix, name, value), value) for name, value in values.items()}
    return {name: one for name, one in found.items() if one.value is not None}


def _place(prefix: str, name: str, value: Any) -> str:
    variable = f"INVOKE_SOLVER_{name.upper()}"
    if prefix == "solver." and os.environ.get(variable) == value:
        return variable
    return prefix + (name.replace("_", "-") if prefix == "--" else name)


def configured(context: Any) -> dict[str, Any]:
    """The key `solver` of invoke's configuration; raises UsageError when that is no mapping."""
    found = context.get("solver")
    if found is None:
        return of_environment()  # which invoke cannot merge with `solver:` and nothing below it
    if not hasattr(found, "keys"):
        raise UsageError(
            f"solver is {_shown(found)}", fix="settings belong below it: docs/settings.yaml shows them all"
        )
    return {str(name): value for name, value in dict(found).items()}


def read(name: str, kind: str, one: Given | None) -> Any:
    """A setting's value as the type that its field is annotated with, None if nobody gave one.

    Raises UsageError when it cannot be of that type, or no number that can be meant.
    """
    if one is None:
        return None
    make, called = KINDS[kind.removesuffix(" | None")]
    try:
        value = make(one.value)
    except (ValueError, KeyError, OverflowError, RuntimeError):
        default = "" if DEFAULTS[name] is None else f"; the default is {DEFAULTS[name]}"
        raise UsageError(
            f"{one.place} is {_shown(one.value)}, which is not {called}", fix=f"docs/settings.yaml explains it{default}"
        ) from None
    most = MOST.get(name, MOST_OF_ALL)
    if isinstance(value, float | int) and not isinstance(value, bool) and not 0 < value <= most:
        raise UsageError(f"{one.place} is {_shown(one.value)}, but must be above zero and at most {most:,.0f}")
    return value


def _truth(value: Any) -> bool:
    return value if isinstance(value, bool) else TRUTHS[str(value).lower()]


def _text(value: Any) -> str:
    # A number would not be what was typed: YAML reads 012 as 10.
    if not isinstance(value, str | Path) or not str(value).strip() or "\0" in str(value):
        raise ValueError
    return str(value)


def _path(value: Any) -> Path:
    return Path(_text(value)).expanduser()  # a RuntimeError for the home directory of nobody


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, str | int | float) or not math.isfinite(float(value)):
        raise ValueError
    return float(value)


def _whole(value: Any) -> int:
    if not _number(value).is_integer():
        raise ValueError
    return int(_number(value))


KINDS = {
    "bool": (_truth, "true or false"),
    "int": (_whole, "a whole number"),
    "float": (_number, "a number"),
    "str": (_text, "text (numbers need quotes in YAML)"),
    "Path": (_path, "a path"),
}
"""How each type of field is read, and what it is called."""


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:60]}…"

"""Strategies for what comes from elsewhere, and how many of each are tried: a hundred, or 10,000 with `--all`."""

from __future__ import annotations

import copy
import json
import os
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

SEED = 20261128
EXAMPLES = pytest.mark.parametrize("examples", [100, pytest.param(10_000, marks=pytest.mark.long)])
WORDS = (
    *("", "garbage", "complete", "running", "terminated", "spot", "NaN", "-1", "1e999", "i-0aaaaaaaaaaaaaaaa"),
    *("2026-11-24T08:00:00Z", "2026-11-24T08:00:00", "2026-11-24", "0001-01-01T00:00:00+14:00"),
    *("9999-12-31T23:59:59-14:00", "2026-13-45T99:00:00Z", "20261124T080000Z", "2026-W48-2", "~", "/", ".."),
    *("2199-01-01T00:00:00Z", "2026-11-24T09:00:00Z"),
    *("\ud800", "\x1b]52;c;x\x07", "[/x]", "\u202e", "x" * 5000, "é", "\0"),
)
ATOMS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.sampled_from((-1, 0, 1, 60, 2**31, 2**63, 10**18, 10**400, -(10**400))),
    st.floats(),
    st.sampled_from(WORDS),
    st.text(st.characters(codec=None), max_size=20),
)
JUNK = st.recursive(
    ATOMS,
    lambda one: (
        st.lists(one, max_size=4) | st.dictionaries(st.sampled_from(WORDS) | st.text(max_size=5), one, max_size=4)
    ),
    max_leaves=8,
)
BODIES = st.one_of(
    st.binary(max_size=60),
    st.sampled_from(
        (b"", b"null", b"[" * 100_000, b'{"a":' * 100_000, b"\xff\xfe{", b"\xef\xbb\xbf{}", b"<html></html>")
    ),
    st.builds(lambda data: json.dumps(data).encode(), JUNK),
)


TIMES: tuple[str, ...] = (
    "0001-01-01T00:00:00+14:00",
    "9999-12-31T23:59:59-14:00",
    "9999-12-31T23:59:59Z",
    "2199-01-01T00:00:00Z",
)
TIMES += ("1970-01-01T00:00:00Z", "2026-11-24T08:00:00")
NUMBERS = (float("nan"), float("inf"), -1, -0.5, 0, 10**7, 1e15, 10**18, 1e300, 10**400)


def instead(value: Any) -> st.SearchStrategy[Any]:
    """What may stand in place of a value: junk, mostly of its kind."""
    if isinstance(value, str) and value[:4].isdigit():
        return st.sampled_from(TIMES) | JUNK
    if isinstance(value, (int, float)):
        return st.sampled_from(NUMBERS) | JUNK
    return JUNK


def places(data: Any) -> list[tuple[Any, Any]]:
    """Every container in some JSON, with each of its keys or indexes."""
    keys = list(data) if isinstance(data, dict) else list(range(len(data))) if isinstance(data, list) else []
    return [(data, key) for key in keys] + [place for key in keys for place in places(data[key])]


@st.composite
def mutated(draw: st.DrawFn, valid: Any, most: int = 3) -> Any:
    """Something valid of which a few values are replaced or missing, or to which something is added."""
    data = copy.deepcopy(valid)
    for _ in range(draw(st.integers(0, most))):
        found = places(data)
        if not found:
            break
        container, key = draw(st.sampled_from(found))
        how = draw(st.sampled_from(("replaced", "replaced", "missing", "added")))
        if how == "missing":
            del container[key]
        elif how == "replaced" or isinstance(container, list):
            container[key] = draw(instead(container[key]))
        else:
            container[draw(st.sampled_from(WORDS))] = draw(JUNK)
    return data


def bodies(valid: Any) -> st.SearchStrategy[bytes]:
    """An object of S3 that ought to hold something like this: mostly it does, in part."""
    return st.one_of(
        mutated(valid).map(lambda data: json.dumps(data).encode()),
        mutated(valid).map(lambda data: json.dumps(data).encode()),
        st.builds(lambda data, end: json.dumps(data).encode()[:end], mutated(valid), st.integers(0, 300)),
        BODIES,
    )


def tried(capsys: pytest.CaptureFixture[str], examples: int, check: Callable[..., None], *inputs: Any) -> None:
    """Run a check with so many inputs: always the same if they are few, and by a seed if they are many.

    HOSTILE_SEED is another seed than the one that is kept here.
    """
    few = examples < 1000
    how = settings(derandomize=few, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    run: Callable[[], None] = settings(how, max_examples=examples)(given(*inputs)(check))  # type: ignore[no-untyped-call]
    if not few:
        number = int(os.environ.get("HOSTILE_SEED") or SEED)
        with capsys.disabled():
            print(f"\n{check.__name__}: {examples} inputs, HOSTILE_SEED={number}", flush=True)
        run = seed(number)(run)
    run()

"""What others have written is taken as it is, or refused with a ValueError that says why."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from cloud import parsing


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-11-28T01:02:03Z", datetime(2026, 11, 28, 1, 2, 3, tzinfo=UTC)),
        ("2026-11-28T01:02:03+02:00", datetime(2026, 11, 27, 23, 2, 3, tzinfo=UTC)),
        ("2000-01-01T00:00:00Z", datetime(2000, 1, 1, tzinfo=UTC)),
    ],
)
def test_a_moment_has_its_zone(text: str, moment: datetime) -> None:
    assert parsing.moment(text, "it") == moment


@pytest.mark.parametrize(
    "value",
    [
        *("2026-11-28T01:02:03", "1999-12-31T23:59:59Z", "2200-01-01T00:00:00Z", "0001-01-01T00:00:00+14:00"),
        *("9999-12-31T23:59:59-14:00", "yesterday", "", None, 1764291723, [], {}),
    ],
)
def test_other_moments_are_refused(value: Any) -> None:
    """Such as those at the ends of Python's calendar, with which no deadline can be reckoned."""
    with pytest.raises(ValueError, match="not a time with its zone"):
        parsing.moment(value, "it")


@pytest.mark.parametrize("value", [0, 0.5, 10_000_000])
def test_a_number_is_finite_and_not_negative(value: float) -> None:
    assert parsing.number(value, "it") == value


@pytest.mark.parametrize("value", [-0.01, 10_000_001, float("nan"), float("inf"), True, "1", None, [1]])
def test_other_numbers_are_refused(value: Any) -> None:
    with pytest.raises(ValueError, match="not a number of 0 or more"):
        parsing.number(value, "it")


@pytest.mark.parametrize("value", [-1, 10**15 + 1, 1.0, True, "1", None])
def test_other_whole_numbers_are_refused(value: Any) -> None:
    assert parsing.whole(10**15, "it") == 10**15
    with pytest.raises(ValueError, match="not a whole number of 0 or more"):
        parsing.whole(value, "it")


@pytest.mark.parametrize("body", [b"\xff", b"{", b"[" * 100_000, b"NaN", b"1" * 5000, b""])
def test_what_is_no_json_is_a_value_error(body: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        parsing.decode(body)

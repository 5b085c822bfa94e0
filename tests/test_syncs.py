"""sync.json as `status` reads it: what the instance says, and whatever else may be in its place."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud import job_view, syncs
from cloud.syncs import Sync
from cloud.watch import Details

from .test_costs import ENDED

JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)
FIELDS = st.fixed_dictionaries(
    {}, optional={"synced_at": JSON | st.datetimes().map(str), "failed": JSON, "left_out": JSON}
)


def test_what_an_instance_says() -> None:
    text = '{"synced_at": "2026-11-24T08:00:00Z", "failed": "no route", "left_out": {"a": "no room", "...": "7 more"}}'
    warnings = ("the last sync failed: no route", "a: no room", "...: 7 more")
    assert syncs.parse(text) == Sync(datetime(2026, 11, 24, 8, tzinfo=UTC), warnings)


@pytest.mark.parametrize("at", [None, 7, "", "yesterday", "0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59"])
def test_a_time_that_is_none_is_not_told(at: Any) -> None:
    assert syncs.parse(json.dumps({"synced_at": at, "left_out": {"a": "b"}})) == Sync(None, ("a: b",))


@given(st.text() | JSON.map(json.dumps) | FIELDS.map(json.dumps) | st.just("[" * 100_000))
def test_nothing_that_may_be_in_its_place_is_more_than_ignored(text: str) -> None:
    found = syncs.parse(text)
    shown = job_view.job_facts(ENDED, Details(synced_at=found.at, warnings=found.warnings))
    assert all(value.encode() for value in shown.values())


def test_status_says_when_it_was_synced_and_what_was_left_out() -> None:
    warnings = tuple(f"{number}: no room" for number in range(7))
    facts = job_view.job_facts(ENDED, Details(synced_at=datetime.now(UTC), warnings=warnings))
    assert facts["synced"] in ("0s ago", "1s ago")
    assert facts["warnings"] == "0: no room; 1: no room; 2: no room; 3: no room; 4: no room; 2 more, see --json"
    found = job_view.job_json(ENDED, Details(warnings=warnings))
    assert found["warnings"] == warnings

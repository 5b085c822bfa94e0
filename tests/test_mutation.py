"""The lists of tests/mutation fit the code: what is not there any more cannot be changed."""

from __future__ import annotations

import pytest

from cloud.config import PACKAGE

from .mutation import generated, listed
from .mutation.judges import JUDGES


@pytest.mark.parametrize("change", listed.changes(), ids=lambda change: f"{change.file} {change.text.strip()[:40]}")
def test_a_change_changes_one_place(change: listed.Change) -> None:
    places = (PACKAGE / change.file).read_text().count(change.text)
    assert places == 1
    assert change.to != change.text
    assert (PACKAGE / change.tests.split()[0]).exists()


def test_who_judges_is_there() -> None:
    for file, judges in JUDGES.items():
        assert (PACKAGE / file).is_file()
        assert [judge for judge in judges if not (PACKAGE / "tests" / judge).is_file()] == []


def test_what_is_explained_is_there() -> None:
    for file in JUDGES:
        for diff in generated.explained(file):
            before = [line[2:] for line in diff.splitlines() if line.startswith("- ")]
            lines = [line.strip() for line in (PACKAGE / file).read_text().splitlines()]
            assert [line for line in before if line not in lines] == []

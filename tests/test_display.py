from __future__ import annotations

import sys
from datetime import timedelta

import pytest

from cloud import display


@pytest.mark.parametrize(
    ("span", "text"),
    [
        (timedelta(seconds=7), "7s"),
        (timedelta(minutes=5, seconds=7), "5m 07s"),
        (timedelta(hours=4, minutes=5), "4h 05m"),
        (timedelta(days=3, hours=4), "3d 4h"),
        (timedelta(seconds=-1), "0s"),
    ],
)
def test_durations_are_read_at_a_glance(span: timedelta, text: str) -> None:
    assert display.duration(span) == text


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("", ""),
        ("one\ntwo\n", "two"),
        ("10 %\r20 %\r", "20 %"),
        ("\x1b[32miteration 5\x1b[0m\n\x1b[2K\n", "iteration 5"),
        ("\x1b]0;title\x07ready\r\n", "ready"),
    ],
)
def test_the_last_line_is_what_a_terminal_would_show(text: str, line: str) -> None:
    assert display.last_line(text) == line


@pytest.mark.parametrize(
    ("columns", "shown"),
    [
        (80, "JOB                   MARKET   CONFIG\ni-0aaaaaaaaaaaaaaaa   spot     fast_buckets.yaml\n"),
        (40, "JOB                   CONFIG\ni-0aaaaaaaaaaaaaaaa   fast_buckets.yaml\n"),
        (20, "JOB\ni-0aaaaaaaaaaaaaaaa\n"),
    ],
)
def test_a_narrow_terminal_does_without_the_spare_columns(
    columns: int, shown: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    row = ("i-0aaaaaaaaaaaaaaaa", "spot", "fast_buckets.yaml")
    display.table(("JOB", "MARKET", "CONFIG"), [row], spare=("MARKET", "CONFIG"))
    lines = [line.rstrip() for line in display.ESCAPE.sub("", capsys.readouterr().out).splitlines()]
    assert "".join(f"{line}\n" for line in lines if "─" not in line) == shown


def test_a_table_for_a_script_is_tab_separated_and_has_no_heading(capsys: pytest.CaptureFixture[str]) -> None:
    display.table(("A", "B"), [("1", "two words"), ("2", "x" * 300)])
    assert capsys.readouterr().out == f"1\ttwo words\n2\t{'x' * 300}\n"

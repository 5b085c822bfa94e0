from __future__ import annotations

import io
import json
import sys
from datetime import timedelta
from pathlib import Path

import pytest

from cloud import display
from cloud.errors import CloudError
from cloud.text import plain


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
    lines = [line.rstrip() for line in plain(capsys.readouterr().out).splitlines()]
    assert "".join(f"{line}\n" for line in lines if "─" not in line) == shown


def test_a_table_for_a_script_is_tab_separated_and_has_no_heading(capsys: pytest.CaptureFixture[str]) -> None:
    display.table(("A", "B"), [("1", "two words"), ("2", "x" * 300)])
    assert capsys.readouterr().out == f"1\ttwo words\n2\t{'x' * 300}\n"


HOSTILE = "a\x1b]52;c;ZXZpbA==\x07\x9b31m\u202e\tb\nc\x7f [/data/x] x[b].yaml :smile:"
SHOWN = "a\\x9b31m\\u202e b c\\x7f [/data/x] x[b].yaml :smile:"


@pytest.mark.parametrize("terminal", [True, False])
def test_a_table_shows_text_and_obeys_none_of_it(
    terminal: bool, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: terminal)
    display.table((HOSTILE, "B"), [(HOSTILE, "[bold]"), ("i-0", "[/]")])
    lines = [line.rstrip() for line in capsys.readouterr().out.splitlines() if "─" not in line]
    if terminal:
        lines = [plain(line).replace("   ", "\t") for line in lines]
        assert lines.pop(0).startswith(SHOWN)
    assert lines[0] == f"{SHOWN}\t[bold]"
    assert lines[1].split() == ["i-0", "[/]"]


def test_what_is_said_or_goes_wrong_obeys_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    display.say(HOSTILE)
    display.facts({"reason": HOSTILE})
    display.show(Path(HOSTILE))
    captured = capsys.readouterr()
    assert captured.out == f"reason     {SHOWN}\n{captured.err}"
    assert captured.err == f"{SHOWN}\n".replace("e b c", "e\tb\nc")
    assert str(CloudError(HOSTILE, fix=HOSTILE)) == captured.err + "  " + captured.err.rstrip("\n")


def test_json_is_the_same_data_in_printable_characters(capsys: pytest.CaptureFixture[str]) -> None:
    display.print_json([{"reason": HOSTILE}])
    display.print_json({"reason": HOSTILE})
    out = capsys.readouterr().out
    assert out.replace("\n", "").isprintable()
    assert json.loads(out[: out.index("]\n") + 1]) == [json.loads(out[out.index("]\n") + 1 :])] == [{"reason": HOSTILE}]


def test_a_question_obeys_nothing(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr(sys, "stdin", Terminal("yes\n"))
    assert display.agreed("end \x1b[31mi-0\x07?", otherwise="")
    assert capsys.readouterr().err == "end i-0\\x07? [y/N] "


def test_a_progress_bar_is_named_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys, "stderr", out := Terminal())
    with display.byte_progress("[/data/x]\x1b]0;t\x07\x9b", 10) as progress:
        progress(10)
    assert "[/data/x]\\x9b" in out.getvalue()

"""What a terminal may be shown of what came from elsewhere."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud.text import one_line, plain


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[31mred\x1b[0m", "red"),
        ("\x1b[?25l\x1b[2J\x1b[1;1Hgone", "gone"),
        ("\x1b]0;title\x07ready", "ready"),
        ("\x1b]52;c;ZXZpbA==\x1b\\paste", "paste"),
        ("\x1b]8;;https://evil.example\x1b\\click\x1b]8;;\x1b\\", "click"),
        ("\x1bP1$r0m\x1b\\\x1b_apc\x1b\\\x1b^pm\x1b\\x", "x"),
        ("\x1bc\x1b7\x1b(B\x1b=reset", "reset"),
        ("\x1b[0", "\\x1b[0"),
        ("\x1b]52;c;never ended\nnext line\x07", "\\x1b]52;c;never ended\nnext line\\x07"),
        ("\x1b\x1b[0m[31mspliced", "\\x1b[31mspliced"),
        ("100 %\rowned", "100 %\\rowned"),
        ("bell\x07 null\x00 del\x7f back\x08", "bell\\x07 null\\x00 del\\x7f back\\x08"),
        ("c1\x9b31m\x9d0;t\x9c\x85", "c1\\x9b31m\\x9d0;t\\x9c\\x85"),
        ("a\u202eb\u2066c\u2069d\u200fe\u061c", "a\\u202eb\\u2066c\\u2069d\\u200fe\\u061c"),
        ("one\u2028two\u2029", "one\\u2028two\\u2029"),
        ("caf\udce9 \ud800", "caf\\udce9 \\ud800"),
    ],
)
def test_what_a_terminal_would_obey_is_gone_or_seen(text: str, shown: str) -> None:
    assert plain(text) == shown


@pytest.mark.parametrize(
    "text", ["é e\u0301", "扑克", "👩\u200d🔬 🇩🇪", "שלום مرحبا", "two\n\tlines\n", "[/data/x] [bold]", r"\x07"]
)
def test_every_letter_of_every_script_stays(text: str) -> None:
    assert plain(text) == text


def test_a_value_in_a_row_is_one_line_without_tabs() -> None:
    assert one_line("one\r\n  two\tthree\n\n") == "one two three"
    assert one_line("a  b") == "a  b"


@given(st.text(st.characters(codec=None)))
def test_no_text_makes_a_terminal_do_anything(text: str) -> None:
    shown = plain(text)
    assert not re.search(
        "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]", shown
    )
    assert plain(shown) == shown
    assert len(one_line(text).splitlines()) <= 1
    shown.encode()

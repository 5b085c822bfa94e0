"""What a trainer prints, on a terminal and elsewhere. The terminal is a real one."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from cloud import terminal

PRINT = "import sys\nfrom cloud import terminal\nwith terminal.output() as write: write(sys.stdin.buffer.read())"


def shown(data: bytes, step: int | None = None) -> str:
    """What a terminal is given of bytes that come `step` at a time."""
    text = terminal.Text()
    step = step or len(data) or 1
    chunks = (data[start : start + step] for start in range(0, len(data), step))
    return "".join(map(text.shown, chunks)) + text.end()


@pytest.mark.parametrize(
    ("printed", "kept"),
    [
        ("iteration 1/10\r\n\tdone ♠ é 中", "iteration 1/10\r\n\tdone ♠ é 中"),
        ("50%\r51%\r", "50%\r51%\r"),
        ("\x1b[1;31mred\x1b[0m \x1b[38:2::1:2:3mx\x1b[m", "\x1b[1;31mred\x1b[0m \x1b[38:2::1:2:3mx\x1b[m\x1b[0m"),
        ("\x1b[8mhidden", "\x1b[8mhidden\x1b[0m"),
        ("a\x1b]0;title\x07b\x1b]52;c;aGk=\x1b\\c\x1b]8;;http://x\x1b\\d", "abcd"),
        ("a\x1bP+q544e\x1b\\b\x1b_G\x1b\\c\x1b^x\x1b\\d\x1bXx\x1b\\e", "abcde"),
        ("a\x1b[2J\x1b[1;1H\x1b[?1049h\x1b[5n\x1b[Kb", "ab"),
        ("a\x1bc\x1b(0\x1b7\x1b8\x1b=\x1b#8b", "ab"),
        ("a\x9b31mb\x9d0;x\x9cc\x85d", "a31mb0;xcd"),
        ("a\x08\x0b\x0c\x0e\x0f\x00\x05\x07\x7fb", "ab"),
        ("a\u202eb\u2066c\u200fd\u061ce", "abcde"),
        ("a\x1b", "a"),
        ("a\x1b[31", "a[31"),
        ("a\x1b]0;never ends\nb", "a]0;never ends\nb"),
        ("a\x1b]0;" + "x" * 10_000, "a]0;" + "x" * 10_000),
        ("", ""),
    ],
)
def test_of_what_a_terminal_obeys_only_colours_are_left(printed: str, kept: str) -> None:
    for step in (None, 1, 2, 3, 7):
        assert shown(printed.encode(), step) == kept


def test_what_is_not_utf8_is_replaced() -> None:
    assert shown(b"caf\xe9 \xff\xc3", 1) == "caf� ��"


def test_whatever_comes_in_whatever_pieces_nothing_is_obeyed() -> None:
    chance = random.Random(1)
    signs = ("\x1b", "[", "]", "P", "\\", "\x07", "0", ";", "m", "H", "x", "\n", "\x9b", "\u202e")
    alphabet = [sign.encode() for sign in signs]
    for _ in range(2000):
        data = b"".join(chance.choices(alphabet, k=chance.randrange(40)))
        text = shown(data, chance.randrange(1, 9))
        obeyed = [match[0] for match in terminal.OBEYED.finditer(text) if not match["colour"]]
        assert obeyed == []
        assert "\x1b" not in terminal.OBEYED.sub("", text)


def printed(data: bytes, stdout: int, **environment: str) -> None:
    repository = Path(__file__).parent.parent
    subprocess.run(
        [sys.executable, "-c", PRINT],
        input=data,
        stdout=stdout,
        check=True,
        cwd=repository,
        env={**os.environ, **environment},
    )


HOSTILE = b"a\x1b]0;title\x07\xff\x1b[31mb\n"


def test_a_terminal_gets_text_and_a_file_gets_bytes(tmp_path: Path) -> None:
    user, program = os.openpty()
    printed(HOSTILE, program)
    assert os.read(user, 100) == "a�\x1b[31mb\r\n\x1b[0m".encode()
    printed("♠ caf\u00e9\n".encode(), program, PYTHONIOENCODING="latin-1")
    assert os.read(user, 100) == b"? caf\xe9\r\n"
    with (tmp_path / "log").open("wb") as file:
        printed(HOSTILE, file.fileno())
    assert (tmp_path / "log").read_bytes() == HOSTILE

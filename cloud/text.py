"""Text that came from elsewhere, as a terminal may be shown it: names, logs, records, metrics, errors of others.

A terminal takes some characters for commands: to move over what it showed, to set its title or the clipboard, to write
from right to left. https://invisible-island.net/xterm/ctlseqs/ctlseqs.html
"""

from __future__ import annotations

import re

SEQUENCE = (
    r"\x1b\[[0-?]*[ -/]*[@-~]"  # CSI: colours, the cursor
    r"|\x1b\][^\x07\x1b\n]*(?:\x07|\x1b\\)"  # OSC: titles, links, the clipboard
    r"|\x1b[PX^_][^\x1b\n]*\x1b\\"  # DCS, SOS, PM, APC
    r"|\x1b[ -/]*[0-Z\\^-~]"  # all the others
)
CONTROL = (
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f"  # C0 but tab and newline, DEL, C1
    r"\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"  # bidi: https://www.unicode.org/reports/tr9/
    r"\u2028\u2029\ud800-\udfff]"  # line ends of Unicode; halves of characters, which no encoding can show
)


def plain(text: str) -> str:
    """`text` without what a terminal would obey; newlines and tabs stay, and so does every letter of every script.

    Whole escape sequences go, such as a log's colours. Any other control character is shown as Python writes it:
    `\\x07`.
    """
    # Not compiled before there is something to show: `inv --list` needs none of it.
    return re.sub(f"{SEQUENCE}|{CONTROL}", _shown, text)


def one_line(text: str) -> str:
    """`text` as `plain` has it, in one line: a value in a row, which tabs and newlines would break."""
    return re.sub(r"\s*[\n\t]\s*", " ", plain(text.replace("\r\n", "\n")).strip())


def _shown(match: re.Match[str]) -> str:
    found = match[0]
    return "" if len(found) > 1 else found.encode("unicode_escape").decode()

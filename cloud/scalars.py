"""Single values: how one that was typed is meant, and how it is written so that every YAML reader reads it so.

YAML 1.1 (PyYAML) and YAML 1.2 (serde_yaml, yaml-rust) differ about plain words: `no`, `012`, `1e-3`, `1:30`, dates.
https://yaml.org/type/ has 1.1's rules, https://yaml.org/spec/1.2.2/#103-core-schema those of 1.2.
"""

from __future__ import annotations

import math
import re

from .errors import UsageError

Value = str | int | float | bool | None

WORDS: dict[str, Value] = {
    **dict.fromkeys(("null", "Null", "NULL", "~"), None),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
"""The words that mean a value to YAML 1.1 and 1.2 alike."""

INTEGER = re.compile(r"[-+]?(0|[1-9][0-9]{0,99})")
HEXADECIMAL = re.compile(r"0x[0-9a-fA-F]{1,80}")
FLOAT = re.compile(r"[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?")
DISPUTED = re.compile(r"[-+]?(0[0-9_]+|0[bo][0-9_]+|[0-9][0-9_]*_[0-9_]*(\.[0-9_]*)?)")
"""Numbers to some readers, and words or other numbers to others."""

NOT_FINITE = re.compile(r"[-+]?\.?(inf|infinity|nan)", re.IGNORECASE)
QUOTED = re.compile(r"""'(?:[^']|'')*'|"(?:[^"\\]|\\.)*\"""")
SIGNS = tuple("[]{}&*!|>%@`#?\"'")
"""What YAML gives a meaning to at the beginning of a value."""

PLAIN = re.compile(r"[A-Za-z_/](?:[\w./+-]*[\w/+-])?", re.ASCII)
"""Words that need no quotes, unless they are among OTHER_WORDS: no number, date or sign can look like this."""

OTHER_WORDS = frozenset(["y", "n", "yes", "no", "on", "off", "true", "false", "null", "inf", "nan", "infinity"])
"""In any case of letters: a boolean, null or number to some reader."""


def read(text: str, where: str) -> Value:
    """The value that a user means who types `text`.

    Numbers are numbers, 1e-3 too; null, true and false are what they say; anything else is a word, `no` too.
    Quotes, as in YAML, make a word of whatever is between them.
    where: how an error begins, like '--grid seed=x'.
    Raises UsageError for what no training can mean, or what YAML's versions read as different values.
    """
    text = text.strip()
    if QUOTED.fullmatch(text):
        return _unquoted(text, where)
    if text in WORDS:
        return WORDS[text]
    if INTEGER.fullmatch(text):
        return int(text)
    if HEXADECIMAL.fullmatch(text):
        return int(text, 16)
    quotes = f"""quotes make it a word: '"{text}"'"""
    if DISPUTED.fullmatch(text):
        raise UsageError(f"{where}: YAML's readers do not agree what {text} is", fix=f"as a plain number; {quotes}")
    if FLOAT.fullmatch(text) and math.isfinite(number := float(text)):
        return number
    if FLOAT.fullmatch(text) or NOT_FINITE.fullmatch(text):
        raise UsageError(f"{where}: {text[:40]} is no number that can be stored", fix=quotes[:120])
    if not text or text.startswith(SIGNS):
        raise UsageError(f"{where}: {text or 'nothing'!r} is no value", fix="numbers, words or true/false")
    return _sendable(text, where)


def _unquoted(text: str, where: str) -> str:
    import yaml

    try:
        return _sendable(str(yaml.safe_load(text)), where)
    except yaml.YAMLError as error:
        raise UsageError(f"{where}: {text} cannot be read: {getattr(error, 'problem', error)}") from None


def _sendable(text: str, where: str) -> str:
    """The text, if it is Unicode; a byte that is none arrives from the command line as a lone surrogate."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise UsageError(f"{where}: {text!a} is not UTF-8") from None
    return text


def written(value: Value, *, plain: bool = False) -> str:
    """A value as it stands in a YAML file: one that YAML 1.1, 1.2 and, but for a rare character, JSON read alike.

    plain: without quotes where a word needs none.
    """
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        # YAML 1.1 takes a number with an exponent, but without a point, for a word.
        mantissa, e, exponent = repr(value).partition("e")
        return mantissa + ("" if "." in mantissa else ".0") + e + exponent
    if isinstance(value, int):
        return str(value)
    if plain and is_word(value):
        return value
    return f'"{"".join(map(_escaped, value))}"'


def is_word(text: str) -> bool:
    """Whether every YAML reader takes this text, as it is, for a word."""
    return PLAIN.fullmatch(text) is not None and text.lower() not in OTHER_WORDS


def _escaped(character: str) -> str:
    if character in '"\\':
        return f"\\{character}"
    if character.isprintable():
        return character
    return f"\\u{ord(character):04x}" if ord(character) < 0x10000 else f"\\U{ord(character):08x}"

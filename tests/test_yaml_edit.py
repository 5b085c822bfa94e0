"""What is set is set, and nothing else changes: not a byte of the rest, not the meaning of another value."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
import yaml

from cloud.errors import UsageError
from cloud.scalars import Value, is_word, read, written
from cloud.yaml_edit import Document


def edited(text: str | bytes, **changes: Value) -> bytes:
    """Keys as Python has them: `a__b` for `a.b`, `_0` for `0`."""
    content = text if isinstance(text, bytes) else text.encode()
    keys = {key.replace("__", ".").replace("_", ""): value for key, value in changes.items()}
    return Document.read("f.yaml", content).replaced(keys)


TRAPS = """\
# 1.1 and 1.2 differ about all of these
ratio: 1:2
answer: no   # a comment
code: 012
on: 2026-11-01
algorithm: !Dcfr {alpha: 1.5, beta: 0}
"quoted": 'it''s'
text: |
  two
   lines

seed: 1
"""


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize("codec", ["utf-8", "utf-8-sig", "utf-16"])
def test_only_the_named_value_changes(newline: str, codec: str) -> None:
    before = (TRAPS + "card: 🂡é\nlast: 7").replace("\n", newline)
    after = before.replace("seed: 1", "seed: 42").replace("last: 7", "last: true").replace("beta: 0", "beta: 2.0e-07")
    changes: dict[str, Value] = {"seed": 42, "last": True, "algorithm.beta": 2e-7}
    assert Document.read("f.yaml", before.encode(codec)).replaced(changes) == after.encode(codec)


@pytest.mark.parametrize(
    ("before", "key", "value", "after"),
    [
        ("on: 1\n", "on", 2, "on: 2\n"),
        ("code: 012\n", "code", 12, "code: 12\n"),
        ("a: no\n", "a", "yes", 'a: "yes"\n'),
        ("a: fast\n", "a", "slow", "a: slow\n"),
        ("a: 'fast'\n", "a", "slow", 'a: "slow"\n'),
        ('{"a": "fast", "b": 1}', "a", "slow", '{"a": "slow", "b": 1}'),
        ('{"a": "fast", "b": 1}', "b", "slow", '{"a": "fast", "b": "slow"}'),
        ('"a b": {c: [1, 2]}\n', "a b.c.1", 3, '"a b": {c: [1, 3]}\n'),
        ("a:\n- b: 1\n  c: 2\n- d\n", "a.0.c", None, "a:\n- b: 1\n  c: null\n- d\n"),
        ("a.b: 1\na: {c: 2}\n", "a.b", 3, "a.b: 3\na: {c: 2}\n"),
        ("a:\nb: 1\n", "a", 1, "a: 1\nb: 1\n"),
        ("a:   # what\nb: 1\n", "a", 1, "a: 1   # what\nb: 1\n"),
        ("{a, b: }\n", "a", 1, "{a: 1, b: }\n"),
        ("{a, b: }\n", "b", 1, "{a, b:  1}\n"),
        ("a: |\n  x\n\n\n# c\nb: 1\n", "a", "y", 'a: "y"\n\n\n# c\nb: 1\n'),
        ("a: >-\r\n  x\r\nb: 1\r\n", "a", 1, "a: 1\r\nb: 1\r\n"),
        ("a: one\n  two # c\nb: 1\n", "a", 1, "a: 1 # c\nb: 1\n"),
        ("a: !Dcfr 1\n", "a", 2, "a: !Dcfr 2\n"),
        ("a: &x !Dcfr  1\n", "a", 2, "a: &x !Dcfr  2\n"),
        ("a: !Dcfr\n", "a", 2, "a: !Dcfr 2\n"),
        ("%YAML 1.2\n---\na: 1\n...\n", "a", 2, "%YAML 1.2\n---\na: 2\n...\n"),
        ("? a\n: 1\n", "a", 2, "? a\n: 2\n"),
        # an alias gives way to a value of its own
        ("a: &x 1\nb: *x\nc: *x\n", "b", 2, "a: &x 1\nb: 2\nc: *x\n"),
        # a merged key gets a value of its own
        ("base: &b {x: 1}\nrun:\n  <<: *b\n  y: 2\n", "run.x", 3, "base: &b {x: 1}\nrun:\n  x: 3\n  <<: *b\n  y: 2\n"),
        ("base: &b {x: 1}\r\nrun:\r\n  <<: *b\r\n", "run.x", 3, "base: &b {x: 1}\r\nrun:\r\n  x: 3\r\n  <<: *b\r\n"),
        ("base: &b {x: 1}\nrun: {<<: *b}\n", "run.x", 3, "base: &b {x: 1}\nrun: {x: 3, <<: *b}\n"),
        (
            "b: &b {x: 1}\nc: &c {x: 2}\nr: {<<: [*b, *c]}\n",
            "r.x",
            3,
            "b: &b {x: 1}\nc: &c {x: 2}\nr: {x: 3, <<: [*b, *c]}\n",
        ),
        ("base: &b {x: 1}\nrun: {<<: *b, x: 2}\n", "run.x", 3, "base: &b {x: 1}\nrun: {<<: *b, x: 3}\n"),
        ("run: {<<: {x: 1}}\n", "run.x", 3, "run: {<<: {x: 3}}\n"),
    ],
)
def test_how_a_value_is_written_stays(before: str, key: str, value: Value, after: str) -> None:
    assert Document.read("f.yaml", before.encode()).replaced({key: value}).decode() == after


@pytest.mark.parametrize(
    ("text", "key", "problem"),
    [
        ("a: &x 1\nb: *x\n", "a", "shares a with another place, by the alias in line 2"),
        ("a: &x {y: 1}\nb: *x\n", "a.y", "shares a.y with another place, by the alias in line 2"),
        ("a: &x {y: 1}\nb: *x\n", "b.y", "shares b.y with another place, by the alias in line 2"),
        ("a: &x {y: 1}\nb: {<<: *x}\n", "a.y", "shares a.y with another place, by the alias in line 2"),
        ("a: &x {y: {z: 1}}\nb:\n  <<: *x\n", "b.y.z", "shares b.y.z with another place, by the alias in line 3"),
        ("a: 1\nb: 2\na: 3\n", "a", "has the key a 2 times, in lines 1, 3"),
        ("a.b: 1\na: {b: 2}\n", "a.b", "has the key a.b 2 times"),
        ("a: {b: 1}\n", "a", "a is a mapping in f.yaml"),
        ("a: [b, 1]\n", "a", "a is a list in f.yaml"),
        ("a: [b, 1]\n", "a.2", "has no key a.2"),
        ("a: [b, 1]\n", "a.-1", "has no key a.-1"),
        ("a: &a {<<: *a}\n", "a.b", "has no key a.b"),
        ("a: 1\n---\na: 2\n", "a", "has 2 YAML documents"),
        ("# nothing\n", "a", "has no YAML documents"),
        ("word\n", "a", "has no key a"),
        ("? a\nb: 1\n", "a", "cannot be set in f.yaml, because of how it is written there"),
    ],
)
def test_what_would_change_more_than_was_named_is_refused(text: str, key: str, problem: str) -> None:
    with pytest.raises(UsageError, match=problem):
        Document.read("f.yaml", text.encode()).replaced({key: 5})


VALUES: list[Value] = [
    *(0, -7, 16, 2**64, 0.1, 1e-3, 1e-7, -2.5e300, 1e22, 5e-324, -0.0, True, False, None),
    *(
        "",
        " ",
        "no",
        "Yes",
        "on",
        "y",
        "null",
        "~",
        "012",
        "0x10",
        "1e-3",
        "1_000",
        "1:30",
        "2026-11-01",
        ".inf",
        "nan",
    ),
    *("-", "<<", "=", "a: b", "a #b", "- a", "*a", "&a", "!a", "%a", "@a", "`a", "[", "{", "'", '"', "\\", "a\\nb"),
    *("é", "🂡", "a\tb\nc\r", "\x00\x1b\x7f", "\x85\u2028\u2029", "\ufeff", "\u202e", "\ufffe", "\U000e0001", "x" * 500),
]

# https://yaml.org/spec/1.2.2/#103-core-schema
CORE: list[tuple[str, Any]] = [
    (r"null|Null|NULL|~|", lambda _: None),
    (r"true|True|TRUE", lambda _: True),
    (r"false|False|FALSE", lambda _: False),
    (r"[-+]?[0-9]+", int),
    (r"0o[0-7]+", lambda text: int(text[2:], 8)),
    (r"0x[0-9a-fA-F]+", lambda text: int(text, 16)),
    (r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?", float),
    (r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)", lambda _: "not finite"),
]


def by_yaml_12(text: str) -> Any:
    node = yaml.compose(text)
    assert isinstance(node, yaml.ScalarNode)
    if node.style is not None:
        return node.value
    return next((make(node.value) for pattern, make in CORE if re.fullmatch(pattern, node.value)), node.value)


@pytest.mark.parametrize("plain", [True, False])
@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_every_reader_reads_what_was_written(value: Value, plain: bool) -> None:
    text = written(value, plain=plain)
    for found in (yaml.safe_load(text), by_yaml_12(text)):
        assert (type(found), repr(found)) == (type(value), repr(value))
    if not (isinstance(value, str) and (plain or not value.isprintable())):
        assert json.loads(text) == value
    (found,) = yaml.safe_load(edited("a: 1\n", a=value)).values()
    assert repr(found) == repr(value)


def test_a_word_stays_a_word() -> None:
    assert [word for word in ("fast", "cfr+", "a.b", "x/y-z_1", "e5") if is_word(word)] == [
        "fast",
        "cfr+",
        "a.b",
        "x/y-z_1",
        "e5",
    ]
    assert not any(map(is_word, ("No", "y", "inf", "1a", "-a", "a:", "a b", "é", "", ".a", "a.")))


def test_what_was_typed_and_written_is_the_same_value() -> None:
    for text in ("1e-3", "no", "0x10", "true", "~", "word", "1:30"):
        value = read(text, "")
        assert read(written(value), "") == value

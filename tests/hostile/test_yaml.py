"""Random YAML, with random values set in it: the bytes around them stay, and nothing is a traceback."""

from __future__ import annotations

import contextlib
import re
from dataclasses import dataclass

import pytest
import yaml
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from cloud import grid
from cloud.errors import UsageError
from cloud.scalars import Value, written
from cloud.yaml_edit import Document

QUICK = settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
LONG = settings(QUICK, max_examples=10_000)


@dataclass(frozen=True)
class Place:
    """A value that can be set, as it stands in the text."""

    key: str
    text: str


Pieces = list[str | Place]

KEYS = st.sampled_from(["a", "on", "no", "012", "1", "x-y", '"q"', "'s'", "é", "🂡", "a b", "key_9"])
ONE_LINE = st.sampled_from(["1", "012", "1:2", "no", "word", "two words", '"q: #"', "'s '' t'", "1e-3", "~"])
ONE_LINE |= st.sampled_from(["2026-11-01", "🂡é", "!Dcfr 3", "!!str 12", "&anchor 7", "''", "a#b", "-1"])
COMMENTS = st.sampled_from(["", "", " # comment: [", "  # é 🂡", " "])


@st.composite
def flow(draw: st.DrawFn, key: str, depth: int) -> Pieces:
    kind = draw(st.sampled_from(["scalar", "scalar", "mapping", "list"])) if depth else "scalar"
    if kind == "scalar":
        return [Place(key, draw(ONE_LINE))]
    pieces: Pieces = ["{" if kind == "mapping" else "["]
    for index, name in enumerate(draw(st.lists(KEYS, max_size=3, unique_by=lambda name: name.strip("\"'")))):
        pieces.append(draw(st.sampled_from([", ", ",\n      ", " , "])) if index else "")
        step = name.strip("\"'") if kind == "mapping" else str(index)
        pieces += [f"{name}: "] if kind == "mapping" else []
        pieces += draw(flow(f"{key}.{step}", depth - 1))
    return [*pieces, "}" if kind == "mapping" else "]"]


@st.composite
def block(draw: st.DrawFn, key: str, indent: int, depth: int) -> Pieces:
    """Lines of a mapping, each indented."""
    pieces: Pieces = []
    margin = " " * indent
    for name in draw(st.lists(KEYS, min_size=1, max_size=4, unique_by=lambda name: name.strip("\"'"))):
        path = f"{key}.{name.strip(chr(34) + chr(39))}".lstrip(".")
        pieces.append(draw(st.sampled_from(["", "", f"{margin}# a comment\n", "\n"])))
        pieces.append(f"{margin}{name}:")
        kinds = ["scalar", "scalar", "flow", "text", "nothing", *(["mapping", "list"] if depth else [])]
        match draw(st.sampled_from(kinds)):
            case "scalar":
                pieces += [" ", Place(path, draw(ONE_LINE)), draw(COMMENTS), "\n"]
            case "flow":
                pieces += [" ", *draw(flow(path, 2)), draw(COMMENTS), "\n"]
            case "text":
                head = draw(st.sampled_from(["|", ">", "|-", ">+"]))
                pieces += [" ", Place(path, f"{head}\n{margin}  some: text\n\n{margin}   # more"), "\n\n"]
            case "nothing":
                pieces += [Place(path, ""), draw(COMMENTS), "\n"]
            case "mapping":
                pieces += ["\n", *draw(block(path, indent + 2, depth - 1))]
            case "list":
                pieces.append("\n")
                for index in range(draw(st.integers(1, 3))):
                    pieces += [f"{margin}- ", Place(f"{path}.{index}", draw(ONE_LINE)), draw(COMMENTS), "\n"]
    return pieces


VALUES: st.SearchStrategy[Value] = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(st.characters(codec="utf-8"), max_size=12),
)


def only_the_named_bytes_change(pieces: Pieces, which: int, value: Value, newline: str, codec: str) -> None:
    places = [index for index, piece in enumerate(pieces) if isinstance(piece, Place)]
    assume(places)
    index = places[which % len(places)]
    place = pieces[index]
    assert isinstance(place, Place)
    texts = [piece.text if isinstance(piece, Place) else piece for piece in pieces]
    before, after = ("".join(part).replace("\n", newline) for part in (texts[:index], texts[index + 1 :]))
    assume("".join(texts).count("&anchor") < 2)  # PyYAML's composer, which the test asks, takes no anchor twice
    content = (before + place.text.replace("\n", newline) + after).encode(codec)
    document = Document.read("f.yaml", content)
    prefix = next(iter(re.findall(r"^[&!]\S+ ", place.text)), "")
    result = document.replaced({place.key: value}).decode(codec)
    assert result.startswith(before + prefix)
    assert result.endswith(after)
    middle = result[len(before + prefix) : len(result) - len(after)]
    assert middle.strip(" ") in (written(value), written(value, plain=True))
    found = yaml.compose(result)
    for step in place.key.split("."):
        assert isinstance(found, (yaml.MappingNode, yaml.SequenceNode))
        if isinstance(found, yaml.MappingNode):
            found = next(below for name, below in found.value if name.value == step)
        else:
            found = found.value[int(step)]
    if not prefix.startswith("!"):
        assert repr(yaml.SafeLoader("").construct_object(found)) == repr(value)


DOCUMENT = given(
    pieces=block("", 0, 2),
    which=st.integers(0, 1000),
    value=VALUES,
    newline=st.sampled_from(["\n", "\r\n"]),
    codec=st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]),
)
test_only_the_named_bytes_change = QUICK(DOCUMENT(only_the_named_bytes_change))


def whatever_is_typed_is_a_value_or_refused(content: bytes, typed: str) -> None:
    with contextlib.suppress(UsageError):
        grid.children({"f.yaml": content}, [grid.axis(typed)])


SNIPPETS = st.sampled_from(["a: ", "b", "1", "\n", "  ", "- ", "? ", ": ", "*x", "&x ", "<<: ", "a.b: ", "#", "'", '"'])
SNIPPETS |= st.sampled_from(["{", "}", "[", "]", ", ", "|", ">-", "!t ", "---\n", "...\n", "%YAML 1.2\n", "\t", "\r\n"])
SNIPPETS |= st.sampled_from(["\x00", "\ufeff", "é", "🂡", "\x85", "\u2028"])
JUNK = given(
    content=st.one_of(
        st.binary(max_size=60), st.lists(SNIPPETS, max_size=25).map(lambda parts: "".join(parts).encode())
    ),
    typed=st.one_of(
        st.text(max_size=20),
        st.sampled_from(["a=1,2", "a.b=x", "a.0=no", "b=null", "a=1..3", "a='", "a=0.1..5", "a=1e-3"]),
    ),
)
test_whatever_is_typed_is_a_value_or_refused = QUICK(JUNK(whatever_is_typed_is_a_value_or_refused))
test_many_documents = pytest.mark.long(LONG(DOCUMENT(only_the_named_bytes_change)))
test_much_junk = pytest.mark.long(LONG(JUNK(whatever_is_typed_is_a_value_or_refused)))

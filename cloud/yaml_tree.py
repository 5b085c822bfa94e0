"""A YAML text as a tree of PyYAML's events: what each means, where it stands, and which of them share a value.

Nothing is built of it, and nothing goes down by recursion.
"""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from .errors import UsageError

MOST_LEVELS = 200
"""Of nesting: readers that go down by recursion, PyYAML's own among them, crash somewhere above that."""

Event = Any
"""One of PyYAML's, https://pyyaml.org/wiki/PyYAMLDocumentation#events. They lack types for what only some have."""

Essence = tuple[object, ...]
"""What an event means, wherever it stands."""


@dataclass(eq=False)
class Node:
    """One value of a file."""

    event: Event
    place: int
    """Index of its first event."""
    anchored: Node | None = None
    """What an alias (`*name`) stands for."""
    sharers: list[int] = field(default_factory=list)
    """Lines of the aliases that stand for this."""
    parts: list[Node] = field(default_factory=list)
    """Of a list: its items; of a mapping: keys and values in turn."""

    @property
    def kind(self) -> str:
        """'Scalar', 'Mapping', 'Sequence' or 'Alias'."""
        return kind_of(self.event).removesuffix("Start")

    @property
    def line(self) -> int:
        return int(self.event.start_mark.line) + 1

    @property
    def itself(self) -> Node:
        """What it is, or stands for."""
        return self.anchored or self

    def scalar_keys(self) -> Iterator[tuple[Event, Node]]:
        """A mapping's keys that are no lists or mappings, with their values."""
        if self.kind == "Mapping":
            for key, value in zip(self.parts[::2], self.parts[1::2], strict=True):
                if key.itself.kind == "Scalar":
                    yield key.itself.event, value

    def below(self, step: str) -> list[Node]:
        """What a mapping has under a key, or a list at an index; more than one if the key is there twice."""
        if self.kind == "Sequence":
            return self.parts[int(step) :][:1] if step.isascii() and step.isdigit() and len(step) < 9 else []
        return [value for key, value in self.scalar_keys() if key.value == step]

    def bases(self) -> Iterator[Node]:
        """What `<<` takes keys from, the strongest first: https://yaml.org/type/merge.html"""
        for key, value in self.scalar_keys():
            if key.value == "<<" and key.implicit[0]:
                yield from value.parts if value.kind == "Sequence" else [value]


@dataclass(frozen=True)
class Step:
    """One on the way from the top of a file to a value."""

    node: Node
    key: str
    merged: bool = False
    """Whether `<<` leads here."""

    @property
    def shared(self) -> bool:
        return bool(self.node.sharers or self.node.anchored)


def decoded(name: str, content: bytes) -> tuple[str, str, str]:
    """A file's codec, byte order mark and text: https://yaml.org/spec/1.2.2/#52-character-encodings

    Raises UsageError where it is no text.
    """
    marks = {codecs.BOM_UTF16_LE: "utf-16-le", codecs.BOM_UTF16_BE: "utf-16-be"}
    codec = marks.get(content[:2], "utf-8")
    try:
        text = content.decode(codec)
    except UnicodeDecodeError as error:
        raise UsageError(f"{name} is not YAML: byte {error.start + 1} is not {codec.upper()}") from None
    bom = text[:1] if text.startswith("\ufeff") else ""
    return codec, bom, text[len(bom) :]


def parsed(name: str, text: str) -> Iterator[Event]:
    """PyYAML's events of a text. Nothing is built from them, so aliases of aliases cost nothing.

    Raises UsageError where it is not YAML, an alias stands for nothing, or it is nested too deeply.
    """
    import yaml

    levels = 0
    anchors: set[str | None] = set()
    events: Iterator[Event] = yaml.parse(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    try:
        for event in events:
            kind = kind_of(event)
            line = event.start_mark.line + 1
            levels += kind.endswith("Start") - kind.endswith("End")
            if levels > MOST_LEVELS:
                raise UsageError(f"{name} is nested deeper than {MOST_LEVELS} levels, line {line}")
            if kind == "DocumentStart":
                anchors.clear()
            elif kind == "Alias" and event.anchor not in anchors:
                raise UsageError(f"{name} is not YAML, line {line}: nothing has the anchor &{event.anchor}")
            elif kind in ("Scalar", "MappingStart", "SequenceStart"):
                anchors.add(event.anchor)
            yield event
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or getattr(error, "reason", None) or " ".join(str(error).split())
        raise UsageError(f"{name} is not YAML{where}: {problem}") from None


def kind_of(event: Event) -> str:
    return type(event).__name__.removesuffix("Event")


def essence(event: Event) -> Essence:
    parts = ("anchor", "tag", "implicit", "value", "explicit", "version", "tags")
    return (kind_of(event), *(getattr(event, part, None) for part in parts))


def scalar(text: str, anchor: str | None = None, tag: str | None = None) -> Essence:
    """What a value means that is written so, behind an anchor or tag."""
    prefix = (f"&{anchor} " if anchor else "") + (f"!<{tag}> " if tag else "")
    return next(essence(event) for event in parsed(text, prefix + text) if kind_of(event) == "Scalar")


def tree(events: list[Event]) -> Node:
    """The top of a document, from its events."""
    anchors: dict[str, Node] = {}
    tops: list[Node] = []
    open_: list[Node] = []
    for place, event in enumerate(events):
        kind = kind_of(event)
        if kind in ("MappingEnd", "SequenceEnd"):
            open_.pop()
        if kind not in ("Scalar", "Alias", "MappingStart", "SequenceStart"):
            continue
        node = Node(event, place)
        if kind == "Alias":
            node.anchored = anchors[event.anchor]
            node.anchored.sharers.append(node.line)
        elif event.anchor is not None:
            anchors[event.anchor] = node
        (open_[-1].parts if open_ else tops).append(node)
        if kind.endswith("Start"):
            open_.append(node)
    return tops[0]


def paths(place: Step, steps: list[str]) -> Iterator[list[Step]]:
    """Every way from a place down these steps; a key may have dots in it."""
    if not steps:
        yield [place]
    for length in range(1, len(steps) + 1):
        for way in following(place, ".".join(steps[:length])):
            for rest in paths(way[-1], steps[length:]):
                yield [place, *way[:-1], *rest]


def following(place: Step, key: str) -> list[list[Step]]:
    """From a place to what it has under a key, by way of what `<<` merges into it, if it has no such key itself."""
    waiting: list[list[Step]] = [[place]]
    seen: set[int] = set()
    for way in waiting:
        node = way[-1].node.itself
        if id(node) in seen:
            continue
        seen.add(id(node))
        if found := node.below(key):
            return [[*way[1:], Step(one, key)] for one in found]
        waiting += [[*way, Step(base, "<<", merged=True)] for base in node.bases()]
    return []

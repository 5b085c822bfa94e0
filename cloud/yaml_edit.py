"""Changing single values of a YAML file: all the rest of it stays the same text, to the byte.

PyYAML says where each value stands. It is never asked to load and write the file: that loses comments, and rewrites
`1:2` as 62 and `no` as false. After a change the file is read again: it has to mean what it meant, but for that value.
"""

from __future__ import annotations

import codecs
import difflib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from . import scalars
from .errors import UsageError
from .scalars import Value

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
        return _kind(self.event).removesuffix("Start")

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


@dataclass(frozen=True)
class Change:
    """Characters to replace, and what that does to the events."""

    start: int
    end: int
    text: str
    place: int
    replaced: int
    events: list[Essence]


@dataclass(frozen=True)
class Document:
    """A YAML file that was read, but not loaded. name: how errors call it."""

    name: str
    codec: str
    bom: str
    text: str
    events: list[Event]
    top: Node

    @classmethod
    def read(cls, name: str, content: bytes) -> Self:
        """Raises UsageError where it is not one YAML document."""
        codec, bom, text = decoded(name, content)
        events = list(parsed(name, text))
        documents = sum(_kind(event) == "DocumentStart" for event in events)
        if documents != 1:
            raise UsageError(
                f"{name} has {documents or 'no'} YAML documents; keys can be set in a file with one",
                fix="split it where its --- lines are" if documents else None,
            )
        return cls(name, codec, bom, text, events, _tree(events))

    def replaced(self, changes: Mapping[str, Value]) -> bytes:
        """The file with some values replaced.

        changes: new values by key: keys from the outermost to the innermost with dots between them, and indexes of
        lists, from 0. Raises UsageError for a key that is not there, or that cannot be set without changing another.
        """
        edits = sorted((self._change(*change) for change in changes.items()), key=lambda edit: edit.place)
        text, events = self.text, list(map(_essence, self.events))
        for edit in reversed(edits):
            text = text[: edit.start] + edit.text + text[edit.end :]
            events[edit.place : edit.place + edit.replaced] = edit.events
        try:
            sound = list(map(_essence, parsed(self.name, text))) == events
        except UsageError:
            sound = False
        if not sound:
            raise UsageError(
                f"{', '.join(changes)} cannot be set in {self.name}, because of how it is written there",
                fix="write it as `key: value`, on a line of its own",
            )
        return (self.bom + text).encode(self.codec)

    def _change(self, key: str, value: Value) -> Change:
        path = self._path(key)
        *outer, last = path
        shared = next((index for index, step in enumerate(outer) if step.shared), None)
        if last.node.itself.kind != "Scalar":
            what = "mapping" if last.node.itself.kind == "Mapping" else "list"
            raise UsageError(f"{key} is a {what} in {self.name}", fix="name a single value in it, as in a.b=1 or a.0=1")
        if shared is None and not last.node.sharers:
            return self._replacement(last.node, value)
        if shared and all(step.merged for step in outer[shared:]):
            return self._addition(outer[shared - 1].node, last.key, value)
        cause = last.node if shared is None else outer[shared].node
        line = cause.line if cause.anchored else cause.sharers[0]
        raise UsageError(
            f"{self.name} shares {key} with another place, by the alias in line {line}: both would change",
            fix="write it out at both places",
        )

    def _path(self, key: str) -> list[Step]:
        """The way to a key's value. Raises UsageError where there is none, or more than one."""
        steps = key.split(".")
        match list(_paths(Step(self.top, ""), steps)):
            case [path]:
                return path
            case []:
                raise self._missing(key, steps)
            case several:
                lines = ", ".join(str(path[-1].node.line) for path in several[:5])
                raise UsageError(f"{self.name} has the key {key} {len(several)} times, in lines {lines}")

    def _missing(self, key: str, steps: list[str]) -> UsageError:
        """A typo is better refused than trained for a night."""
        place = Step(self.top, "")
        for step in steps:
            found = _next(place, step)
            if not found:
                near = difflib.get_close_matches(step, [event.value for event, _ in place.node.itself.scalar_keys()])
                return UsageError(f"{self.name} has no key {key}", fix=f"did you mean {near[0]}?" if near else None)
            place = found[0][-1]
        raise AssertionError("a key that is there was missed")

    def _replacement(self, node: Node, value: Value) -> Change:
        event, of = node.event, node.itself.event
        start, end = event.start_mark.index, event.end_mark.index
        keeps = node.kind == "Scalar" and (event.anchor is not None or event.tag is not None)
        if keeps:
            start += _content(self.text[start:end])
        old = self.text[start:end].rstrip()
        text = scalars.written(value, plain=scalars.is_word(old or of.value))
        new = _scalar(text, event.anchor if keeps else None, event.tag if keeps else None)
        if not old:
            start = end  # nothing stands there, which is null
            text = f" {text}" if keeps or self.text[end - 1 : end] in tuple(":-?,[ \t\r\n") else f": {text}"
        return Change(start, start + len(old), text, node.place, 1, [new])

    def _addition(self, mapping: Node, key: str, value: Value) -> Change:
        """A key of its own for a mapping that has it from another by `<<`."""
        first = mapping.parts[0]
        start = first.event.start_mark
        newline = "\r\n" if "\r\n" in self.text else "\n"
        between = ", " if mapping.event.flow_style else newline + " " * start.column
        name, text = scalars.written(key, plain=True), scalars.written(value)
        events = [_scalar(name), _scalar(text)]
        return Change(start.index, start.index, f"{name}: {text}{between}", first.place, 0, events)


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
            kind = _kind(event)
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


def _kind(event: Event) -> str:
    return type(event).__name__.removesuffix("Event")


def _essence(event: Event) -> Essence:
    parts = ("anchor", "tag", "implicit", "value", "explicit", "version", "tags")
    return (_kind(event), *(getattr(event, part, None) for part in parts))


def _scalar(text: str, anchor: str | None = None, tag: str | None = None) -> Essence:
    """What a value means that is written so, behind an anchor or tag."""
    prefix = (f"&{anchor} " if anchor else "") + (f"!<{tag}> " if tag else "")
    return next(_essence(event) for event in parsed(text, prefix + text) if _kind(event) == "Scalar")


def _tree(events: list[Event]) -> Node:
    """The top of a document, from its events."""
    anchors: dict[str, Node] = {}
    tops: list[Node] = []
    open_: list[Node] = []
    for place, event in enumerate(events):
        kind = _kind(event)
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


def _paths(place: Step, steps: list[str]) -> Iterator[list[Step]]:
    """Every way from a place down these steps; a key may have dots in it."""
    if not steps:
        yield [place]
    for length in range(1, len(steps) + 1):
        for way in _next(place, ".".join(steps[:length])):
            for rest in _paths(way[-1], steps[length:]):
                yield [place, *way[:-1], *rest]


def _next(place: Step, key: str) -> list[list[Step]]:
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


def _content(text: str) -> int:
    """Where a value's own text begins, behind its tag and anchor; its end, if there is none."""
    import yaml

    for token in yaml.scan(text):
        if isinstance(token, yaml.ScalarToken):
            return int(token.start_mark.index)
    return len(text)

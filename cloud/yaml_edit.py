"""Changing single values of a YAML file: all the rest of it stays the same text, to the byte.

PyYAML says where each value stands. It is never asked to load and write the file: that loses comments, and rewrites
`1:2` as 62 and `no` as false. After a change the file is read again: it has to mean what it meant, but for that value.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from . import scalars
from .errors import UsageError
from .scalars import Value
from .yaml_tree import Essence, Event, Node, Step, decoded, essence, following, kind_of, parsed, paths, scalar, tree


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
        documents = sum(kind_of(event) == "DocumentStart" for event in events)
        if documents != 1:
            raise UsageError(
                f"{name} has {documents or 'no'} YAML documents; keys can be set in a file with one",
                fix="split it where its --- lines are" if documents else None,
            )
        return cls(name, codec, bom, text, events, tree(events))

    def replaced(self, changes: Mapping[str, Value]) -> bytes:
        """The file with some values replaced.

        changes: new values by key: keys from the outermost to the innermost with dots between them, and indexes of
        lists, from 0. Raises UsageError for a key that is not there, or that cannot be set without changing another.
        """
        edits = sorted((self._change(*change) for change in changes.items()), key=lambda edit: edit.place)
        text, events = self.text, list(map(essence, self.events))
        for edit in reversed(edits):
            text = text[: edit.start] + edit.text + text[edit.end :]
            events[edit.place : edit.place + edit.replaced] = edit.events
        try:
            sound = list(map(essence, parsed(self.name, text))) == events
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
        match list(paths(Step(self.top, ""), steps)):
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
            found = following(place, step)
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
        new = scalar(text, event.anchor if keeps else None, event.tag if keeps else None)
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
        events = [scalar(name), scalar(text)]
        return Change(start.index, start.index, f"{name}: {text}{between}", first.place, 0, events)


def _content(text: str) -> int:
    """Where a value's own text begins, behind its tag and anchor; its end, if there is none."""
    import yaml

    for token in yaml.scan(text):
        if isinstance(token, yaml.ScalarToken):
            return int(token.start_mark.index)
    return len(text)

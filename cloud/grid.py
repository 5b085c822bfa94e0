"""What a sweep trains: configurations, and each of them with every combination of values for some of its keys.

Pure: text in, children out. Where they run is not known here.
"""

from __future__ import annotations

import glob
import itertools
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from . import scalars
from .errors import UsageError
from .scalars import Value
from .yaml_edit import Document

MOST_CHILDREN = 10_000
"""Of an array job: https://docs.aws.amazon.com/batch/latest/userguide/array_jobs.html"""

RANGE = re.compile(r"(-?[0-9]{1,18})\.\.(-?[0-9]{1,18})")
LIKE_A_RANGE = re.compile(r"(?=.*[0-9])[-+.0-9eE_]*\.\.[-+.0-9eE_]*")
PART = re.compile(rf"\s*(?:{scalars.QUOTED.pattern})\s*(?=,|$)|[^,]*")
"""What stands before the next comma."""

LONGEST_NAME = 255
"""Bytes of a file's name, on the file systems of Linux, macOS and Windows."""


@dataclass(frozen=True)
class Axis:
    """A key of the configurations and the values that it takes in turn."""

    key: str
    """Keys from the outermost to the innermost, with dots between them."""
    values: tuple[Value, ...]


@dataclass(frozen=True)
class Training:
    """One training of a sweep."""

    index: int
    """Its place in the array job, from 0."""
    config_name: str
    parameters: dict[str, Value]
    """What the grid has set, by key."""
    config: bytes
    """The whole configuration, as the trainer gets it."""

    @property
    def name(self) -> str:
        """The child's parameters as a directory's name; no two children of a sweep have the same."""
        stem = self.config_name.rpartition(".")[0] or self.config_name
        return ",".join([stem, *(f"{key}={_shown(value)}" for key, value in self.parameters.items())])


def axis(text: str) -> Axis:
    """What was typed for one key: 'iterations=1000,10000', 'seed=1..5' (both ends included), 'game.stack=20,50'.

    Commas between quotes are part of a value; `scalars.read` says what a value means.
    Raises UsageError for anything else.
    """
    key, equals, typed = text.partition("=")
    key, where = key.strip(), f"--grid {text}"
    if not equals or not all(key.split(".")):
        raise UsageError(f"{where} names no key", fix="for example: --grid iterations=1000,10000 --grid seed=1..5")
    values: list[Value] = []
    for part in _parts(typed):
        if found := RANGE.fullmatch(part.strip()):
            values += _range(where, int(found[1]), int(found[2]))
        elif LIKE_A_RANGE.fullmatch(part.strip()):
            raise UsageError(f"{where}: a range is of two whole numbers", fix="name the values: --grid rate=0.1,0.2")
        else:
            values.append(scalars.read(part, where))
    if len({(type(value), value) for value in values}) < len(values):
        raise UsageError(f"{where} has a value twice")
    return Axis(key, tuple(values))


def _parts(typed: str) -> Iterator[str]:
    """What is between commas, but for those between quotes."""
    while found := PART.match(typed):
        yield found[0]
        if found.end() == len(typed):
            return
        typed = typed[found.end() + 1 :]


def _range(where: str, first: int, last: int) -> range:
    if not 0 <= last - first < MOST_CHILDREN:
        raise UsageError(f"{where}: a range goes up, over at most {MOST_CHILDREN:,} numbers")
    return range(first, last + 1)


def expand(patterns: Iterable[str]) -> list[Path]:
    """The files that file names and patterns (`configs/*.yaml`, `**` for any depth) mean, in their order, each once.

    Raises UsageError for a pattern that no file fits. A file's name is taken as it is, though it may look like a
    pattern: `seed[1].yaml`.
    """
    found: dict[Path, None] = {}
    for pattern in patterns:
        path = os.path.expanduser(pattern)
        taken = os.path.lexists(path) or not glob.has_magic(path)
        matching = [path] if taken else sorted(glob.glob(path, recursive=True))
        if not matching:
            raise UsageError(f"no file fits --config {pattern!r}")
        found |= dict.fromkeys(map(Path, matching))
    return list(found)


def children(configs: Mapping[str, bytes], axes: Sequence[Axis]) -> list[Training]:
    """Every configuration with every combination of values; the last axis changes fastest.

    configs: content by file name. Without axes each is sent as it is, to the byte.
    With axes, only the values of their keys become another text. Raises UsageError for a key that a configuration does
    not have, or that is given twice or cannot be set, for no or too many children, for names that are too long, and for
    two that could not be told apart by name.
    """
    keys = [one.key for one in axes]
    for key in keys:
        if keys.count(key) > 1:
            raise UsageError(f"--grid {key} is given twice", fix=f"name all values at once: --grid {key}=A,B")
    size = len(configs)
    for one in axes:
        size *= len(one.values)
    if not size:
        raise UsageError(
            "no configuration fits --config", fix="quote a pattern, so that it reaches us: --config 'configs/*.yaml'"
        )
    if size > MOST_CHILDREN:
        raise UsageError(
            f"{size:,} trainings are more than one array job of AWS Batch has ({MOST_CHILDREN:,})",
            fix="split the grid into several sweeps",
        )
    found = [Training(index, *one) for index, one in enumerate(_combinations(configs, axes))]
    places: dict[str, Training] = {}
    for child in found:
        if len(child.name.encode()) > LONGEST_NAME:
            raise UsageError(
                f"training {child.index} would be called {child.name[:40]}…, longer than {LONGEST_NAME} bytes",
                fix="rename the configuration, or take shorter values",
            )
        if (other := places.setdefault(child.name, child)) is not child:
            raise UsageError(
                f"trainings {other.index} and {child.index} would both be called {child.name}",
                fix="rename a configuration, or take values that differ in more than punctuation",
            )
    return found


def _combinations(configs: Mapping[str, bytes], axes: Sequence[Axis]) -> Iterator[tuple[str, dict[str, Value], bytes]]:
    for name, content in configs.items():
        if not axes:
            yield name, {}, content
            continue
        document = Document.read(name, content)
        for values in itertools.product(*(one.values for one in axes)):
            parameters = dict(zip((one.key for one in axes), values, strict=True))
            yield name, parameters, document.replaced(parameters)


def _shown(value: Value) -> str:
    """A value as it can be part of a file name."""
    text = str(value).lower() if isinstance(value, bool) or value is None else str(value)
    return re.sub(r"[^\w.+-]", "_", text)

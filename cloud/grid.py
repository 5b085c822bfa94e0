"""What a sweep trains: configurations, and each of them with every combination of values for some of its keys.

Pure: text in, children out. Where they run is not known here.
"""

from __future__ import annotations

import copy
import difflib
import glob
import itertools
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .errors import UsageError

if TYPE_CHECKING:
    from collections.abc import MutableMapping

MOST_CHILDREN = 10_000
"""Of an array job: https://docs.aws.amazon.com/batch/latest/userguide/array_jobs.html"""

Value = str | int | float | bool | None

RANGE = re.compile(r"(-?\d+)\.\.(-?\d+)")


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

    A value is read as YAML would read it in the configuration. Raises UsageError for anything else.
    """
    import yaml

    key, equals, typed = text.partition("=")
    key = key.strip()
    if not equals or not all(key.split(".")):
        raise UsageError(
            f"--grid {text} names no key", fix="for example: --grid iterations=1000,10000 --grid seed=1..5"
        )
    values: list[Value] = []
    for part in typed.split(","):
        if found := RANGE.fullmatch(part.strip()):
            values += _range(text, int(found[1]), int(found[2]))
            continue
        try:
            value = yaml.safe_load(part)
        except yaml.YAMLError:
            value = []
        if not part.strip() or not isinstance(value, Value):
            raise UsageError(
                f"--grid {text}: {part.strip() or 'nothing'!r} is no value", fix="numbers, words or true/false"
            )
        values.append(value)
    if len({(type(value), value) for value in values}) < len(values):
        raise UsageError(f"--grid {text} has a value twice")
    return Axis(key, tuple(values))


def _range(text: str, first: int, last: int) -> range:
    if not 0 <= last - first < MOST_CHILDREN:
        raise UsageError(f"--grid {text}: a range goes up, over at most {MOST_CHILDREN:,} numbers")
    return range(first, last + 1)


def expand(patterns: Iterable[str]) -> list[Path]:
    """The files that file names and patterns (`configs/*.yaml`, `**` for any depth) mean, in their order, each once.

    Raises UsageError for a pattern that no file fits. A name without a pattern is taken as it is.
    """
    found: dict[Path, None] = {}
    for pattern in patterns:
        path = os.path.expanduser(pattern)
        matching = sorted(glob.glob(path, recursive=True)) if glob.has_magic(path) else [path]
        if not matching:
            raise UsageError(f"no file fits --config {pattern!r}")
        found |= dict.fromkeys(map(Path, matching))
    return list(found)


def children(configs: Mapping[str, bytes], axes: Sequence[Axis]) -> list[Training]:
    """Every configuration with every combination of values; the last axis changes fastest.

    configs: content by file name. Without axes each is sent as it is, to the byte.
    Raises UsageError for a key that a configuration does not have, or that is given twice, for no or too many children,
    and for two that could not be told apart by name.
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
        document = _document(name, content)
        for values in itertools.product(*(one.values for one in axes)):
            parameters = dict(zip((one.key for one in axes), values, strict=True))
            yield name, parameters, _overridden(name, copy.deepcopy(document), parameters)


def _document(name: str, content: bytes) -> Any:
    import yaml

    try:
        return yaml.safe_load(content)
    except yaml.YAMLError as error:
        raise UsageError(f"{name} is no YAML: {' '.join(str(error).split())}") from None


def _overridden(name: str, document: Any, parameters: Mapping[str, Value]) -> bytes:
    """A configuration with some of its values replaced, its keys in their order; comments do not survive."""
    import yaml

    for key, value in parameters.items():
        *outer, last = key.split(".")
        place = document
        for step in outer:
            place = _below(name, key, place, step)[step]
        _below(name, key, place, last)[last] = value
    return yaml.safe_dump(document, sort_keys=False, allow_unicode=True).encode()


def _below(name: str, key: str, place: Any, step: str) -> MutableMapping[str, Any]:
    """The mapping that has that step; a typo is better refused than trained for a night."""
    if isinstance(place, dict) and step in place:
        return place
    near = difflib.get_close_matches(step, [str(one) for one in place] if isinstance(place, dict) else [])
    raise UsageError(f"{name} has no key {key}", fix=f"did you mean {near[0]}?" if near else None)


def _shown(value: Value) -> str:
    """A value as it can be part of a file name."""
    text = str(value).lower() if isinstance(value, bool) or value is None else str(value)
    return re.sub(r"[^\w.+-]", "_", text)

"""A sweep's record, sweep.json: what was asked of it, its children, and the array jobs that run them. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from math import isfinite
from typing import Any, Self

from .grid import Value
from .records import iso

REGISTRY = "asked/sweeps/"
"""Where in the bucket all sweeps are registered; only launchers may write there."""


@dataclass(frozen=True)
class Asked:
    """One child, as it was asked for."""

    name: str
    """Its parameters as a directory's name."""
    config: str
    """The name of its configuration."""
    parameters: dict[str, Value]


@dataclass(frozen=True)
class Run:
    """One array job: the first has all children, each later one those that `retry` tries again."""

    name: str
    children: tuple[int, ...]
    """The numbers of its children, by their place in the array; empty for all."""
    job: str
    """Batch's id of it; "" while it is not known to be submitted."""
    since: datetime
    """When its submission began."""


@dataclass(frozen=True)
class Sweep:
    """A sweep, as it is registered."""

    id: str
    submitted_at: datetime
    queue: str
    definition: str
    """ARN of the job definition."""
    asked: dict[str, Any]
    shares: tuple[tuple[str, str, str, float], ...]
    """What a child cost an hour when it was submitted, by type, market and zone, the cheapest first."""
    vcpus: dict[str, int]
    """Of each type."""
    children: tuple[Asked, ...]
    runs: tuple[Run, ...]
    """At least one."""
    key: str = field(default="", repr=False)
    """With which the children sign what they say of themselves; "" for a sweep from before there were keys."""
    version: str = field(default="", compare=False)
    """The ETag of the record."""

    @property
    def prefix(self) -> str:
        """Where in the bucket its children write."""
        return f"sweeps/{self.id}/"

    @property
    def registry(self) -> str:
        """Where in the bucket only launchers write."""
        return f"{REGISTRY}{self.id}/"

    def with_run(self, run: Run) -> Self:
        """The same with its last run replaced."""
        return replace(self, runs=(*self.runs[:-1], run))

    def next_run(self, children: tuple[int, ...], since: datetime) -> Run:
        """The run that comes after those there are, which is not submitted yet."""
        return Run(run_name(self.id, len(self.runs)), children, "", since)

    def numbers(self, run: Run) -> Sequence[int]:
        """The numbers of a run's children, by their place in the array."""
        return run.children or range(len(self.children))


def run_name(sweep: str, number: int | str) -> str:
    """What the job of a sweep's run is called. Only jobs of such names are a sweep's to end."""
    return f"{sweep}-{number}"


ASKED: dict[str, tuple[type, ...]] = {
    "output": (str,),
    "image": (str,),
    "trainer": (str,),
    "vcpus": (int,),
    "memory_gib": (int, float),
    "attempts": (int,),
    "max_hours": (int, float),
    "max_cost": (int, float, type(None)),
    "sync_seconds": (int,),
}
"""What was asked of all children and is used again: by `download`, and by `retry`."""


def of(data: Any, id: str) -> Sweep:
    """A sweep from what its JSON holds. Raises ValueError, TypeError, AttributeError or KeyError when it is not one."""
    if data["sweep"] != id:
        raise ValueError(f"it is the record of {data['sweep']!r}")
    submitted_at = _moment(data["submitted_at"])
    asked = data["asked"]
    for name, kinds in ASKED.items():
        _typed(f"asked.{name}", asked[name], *kinds)
    children = tuple(
        Asked(check_name(one["name"]), _typed("config", one["config"], str), _parameters(one["parameters"]))
        for one in data["children"]
    )
    if not children:
        raise ValueError("it has no children")
    vcpus = {_typed("type", name, str): _typed("vcpus", number, int) for name, number in data["vcpus"].items()}
    # One without runs is one whose launcher was killed before it wrote the first down.
    runs = tuple(
        _run(one, run_name(id, number), len(children), submitted_at) for number, one in enumerate(data["runs"])
    ) or (Run(run_name(id, 0), (), "", submitted_at),)
    return Sweep(
        id=id,
        submitted_at=submitted_at,
        queue=_typed("queue", data["queue"], str),
        definition=_typed("definition", data["definition"], str),
        asked=asked,
        shares=tuple(
            (
                _one_of(vcpus, type),
                _typed("market", market, str),
                _typed("zone", zone, str),
                float(_typed("price", dollars, int, float)),
            )
            for type, market, zone, dollars in data["shares"]
        ),
        vcpus=vcpus,
        children=children,
        runs=runs,
        key=_typed("key", data.get("key", ""), str),
    )


def _run(data: Any, name: str, children: int, submitted_at: datetime) -> Run:
    if data["name"] != name:
        raise ValueError(f"its run {name} is called {data['name']!r}")
    numbers = tuple(_typed("child", number, int) for number in data["children"])
    if len(set(numbers)) < len(numbers) or not all(0 <= number < children for number in numbers):
        raise ValueError(f"{name} has children that the sweep has not")
    if name == run_name(name.rpartition("-")[0], 0) and len(numbers) not in (0, children):
        raise ValueError(f"{name} lacks children of the sweep")
    since = _moment(data["since"]) if "since" in data else submitted_at
    return Run(name, numbers, _typed("job", data["job"], str), since)


def check_name(name: Any) -> str:
    """The name of a child, which becomes a directory of `download`. Raises ValueError for one that leads elsewhere."""
    if _typed("name", name, str) in ("", ".", "..") or "/" in name or "\0" in name:
        raise ValueError(f"a child is called {name!r}, which is no name of a directory")
    return str(name)


def _typed(what: str, value: Any, *kinds: type) -> Any:
    """A value that is of one of these types; JSON's numbers are finite, and true is none."""
    if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
        raise TypeError(f"{what} is {value!r}")
    if isinstance(value, float) and not isfinite(value):
        raise ValueError(f"{what} is {value!r}")
    return value


def _one_of(known: dict[str, int], type: Any) -> str:
    if type not in known:
        raise ValueError(f"it has a price of {type!r}, and not its vCPUs")
    return str(type)


def _parameters(given: Any) -> dict[str, Value]:
    for name, value in given.items():
        if not isinstance(value, Value):
            raise TypeError(f"parameter {name} is {value!r}")
    return dict(given)


def _moment(text: Any) -> datetime:
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(f"{text} has no time zone")
    return moment


def to_json(sweep: Sweep) -> dict[str, Any]:
    """What a sweep's JSON holds: the inverse of `of`."""
    return {
        "version": 1,
        "sweep": sweep.id,
        "submitted_at": iso(sweep.submitted_at),
        "queue": sweep.queue,
        "definition": sweep.definition,
        "asked": sweep.asked,
        "shares": sweep.shares,
        "vcpus": sweep.vcpus,
        "children": [asdict(one) for one in sweep.children],
        "runs": [{**asdict(one), "since": iso(one.since)} for one in sweep.runs],
        "key": sweep.key,
    }

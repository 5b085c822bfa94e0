"""A sweep's record, sweep.json: what was asked of it, its children, and the array jobs that run them. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from typing import Any, Self

from .parsing import listed, mapping, moment, number, text, whole
from .records import iso
from .scalars import Value

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


ASKED: dict[str, Callable[[Any, str], object]] = {
    "output": text,
    "image": text,
    "trainer": text,
    "vcpus": whole,
    "memory_gib": number,
    "attempts": whole,
    "max_hours": number,
    "max_cost": lambda value, what: None if value is None else number(value, what),
    "sync_seconds": whole,
}
"""What was asked of all children and is used again: by `download`, and by `retry`."""


def of(data: Any, id: str) -> Sweep:
    """A sweep from what its JSON holds. Raises ValueError, which says why, when it is not one."""
    data = mapping(data, "the record")
    if data.get("sweep") != id:
        raise ValueError("it is the record of another sweep")
    submitted_at = moment(data.get("submitted_at"), "submitted_at")
    asked = mapping(data.get("asked"), "asked")
    for name, check in ASKED.items():
        check(asked.get(name), f"asked.{name}")
    children = tuple(map(_child, listed(data.get("children"), "children")))
    if not children:
        raise ValueError("it has no children")
    vcpus = {type: whole(cpus, "vcpus", least=1) for type, cpus in mapping(data.get("vcpus"), "vcpus").items()}
    # One without runs is one whose launcher was killed before it wrote the first down.
    runs = tuple(
        _run(one, run_name(id, place), len(children), submitted_at, whole_sweep=place == 0)
        for place, one in enumerate(listed(data.get("runs"), "runs"))
    ) or (Run(run_name(id, 0), (), "", submitted_at),)
    return Sweep(
        id=id,
        submitted_at=submitted_at,
        queue=text(data.get("queue"), "queue"),
        definition=text(data.get("definition"), "definition"),
        asked=asked,
        shares=tuple(_share(one, vcpus) for one in listed(data.get("shares"), "shares")),
        vcpus=vcpus,
        children=children,
        runs=runs,
        key=text(data.get("key", ""), "key"),
    )


def _child(data: Any) -> Asked:
    data = mapping(data, "a child")
    parameters = mapping(data.get("parameters"), "parameters")
    for name, value in parameters.items():
        if not isinstance(value, Value):
            raise ValueError(f"parameter {name!r} is no value")  # noqa: TRY004  # as all that is malformed
    return Asked(check_name(data.get("name")), text(data.get("config"), "config"), parameters)


def check_name(name: Any) -> str:
    """The name of a child, which becomes a directory of `download`. Raises ValueError for one that leads elsewhere."""
    name = text(name, "a child's name")
    if name in ("", ".", "..") or "/" in name or "\0" in name:
        raise ValueError(f"a child is called {name!r}, which is no name of a directory")
    return str(name)


def _share(data: Any, vcpus: dict[str, int]) -> tuple[str, str, str, float]:
    share = listed(data, "a share")
    if len(share) != 4 or not isinstance(share[0], str) or share[0] not in vcpus:
        raise ValueError("a share is not of a type, market, zone and price")
    return share[0], text(share[1], "a market"), text(share[2], "a zone"), number(share[3], "a price")


def _run(data: Any, name: str, children: int, submitted_at: datetime, *, whole_sweep: bool) -> Run:
    data = mapping(data, "a run")
    if data.get("name") != name:
        raise ValueError(f"its run {name} has another name")
    numbers = tuple(whole(one, "a run's child", most=children - 1) for one in listed(data.get("children"), "children"))
    if len(set(numbers)) < len(numbers) or (whole_sweep and len(numbers) not in (0, children)):
        raise ValueError(f"its run {name} does not have each of its children once")
    since = moment(data["since"], "since") if "since" in data else submitted_at
    return Run(name, numbers, text(data.get("job"), "job"), since)


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

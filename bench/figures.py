"""A figure: what was measured here, the peers beside it, and the goal it is held against.

Two commands are timed by turns, not one's runs after the other's as hyperfine and pytest-benchmark do: whatever else
the machine does in those minutes then falls on both, and their ratio holds.
"""

from __future__ import annotations

import statistics
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path


class WrongResultError(Exception):
    """What was timed did not do what it should: there is no figure."""


def check(right: bool, message: str) -> None:
    """Raise WrongResultError with a message unless a result is right."""
    if not right:
        raise WrongResultError(message)


@dataclass(frozen=True)
class Sample:
    """The values of one thing's runs, all in the figure's unit; none if the peer is not installed."""

    name: str
    values: tuple[float, ...] = ()

    @property
    def median(self) -> float | None:
        return statistics.median(self.values) if self.values else None


@dataclass(frozen=True)
class Goal:
    """At most `limit` (at least, if `at_least`), in multiples of the named peer, or in the unit if none is named."""

    limit: float
    peer: str | None = None
    at_least: bool = False

    def __str__(self) -> str:
        return f"{'≥' if self.at_least else '≤'} {self.limit:g}" + (f" × {self.peer}" if self.peer else "")


@dataclass(frozen=True)
class Figure:
    """What was measured, in which unit ("s", "MB", "calls", …), by which command, with the versions of all involved."""

    what: str
    unit: str
    ours: Sample
    peers: tuple[Sample, ...] = ()
    goal: Goal | None = None
    command: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)

    def ratio(self, peer: Sample) -> float | None:
        """Our median in multiples of a peer's; None if either was not measured, or the peer's is 0."""
        if self.ours.median is None or not peer.median:
            return None
        return self.ours.median / peer.median

    @property
    def met(self) -> bool | None:
        """Whether the goal is met; None without a goal, or when what it names was not measured."""
        if not self.goal:
            return None
        if self.goal.peer is None:
            found = self.ours.median
        else:
            found = self.ratio(next(peer for peer in self.peers if peer.name == self.goal.peer))
        if found is None:
            return None
        return found >= self.goal.limit if self.goal.at_least else found <= self.goal.limit


def alternate(runs: int, actions: Mapping[str, Callable[[], float | None]], warm: int = 1) -> dict[str, Sample]:
    """Run every action so many times, by turns and in turning order, after `warm` rounds that do not count.

    An action's value is the number it returns, or the seconds of the clock it takes if it returns None.
    """
    found: dict[str, list[float]] = {name: [] for name in actions}
    for number in range(-warm, runs):
        for name in list(actions)[:: 1 if number % 2 else -1]:
            began = time.perf_counter()
            value = actions[name]()
            if number >= 0:
                found[name].append(time.perf_counter() - began if value is None else value)
    return {name: Sample(name, tuple(values)) for name, values in found.items()}


@dataclass(frozen=True)
class Ended:
    """A process that has ended well: what it printed on stdout and the seconds it took."""

    stdout: str
    seconds: float


def run(command: Sequence[str | Path], cwd: Path | None = None, environment: Mapping[str, str] | None = None) -> Ended:
    """A command as a process of its own, with nothing on stdin; WrongResultError with its stderr if it fails."""
    began = time.perf_counter()
    done = subprocess.run(
        [str(word) for word in command],
        cwd=cwd,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    seconds = time.perf_counter() - began
    check(done.returncode == 0, f"{command[0]} ended with {done.returncode}:\n{(done.stdout + done.stderr)[-2000:]}")
    return Ended(done.stdout, seconds)

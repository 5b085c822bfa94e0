"""One piece of what setup makes: whether it is there, and what makes the rest of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

Outcome = Literal["made", "completed", "there", "would make", "would complete"]


@dataclass(frozen=True)
class Found:
    """What a look at a piece has found. Nothing has been changed by it."""

    exists: bool
    """Whether any of it is there."""
    missing: Sequence[Callable[[], object]] = ()
    """What makes each part that is missing, in the order in which they have to be made."""

    def outcome(self, *, dry_run: bool) -> Outcome:
        """What is to be said of it: after the missing parts have been made, or instead of making them."""
        if not self.missing:
            return "there"
        if dry_run:
            return "would complete" if self.exists else "would make"
        return "completed" if self.exists else "made"

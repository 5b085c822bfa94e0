"""What the commands have in common: options that are settings, and the AWS account that they lead to."""

from __future__ import annotations

import atexit
import functools
import gc
import inspect
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from invoke import Context, task
from invoke.tasks import Task

from .errors import UsageError

if TYPE_CHECKING:
    from .aws import Aws

ACCOUNT = {
    "profile": "AWS profile, as `aws configure list-profiles` lists them",
    "region": "AWS region; the profile's own if not given",
}
MARKET = {
    "on_demand": "pay the full price and never be interrupted; spot otherwise",
    "fallback": "`on-demand`: pay the full price if there is no spot capacity",
    "max_price": "dollars an hour that the machine may cost",
}
LIMITS = {
    "max_hours": "when to stop it at the latest, counted from now, interruptions included",
    "max_cost": "dollars that it may cost, disk and interrupted attempts included; then it is stopped",
}
FLAGS = {"on_demand"}
"""Settings whose options take no value."""
JOB = {"job": "instance id, a unique beginning of one, or `latest`"}

# When a process ends, Python goes through all its objects for garbage twice; with AWS's models that takes 0.1 s.
atexit.register(gc.freeze)


def command(
    *,
    help: dict[str, str] | None = None,
    settings: dict[str, str] | None = None,
    regions: bool = False,
    **options: Any,
) -> Callable[[Callable[..., None]], Task[Any]]:
    """Make a task of a function that wants an `Aws` where invoke gives a Context.

    help: of the function's own arguments. settings: of settings that are options of this command, besides profile and
    region. regions: whether --region may be several. options: as invoke's `task` takes them.
    """
    settings = {**(settings or {}), **ACCOUNT}

    def decorate(function: Callable[..., None]) -> Task[Any]:
        @functools.wraps(function)
        def run(c: Context, **typed: Any) -> None:
            chosen = {name: typed.pop(name, None) or None for name in settings}
            with seldom_collected(), enough_read():
                function(connect(c, regions=regions, **chosen), **typed)

        run.__signature__ = _signature(function, settings)  # type: ignore[attr-defined]
        decorated: Task[Any] = task(help={**(help or {}), **settings}, **options)(run)
        return decorated

    return decorate


@contextmanager
def seldom_collected() -> Iterator[None]:
    """Let Python look for garbage in cycles a hundred times less often.

    It goes through all there is again and again while AWS's models and long listings are loaded: a sixth of the time of
    `status`, and it finds next to nothing. Long commands are still rid of theirs:
    https://docs.python.org/3/library/gc.html#gc.set_threshold
    """
    usual = gc.get_threshold()
    gc.set_threshold(100_000)
    try:
        yield
    finally:
        gc.set_threshold(*usual)


@contextmanager
def enough_read() -> Iterator[None]:
    """End in silence if whoever reads our output has seen enough of it, as `head` has.

    https://docs.python.org/3/library/signal.html#note-on-sigpipe
    """
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(141) from None


def _signature(function: Callable[..., None], settings: dict[str, str]) -> inspect.Signature:
    """The function's arguments, from which invoke makes options, with those of the settings behind its own."""
    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    own = list(inspect.signature(function).parameters.values())[1:]
    added = [inspect.Parameter(name, kind, default=False if name in FLAGS else None) for name in settings]
    return inspect.Signature([inspect.Parameter("c", kind), *own, *added])


def connect(c: Context, *, regions: bool = False, **typed: Any) -> Aws:
    """The settings of one command and its AWS account.

    regions: whether there may be several. typed: options by setting name; None means "not given".
    Raises UsageError for a setting that is wrong, or several regions where there can be one.
    """
    from .aws import Aws
    from .config import Settings

    settings = Settings.from_context(c, **typed)
    if "," in settings.region and not regions:
        raise UsageError(f"one region, not {settings.region!r}", fix="only `launch` takes several")
    return Aws(settings)

"""What the commands have in common: options that are settings, and the AWS account that they lead to."""

from __future__ import annotations

import atexit
import functools
import gc
import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from invoke import Context, task
from invoke.tasks import Task

from . import arguments  # noqa: F401 (mends invoke, which all commands rely on)
from .errors import UsageError
from .mishaps import explained

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
    reads: bool = False,
    **options: Any,
) -> Callable[[Callable[..., None]], Task[Any]]:
    """Make a task of a function that wants an `Aws` where invoke gives a Context.

    help: of the function's own arguments. settings: of settings that are options of this command, besides profile and
    region. regions: whether --region may be several. reads: whether it changes nothing, here or in the account, so that
    invoke's own --dry makes no difference. options: as invoke's `task` takes them.
    """
    settings = {**(settings or {}), **ACCOUNT}

    def decorate(function: Callable[..., None]) -> Task[Any]:
        @functools.wraps(function)
        def run(c: Context, **typed: Any) -> None:
            chosen = {name: value for name in settings if (value := typed.pop(name, None)) not in (None, False)}
            with explained(), seldom_collected():
                if not reads:
                    typed = dry(c, typed)
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


def dry(c: Context, typed: dict[str, Any]) -> dict[str, Any]:
    """What was typed, with invoke's own --dry as the command's --dry-run.

    invoke itself would only keep `c.run` from running anything, which no command of ours uses:
    https://docs.pyinvoke.org/en/stable/invoke.html#cmdoption-R
    Raises UsageError for --dry where the command has no dry run, before anything is done.
    """
    if not c.get("run", {}).get("dry"):
        return typed
    if "dry_run" not in typed:
        raise UsageError(
            "this command would act, and has no dry run", fix="nothing was done; to do it, leave out --dry"
        )
    return {**typed, "dry_run": True}


def _signature(function: Callable[..., None], settings: dict[str, str]) -> inspect.Signature:
    """The function's arguments, from which invoke makes options, with those of the settings behind its own."""
    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    own = list(inspect.signature(function).parameters.values())[1:]
    added = [inspect.Parameter(name, kind, default=False if name in FLAGS else None) for name in settings]
    return inspect.Signature([inspect.Parameter("c", kind), *own, *added])


def connect(c: Context, *, regions: bool = False, **typed: Any) -> Aws:
    """The settings of one command and its AWS account.

    regions: whether there may be several. typed: options by setting name; None means "not given".
    Raises UsageError for a setting that is wrong, a file of settings that is not there, or several regions where there
    can be one.
    """
    from .aws import Aws
    from .config import Settings

    # invoke goes on without a file that it does not find, and so without the limits that are in it.
    if (file := getattr(c.config, "_runtime_path", None)) and not c.config._runtime_found:
        raise UsageError(f"there is no file {file} to read settings from", fix="-f, or INVOKE_RUNTIME_CONFIG, names it")
    settings = Settings.from_context(c, **typed)
    if "," in settings.region and not regions:
        raise UsageError(f"one region, not {settings.region!r}", fix="only `launch` takes several")
    return Aws(settings)

"""inv local.…: AWS on this machine, as another profile."""

from __future__ import annotations

import sys
from typing import Any

from invoke import Collection, task
from invoke.exceptions import Exit


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def profile_name() -> str:
    """The AWS profile that leads to the local cloud."""
    from . import profile

    return profile.name()


def prepare() -> None:
    """See to everything that the local cloud needs on this machine, without starting it."""
    from . import prerequisites
    from .state import State

    prerequisites.ensure(State.default().root, _say)


@task(
    help={
        "forget_seconds": "how long a terminated instance can still be described (default: 3600, as on AWS)",
        "relaunch_seconds": "how long a persistent spot request takes to launch its next instance (default: 30)",
    }
)
def up(_: Any, forget_seconds: float = 3600, relaunch_seconds: float = 30) -> None:
    """Start the local cloud: API, registry and machines on loopback."""
    from . import profile, supervisor
    from .state import State

    options = supervisor.Options(float(forget_seconds), float(relaunch_seconds))
    running, before = supervisor.up(State.default(), _say, options)
    name = profile.name()
    _say(f"the local cloud {'was already' if before else 'is'} up")
    print(f"endpoint  {running.endpoint}")
    print(f"profile   {name}")
    _say(f"next: inv setup --profile {name}")


@task
def down(_: Any) -> None:
    """End the local cloud and everything in it."""
    from . import supervisor
    from .state import State

    was_up = supervisor.down(State.default(), _say)
    _say("the local cloud is down" if was_up else "the local cloud was not up")


@task
def status(_: Any) -> None:
    """Show what of the local cloud runs; exit code 1 if it is down."""
    from . import profile, supervisor
    from .state import State

    state = State.default()
    running = supervisor.alive(state)
    if running is None:
        raise Exit("the local cloud is down\n  start it: inv local.up", 1)
    print(f"endpoint  {running.endpoint}")
    print(f"profile   {profile.name()}")
    print(f"registry  {running.registry}")
    print(f"log       {state.log}")
    found = supervisor.instances(running)
    print(f"instances {len(found)}")
    for one in found:
        print(f"  {one['id']}  {one['type']:<14} {one['state']:<14} {one['address']}".rstrip())


ns = Collection("local", up, down, status)

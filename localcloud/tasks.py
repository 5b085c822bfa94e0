"""inv local.…: AWS on this machine, as another profile."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from invoke import Collection, Context, task
from invoke.exceptions import Exit

if TYPE_CHECKING:
    from .state import Running


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _for_real(c: Context) -> None:
    """invoke's --dry keeps `c.run` from running anything, which is not how these commands act."""
    if c.config.run.dry:
        raise Exit("this command would act, and has no dry run\n  nothing was done; to do it, leave out --dry", 2)


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
def up(c: Context, forget_seconds: float = 3600, relaunch_seconds: float = 30) -> None:
    """Start the local cloud: API, registry and machines."""
    _for_real(c)
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
def down(c: Context) -> None:
    """End the local cloud and everything in it."""
    _for_real(c)
    from . import supervisor
    from .state import State

    was_up = supervisor.down(State.default(), _say)
    _say("the local cloud is down" if was_up else "the local cloud was not up")


@task
def status(_: Any) -> None:
    """Show what of the local cloud runs; exit code 1 if down."""
    from . import profile, supervisor
    from .state import State

    running = _running()
    print(f"endpoint  {running.endpoint}")
    print(f"profile   {profile.name()}")
    print(f"registry  {running.registry}")
    print(f"log       {State.default().log}")
    found = supervisor.instances(running)
    print(f"instances {len(found)}")
    for one in found:
        print(f"  {one['id']}  {one['type']:<14} {one['state']:<14} {one['address']}".rstrip())
    for job in supervisor.batch_jobs(running):
        counts = ", ".join(f"{count} {status}" for status, count in job["counts"].items())
        print(f"batch     {job['id']}  {job['name']}  {counts}")
    for instance_type in supervisor.types_without_capacity(running):
        print(f"no capacity for {instance_type}")
    if file := supervisor.market_file(running):
        print(f"market    {file}")
    for fault in supervisor.faults(running):
        print(f"fault {fault['description']}: {fault['hits']} so far")


@task(
    positional=["job"],
    help={
        "job": "instance id, a unique beginning of one, `latest`, or a running Batch job (BATCHJOB:INDEX, NAME/INDEX)",
        "notice": "seconds between the notice and the end (default: 120, as on AWS); 0 is no notice at all",
        "rebalance": "only recommend a rebalance",
    },
)
def interrupt(c: Context, job: str, notice: str = "120", rebalance: bool = False) -> None:
    """Have EC2 reclaim a spot instance; returns at once."""
    _for_real(c)
    from . import supervisor

    running = _running()
    told = (
        supervisor.recommend_rebalance(running, job) if rebalance else supervisor.interrupt(running, job, notice=notice)
    )
    print("\n".join(told))


@task(
    positional=["instance_type", "state"],
    help={"instance_type": "for example c7i.4xlarge", "state": "`none`, or `back` for as much as anybody wants"},
)
def capacity(c: Context, instance_type: str, state: str) -> None:
    """Take a type's capacity away from EC2, or give it back."""
    _for_real(c)
    from . import supervisor

    supervisor.change_capacity(_running(), instance_type, state)
    _say(f"there is {'no' if state == 'none' else 'enough'} capacity for {instance_type}")


@task(
    positional=["file"],
    help={"file": "what EC2 sells, as docs/local-cloud.md describes; `none`: everything to everybody"},
)
def market(c: Context, file: str) -> None:
    """Set what EC2 sells, by a file."""
    _for_real(c)
    from . import supervisor

    supervisor.change_market(_running(), file)
    _say("EC2 sells everything to everybody" if file == "none" else f"EC2 sells what {file} says")


@task(
    positional=["kind"],
    help={
        "kind": "500, 503, timeout, reset, truncated or slow (S3), throttled or expired (any service); `none` ends all",
        "percent": "how many of a hundred requests it hits (default: 10)",
        "seconds": "how late a `timeout` answers (default: 90)",
        "bytes_per_second": "how fast a `slow` body is (default: 10000)",
        "of": "hit only requests with this in `METHOD /bucket/key?query` or in the operation's name",
        "seed": "of the chance by which requests are hit (default: 1)",
    },
)
def fault(
    c: Context,
    kind: str,
    percent: str = "10",
    seconds: str = "90",
    bytes_per_second: str = "10000",
    of: str = "",
    seed: str = "1",
) -> None:
    """Have a share of the requests to AWS go wrong."""
    _for_real(c)
    from . import supervisor

    figures = {"percent": percent, "seconds": seconds, "bytes_per_second": bytes_per_second, "of": of, "seed": seed}
    print("\n".join(supervisor.change_faults(_running(), kind, **figures)))


def _running() -> Running:
    """The local cloud; ends the command with exit code 1 if down."""
    from . import supervisor
    from .state import State

    running = supervisor.alive(State.default())
    if running is None:
        raise Exit("the local cloud is down\n  start it: inv local.up", 1)
    return running


ns = Collection("local", up, down, status, interrupt, capacity, market, fault)

"""The local cloud from outside: bring its daemon up, take it down, and see whether it is there."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from . import prerequisites, profile, text_file
from .errors import LocalCloudError
from .registry import Registry
from .state import Running, State

Say = Callable[[str], None]

START_SECONDS = 60
END_SECONDS = 120
"""Ending takes as long as the machines need to be removed."""
LOG_LINES = 15


@dataclass(frozen=True)
class Options:
    """What `up` can be told."""

    forget_seconds: float = 3600
    relaunch_seconds: float = 30


def up(state: State, say: Say, options: Options | None = None) -> tuple[Running, bool]:
    """Bring the cloud up and write its profile; returns where it is and whether it was up before.

    Two of these at once make one cloud: the second waits for the first. say: gets each line of progress.
    Raises LocalCloudError when something is missing or the daemon does not get ready.
    """
    with state.locked("control"):
        running = alive(state)
        if running:
            # An `up` that was killed may have got as far as the daemon, but not to the profile.
            profile.write(_profile(state, running, prerequisites.Found(**state.read("found"))))
            return running, True
        found = prerequisites.ensure(state.root, say)
        state.write("found", asdict(found))
        _sweep(state)
        process = _spawn(state, found, options or Options())
        running = state.running()
        if running is None:
            raise LocalCloudError(f"process {process} said it was ready, but left no word of it")
        try:
            profile.write(_profile(state, running, found))
        except LocalCloudError:
            _end(process)
            raise
        return running, False


def down(state: State, say: Say) -> bool:
    """End the cloud and everything it started, also what a killed daemon left; returns whether it was up."""
    with state.locked("control"):
        process = state.holder("daemon")
        if process:
            say("ending the local cloud")
            _end(process)
        _sweep(state)
        profile.remove()
        return process is not None


def alive(state: State) -> Running | None:
    """The daemon, if it is up; waits for nothing."""
    return state.running() if state.holder("daemon") else None


def instances(running: Running) -> list[dict[str, Any]]:
    """What the daemon says of its instances: id, type, state, address."""
    found: list[dict[str, Any]] = _ask(running, "GET", "status")["instances"]
    return found


def batch_jobs(running: Running) -> list[dict[str, Any]]:
    """The jobs of Batch that are not over: id, name, counts (by status)."""
    found: list[dict[str, Any]] = _ask(running, "GET", "status")["batch"]
    return found


def types_without_capacity(running: Running) -> list[str]:
    """The instance types of which the cloud has none left."""
    found: list[str] = _ask(running, "GET", "status")["without_capacity"]
    return found


def interrupt(running: Running, job: str, *, notice: str = "120") -> list[str]:
    """Have EC2 interrupt a spot instance; returns at once, with what will happen, line by line.

    job: instance id, a unique beginning of one, or `latest`. notice: seconds until then, 0 for no notice at all.
    Raises LocalCloudError when there is no such instance, or it is none that EC2 could interrupt now.
    """
    lines: list[str] = _ask(running, "POST", "interrupt", job=job, notice=notice)["lines"]
    return lines


def recommend_rebalance(running: Running, job: str) -> list[str]:
    """Have EC2 recommend a rebalance to a spot instance. Arguments, result and errors are those of `interrupt`."""
    lines: list[str] = _ask(running, "POST", "rebalance", job=job)["lines"]
    return lines


def change_capacity(running: Running, instance_type: str, state: str) -> None:
    """Take all capacity of a type away (`none`), or give it `back`; raises LocalCloudError for anything else."""
    _ask(running, "POST", "capacity", type=instance_type, state=state)


def change_market(running: Running, file: str) -> None:
    """Have EC2 sell what the scenario in a file says (market_file.py), or everything to everybody (`none`).

    Raises LocalCloudError with the line that is wrong; then everything stays as it was.
    """
    path = Path(file).expanduser().absolute()
    body, name = ("", "") if file == "none" else (text_file.read(path), str(path))
    _ask(running, "POST", "market", body, file=name)


def market_file(running: Running) -> str:
    """The file whose scenario is in force; "" for none."""
    found: str = _ask(running, "GET", "status")["market"]
    return found


def change_faults(running: Running, kind: str, **figures: str) -> list[str]:
    """Have a share of the requests go wrong, or none any more (kind `none`); returns the active faults, line by line.

    figures: percent, seed, of, seconds and bytes_per_second, as a user has typed them.
    Raises LocalCloudError for a kind or a figure that makes no sense.
    """
    lines: list[str] = _ask(running, "POST", "fault", kind=kind, **figures)["lines"]
    return lines


def faults(running: Running) -> list[dict[str, Any]]:
    """The active faults: kind, hits (the requests that went wrong so far), description."""
    found: list[dict[str, Any]] = _ask(running, "GET", "status")["faults"]
    return found


def _ask(running: Running, method: str, name: str, body: str = "", **asked: str) -> dict[str, Any]:
    """The daemon's answer to one request of its own; raises LocalCloudError with what it refuses."""
    url = f"{running.endpoint}/_local/{name}?{urllib.parse.urlencode(asked)}"
    request = urllib.request.Request(url, body.encode() or None, {"X-Local-Key": running.key}, method=method)
    try:
        with urllib.request.urlopen(request, timeout=30) as response:
            answer: dict[str, Any] = json.load(response)
            return answer
    except urllib.error.HTTPError as error:
        refusal = json.load(error)
        raise LocalCloudError(refusal["problem"], fix=refusal["fix"]) from None


def _profile(state: State, running: Running, found: prerequisites.Found) -> dict[str, str]:
    """The profile's keys. Those with `solver_` are settings of solver-cloud."""
    key = state.key()
    values = {
        "region": profile.REGION,
        "endpoint_url": running.endpoint,
        "aws_access_key_id": key.id,
        "aws_secret_access_key": key.secret,
        "solver_caller_address_url": f"{running.endpoint}/_local/caller-address",
    }
    if found.stand_ins:
        values |= {"solver_builder_image": found.builder_image, "solver_runtime_image": found.runtime_image}
    return values


def _spawn(state: State, found: prerequisites.Found, options: Options) -> int:
    """Start the daemon in a session of its own and wait until it is ready; returns its process id."""
    read, write = os.pipe()
    arguments = ["--state", str(state.root), "--ami", found.ami, "--ready-fd", str(write)]
    arguments += ["--registry", found.registry] if found.registry else []
    arguments += ["--forget-seconds", str(options.forget_seconds), "--relaunch-seconds", str(options.relaunch_seconds)]
    package = __package__ or ""
    top = Path(__file__).parents[len(package.split("."))]
    with state.log.open("w") as log:
        process = subprocess.Popen(
            # -P: no module is looked for in the directory that it runs in.
            [sys.executable, "-P", "-m", f"{package}.daemon", *arguments],
            cwd=state.root,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [str(top), os.environ.get("PYTHONPATH")]))},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            pass_fds=[write],
        )
    os.close(write)
    try:
        with open(read) as waiting:
            # The pipe ends when the daemon does, so this waits for one of the two.
            ready = select.select([waiting], [], [], START_SECONDS)[0] and waiting.read()
    except KeyboardInterrupt:
        _end(process.pid)
        raise
    if ready != "ready\n":
        _end(process.pid)
        lines = state.log.read_text(errors="replace").splitlines()[-LOG_LINES:]
        last = "\n".join(f"  {line}" for line in lines)
        raise LocalCloudError(f"the local cloud did not start; the end of {state.log}:\n{last}")
    return process.pid


def _end(process: int) -> None:
    """SIGTERM, and SIGKILL if that takes too long; returns when the process has ended."""
    with suppress(ProcessLookupError):
        ended = os.pidfd_open(process)
        for number, patience in ((signal.SIGTERM, END_SECONDS), (signal.SIGKILL, 10)):
            os.kill(process, number)
            if select.select([ended], [], [], patience)[0]:
                break
        os.close(ended)


def _sweep(state: State) -> None:
    """Remove what a daemon that was killed has left: machines, the registry, word of itself."""
    if state.running() is None and not state.registry.exists():
        return
    from .machines import Machines

    Machines.sweep(state.machines, state.cloud)
    Registry.sweep(state.registry, f"{state.cloud}-registry")
    state.forget_running()

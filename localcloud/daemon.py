"""The local cloud's process: `local.up` starts it with `python -m`, SIGTERM ends it and all it started."""

from __future__ import annotations

import argparse
import faulthandler
import logging
import os
import signal
import socket
import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .registry import Registry
from .state import Running, State

if TYPE_CHECKING:
    from .machines import Machines

HOST = "127.0.0.1"
SLOW_END_SECONDS = 60


@dataclass(frozen=True)
class Options:
    """The command line."""

    state: State
    ami: str
    """Docker image that every AMI boots."""
    registry: str | None
    """The program docker-registry; None for the image registry:2."""
    ready_fd: int | None
    """Where to write "ready" when the cloud is."""
    forget_seconds: float
    relaunch_seconds: float


def parse(arguments: Sequence[str] | None) -> Options:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--state", type=Path, required=True, help="state directory")
    parser.add_argument("--ami", required=True, help="Docker image of the instances")
    parser.add_argument("--registry", help="path of docker-registry; without it the image registry:2 is run")
    parser.add_argument("--ready-fd", type=int, help='file descriptor that gets "ready"')
    parser.add_argument(
        "--forget-seconds", type=float, default=3600, help="how long a terminated instance can be described"
    )
    parser.add_argument(
        "--relaunch-seconds", type=float, default=30, help="until a persistent spot request launches its next instance"
    )
    given = parser.parse_args(arguments)
    return Options(**{**vars(given), "state": State(given.state).own()})


def prepare_environment() -> None:
    """Set moto's switches, and unset what is meant for other clouds; before moto is imported."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        del os.environ[name]
    os.environ.update(
        MOTO_ENABLE_AMI_VALIDATION="true",
        MOTO_EC2_ENABLE_INSTANCE_TYPE_VALIDATION="true",
        MOTO_S3_ALLOW_CROSSACCOUNT_ACCESS="false",
    )


def serve(options: Options, make_machines: Callable[..., Machines]) -> None:
    """Run the cloud until SIGTERM or SIGINT.

    make_machines: the class Machines, or what stands in for it.
    """
    state = options.state
    # A pipe, because a handler may not take a lock that the interrupted code could hold.
    over, end = os.pipe()
    os.set_blocking(end, False)
    signal.set_wakeup_fd(end)  # whichever thread the kernel tells
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    with state.locked("daemon"), ExitStack() as at_end:
        running = _start(options, make_machines, at_end)
        state.keep_running(running)
        at_end.callback(state.forget_running)
        logging.info("ready at %s", running.endpoint)
        if options.ready_fd is not None:
            # Whoever waited may have gone; the cloud is up all the same.
            with suppress(BrokenPipeError), open(options.ready_fd, "w") as waiting:
                waiting.write("ready\n")
        os.read(over, 1)
        logging.info("ending")
        faulthandler.dump_traceback_later(SLOW_END_SECONDS)  # to the log: what an end that hangs is waiting for


def _start(options: Options, make_machines: Callable[..., Machines], at_end: ExitStack) -> Running:
    """Start every part, and have it ended, last part first, by `at_end`."""
    from . import api
    from .gate import Gate
    from .instances import Cloud

    state = options.state
    registry = Registry(state.registry, f"{state.cloud}-registry", binary=options.registry)
    at_end.callback(registry.stop)
    registry.start()
    doors = {name: _listen(state.port(name)) for name in ("api", "registry")}
    ports = {name: int(door.getsockname()[1]) for name, door in doors.items()}
    state.keep_ports(**ports)
    registry.address = f"{HOST}:{ports['registry']}"
    machines = make_machines(
        state=state.machines,
        cloud=state.cloud,
        ami=options.ami,
        endpoint=(HOST, ports["api"]),
        credentials=api.role_credentials,
        tags=api.tags,
        on_halt=api.halted,
        registry=(registry.address, registry.password),
    )
    at_end.callback(machines.close)
    cloud = Cloud(machines, options.forget_seconds, options.relaunch_seconds)
    for name, application in (
        ("registry", Gate(registry)),
        ("api", api.application(cloud, registry, state.key(), f"http://{HOST}:{ports['api']}")),
    ):
        at_end.callback(_serve(application, doors[name]))
    return Running(f"http://{HOST}:{ports['api']}", registry.address, state.key().secret)


def _listen(port: int) -> socket.socket:
    """A listening socket on that port, or on a free one if another program has it now."""
    try:
        return socket.create_server((HOST, port), backlog=128)
    except OSError:
        return socket.create_server((HOST, 0), backlog=128)


def _serve(application: Any, door: socket.socket) -> Callable[[], None]:
    """Answer what comes in at that socket, each request in a thread; returns the function that stops it."""
    from moto.moto_server.werkzeug_app import MotoRequestHandler
    from werkzeug.serving import make_server

    host, port = door.getsockname()
    server = make_server(host, port, application, threaded=True, request_handler=MotoRequestHandler, fd=door.fileno())
    threading.Thread(target=server.serve_forever, args=(0.1,), name="server", daemon=True).start()
    return server.shutdown


def main(arguments: Sequence[str] | None = None) -> None:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
    logging.getLogger("werkzeug").setLevel(logging.WARNING)
    options = parse(arguments)
    prepare_environment()
    from .machines import Machines

    serve(options, Machines)


if __name__ == "__main__":
    main()

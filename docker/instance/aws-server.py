#!/usr/bin/python3
"""Runs the AWS CLI for those who call `aws`, each call in a process of its own that is forked from this one.

Nearly all of a call's time is the loading of Python modules and of AWS's models, which a machine of EC2 may have
processors enough to pass over; here all instances share those of one computer. `aws-server DESCRIPTOR`: a Unix socket
that listens.
"""

from __future__ import annotations

import functools
import importlib
import json
import os
import pwd
import signal
import socket
import struct
import sys
import threading
import time
import traceback
from contextlib import suppress
from typing import NoReturn

MODULES = ("awscli.clidriver", "awscli.handlers", "awscli.customizations.s3.subcommands")
"""They load all the others that a call needs."""
SERVICES = ("ec2", "s3", "sts")
"""Those that an instance calls most."""
PAGED = ("ec2", "s3")
"""Of these, those that have lists to page through and states to wait for."""


def main() -> None:
    door = socket.socket(fileno=int(sys.argv[1]))
    before = dict(os.environ)
    for name in MODULES:
        importlib.import_module(name)
    added = {name: value for name, value in os.environ.items() if before.get(name) != value}  # where its data are
    load_models()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the processes: they answer themselves
    while True:
        caller, _ = door.accept()
        if os.fork() == 0:
            door.close()
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            serve(caller, added)
        caller.close()


def load_models() -> None:
    """Load the models of SERVICES where every session finds them; the CLI's own tests share a loader, too."""
    import botocore.session  # the CLI's own
    from awscli.clidriver import create_clidriver  # type: ignore[import-not-found]

    botocore.session.create_loader = functools.cache(botocore.session.create_loader)
    session = create_clidriver().session
    for service in SERVICES:
        session.create_client(service, region_name="us-east-1", aws_access_key_id="-", aws_secret_access_key="-")
    for service in PAGED:
        session.get_paginator_model(service)
        session.get_waiter_model(service)


def serve(caller: socket.socket, added: dict[str, str]) -> NoReturn:
    """Become what the caller would be if it ran the AWS CLI itself, and tell it the exit code.

    added: what the CLI has added to the environment.
    """
    code = 255
    try:
        become(caller)
        os.environ.update(added)
        threading.Thread(target=end_with, args=(caller,), daemon=True).start()
        code = run()
        sys.stdout.flush()
    except BaseException:  # this process must not go on as another server
        traceback.print_exc()
    with suppress(OSError):
        caller.sendall(bytes([code]))
    os._exit(code)


def become(caller: socket.socket) -> None:
    """Take over user, environment, directory, standard streams and arguments of the caller."""
    size, descriptors, _, _ = socket.recv_fds(caller, 4, 4)
    with caller.makefile("rb") as stream:
        call = json.loads(stream.read(int.from_bytes(size, "big")))
    *streams, directory = descriptors
    for number, descriptor in enumerate(streams):
        os.dup2(descriptor, number)
        os.close(descriptor)
    os.fchdir(directory)
    os.close(directory)
    sys.stdin, sys.stdout, sys.stderr = open(0), open(1, "w"), open(2, "w", buffering=1)  # noqa: SIM115
    _, user, group = struct.unpack(
        "3i", caller.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    )
    if user != os.getuid():
        os.initgroups(pwd.getpwuid(user).pw_name, group)
        os.setgid(group)
        os.setuid(user)
    os.environ.clear()
    os.environ.update(call["environment"])
    time.tzset()
    sys.argv = ["aws", *call["arguments"]]


def end_with(caller: socket.socket) -> None:
    """End when the caller does: who kills `aws` means the call."""
    caller.recv(1)
    os.kill(os.getpid(), signal.SIGKILL)


def run() -> int:
    """Returns the exit code of the AWS CLI."""
    from awscli.clidriver import main as aws

    try:
        return int(aws()) & 255
    except SystemExit as end:
        return end.code & 255 if isinstance(end.code, int) else int(end.code is not None)


if __name__ == "__main__":
    main()

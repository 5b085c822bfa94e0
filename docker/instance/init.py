#!/usr/bin/python3
"""PID 1 of an instance: boots it as its services would, keeps the shutdown timer, and ends it.

The local cloud mounts /run/instance, with the sockets metadata.sock, credentials.sock, aws.sock and docker.sock, and
passes the address of the AWS API in AWS_ENDPOINT (host:port). SIGTERM powers off, SIGINT reboots, as systemd has it.
"""

from __future__ import annotations

import math
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Literal

Mode = Literal["poweroff", "reboot"]

SOCKETS = Path("/run/instance")
SCHEDULED = Path("/run/systemd/shutdown/scheduled")
METADATA_ADDRESS = "169.254.169.254"
CREDENTIALS_ADDRESS = "169.254.170.2"
"""Where the ECS agent serves the credentials of the containers that it runs."""
REBOOT = 64
"""Exit code that asks the local cloud to start the container again."""
GRACE_SECONDS = 10
"""What processes have between SIGTERM and SIGKILL."""
ENVIRONMENT = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin", "LANG": "C.UTF-8"}
HOUR = 3600
SIGNALS = {signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGUSR1}


def main() -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    endpoint = os.environ["AWS_ENDPOINT"]
    os.environ.clear()  # systemd hands down next to nothing; there is no HOME in user data
    os.environ.update(ENVIRONMENT)
    if os.fork() == 0:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
        os.setsid()
        boot(endpoint)
        sys.exit()
    mode = wait_for_the_end()
    print(f"init: {mode}", flush=True)
    notify("STOPPING=1")
    end_all_processes()
    sys.exit(REBOOT if mode == "reboot" else 0)


def boot(endpoint: str) -> None:
    """The boot, in the order systemd keeps on an instance: addresses, cloud-init, sshd, the user data."""
    shutil.rmtree("/tmp", ignore_errors=True)
    Path("/tmp").mkdir(exist_ok=True)
    Path("/tmp").chmod(0o1777)
    for address in (METADATA_ADDRESS, CREDENTIALS_ADDRESS):
        subprocess.run(["ip", "address", "add", f"{address}/32", "dev", "lo"], check=True)
    Path("/run/docker.sock").symlink_to(SOCKETS / "docker.sock")
    host, _, port = endpoint.partition(":")
    forward(METADATA_ADDRESS, "80", "metadata.sock")
    forward(CREDENTIALS_ADDRESS, "80", "credentials.sock")
    forward(host, port, "aws.sock")
    Path("/run/aws-endpoint").write_text(f"http://{endpoint}\n")
    start_aws_server()
    # Without its stage before the network, cloud-init would go on with what it remembers of the last boot.
    Path("/var/lib/cloud/instance").unlink(missing_ok=True)
    cloud_init("init")
    Path("/run/sshd").mkdir(exist_ok=True)
    subprocess.run(["/usr/sbin/sshd"], check=True)
    await_sshd()
    notify("READY=1")
    cloud_init("modules", "--mode=config")
    cloud_init("modules", "--mode=final")
    notify("STATUS=booted")


def forward(address: str, port: str, name: str) -> None:
    """Forward connections to a port of this instance to one of the mounted sockets."""
    listen = f"TCP-LISTEN:{port},bind={address},fork,reuseaddr,backlog=128"
    subprocess.Popen(["socat", "-b", "65536", listen, f"UNIX-CONNECT:{SOCKETS / name}"])


def start_aws_server() -> None:
    """Start what runs the AWS CLI with its socket open already, as systemd does: a call that comes early waits."""
    path = Path("/run/aws.sock")
    path.unlink(missing_ok=True)  # of the boot before
    with socket.socket(socket.AF_UNIX) as door:
        door.bind(str(path))
        path.chmod(0o666)
        door.listen(128)
        subprocess.Popen(["/usr/libexec/aws-server", str(door.fileno())], pass_fds=[door.fileno()])


def await_sshd() -> None:
    """Wait until sshd listens: it goes into the background before."""
    while True:
        with socket.socket() as door:
            if door.connect_ex(("127.0.0.1", 22)) == 0:
                return
        time.sleep(0.01)


def notify(message: str) -> None:
    """Tell the local cloud how far the instance is, and wait until it has taken note."""
    with socket.socket(socket.AF_UNIX) as door, suppress(OSError):  # a cloud that ends listens no more
        door.connect(str(SOCKETS / "notify.sock"))
        door.sendall(f"{message}\n".encode())
        door.recv(1)


def cloud_init(*stage: str) -> None:
    """Run one stage of cloud-init, as the command of that name does, but with its modules loaded already.

    It reports its failures itself; the boot goes on then, as it does with systemd.
    """
    from cloudinit.cmd.main import main as cloud_init_main

    child = os.fork()
    if child == 0:
        sys.exit(cloud_init_main(["cloud-init", *stage]))
    os.waitpid(child, 0)


def wait_for_the_end() -> Mode:
    """Reap orphans until a signal or the schedule ends this boot."""
    scheduled: tuple[float, Mode] | None = None
    while True:
        at, mode = scheduled or (math.inf, "poweroff")
        received = signal.sigtimedwait(SIGNALS, min(max(at - time.time(), 0), HOUR))
        if received is None and time.time() >= at:
            return mode
        match received and received.si_signo:
            case signal.SIGTERM:
                return "poweroff"
            case signal.SIGINT:
                return "reboot"
            case signal.SIGUSR1:
                scheduled = read_schedule()
            case signal.SIGCHLD:
                reap()


def read_schedule() -> tuple[float, Mode] | None:
    """Epoch second and mode that /sbin/shutdown has written down; None once cancelled."""
    if not SCHEDULED.exists():
        return None
    values = dict(line.split("=", 1) for line in SCHEDULED.read_text().splitlines())
    return int(values["USEC"]) / 1e6, "reboot" if values["MODE"] == "reboot" else "poweroff"


def end_all_processes() -> None:
    """SIGTERM to all, time to end, SIGKILL to the rest; containers too, as a Docker engine does when it goes down."""
    until = time.monotonic() + GRACE_SECONDS
    signal_all(signal.SIGTERM)
    subprocess.Popen(["sh", "-c", f"docker ps --quiet | xargs --no-run-if-empty docker stop --time {GRACE_SECONDS}"])
    while reap() and (left := until - time.monotonic()) > 0:
        signal.sigtimedwait({signal.SIGCHLD}, left)
    if reap():
        signal_all(signal.SIGKILL)


def signal_all(number: signal.Signals) -> None:
    with suppress(ProcessLookupError):  # there may be none
        os.kill(-1, number)


def reap() -> bool:
    """Take note of all children that ended; returns whether there are others."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        return False
    return True


if __name__ == "__main__":
    main()

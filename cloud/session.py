"""ssh to a job's instance, through fabric: the tmux session for `attach`, the trainer's output for `logs --follow`."""

from __future__ import annotations

import base64
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from . import firewall, keypair, storage, terminal
from .aws import Aws
from .errors import CloudError, UsageError
from .jobs import GONE, Job

if TYPE_CHECKING:
    from fabric import Connection
    from paramiko import PKey

SESSION = "solver"
CONTAINER = "solver"
PATIENCE = 8
"""Seconds for a connection; a security group that does not let us in answers with silence."""
CHUNK = 1 << 16
KEEP_ALIVE = 15
"""Seconds between signs of life, without which routers forget a connection in which nothing is said."""


class NotYet(CloudError):
    """There is nothing to connect to yet, or nobody answers: this may pass."""


def host_keys(aws: Aws, job: Job) -> list[PKey]:
    """The instance's ssh host keys, which it put into S3 at boot; empty before that.

    Lines that are no keys are left out. Raises CloudError if nothing is left.
    """
    from paramiko import PKey

    lines = storage.tail(aws, f"jobs/{job.id}/ssh-host-keys", size=1 << 16).splitlines()
    keys = []
    for words in map(str.split, lines):
        # Not only SSHException: each kind of key raises whatever its decoding does.
        with suppress(Exception):
            keys.append(PKey.from_type_string(words[0], base64.b64decode(words[1], validate=True)))
    if lines and not keys:
        raise CloudError(
            f"the ssh host keys of {job.id} in S3 are none: nobody can tell which machine answers",
            fix=f"without a connection: inv status {job.id}, inv logs {job.id}",
        )
    return keys


@contextmanager
def connected(aws: Aws, job: Job) -> Iterator[Connection]:
    """An open connection to the job's instance, whose host key is pinned to what the instance put into S3.

    Lets this machine's address in through the security group if it has changed since setup.
    Raises NotYet when there is nothing to connect to yet; CloudError when there is nothing any more, or someone else
    answers.
    """
    if job.state in GONE or job.ended:
        raise CloudError(f"{job.id} has ended ({job.status})", fix=f"its output: inv logs {job.id}")
    if job.state != "running" or not job.address:
        raise NotYet(f"{job.id} is {job.state}", fix=f"wait for it to run: inv status {job.id}")
    keys = host_keys(aws, job)
    if not keys:
        raise NotYet(
            f"{job.id} is still booting ({job.phase or job.state})", fix=f"try again in a moment: inv attach {job.id}"
        )
    connection = _connection(aws, job.address, keys)
    try:
        if not _open(connection):
            # Silence is what a security group answers with to an address that it does not know.
            group = firewall.find(aws)
            changed = bool(group) and firewall.admit_caller(aws, group)  # type: ignore[arg-type]
            if not changed or not _open(connection):
                raise NotYet(
                    f"{job.id} does not answer at {job.address} port 22",
                    fix=f"if it goes on: inv status {job.id}, and the log in S3: inv logs {job.id}",
                )
        yield connection
    finally:
        connection.close()


def _connection(aws: Aws, address: str, keys: list[PKey]) -> Connection:
    from fabric import Config, Connection
    from paramiko import RejectPolicy

    # Its thread logs each error with a traceback, besides raising it, and Python shows what nobody handles.
    logging.getLogger("paramiko").setLevel(logging.CRITICAL)
    connection = Connection(
        address,
        user=aws.settings.login_user,
        connect_timeout=PATIENCE,
        connect_kwargs={"key_filename": str(keypair.private_key(aws)), "look_for_keys": False, "allow_agent": False},
        config=Config(overrides={"load_ssh_configs": False}, lazy=True),  # nor fabric's own files
    )
    for key in keys:
        connection.client.get_host_keys().add(address, key.get_name(), key)
    connection.client.set_missing_host_key_policy(RejectPolicy())
    return connection


def _open(connection: Connection) -> bool:
    """Connect; False when nobody answers. Raises CloudError when another machine answers, or ours refuses the key."""
    import paramiko

    try:
        connection.open()
    except (OSError, EOFError):
        return False
    except paramiko.BadHostKeyException:
        raise CloudError(
            f"the machine at {connection.host} has another ssh host key than the instance put into S3",
            fix="someone may be listening in between; do not connect",
        ) from None
    except Exception as error:  # what the other side sends is decoded by many hands
        if "protocol banner" in str(error):  # a machine that is just coming up, or going down
            return False
        raise CloudError(
            f"cannot log in to {connection.user}@{connection.host}: {error}",
            fix="if it goes on, the log in S3: inv logs JOB",
        ) from None
    connection.transport.set_keepalive(KEEP_ALIVE)
    return True


def _output(connection: Connection, command: str) -> Iterator[bytes]:
    """What a command there prints, as it comes, errors included. Raises CloudError if the connection breaks off."""
    with _ssh_errors(connection):
        channel = connection.transport.open_session(timeout=PATIENCE)
        channel.set_combine_stderr(True)
        channel.exec_command(command)
        while chunk := channel.recv(CHUNK):
            yield chunk
        if channel.recv_exit_status() == -1:
            raise EOFError


def _answer(connection: Connection, command: str) -> str:
    """All that a command there prints."""
    return b"".join(_output(connection, command)).decode(errors="replace").strip()


@contextmanager
def _ssh_errors(connection: Connection) -> Iterator[None]:
    import paramiko

    try:
        yield
    except (paramiko.SSHException, EOFError, OSError) as error:
        why = f": {error}" if str(error) else ""
        raise CloudError(
            f"the connection to {connection.host} broke off{why}", fix="the same again, if the job goes on: inv status"
        ) from None


def attach(aws: Aws, job: Job) -> None:
    """Put this terminal on the job's tmux session until the user detaches or the session ends.

    Raises CloudError when there is no session yet, or none any more; UsageError without a terminal.
    """
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise UsageError("attach needs a terminal", fix=f"without one: inv logs {job.id} --follow")
    from invoke.exceptions import ThreadException

    with connected(aws, job) as connection:
        if _answer(connection, f"tmux has-session -t {SESSION} >/dev/null 2>&1 && echo yes") != "yes":
            raise CloudError(
                f"{job.id} has no tmux session: {_why_no_session(job)}",
                fix=f"what it does: inv status {job.id}; what it printed: inv logs {job.id}",
            )
        # Reading and writing are threads of their own, whose errors come as one.
        with _ssh_errors(connection), suppress(ThreadException), _raw_terminal():
            connection.run(_attach_command(), pty=True, warn=True)


def _why_no_session(job: Job) -> str:
    if job.status in ("starting", "running") and job.phase != "training":
        return f"the trainer has not started yet ({job.phase})"
    return f"the trainer has ended ({job.phase or job.status})"


def _attach_command() -> str:
    """Attach with this terminal's own type, or a common one where the instance has no description of it."""
    import os
    import shlex

    term = shlex.quote(os.environ.get("TERM", "xterm-256color"))
    return (
        f"infocmp {term} >/dev/null 2>&1 && TERM={term} || TERM=xterm-256color; "
        f"export TERM; exec tmux attach-session -t {SESSION}"
    )


@contextmanager
def _raw_terminal() -> Iterator[None]:
    """Every key goes to the other side: fabric's own mode keeps Ctrl-Z, Ctrl-S and Enter for this one."""
    import termios
    import tty

    before = termios.tcgetattr(sys.stdin)
    tty.setraw(sys.stdin)
    try:
        yield
    finally:
        # tmux asks the terminal questions; answers that come after the end would be typed into the user's shell.
        termios.tcflush(sys.stdin, termios.TCIFLUSH)
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)


def print_live_log(aws: Aws, job: Job, *, follow: bool) -> bool:
    """Print what the trainer has printed so far and, with `follow`, goes on printing, to stdout.

    Returns False when the trainer's container does not exist, or has not been started, yet: then there is nothing that
    `docker logs` could follow, and it would end at once.
    """
    with connected(aws, job) as connection:
        look = f"sudo docker container inspect --format '{{{{.State.Status}}}}' {CONTAINER} 2>/dev/null"
        if _answer(connection, look) in ("", "created"):
            return False
        with terminal.output() as write:
            for chunk in _output(connection, f"sudo docker logs {'--follow ' if follow else ''}{CONTAINER}"):
                write(chunk)
    return True

"""ssh to a job's instance, through fabric: the tmux session for `attach`, the trainer's output for `logs --follow`."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from . import firewall, keypair, storage
from .aws import Aws
from .display import Log
from .errors import CloudError, UsageError
from .jobs import GONE, Job

if TYPE_CHECKING:
    from fabric import Connection

SESSION = "solver"
CONTAINER = "solver"
PATIENCE = 8
"""Seconds for a connection; a security group that does not let us in answers with silence."""


def host_keys(aws: Aws, job: Job) -> list[tuple[str, str]]:
    """The instance's ssh host keys as (type, base64), which it put into S3 at boot; empty before that."""
    lines = storage.tail(aws, f"jobs/{job.id}/ssh-host-keys", size=1 << 16).splitlines()
    return [(words[0], words[1]) for words in map(str.split, lines) if len(words) >= 2]


@contextmanager
def connected(aws: Aws, job: Job) -> Iterator[Connection]:
    """An open connection to the job's instance, whose host key is pinned to what the instance put into S3.

    Lets this machine's address in through the security group if it has changed since setup.
    Raises CloudError when there is nothing to connect to, or someone else answers.
    """
    if job.state in GONE or job.ended:
        raise CloudError(f"{job.id} has ended ({job.status})", fix=f"its output: inv logs {job.id}")
    if job.state != "running" or not job.address:
        raise CloudError(f"{job.id} is {job.state}", fix=f"wait for it to run: inv status {job.id}")
    keys = host_keys(aws, job)
    if not keys:
        raise CloudError(
            f"{job.id} is still booting ({job.phase or job.state})", fix=f"try again in a moment: inv attach {job.id}"
        )
    connection = _connection(aws, job.address, keys)
    try:
        if not _open(connection):
            # Silence is what a security group answers with to an address that it does not know.
            group = firewall.find(aws)
            changed = bool(group) and firewall.admit_caller(aws, group)  # type: ignore[arg-type]
            if not changed or not _open(connection):
                raise CloudError(
                    f"{job.id} does not answer at {job.address} port 22",
                    fix=f"if it goes on: inv status {job.id}, and the log in S3: inv logs {job.id}",
                )
        yield connection
    finally:
        connection.close()


def _connection(aws: Aws, address: str, keys: list[tuple[str, str]]) -> Connection:
    import base64

    from fabric import Config, Connection
    from paramiko import PKey, RejectPolicy

    connection = Connection(
        address,
        user=aws.settings.login_user,
        connect_timeout=PATIENCE,
        connect_kwargs={"key_filename": str(keypair.private_key(aws)), "look_for_keys": False, "allow_agent": False},
        config=Config(overrides={"load_ssh_configs": False}),
    )
    for kind, text in keys:
        connection.client.get_host_keys().add(address, kind, PKey.from_type_string(kind, base64.b64decode(text)))
    connection.client.set_missing_host_key_policy(RejectPolicy())
    return connection


def _open(connection: Connection) -> bool:
    """Connect; False when nobody answers. Raises CloudError when another machine answers, or ours refuses the key."""
    import paramiko

    try:
        connection.open()
    except (TimeoutError, ConnectionError, paramiko.ssh_exception.NoValidConnectionsError):
        return False
    except paramiko.BadHostKeyException:
        raise CloudError(
            f"the machine at {connection.host} has another ssh host key than the instance put into S3",
            fix="someone may be listening in between; do not connect",
        ) from None
    except (paramiko.SSHException, EOFError) as error:
        raise CloudError(f"cannot log in to {connection.user}@{connection.host}: {error}") from None
    return True


def attach(aws: Aws, job: Job) -> None:
    """Put this terminal on the job's tmux session until the user detaches or the session ends.

    Raises CloudError when there is no session yet, or none any more; UsageError without a terminal.
    """
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise UsageError("attach needs a terminal", fix=f"without one: inv logs {job.id} --follow")
    with connected(aws, job) as connection:
        if connection.run(f"tmux has-session -t {SESSION}", hide=True, warn=True, in_stream=False).failed:
            raise CloudError(
                f"{job.id} has no tmux session: {_why_no_session(job)}",
                fix=f"what it does: inv status {job.id}; what it printed: inv logs {job.id}",
            )
        with _raw_terminal():
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
        look = f"sudo docker container inspect --format '{{{{.State.Status}}}}' {CONTAINER}"
        seen = connection.run(look, hide=True, warn=True, in_stream=False)
        if seen.failed or seen.stdout.strip() == "created":
            return False
        show = f"sudo docker logs {'--follow ' if follow else ''}{CONTAINER} 2>&1"
        connection.run(show, warn=True, in_stream=False, out_stream=Log())
    return True

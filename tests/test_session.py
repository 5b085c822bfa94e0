"""ssh to an instance: whose word is believed, and what is said when something is wrong. The server is a real one."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from io import FileIO, TextIOWrapper
from pathlib import Path
from typing import Any

import paramiko
import pytest

from cloud import firewall, jobs, keypair, logs, session
from cloud.aws import Aws
from cloud.errors import CloudError
from cloud.jobs import Job

from .ssh_server import SshServer, serving
from .test_jobs import remembered

REPOSITORY = Path(__file__).parent.parent
ADDRESS = "192.0.2.10"
"""Of the instance (RFC 5737)."""
NOBODY = "192.0.2.11"
LOG = b"iteration 1\r\ncaf\xe9 \xff\x00\x1b[31mred\x1b[0m\n"


def answer(command: str) -> tuple[bytes, int | None]:
    """What an instance answers whose trainer runs."""
    if "inspect" in command:
        return b"running\n", 0
    if "docker logs" in command:
        return LOG, 0
    return b"", 1


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[SshServer]:
    """What answers at the instance's address, port 22."""
    connect = socket.socket.connect
    with serving(answer) as server:

        def rerouted(self: socket.socket, address: Any) -> None:
            ports = {(ADDRESS, 22): server.port, (NOBODY, 22): 1}
            connect(self, ("127.0.0.1", ports[address]) if address in ports else address)

        monkeypatch.setattr(socket.socket, "connect", rerouted)
        yield server


@pytest.fixture
def aws(aws: Aws, monkeypatch: pytest.MonkeyPatch) -> Aws:
    """An account with a bucket and the key pair."""
    aws.s3.create_bucket(Bucket=aws.bucket)
    for make in keypair.look(aws).missing:
        make()
    monkeypatch.setattr(firewall, "find", lambda _: None)
    return aws


@pytest.fixture
def job() -> Job:
    return replace(remembered("running"), state="running", status="running", address=ADDRESS, phase="training")


def pin(aws: Aws, job: Job, *lines: str) -> None:
    aws.s3.put_object(Bucket=aws.bucket, Key=f"jobs/{job.id}/ssh-host-keys", Body="\n".join(lines).encode())


def test_the_log_comes_byte_for_byte(
    aws: Aws, job: Job, server: SshServer, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    pin(aws, job, server.line)
    logs.print_log(aws, job, follow=True)
    assert capfdbinary.readouterr().out == LOG
    assert server.commands[-1] == "sudo docker logs --follow solver"


def other_key(kind: str = "ecdsa") -> str:
    key = paramiko.RSAKey.generate(2048) if kind == "rsa" else paramiko.ECDSAKey.generate()
    return f"{key.get_name()} {key.get_base64()}"


@pytest.mark.parametrize("kind", ["ecdsa", "rsa"])
def test_another_machine_is_refused_at_once(aws: Aws, job: Job, server: SshServer, kind: str) -> None:
    """Its key is of the kind of the one that is pinned, or of another."""
    pin(aws, job, other_key(kind))
    with pytest.raises(CloudError, match="has another ssh host key than the instance put into S3") as raised:
        logs.print_log(aws, job, follow=True)
    assert raised.value.fix
    with pytest.raises(CloudError, match="has another ssh host key"), session.connected(aws, job):
        pass
    assert server.commands == []


def test_without_following_another_machine_is_named_and_s3_asked(
    aws: Aws, job: Job, server: SshServer, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    pin(aws, job, other_key())
    aws.s3.put_object(Bucket=aws.bucket, Key=f"jobs/{job.id}/logs/trainer.log", Body=LOG)
    logs.print_log(aws, job, follow=False)
    printed = capfdbinary.readouterr()
    assert printed.out == LOG
    assert b"has another ssh host key than the instance put into S3; this is what has come to S3 so far" in printed.err
    assert server.commands == []


def test_a_machine_whose_key_nobody_knows_is_refused(aws: Aws, server: SshServer) -> None:
    connection = session._connection(aws, ADDRESS, [])
    with pytest.raises(CloudError, match="not found in known_hosts"):
        session._open(connection)
    assert not connection.is_connected


def test_a_machine_that_lets_us_in_not_is_said_in_a_line(aws: Aws, job: Job, server: SshServer) -> None:
    pin(aws, job, server.line)
    server.open_to_all = False
    with pytest.raises(CloudError, match=r"cannot log in to ec2-user@192\.0\.2\.10: .*\n") as raised:
        logs.print_log(aws, job, follow=True)
    assert str(raised.value).count("\n") == 1


GARBAGE = ["", "ssh-ed25519", "\x00", "ssh-ed25519 %%%", "ssh-ed25519 AAAA", "ssh-dss AAAAB3NzaC1kc3M=", "# a", "a b c"]
GARBAGE += [f"{kind} {data}" for kind in ("ssh-rsa", "ecdsa-sha2-nistp256") for data in ("", "AAAA", "/////w==", "AAA")]


def test_lines_that_are_no_keys_are_left_out(aws: Aws, job: Job, server: SshServer) -> None:
    pin(aws, job, *GARBAGE, server.line, *GARBAGE)
    assert [key.asbytes() for key in session.host_keys(aws, job)] == [server.key.asbytes()]
    with session.connected(aws, job):
        pass


def test_the_beginning_of_a_huge_object_is_not_read(aws: Aws, job: Job, server: SshServer) -> None:
    pin(aws, job, "x" * 10_000_000, server.line)
    assert len(session.host_keys(aws, job)) == 1


def test_nothing_but_garbage_is_no_reason_to_connect(aws: Aws, job: Job, server: SshServer) -> None:
    for line in GARBAGE[1:]:
        pin(aws, job, line)
        with pytest.raises(CloudError, match="nobody can tell which machine answers"), session.connected(aws, job):
            pass
    assert server.transports == []


def test_what_passes_is_waited_for(
    aws: Aws, job: Job, server: SshServer, monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    """It is still pending, then has put no keys into S3, then does not answer, and then runs."""
    looks = iter([replace(job, state="running"), replace(job, address=NOBODY), job])
    monkeypatch.setattr(logs, "POLL_SECONDS", 0)
    monkeypatch.setattr(session, "PATIENCE", 0.1)

    def find(_: Aws, __: str) -> Job:
        found = next(looks)
        if found.address != ADDRESS or found is job:
            pin(aws, job, server.line)
        return found

    monkeypatch.setattr(jobs, "find", find)
    logs.print_log(aws, replace(job, state="pending", address=None), follow=True)
    assert capfdbinary.readouterr().out == LOG
    assert next(looks, None) is None


def test_a_connection_that_breaks_off_is_said_in_a_line(aws: Aws, job: Job, server: SshServer) -> None:
    pin(aws, job, server.line)
    server.answer = lambda command: (b"running", 0) if "inspect" in command else (b"iteration 1\n", None)
    with pytest.raises(CloudError, match=r"the connection to 192\.0\.2\.10 broke off"):
        logs.print_log(aws, job, follow=True)


OPEN = """
import socket, sys
from cloud import keypair, session
from cloud.aws import Aws
from cloud.config import Settings
connect = socket.socket.connect
socket.socket.connect = lambda self, address: connect(self, ("127.0.0.1", int(sys.argv[1])))
keypair.private_key = lambda _: "/nowhere"
print(session._open(session._connection(Aws(Settings.from_context({})), "192.0.2.10", [])))
"""


@pytest.mark.parametrize("greeting", [b"", b"HTTP/1.1 200 OK\r\n\r\n<html>sign in</html>", b"\xff" * 100_000])
def test_what_is_no_ssh_server_is_no_answer_and_leaves_no_traceback(home: Path, greeting: bytes) -> None:
    """A process of its own: pytest handles what paramiko logs, and Python shows what nobody handles."""

    def greet() -> None:
        connection, _ = other.accept()
        with connection:
            connection.sendall(greeting)

    with socket.create_server(("127.0.0.1", 0)) as other:
        thread = threading.Thread(target=greet)
        thread.start()
        command = [sys.executable, "-c", OPEN, str(other.getsockname()[1])]
        done = subprocess.run(command, capture_output=True, cwd=REPOSITORY, check=True)
        thread.join()
    assert (done.stdout, done.stderr) == (b"False\n", b"")


@contextmanager
def terminal() -> Iterator[int]:
    """The user's side of a terminal that is stdin and stdout."""
    user, program = os.openpty()
    with TextIOWrapper(FileIO(program, "r+"), write_through=True) as file, pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "stdin", file)
        patch.setattr(sys, "stdout", file)
        yield user
    os.close(user)


@pytest.mark.parametrize(
    ("status", "phase", "why"),
    [
        ("running", "pulling", r"the trainer has not started yet \(pulling\)"),
        ("running", "training", r"the trainer has ended \(training\)"),
    ],
)
def test_a_job_without_a_session_says_why(
    aws: Aws, job: Job, server: SshServer, status: str, phase: str, why: str
) -> None:
    pin(aws, job, server.line)
    with terminal(), pytest.raises(CloudError, match=f"has no tmux session: {why}\n.*inv logs"):
        session.attach(aws, replace(job, status=status, phase=phase))


def test_a_session_is_on_the_terminal(aws: Aws, job: Job, server: SshServer) -> None:
    pin(aws, job, server.line)
    server.answer = lambda command: (b"yes", 0) if "has-session" in command else (b"iteration 1", 0)
    with terminal() as user:
        session.attach(aws, job)
        assert os.read(user, 100) == b"iteration 1"
    assert server.commands[-1].endswith("exec tmux attach-session -t solver")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"state": "pending", "address": None}, "i-0aaaaaaa is pending"),
        ({"phase": "booting"}, r"i-0aaaaaaa is still booting \(booting\)"),
        ({"status": "failed"}, r"i-0aaaaaaa has ended \(failed\)"),
        ({"state": "gone", "status": "terminated"}, r"i-0aaaaaaa has ended \(terminated\)"),
    ],
)
def test_a_job_that_cannot_be_attached_to_says_so(aws: Aws, job: Job, changes: dict[str, Any], said: str) -> None:
    with terminal(), pytest.raises(CloudError, match=f"{said}\n  .*inv "):
        session.attach(aws, replace(job, **changes))


HEAD = """
import sys
import threading
from cloud import mishaps, terminal
with mishaps.explained(), terminal.output() as write:
    for _ in range(1000):
        write(b"line\\n" * 1000)
"""


def test_who_has_read_enough_ends_the_log_in_silence() -> None:
    command = [sys.executable, "-c", HEAD]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout
        assert process.stderr
        assert process.stdout.readline() == b"line\n"
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 141


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o777])
def test_a_key_that_others_can_read_is_refused(aws: Aws, job: Job, server: SshServer, mode: int) -> None:
    pin(aws, job, server.line)
    path = keypair.local_path(aws)
    path.chmod(mode)
    with pytest.raises(CloudError, match=rf"open to others of this machine\n  chmod 600 {path}"):
        logs.print_log(aws, job, follow=True)
    path.chmod(0o400)
    assert keypair.private_key(aws) == path


def damaged(path: Path, how: str) -> None:
    text = path.read_text()
    path.unlink()
    match how:
        case "empty":
            path.touch()
        case "no key":
            path.write_text("hello")
        case "cut":
            path.write_text(text[: len(text) // 2])
        case "no text":
            path.write_bytes(b"\xff\xfe\x00")
        case "encrypted":
            path.unlink(missing_ok=True)
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "secret", "-f", path], check=True)
        case "pipe":
            os.mkfifo(path, 0o600)
        case "directory":
            path.mkdir(mode=0o700)
        case "link to nowhere":
            path.symlink_to(path.parent / "nowhere" / "at" / "all")
    if not path.is_symlink() and path.is_file():
        path.chmod(0o600)


@pytest.mark.parametrize("how", ["empty", "no key", "cut", "no text", "encrypted", "pipe", "directory"])
def test_a_key_that_cannot_be_used_is_said_in_a_line(aws: Aws, job: Job, server: SshServer, how: str) -> None:
    pin(aws, job, server.line)
    damaged(keypair.local_path(aws), how)
    with pytest.raises(CloudError) as raised:
        logs.print_log(aws, job, follow=True)
    assert str(keypair.local_path(aws)) in raised.value.problem
    assert str(raised.value).count("\n") <= 1
    assert server.transports == []


def test_a_key_in_ssm_that_is_none_is_not_written_here(aws: Aws) -> None:
    path = keypair.local_path(aws)
    path.unlink()
    aws.ssm.put_parameter(Name=keypair.parameter_name(aws), Value="hello", Type="SecureString", Overwrite=True)
    with pytest.raises(CloudError, match="SSM's /solver-cloud/ssh-private-key is no ssh key"):
        keypair.private_key(aws)
    assert not path.exists()

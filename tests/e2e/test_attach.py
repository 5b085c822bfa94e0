"""`attach` in a real terminal: tmux on this side runs it, types, resizes, detaches and comes back."""

from __future__ import annotations

import re
import shlex
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from .conftest import User, gone, training


class Terminal:
    """A terminal window with a shell command in it."""

    def __init__(self, socket: Path, command: str, environment: dict[str, str]) -> None:
        self.tmux = ["tmux", "-S", str(socket), "-f", "/dev/null"]
        size = ("-x", "100", "-y", "30")
        shell = f"{command}; echo ended with $?; exec sleep 600"
        subprocess.run([*self.tmux, "new-session", "-d", *size, shell], env=environment, check=True)

    def type(self, *keys: str) -> None:
        subprocess.run([*self.tmux, "send-keys", *keys], check=True)

    def resize(self, columns: int, rows: int) -> None:
        subprocess.run([*self.tmux, "resize-window", "-x", str(columns), "-y", str(rows)], check=True)

    def screen(self) -> str:
        return subprocess.run([*self.tmux, "capture-pane", "-p"], check=True, capture_output=True, text=True).stdout

    def until(self, text: str, *, timeout: float = 30) -> str:
        """The screen once it shows a text; the test fails when it does not in time."""
        deadline = time.monotonic() + timeout
        while text not in (shown := self.screen()):
            assert time.monotonic() < deadline, f"no {text!r} on the screen:\n{shown}"
            time.sleep(0.1)
        return shown

    def close(self) -> None:
        subprocess.run([*self.tmux, "kill-server"], check=False)


@contextmanager
def attached(user: User, job: str, directory: Path) -> Iterator[Terminal]:
    command = shlex.join(user.command("attach", job))
    terminal = Terminal(directory / "terminal", command, {**user.environment, "TERM": "xterm-256color"})
    try:
        yield terminal
    finally:
        terminal.close()


@pytest.fixture(scope="module")
def job(user: User) -> Iterator[str]:
    """A job that trains for as long as it is let."""
    config = user.config("long.yaml", iterations=10**9, report_every=100, rest_milliseconds=3000)
    job, _ = user.launch(config, "~/models/attach")
    user.until(job, lambda found: found["phase"] == "training")
    yield job
    user.run("terminate", job)


def test_what_is_typed_reaches_the_trainer(user: User, job: str, tmp_path: Path) -> None:
    with attached(user, job, tmp_path) as terminal:
        terminal.until("poker-solver-trainer")
        terminal.until("exploitability")
        deadline = time.monotonic() + 20
        # It rests between its lines; Enter is answered with the last one once more.
        while len(shown := re.findall(r"iteration +(\d+)/", terminal.screen())) == len(set(shown)):
            assert time.monotonic() < deadline, terminal.screen()
            terminal.type("Enter")
            time.sleep(0.5)


def test_detaching_leaves_it_running_and_it_can_be_come_back_to(user: User, job: str, tmp_path: Path) -> None:
    for visit in ("first", "second"):
        (tmp_path / visit).mkdir()
        with attached(user, job, tmp_path / visit) as terminal:
            terminal.until("poker-solver-trainer")
            terminal.type("C-b", "d")
            shown = terminal.until("ended with 0")
            assert f"come back with: inv attach {job}" in " ".join(shown.split())
    assert user.status(job)["status"] == "running"


def test_the_session_follows_the_window(user: User, job: str, tmp_path: Path) -> None:
    with attached(user, job, tmp_path) as terminal:
        terminal.until("poker-solver-trainer")
        for columns, rows in ((70, 20), (120, 40)):
            terminal.resize(columns, rows)
            # The far tmux's own status line is on the last row, over the whole width, and ends with the instance id.
            deadline = time.monotonic() + 20
            while not any(
                row.endswith(job) and len(row) == columns for row in terminal.screen().splitlines()[rows - 1 :]
            ):
                assert time.monotonic() < deadline, terminal.screen()
                time.sleep(0.1)


def test_ctrl_c_ends_the_trainer_and_not_the_connection_first(user: User, tmp_path: Path) -> None:
    config = user.config("long.yaml", iterations=10**9, report_every=100, rest_milliseconds=3000)
    job, _ = user.launch(config, "~/models/stopped")
    user.until(job, lambda found: found["phase"] == "training")
    with attached(user, job, tmp_path) as terminal:
        terminal.until("poker-solver-trainer")
        terminal.type("C-c")
        terminal.until("ended with 0")
    found = user.until(job, gone)
    assert (found["status"], found["exit_code"]) == ("failed", 130)
    with attached(user, job, tmp_path) as terminal:
        shown = " ".join(terminal.until("ended with 1").split())
        assert f"{job} has ended (failed) its output: inv logs {job}" in shown


def test_training_goes_on_when_the_session_is_killed(user: User, job: str) -> None:
    """A curious user may end tmux; the work is not theirs to lose that way."""
    address = user.status(job)["address"]
    (key,) = (user.home / ".ssh").glob("solver-cloud-*")
    subprocess.run(
        [
            *("ssh", "-i", str(key), "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null"),
            *(f"ec2-user@{address}", "tmux", "kill-server"),
        ],
        check=True,
        capture_output=True,
    )
    line = user.until(job, training)["latest_line"]
    user.until(job, lambda found: found["latest_line"] != line)
    assert user.status(job)["status"] == "running"

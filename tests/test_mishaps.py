"""How commands end that do not end well, in processes of their own: with real pipes, full disks and closed streams."""

from __future__ import annotations

import errno
import os
import re
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import invoke
import pytest
from invoke import Context
from invoke.exceptions import ThreadException
from invoke.util import ExceptionWrapper

from cloud.aws import Aws
from cloud.commands import command
from cloud.errors import CloudError
from tests.test_tasks import REPOSITORY

FULL = "the system does not let this command go on: No space left on device\n  make room\n"
PROGRAM = """\
import sys
sys.path.insert(0, {repository!r})
from invoke import Collection, Program
import tasks
from cloud import display
from cloud.commands import command

@command()
def many(aws):
    for number in range(20_000):
        print(number, "of a long listing …")

@command()
def table(aws):
    display.table(("A", "B"), [(str(number), "…") for number in range(20_000)])

@command()
def one(aws):
    print("one …")
    display.say("said")

@command()
def ask(aws):
    display.agreed("sure?", otherwise="--yes")

@command()
def fails(aws):
    print("begun")
    return {{}}["no such key"]

@command()
def slow(aws):
    import time
    print("begun", flush=True)
    time.sleep(60)

Program(namespace=Collection(many, table, one, ask, fails, slow)).run()
"""


@pytest.fixture
def program(home: Path) -> Path:
    path = home / "program.py"
    path.write_text(PROGRAM.format(repository=str(REPOSITORY)))
    return path


def shell(line: str, program: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a line of bash in which $p is the program."""
    return subprocess.run(
        ["bash", "-c", f"p='{sys.executable} {program}'; {line}"],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        cwd=program.parent,
        env={**os.environ, **environment},
    )


@pytest.mark.parametrize(
    ("line", "code", "out", "err"),
    [
        ("$p many | head -1; exit ${PIPESTATUS[0]}", 141, "0 of a long listing …\n", ""),
        ("$p table | head -1; exit ${PIPESTATUS[0]}", 141, "0\t…\n", ""),
        ("$p many 2>&1 | true; exit ${PIPESTATUS[0]}", 141, "", ""),
        ("$p many >/dev/full", 1, "", FULL),
        ("$p one >/dev/full", 1, "", FULL),
        ("$p --list >/dev/full", 1, "", FULL),
        ("$p --list | true; exit ${PIPESTATUS[0]}", 141, "", ""),
        ("$p one >&-", 0, "", "said\n"),
        ("$p one 2>&-", 0, "one …\n", ""),
        ("$p one <&- >&- 2>&-", 0, "", ""),
        ("$p ask <&-", 2, "", "sure? nobody is here to say yes\n  without a terminal: --yes\n"),
        ("PYTHONIOENCODING=ascii $p one", 0, "one \\u2026\n", "said\n"),
        ("LC_ALL=C PYTHONUTF8=0 PYTHONCOERCECLOCALE=0 $p one | cat", 0, "one \\u2026\n", "said\n"),
    ],
)  # fmt: skip
def test_streams_that_are_closed_full_or_narrow_cost_no_traceback(
    line: str, code: int, out: str, err: str, program: Path
) -> None:
    done = shell(line, program)
    assert (done.returncode, done.stdout, done.stderr) == (code, out, err)


def test_the_list_of_tasks_is_shown_in_any_encoding(home: Path) -> None:
    line = f"PYTHONIOENCODING=ascii {sys.executable} -m invoke --search-root {REPOSITORY} --list"
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, check=True, cwd=home)
    assert "role, \\u2026" in done.stdout


def test_ctrl_c_is_one_word_and_130(program: Path) -> None:
    line = "set -m; $p slow > began & while ! [ -s began ]; do sleep 0.05; done; kill -INT %1; wait %1"
    done = shell(line, program)
    assert done.returncode == 130
    assert [line for line in done.stderr.splitlines() if not line.startswith("[1]")] == ["interrupted"]


def test_our_own_fault_is_said_in_two_lines_and_its_traceback_kept(program: Path, home: Path) -> None:
    done = shell("$p fails", program)
    kept = home / ".cache" / "solver-cloud" / "traceback.txt"
    assert (done.returncode, done.stdout) == (1, "begun\n")
    problem, fix = done.stderr.splitlines()
    assert problem == "this is a fault of solver-cloud: KeyError: 'no such key'"
    assert fix.startswith(f"  its traceback is in {kept}; please report it: https://")
    assert "program.py" in kept.read_text()
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert os.listdir(kept.parent) == ["traceback.txt"]


def test_a_traceback_that_cannot_be_kept_is_printed(program: Path, home: Path) -> None:
    (home / ".cache").write_text("a file")
    done = shell("$p fails", program)
    assert done.returncode == 1
    assert "KeyError: 'no such key'\nthis is a fault of solver-cloud: KeyError" in done.stderr
    assert done.stderr.splitlines()[-1].startswith("  its traceback is above; please report it")


def test_invokes_debug_shows_the_traceback(program: Path) -> None:
    done = shell("$p -d fails", program)
    assert 'return {}["no such key"]' in done.stderr


def test_a_home_that_is_not_there_or_read_only_is_no_reason_to_fail(program: Path) -> None:
    for home in ("HOME=/nonexistent", "HOME=/proc", "HOME=", "-u HOME", "XDG_CACHE_HOME=/dev/full"):
        done = shell(f"env {home} $p one", program)
        assert (done.returncode, done.stderr) == (0, "said\n"), home


def test_a_directory_that_is_gone_is_called_that(program: Path) -> None:
    (program.parent / "gone").mkdir()
    (program.parent / "look.py").write_text(
        PROGRAM.format(repository=str(REPOSITORY)).replace('"begun"', "__import__('os').getcwd()")
    )
    done = shell(f"cd gone; rmdir ../gone; {sys.executable} {program.parent}/look.py fails", program)
    assert (done.returncode, done.stderr) == (
        1,
        "the current directory does not exist any more\n  cd into one that does\n",
    )


@pytest.mark.parametrize("content", ["a: [\n", "- a\n", "a: \xff\n", "run: 3\n"])
def test_invokes_own_files_that_are_broken_are_one_line(content: str, home: Path) -> None:
    (home / ".invoke.yaml").write_bytes(content.encode("latin-1"))
    words = [sys.executable, str(REPOSITORY / "cloud"), "--search-root", str(REPOSITORY), "status"]
    done = subprocess.run(words, capture_output=True, text=True, check=False, cwd=home)
    assert done.returncode == 2
    assert re.fullmatch(r"invoke cannot read its configuration: .*\n  look at invoke.yaml and .*\n", done.stderr)


def in_thread(error: BaseException) -> ThreadException:
    return ThreadException([ExceptionWrapper({}, type(error), error, None)])


def docker_error() -> Exception:
    from docker.errors import DockerException

    return DockerException("Error while fetching server API version: ('Connection aborted.')")


def ssh_error() -> Exception:
    from paramiko import SSHException

    return SSHException("Error reading SSH protocol banner")


def failed_command() -> Exception:
    return invoke.UnexpectedExit(invoke.Result(command="tmux\nls", exited=3))


@pytest.mark.parametrize(
    ("make", "problem"),
    [
        (docker_error, r"the Docker engine failed: DockerException: Error while fetching.*"),
        (ssh_error, r"ssh failed: SSHException: Error reading SSH protocol banner"),
        (lambda: in_thread(ssh_error()), r"ssh failed: SSHException: .*"),
        (failed_command, r"a command failed with exit code 3: tmux ls"),
        (lambda: OSError(errno.ENOSPC, "No space left on device", "/x/y"), r"/x/y: No space left on device"),
        (lambda: PermissionError(errno.EACCES, "Permission denied", b"/x\xff"), r"/x\\udcff: Permission denied"),
        (lambda: OSError(errno.EIO, "Input/output error"), r"the system does not let this command go on: Input.*"),
        (BrokenPipeError, r"this is a fault of solver-cloud: BrokenPipeError"),
        (RecursionError, r"this is a fault of solver-cloud: RecursionError"),
        (MemoryError, r"this is a fault of solver-cloud: MemoryError"),
        (lambda: ValueError("\x1b[2J\n" + "x" * 1000), r"this is a fault of solver-cloud: ValueError: x{298,300}…"),
        (KeyboardInterrupt, r"interrupted"),
        (lambda: in_thread(KeyboardInterrupt()), r"interrupted"),
    ],
)
def test_whatever_leaves_a_command_is_one_line(make: Callable[[], BaseException], problem: str, home: Path) -> None:
    @command()
    def one(aws: Aws) -> None:
        raise make()

    with pytest.raises(CloudError) as ended:
        one(Context())
    assert re.fullmatch(problem, str(ended.value).split("\n")[0])


def test_what_is_said_already_is_left_as_it_is(home: Path) -> None:
    error = CloudError("known", fix="this", code=7)

    @command()
    def one(aws: Aws) -> None:
        raise error

    with pytest.raises(CloudError) as ended:
        one(Context())
    assert ended.value is error

"""The commands as a user types them, where no cloud is needed: what they show, and what they refuse to begin."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parent.parent
COMMANDS = (
    *(
        "attach",
        "bake",
        "bench",
        "costs",
        "demo",
        "demo.sweep",
        "download",
        "gc",
        "launch",
        "logs",
        "offers",
        "results",
        "resume",
        "retry",
        "setup",
        "status",
        "sweep",
    ),
    *("teardown", "terminate", "test", "wait"),
)


def inv(*arguments: str, home: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run `inv` in a directory of its own, with no AWS configuration but what the environment gives."""
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("AWS_", "INVOKE_"))}
    return subprocess.run(
        [sys.executable, "-m", "invoke", "--search-root", str(REPOSITORY), *arguments],
        cwd=home,
        env={**clean, "HOME": str(home), "AWS_EC2_METADATA_DISABLED": "true", **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.fixture
def config(home: Path) -> Path:
    path = home / "fast.yaml"
    path.write_text("seed: 1\n")
    return path


def test_every_command_is_listed_with_one_line_of_help(home: Path) -> None:
    listed = [line for line in inv("--list", home=home).stdout.splitlines()[1:] if line]
    helped = dict(line.split(maxsplit=1) for line in listed)
    local = ("up", "down", "status", "interrupt", "capacity", "fault", "market")
    assert set(helped) == {*COMMANDS, *(f"local.{name}" for name in local), "demo.demo"} - {"demo"}
    assert len(helped) == len(listed)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_argument_of_every_command_is_explained(command: str, home: Path) -> None:
    shown = inv("--help", command, home=home).stdout
    options = re.findall(r"^  (-.*)$", shown, re.MULTILINE)
    assert options
    for option in options:
        assert re.fullmatch(r"-.*?\S {3,}\S.*", option), option


def test_listing_imports_nothing_heavy(home: Path) -> None:
    """`inv --list` is what a shell's completion runs; boto3, docker and fabric would make it three times as slow."""
    program = (
        "import sys; from invoke.main import program\n"
        f"try: program.run(['inv', '--search-root', {str(REPOSITORY)!r}, '--list'])\n"
        "except SystemExit: pass\n"
        "names = 'boto3 botocore docker fabric paramiko rich moto yaml http.client configparser cloud.config'\n"
        "heavy = set(names.split()) & set(sys.modules)\n"
        "assert not heavy - {'yaml'}, heavy"
    )
    subprocess.run([sys.executable, "-c", program], check=True, cwd=home, stdout=subprocess.DEVNULL)


LAUNCH = ("launch", "--instance", "c7i.4xlarge")


@pytest.mark.parametrize(("told", "kept"), [("", True), ("1", False)])
def test_inv_keeps_tasks_compiled_unless_python_is_told_not_to(
    told: str, kept: bool, tmp_path: Path, home: Path
) -> None:
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    shutil.copy(REPOSITORY / "inv", tmp_path)
    for directory in (tmp_path, tmp_path / ".venv"):
        shutil.copy(REPOSITORY / "requirements.lock", directory)
    python = tmp_path / ".venv" / "bin" / "python"
    python.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    python.chmod(0o755)
    (tmp_path / "cloud").symlink_to(REPOSITORY / "cloud")
    (tmp_path / "tasks.py").write_text("from invoke import task\n@task\ndef one(c): print('done')\n")
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": told}
    done = subprocess.run([tmp_path / "inv", "one"], check=True, cwd=home, env=environment, stdout=subprocess.PIPE)
    assert done.stdout == b"done\n"
    assert (tmp_path / "__pycache__").exists() == kept


@pytest.mark.parametrize(("told", "kept"), [("", True), ("1", False)])
def test_modules_are_compiled_once_unless_python_is_told_not_to(
    told: str, kept: bool, tmp_path: Path, home: Path
) -> None:
    for name in ("cloud", "localcloud"):
        shutil.copytree(REPOSITORY / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(REPOSITORY / "tasks.py", tmp_path)
    words = [sys.executable, "-m", "invoke", "--search-root", str(tmp_path), "--list"]
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": told}
    subprocess.run(words, check=True, cwd=home, env=environment, stdout=subprocess.DEVNULL)
    assert (tmp_path / "cloud" / "__pycache__").exists() == kept


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ((*LAUNCH, "--config", "missing.yaml", "--output", "out"), "config missing.yaml does not exist"),
        ((*LAUNCH, "--output", "out"), "no config"),
        ((*LAUNCH, "--config", "fast.yaml"), "no output directory"),
        ((*LAUNCH, "--config", "fast.yaml", "--output", "fast.yaml"), "output fast.yaml: "),
        (("launch", "--instance", "huge", "--config", "fast.yaml", "--output", "o"), "'huge' is not an instance type"),
        (("launch", "--config", "fast.yaml", "--output", "o"), "no instance type"),
        (("launch", "--cofig", "fast.yaml"), "No idea what '--cofig' is!"),
        (("wait",), "'wait' did not receive required positional arguments: 'job'"),
        (("lanch",), "No idea what 'lanch' is!"),
    ],
)
def test_wrong_usage_is_refused_with_2_and_leaves_nothing(
    arguments: tuple[str, ...], line: str, config: Path, home: Path
) -> None:
    before = sorted(home.rglob("*"))
    done = inv(*arguments, home=home)
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith(line)
    assert len(done.stderr.strip().splitlines()) <= 2
    assert (done.stdout, sorted(home.rglob("*"))) == ("", before)


@pytest.mark.parametrize(
    "command",
    [
        (*LAUNCH, "--config", "fast.yaml", "--output", "o", "--source", str(REPOSITORY / "examples" / "trainer")),
        ("status",),
        ("setup",),
        ("wait", "i-1"),
    ],
)
def test_without_credentials_each_command_says_what_to_do(command: tuple[str, ...], config: Path, home: Path) -> None:
    done = inv(*command, home=home)
    assert done.returncode == 1
    assert "no AWS credentials found\n  `aws configure`" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_unknown_profile_is_named(home: Path) -> None:
    done = inv("status", "--profile", "nobody", home=home)
    assert (done.returncode, done.stderr.splitlines()[0]) == (1, "there is no AWS profile 'nobody'")


def test_a_setting_that_does_not_exist_is_named(home: Path) -> None:
    (home / "mine.yaml").write_text("solver: {max_hour: 3}\n")
    done = inv("-f", "mine.yaml", "status", home=home)
    assert (done.returncode, done.stderr.splitlines()[0]) == (2, "unknown setting solver.max_hour")


def test_a_cloud_that_does_not_answer_is_one_line(home: Path) -> None:
    keys = {"AWS_ACCESS_KEY_ID": "AKIATEST", "AWS_SECRET_ACCESS_KEY": "x", "AWS_ENDPOINT_URL": "http://127.0.0.1:9"}
    done = inv("status", home=home, AWS_MAX_ATTEMPTS="1", **keys)
    assert done.returncode == 1
    assert done.stderr.startswith("cannot list the instances: AWS does not answer")
    assert len(done.stderr.strip().splitlines()) == 2


def test_attach_without_a_terminal_says_what_to_use_instead(home: Path, aws: object) -> None:
    from cloud import session
    from cloud.errors import UsageError
    from tests.test_jobs import remembered

    with pytest.raises(UsageError, match=r"attach needs a terminal\n.*inv logs i-0aaaaaaa --follow"):
        session.attach(aws, remembered("running"))  # type: ignore[arg-type]


def test_a_day_that_is_none_is_wrong_usage(home: Path) -> None:
    done = inv("costs", "--since", "yesterday", home=home)
    assert (done.returncode, done.stderr) == (
        2,
        "--since is 'yesterday', which is not a day\n  a day looks like 2026-11-01\n",
    )

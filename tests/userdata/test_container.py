"""The trainer's container on the real engine, made, told to stop and listened to by the functions of container.sh."""

from __future__ import annotations

import json
import re
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import docker
import pytest

from cloud.config import PACKAGE
from cloud.userdata import SCRIPTS, array, assignment, joined, programs
from localcloud import images

TRAINER = """
checkpoint() { echo "$1" >/solver/output/checkpoint; exit 3; }
trap 'sleep 1; checkpoint told' TERM
echo training >/solver/output/started
while sleep 0.1; do :; done
"""
"""Takes a second for its checkpoint."""

STUB = """
docker() {
    local word words=()
    for word in "$@"; do
        [[ $word != solver ]] || word=NAME
        words+=("$word")
    done
    command docker "${words[@]}"
}
enter() { :; }
limited() { shift; "$@"; } # `timeout` runs no function
trap 'rm -rf "$WORK"' EXIT
"""
"""What an instance has to itself: the one container of that name, and its tags."""


class Container:
    """A job's container, under a name that no other test has, made and asked by functions of the user data."""

    def __init__(self, root: Path, image: str, *trainer: str) -> None:
        self.root, self.name, self.output = root, f"solver-test-{uuid.uuid4().hex[:8]}", root / "home/output"
        for directory in ("config", "output", "snapshot", "logs", "state"):
            (root / "home" / directory).mkdir(parents=True)
        (root / "trainer.sh").write_text(TRAINER)
        (root / "home/output/trainer.sh").write_text(TRAINER)
        self.given = [
            *(assignment(name, "") for name in ("JOB_ORIGIN", "JOB_GPU", "JOB_BUDGET", "JOB_PRICE", "JOB_DISK_PRICE")),
            assignment("SOLVER_HOME", str(root / "home")),
            assignment("JOB_REGION", "us-east-1"),
            assignment("JOB_DEADLINE", int(time.time()) + 3600),
            assignment("JOB_IMAGE", image),
            array("JOB_TRAINER", trainer),
            *programs(),
        ]

    def run(self, code: str) -> str:
        """Run bash with all functions of an instance, on this container instead of `solver`."""
        scripts = joined(self.given, SCRIPTS[:-1])
        stub = STUB.replace("NAME", self.name)
        done = subprocess.run(
            ["bash"], input=f"{scripts}\n{stub}\n{code}\n", text=True, capture_output=True, check=False, timeout=60
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def start(self) -> None:
        self.run("prepare_container")
        subprocess.run(["docker", "start", self.name], check=True, capture_output=True)
        self.until("started")

    def until(self, path: str) -> None:
        """Wait for a file of the output."""
        end = time.monotonic() + 20
        while not (self.output / path).exists():
            assert time.monotonic() < end, subprocess.run(
                ["docker", "logs", self.name], capture_output=True, check=False
            )
            time.sleep(0.05)

    def inspect(self, what: str) -> str:
        asked = ["docker", "container", "inspect", "--format", what, self.name]
        return subprocess.run(asked, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture(scope="session")
def image() -> str:
    """An image with nothing but Debian."""
    return images.base_images(docker.from_env(), print).runtime


@pytest.fixture
def make(tmp_path: Path, image: str) -> Iterator[Callable[..., Container]]:
    made: list[Container] = []

    def make(*trainer: str) -> Container:
        made.append(Container(tmp_path, image, *trainer))
        made[-1].start()
        return made[-1]

    yield make
    for container in made:
        subprocess.run(["docker", "rm", "--force", container.name], capture_output=True, check=False)


SHELLS = {
    "none": ("bash", "/solver/output/trainer.sh"),
    "one": ("sh", "-c", "bash /solver/output/trainer.sh; echo went on >/solver/output/more"),
    "two": ("sh", "-c", "bash -c 'bash /solver/output/trainer.sh; true'; echo went on >/solver/output/more"),
    "a pipe": ("sh", "-c", "bash /solver/output/trainer.sh | tee /solver/output/log; true"),
    "a trap": ("bash", "-c", "trap 'echo trapped' TERM; bash /solver/output/trainer.sh; true"),
}


@pytest.mark.parametrize("shell", SHELLS)
def test_sigterm_reaches_the_trainer_behind_any_shell_and_it_has_time(
    make: Callable[..., Container], shell: str
) -> None:
    """Docker tells the first process only, and with a shell that dies of it the whole container would go at once."""
    container = make(*SHELLS[shell])
    begun = time.monotonic()
    container.run("end_trainer")
    assert (container.output / "checkpoint").read_text() == "told\n"
    assert not (container.output / "more").exists()
    assert container.inspect("{{.State.Running}}") == "false"
    assert time.monotonic() - begun < 8
    if shell == "none":
        assert container.inspect("{{.State.ExitCode}}") == "3"


def test_a_trainer_that_does_not_listen_is_ended_at_once(make: Callable[..., Container]) -> None:
    container = make("sh", "-c", "touch /solver/output/started; sleep 600; true")
    begun = time.monotonic()
    container.run("end_trainer")
    assert container.inspect("{{.State.Running}}") == "false"
    assert time.monotonic() - begun < 8


def test_a_trainer_that_takes_too_long_is_killed(make: Callable[..., Container]) -> None:
    container = make("sh", "-c", "trap 'sleep 600' TERM; touch /solver/output/started; while sleep 1; do :; done; true")
    container.run(
        'STOP_SECONDS=2; limited() { timeout "$1" true; shift; [[ $2 != exec ]] || return 1; "$@"; }; end_trainer'
    )
    assert container.inspect("{{.State.Running}}") == "false"
    assert container.inspect("{{.State.ExitCode}}") == "137"


def test_the_container_leaves_the_machine_a_reserve(make: Callable[..., Container]) -> None:
    container = make("sh", "-c", "touch /solver/output/started; sleep 600")
    total = next(int(line.split()[1]) for line in Path("/proc/meminfo").read_text().splitlines() if "MemTotal" in line)
    host = json.loads(container.inspect("{{json .HostConfig}}"))
    assert host["PidsLimit"] == 8192
    assert host["Memory"] == host["MemorySwap"] == (total - max(512 << 10, total // 20)) << 10
    assert host["LogConfig"] == {"Type": "json-file", "Config": {"max-file": "2", "max-size": "64m"}}


@pytest.mark.parametrize(
    ("total", "left"), [(400_000, 200_000), (1_000_000, 500_000), (4_000_000, 3_475_712), (64_000_000, 60_800_000)]
)
def test_the_reserve_of_small_and_large_machines(tmp_path: Path, total: int, left: int) -> None:
    meminfo = tmp_path / "meminfo"
    meminfo.write_text(f"MemTotal: {total} kB\nMemFree: 1 kB\n")
    replaced = f"eval \"$(declare -f memory | sed 's#/proc/meminfo#{meminfo}#')\""
    code = f"source {PACKAGE}/userdata/container.sh; {replaced}; memory"
    assert subprocess.run(["bash", "-c", code], check=True, capture_output=True, text=True).stdout == f"{left}\n"


def test_the_log_begins_with_the_first_line_and_ends_with_the_last(make: Callable[..., Container]) -> None:
    """Though the engine's own log has been rotated, and a line between says how much is missing."""
    lines = "i=0; while [ $i -lt 20000 ]; do i=$((i + 1)); echo line $i; done"
    container = make("sh", "-c", f"{lines}; touch /solver/output/started; read -r _")
    log = container.root / "home/logs/trainer.log"
    container.run("LOG_PART=10000; TOLD=; begin_log; docker kill solver; gather_logs")
    text = log.read_text().replace("\r", "")
    assert text.startswith("line 1\nline 2\n")
    assert text.endswith("line 19999\nline 20000\n")
    missing = re.search(r"\n\[(\d+) bytes are missing here\]\n", text)
    assert missing
    printed = sum(len(f"line {number}\r\n") for number in range(1, 20001))
    assert int(missing[1]) == printed - (len(log.read_bytes()) - len(missing[0]))

"""AWS on a bad day: a command ends well, or with one line and exit code 1, and no file is ever wrong.

One job that meets all of S3's faults at once in the quick set; with --all, a job for each kind at 1, 5 and 20 %.
"""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from .conftest import EXAMPLE, User, gone
from .test_story import trained_by_hand, tree

BROKEN = ("500", "503", "reset", "truncated")
QUICK = [(BROKEN, 5)]
LONG = [((kind,), percent) for kind in (*BROKEN, "timeout", "slow", "throttled") for percent in (1, 5, 20)]

Begin = Callable[..., None]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "kinds" in metafunc.fixturenames:
        matrix = LONG if metafunc.config.getoption("--all") else QUICK
        metafunc.parametrize(("kinds", "percent"), matrix, ids=["-".join((*kinds, str(n))) for kinds, n in matrix])


@pytest.fixture
def begin(user: User) -> Iterator[Begin]:
    """Begin a fault; none is left after the test."""

    def begin(kind: str, *options: str) -> None:
        user.run("local.fault", kind, *options)

    yield begin
    user.run("local.fault", "none")


@pytest.fixture(scope="module")
def finished(user: User) -> dict[str, Any]:
    """A job to which nothing happened."""
    job, _ = user.launch(user.config("faults.yaml"), "~/models/undisturbed")
    user.run("wait", job)
    return user.until(job, gone)


@pytest.fixture(scope="module")
def model(user: User, finished: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """What the trainer leaves when it is simply run."""
    directory = tmp_path_factory.mktemp("by-hand") / "model"
    return trained_by_hand(finished["image"], user.config("faults.yaml"), directory)


def tried(user: User, *words: str) -> str | None:
    """What `inv WORDS` prints, or None when it says in a line why it fails."""
    process = user.start(*words)
    out, err = process.communicate(timeout=900)  # a fifth of the answers 25 s late adds up
    said = f"inv {' '.join(words)}: {process.returncode}\n{out}\n{err}"
    assert process.returncode in (0, 1), said
    assert "Traceback" not in err, said
    if process.returncode == 0:
        return out
    *_, problem = [line for line in err.splitlines() if not line.startswith(" ")]  # the fix is indented
    assert ": " in problem or " " in problem.strip(), said
    print(f"inv {words[0]}: {problem}")
    return None


def hits(user: User) -> dict[str, int]:
    """How many requests each fault has hit, as `local.status` tells it."""
    found = re.findall(r"^fault (\w+): .*: (\d+) so far$", user.run("local.status").stdout, re.MULTILINE)
    return {kind: int(count) for kind, count in found}


def assert_as_recorded(directory: Path, found: dict[str, Any], *, whole: bool) -> None:
    """Every file that is there is, byte for byte, what the record says; nothing else is there."""
    there = {path: hashlib.sha256(data).hexdigest() for path, data in tree(directory).items()}
    recorded = {file["path"]: file["sha256"] for file in found["bundle"]}
    assert recorded
    assert there.items() <= recorded.items()
    assert not whole or there == recorded


def test_a_job_under_faults_ends_well_or_says_why_not(
    user: User, model: dict[str, bytes], begin: Begin, kinds: tuple[str, ...], percent: int, tmp_path: Path
) -> None:
    for kind in kinds:
        begin(kind, "--percent", str(percent), "--seconds", "25", "--bytes-per-second", "50000")
    output = tmp_path / "model"
    launch = ("launch", "--instance", "c7i.4xlarge", "--source", str(EXAMPLE), "--output", str(output))
    printed = tried(user, *launch, "--config", str(user.config("faults.yaml")))
    if printed is None:
        return
    job = printed.strip()
    waited = any(tried(user, "wait", job) is not None for _ in range(3))
    came = tried(user, "download", job)
    count = hits(user)
    print(f"requests hit: {count}")
    assert sum(count.values()) > 0 or percent == 1
    user.run("local.fault", "none")

    if not waited:
        tried(user, "wait", job)
    found = user.until(job, gone)
    if found["status"] != "complete":
        assert (found["status"], bool(found["reason"])) == ("failed", True)
        print(f"the job failed: {found['reason']}")
        return
    assert_as_recorded(output, found, whole=came is not None)
    user.run("download", job)
    assert_as_recorded(output, found, whole=True)
    assert tree(output) == model


def test_an_answer_that_does_not_come_is_asked_for_again(
    user: User, finished: dict[str, Any], begin: Begin, tmp_path: Path
) -> None:
    # With this seed the first request is hit, and the next three are not.
    name = f"{finished['id']}/bundle/strategy.csv"
    begin("timeout", "--percent", "50", "--seed", "5", "--seconds", "240", "--of", name)
    begun = time.monotonic()
    user.run("download", finished["id"], "--output", str(tmp_path / "model"))
    assert hits(user) == {"timeout": 1}
    assert 15 < time.monotonic() - begun < 200
    assert_as_recorded(tmp_path / "model", finished, whole=True)


def test_throttling_stops_no_command(user: User, finished: dict[str, Any], begin: Begin, tmp_path: Path) -> None:
    done = finished["id"]
    begin("throttled", "--percent", "30")
    user.run("setup")
    job, _ = user.launch(user.config("long.yaml", iterations=10**9, rest_milliseconds=100), tmp_path / "long")
    assert f"{job} terminated" in user.run("terminate", job).stdout
    assert job in user.run("status").stdout
    user.run("wait", done)
    assert "done: exploitability" in user.run("logs", done).stdout
    user.run("download", done, "--output", str(tmp_path / "model"))
    assert_as_recorded(tmp_path / "model", finished, whole=True)
    assert hits(user)["throttled"] > 10
    user.run("local.fault", "none")
    user.until(job, gone)


def test_nothing_is_left_over_after_all_that(user: User) -> None:
    assert "nothing is left over" in user.run("gc").stderr


def test_what_makes_no_sense_is_refused_in_one_line(user: User) -> None:
    assert user.run("local.fault", "earthquake", code=1).stderr.startswith("there is no fault 'earthquake'")
    assert "--percent is a number above 0" in user.run("local.fault", "500", "--percent", "x", code=1).stderr

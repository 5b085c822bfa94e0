"""Two things at once to one job: `terminate`, typed twice, while the bundle is uploaded; two downloads to one place."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from .conftest import User, gone
from .test_reclaims import Watched
from .test_rewritten import etag, place, press_enter, stored, workspace
from .test_story import tree

FILES, BYTES = 24, 1_000_000
"""Of the bundle, and of each file."""
HELD_UP = "it uploads"
"""At this moment S3 takes some seconds for each answer about the bundle, so that the upload outlasts a `terminate`."""

TRAINER = r"""
use std::{env, fs, io, path::Path};

/// Writes one file, waits for Enter, and writes the others.
fn main() {
    let arguments: Vec<String> = env::args().collect();
    let config = fs::read_to_string(&arguments[3]).unwrap();
    let number = |key| config.lines().find_map(|line| line.strip_prefix(key)).unwrap().parse::<usize>().unwrap();
    for file in 0..number("files: ") {
        if file == 1 {
            io::stdin().read_line(&mut String::new()).unwrap();
        }
        let path = Path::new(&arguments[5]).join(format!("{file:02}.bin"));
        fs::write(path, vec![file as u8; number("bytes: ")]).unwrap();
    }
}
"""


@dataclass
class Seen:
    """What EC2 and S3 tell of a job, as fast as it can be asked."""

    ec2: Watched
    s3: Any
    job: dict[str, Any]

    def phase(self) -> str:
        return self.ec2.look()[2]

    def synced(self) -> bool:
        """Whether the first file is in S3."""
        return bool(etag(self.s3, self.job, "output/00.bin"))

    def uploaded(self) -> int:
        """How many files of the bundle are in S3."""
        bundle = place(self.job, "bundle/")
        count: int = self.s3.list_objects_v2(Bucket=bundle["Bucket"], Prefix=bundle["Key"])["KeyCount"]
        return count

    def record(self) -> dict[str, Any]:
        record: dict[str, Any] = json.loads(stored(self.s3, self.job, "job.json"))
        return record


MOMENTS: dict[str, tuple[Callable[[Seen], bool], set[str]]] = {
    HELD_UP: (lambda seen: seen.phase() == "uploading", {"terminated"}),
    "all files are there": (lambda seen: seen.uploaded() == FILES, {"terminated", "complete"}),
    "it says complete": (lambda seen: seen.record()["status"] == "complete", {"complete"}),
}
"""When `terminate` is typed, and what the job may be in the end."""


def digest(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()


def model() -> dict[str, str]:
    """The digests of the bundle's files."""
    return {f"{file:02}.bin": digest(bytes([file]) * BYTES) for file in range(FILES)}


def until(seen: Seen, holds: Callable[[Seen], bool]) -> None:
    """Wait until something holds of a job; the test fails when it does not in time."""
    end = time.monotonic() + 240
    while not holds(seen):
        assert time.monotonic() < end, f"still {seen.ec2.look()}"
        time.sleep(0.1)


def twice_at_once(user: User, *words: str) -> None:
    """`inv WORDS` in two processes; the test fails unless both end well."""
    both = [user.start(*words) for _ in range(2)]
    ended = [(*process.communicate(timeout=120), process.returncode) for process in both]
    assert [code for _, _, code in ended] == [0, 0], ended


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "moment" in metafunc.fixturenames:
        metafunc.parametrize("moment", moments(metafunc.config))


def moments(config: pytest.Config) -> list[str]:
    return list(MOMENTS) if config.getoption("--all") else [HELD_UP, "it says complete"]


@pytest.fixture(scope="module")
def jobs(user: User, tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config) -> dict[str, str]:
    """A job for each moment, which waits for Enter, or soon will: they boot at the same time."""
    source = workspace(tmp_path_factory.mktemp("many") / "trainer", TRAINER)
    rarely = User(user.home, {**user.environment, "INVOKE_SOLVER_SYNC_SECONDS": "8"})  # they would slow each other down
    config = user.config("many.yaml", files=FILES, bytes=BYTES)
    return {
        moment: rarely.launch(config, user.home / "models" / moment, source=source)[0]
        for moment in moments(pytestconfig)
    }


def test_a_job_terminated_while_it_uploads_has_a_whole_model_or_none(
    user: User, jobs: dict[str, str], moment: str
) -> None:
    comes, outcomes = MOMENTS[moment]
    job = jobs[moment]
    seen = Seen(Watched(user.aws.ec2, job), user.aws.s3, user.status(job))
    until(seen, Seen.synced)
    if moment == HELD_UP:
        user.run("local.fault", "timeout", "--percent", "100", "--seconds", "6", "--of", f"{job}/bundle/")
    press_enter(user, user.status(job)["address"])
    until(seen, comes)
    twice_at_once(user, "terminate", job)
    user.run("local.fault", "none")

    found = user.until(job, gone)
    assert found["status"] in outcomes
    assert (seen.record()["status"] == "complete") == (found["status"] == "complete")
    assert spot_request(user, found["spot_request"]) in ("cancelled", "closed")
    assert digest(stored(seen.s3, seen.job, "output/00.bin")) == model()["00.bin"]
    check = check_complete if found["status"] == "complete" else check_terminated
    check(user, job, user.home / "models" / moment)


def spot_request(user: User, request: str) -> str:
    (found,) = user.aws.ec2.describe_spot_instance_requests(SpotInstanceRequestIds=[request])["SpotInstanceRequests"]
    return str(found["State"])


def check_terminated(user: User, job: str, directory: Path) -> None:
    for command in ("wait", "download"):
        assert f"{job} terminated: ended by `terminate`" in user.run(command, job, code=1).stderr
    assert not directory.exists()


def check_complete(user: User, job: str, directory: Path) -> None:
    user.run("wait", job)
    twice_at_once(user, "download", job)
    assert {path: digest(body) for path, body in tree(directory).items()} == model()

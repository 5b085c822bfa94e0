"""A trainer that rewrites its files all the time: what comes to S3 meanwhile is always a whole version.

Files of 40 MB in the quick set, 200 MB with --all.
"""

from __future__ import annotations

import subprocess
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest

from .conftest import User
from .test_story import tree

HEADER = 20
"""Bytes at the beginning of a file that say its version."""

TRAINER = r"""
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

const BLOCK: usize = 1 << 20;

/// Sometimes shorter than the instance wants a file to be quiet before it copies it, sometimes than that copy takes.
const PAUSES: [u64; 5] = [0, 60, 120, 480, 960];

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let config = fs::read_to_string(&arguments[3]).unwrap();
    let bytes = config.lines().find_map(|line| line.strip_prefix("bytes: ")).unwrap().parse().unwrap();
    let output = Path::new(&arguments[5]);

    let (enter, pressed) = mpsc::channel();
    thread::spawn(move || enter.send(io::stdin().read_line(&mut String::new())));
    let mut version: usize = 0;
    loop {
        version += 1;
        let mut over = OpenOptions::new();
        over.write(true).create(true).truncate(version % 2 == 0);
        fill(over.open(output.join("inplace.bin")).unwrap(), version, bytes);
        fill(File::create(output.join("renamed.bin.tmp")).unwrap(), version, bytes);
        fs::rename(output.join("renamed.bin.tmp"), output.join("renamed.bin")).unwrap();
        println!("version {version}");
        if pressed.recv_timeout(Duration::from_millis(PAUSES[version % PAUSES.len()])).is_ok() {
            break;
        }
    }
    fill(File::create(output.join("model.bin")).unwrap(), version, 0);
}

fn fill(mut file: File, version: usize, bytes: usize) {
    file.write_all(format!("{version:019}\n").as_bytes()).unwrap();
    let block = vec![version as u8; BLOCK];
    for start in (0..bytes).step_by(BLOCK) {
        file.write_all(&block[..BLOCK.min(bytes - start)]).unwrap();
    }
}
"""


def workspace(directory: Path, main: str) -> Path:
    """A Cargo workspace of a trainer that is one file and needs no other crate."""
    (directory / "src").mkdir(parents=True)
    (directory / "src" / "main.rs").write_text(main)
    (directory / "Cargo.toml").write_text(
        '[package]\nname = "poker-solver-trainer"\nversion = "0.1.0"\nedition = "2021"\n'
    )
    return directory


def place(job: dict[str, Any], path: str) -> dict[str, str]:
    """Where S3 has a file of a job."""
    bucket, _, prefix = job["s3_path"].removeprefix("s3://").partition("/")
    return {"Bucket": bucket, "Key": prefix + path}


def stored(client: Any, job: dict[str, Any], path: str) -> bytes:
    """A file of a job in S3; empty if there is none."""
    try:
        body: bytes = client.get_object(**place(job, path))["Body"].read()
    except client.exceptions.NoSuchKey:
        return b""
    return body


def etag(client: Any, job: dict[str, Any], path: str) -> str:
    """What tells one content of a file in S3 from another; empty if there is none."""
    try:
        return str(client.head_object(**place(job, path))["ETag"])
    except client.exceptions.ClientError as error:
        if error.response["Error"]["Code"] != "404":
            raise
        return ""


def press_enter(user: User, address: str) -> None:
    """In a job's terminal."""
    (key,) = (user.home / ".ssh").glob("solver-cloud-*")
    ssh = ("ssh", "-i", str(key), "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null")
    press = (f"ec2-user@{address}", "tmux send-keys -t =solver: Enter")
    subprocess.run([*ssh, *press], check=True, capture_output=True)


def whole(body: bytes, size: int) -> int:
    """The version of a file of which every byte says the same; the test fails for a mix of two."""
    version = int(body[:HEADER])
    agreeing = body.count(bytes([version % 256]), HEADER)
    assert (len(body), agreeing) == (HEADER + size, size), f"version {version} is {len(body)} bytes, {agreeing} its own"
    return version


def test_what_is_in_s3_is_a_whole_version(user: User, tmp_path: Path, pytestconfig: pytest.Config) -> None:
    size = 200_000_000 if pytestconfig.getoption("--all") else 40_000_000
    source = workspace(tmp_path / "trainer", TRAINER)
    job, _ = user.launch(user.config("rewritten.yaml", bytes=size), "~/models/rewritten", source=source)
    found = user.until(job, lambda found: found["phase"] == "training", timeout=180)

    client, tags, seen = user.aws.s3, dict[str, str](), defaultdict[str, set[int]](set)
    deadline = time.monotonic() + 180
    while len(seen["renamed.bin"]) < 2 or not seen["inplace.bin"]:
        assert time.monotonic() < deadline, seen
        time.sleep(0.2)
        for name in ("inplace.bin", "renamed.bin"):
            tag = etag(client, found, f"output/{name}")
            if tag and tag != tags.get(name):
                tags[name] = tag
                seen[name].add(whole(stored(client, found, f"output/{name}"), size))

    press_enter(user, found["address"])
    user.run("wait", job)
    user.run("download", job, "--output", str(tmp_path / "model"))
    model = tree(tmp_path / "model")
    assert sorted(model) == ["inplace.bin", "model.bin", "renamed.bin"]
    last = whole(model["model.bin"], 0)
    assert last >= max(seen["inplace.bin"] | seen["renamed.bin"])
    assert (whole(model["inplace.bin"], size), whole(model["renamed.bin"], size)) == (last, last)

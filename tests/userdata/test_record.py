"""record.py, run as the instance runs it: job.json as the launcher's side reads it."""

from __future__ import annotations

import ast
import hashlib
import json
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from cloud.config import PACKAGE
from cloud.records import File, Record
from cloud.userdata import PROGRAMS

USERDATA = PACKAGE / "userdata"
ASKED = {"instance_type": "c7i.4xlarge", "market": "spot", "output": "~/models/ünï", "max_hours": 3.0}


def record(**options: str | bool) -> str:
    """What record.py prints."""
    given: dict[str, str | bool] = {
        "job": "i-0aaaaaaa",
        "status": "running",
        "phase": "training",
        "reason": "",
        "exit-code": "",
        "asked": json.dumps(ASKED),
        "launched-at": "1795507200",
        "started-at": "",
        **options,
    }
    words: list[str] = []
    for name, value in given.items():
        words += [f"--{name}"] if value is True else [f"--{name}", str(value)]
    program = (USERDATA / "record.py").read_text()
    return subprocess.run([sys.executable, "-c", program, *words], check=True, capture_output=True, text=True).stdout


def test_a_job_that_runs() -> None:
    assert json.loads(record()) == {
        "version": 1,
        "job": "i-0aaaaaaa",
        "status": "running",
        "phase": "training",
        "reason": "",
        "exit_code": None,
        "launched_at": "2026-11-24T08:00:00Z",
        "started_at": None,
        "ended_at": None,
        "asked": ASKED,
    }


def test_the_launchers_side_reads_what_the_instance_writes(tmp_path: Path) -> None:
    (tmp_path / "tables").mkdir()
    (tmp_path / "tables/a.csv").write_bytes(b"1,2\n")
    (tmp_path / "strategy.csv").write_bytes(b"")
    options: dict[str, Any] = {"exit-code": "0", "started-at": "1795507260", "ended": True, "bundle": str(tmp_path)}
    before = datetime.now(UTC).replace(microsecond=0)
    written = record(status="complete", phase="done", **options)
    read = Record.parse(written)
    assert read.status == "complete"
    assert read.exit_code == 0
    assert json.loads(written)["asked"] == ASKED
    assert read.started_at == datetime(2026, 11, 24, 8, 1, tzinfo=UTC)
    assert read.ended_at is not None
    assert before <= read.ended_at <= datetime.now(UTC)
    assert read.bundle == (
        File("strategy.csv", 0, hashlib.sha256(b"").hexdigest()),
        File("tables/a.csv", 4, hashlib.sha256(b"1,2\n").hexdigest()),
    )


def test_each_boot_is_told_with_its_cost(tmp_path: Path) -> None:
    lines = ("1795507200 75 7500 360000 ended", "1795507800 61 - 0 open")
    (tmp_path / "attempts").write_text("".join(f"{line}\n" for line in lines))
    text = record(attempts=str(tmp_path / "attempts"))
    assert json.loads(text)["attempts"] == [
        {"started_at": "2026-11-24T08:00:00Z", "seconds": 75, "dollars": 0.0075},
        {"started_at": "2026-11-24T08:10:00Z", "seconds": 61, "dollars": None},
    ]
    assert Record.parse(text).job == "i-0aaaaaaa"


def test_a_reason_is_kept_to_the_letter() -> None:
    reason = 'pulling image: "no such host": \\n ünï'
    assert Record.parse(record(status="failed", reason=reason)).reason == reason


@pytest.mark.parametrize("name", ["record.py", *PROGRAMS])
def test_the_python_of_amazon_linux_2023_understands_it(name: str) -> None:
    ast.parse((USERDATA / name).read_text(), feature_version=(3, 9))


def test_a_file_is_hashed_to_its_end(tmp_path: Path) -> None:
    """Of more than two MiB: it is read by the MiB."""
    data = bytes(2_500_000)
    for name, end in (("a", b"1"), ("b", b"2")):
        (tmp_path / name).write_bytes(data + end)
    files = json.loads(record(bundle=str(tmp_path)))["bundle"]
    assert [file["sha256"] for file in files] == [hashlib.sha256(data + end).hexdigest() for end in (b"1", b"2")]


def test_what_s3_cannot_hold_and_what_was_left_out_are_told(tmp_path: Path) -> None:
    (tmp_path / "sync").write_text(
        '{"synced_at": null, "failed": "no route", "left_out": {"a": "no room", "b": "torn"}}'
    )
    (tmp_path / "tree").write_text('{"links": {"latest": "ckpt-7"}, "directories": ["empty"], "torn": []}')
    read = json.loads(record(sync=str(tmp_path / "sync"), tree=str(tmp_path / "tree")))
    assert read["warnings"] == ["the last sync failed: no route", "a: no room", "b: torn"]
    assert (read["links"], read["directories"]) == ({"latest": "ckpt-7"}, ["empty"])


def test_where_nothing_was_left_out_nothing_is_told(tmp_path: Path) -> None:
    (tmp_path / "sync").write_text('{"synced_at": null, "failed": "", "left_out": {}}')
    (tmp_path / "tree").write_text('{"links": {}, "directories": [], "torn": []}')
    read = json.loads(record(sync=str(tmp_path / "sync"), tree=str(tmp_path / "tree")))
    assert not {"warnings", "links", "directories", "bundle"} & read.keys()


def test_a_trainer_that_leaves_nothing_has_a_bundle_of_nothing_and_a_warning(tmp_path: Path) -> None:
    read = json.loads(record(status="complete", bundle=str(tmp_path)))
    assert read["bundle"] == []
    assert read["warnings"] == ["the trainer ended well, but left no files"]


def test_a_large_file_is_hashed_to_its_end(tmp_path: Path) -> None:
    content = bytes(range(256)) * (3 << 12) + b"end"
    (tmp_path / "model").write_bytes(content)
    (file,) = json.loads(record(bundle=str(tmp_path)))["bundle"]
    assert file == {"path": "model", "size": len(content), "sha256": hashlib.sha256(content).hexdigest()}

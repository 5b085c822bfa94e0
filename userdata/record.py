"""Prints a job's record, job.json, as the instance knows it. Standard library of Python 3.9 only."""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import time
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

CHUNK = 1 << 20


def bundle(directory: Path) -> list[dict[str, Any]]:
    """Every file below the directory: its path there, size in bytes and sha256, ordered by path."""
    files = (path for path in directory.rglob("*") if path.is_file())
    return sorted(
        (
            {"path": path.relative_to(directory).as_posix(), "size": path.stat().st_size, "sha256": sha256(path)}
            for path in files
        ),
        key=lambda file: str(file["path"]),
    )


def sha256(path: Path) -> str:
    """The file's sha256 in hex."""
    digest = hashlib.sha256()
    with path.open("rb") as data:
        while chunk := data.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def timeline(marks: Path) -> dict[str, str | None]:
    """When the first boot had come how far, by moment; empty where nothing could be written down."""
    lines = marks.read_text().splitlines() if marks.exists() else []
    return {moment: iso(int(seconds)) for moment, seconds in (line.split() for line in lines)}


def attempts(counted: Path) -> list[dict[str, Any]]:
    """Each boot: when it began, the seconds that EC2 bills, and the dollars they cost, or None for an unknown price."""
    lines = (line.split() for line in counted.read_text().splitlines())
    return [
        {
            "started_at": iso(int(begun)),
            "seconds": int(seconds),
            "dollars": None if micro_dollars == "-" else int(micro_dollars) / 1_000_000,
        }
        for begun, seconds, micro_dollars, *_ in lines
    ]


def told(file: Path | None) -> dict[str, Any]:
    """What a snapshot or a sync has told of itself; nothing if there was none."""
    return dict(json.loads(file.read_text())) if file and file.exists() else {}


def saved(given: argparse.Namespace, files: list[dict[str, Any]] | None) -> dict[str, Any]:
    """The bundle, what S3 cannot hold of it, and what is not as one would expect; each if there is any."""
    sync, tree = told(given.sync), told(given.tree)
    warnings = [f"the last sync failed: {sync['failed']}"] if sync.get("failed") else []
    warnings += [f"{path}: {reason}" for path, reason in sync.get("left_out", {}).items()]
    if files == []:
        warnings.append("the trainer ended well, but left no files")
    lists = {"warnings": warnings, "links": tree.get("links"), "directories": tree.get("directories")}
    return {**({} if files is None else {"bundle": files}), **{name: found for name, found in lists.items() if found}}


def iso(seconds: int | None) -> str | None:
    """Seconds since 1970 as ISO 8601 in UTC."""
    if seconds is None:
        return None
    return datetime.fromtimestamp(seconds, timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")  # noqa: UP017  # 3.9


def record(given: argparse.Namespace, now: int) -> dict[str, Any]:
    """The record that the command line describes; `now` in seconds since 1970."""
    return {
        "version": 1,
        "job": given.job,
        "status": given.status,
        "phase": given.phase,
        "reason": given.reason,
        "exit_code": given.exit_code,
        "launched_at": iso(given.launched_at),
        "started_at": iso(given.started_at),
        "ended_at": iso(now if given.ended else None),
        "asked": given.asked,
        **({"timeline": timeline(given.timeline)} if given.timeline else {}),
        **({"attempts": attempts(given.attempts)} if given.attempts else {}),
        **saved(given, bundle(given.bundle) if given.bundle else None),
    }


def number(text: str) -> int | None:
    """A number, or "" for one that is not known."""
    return int(text) if text else None


def parse(arguments: list[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="record", description=__doc__)
    parser.add_argument("--job", required=True, help="instance id")
    parser.add_argument("--status", required=True)
    parser.add_argument("--phase", required=True)
    parser.add_argument("--reason", default="", help="why it failed")
    parser.add_argument("--exit-code", type=number, help="the trainer's")
    parser.add_argument("--asked", type=json.loads, required=True, help="what was asked of the job, as JSON")
    parser.add_argument("--launched-at", type=number, required=True, help="seconds since 1970")
    parser.add_argument("--started-at", type=number, help="seconds since 1970: when the trainer was first started")
    parser.add_argument("--ended", action="store_true", help="the job ends now")
    parser.add_argument("--timeline", type=Path, help="file with what the first boot had done by when")
    parser.add_argument("--attempts", type=Path, help="file with what each boot has cost, as money.sh counts it")
    parser.add_argument("--bundle", type=Path, help="directory of the finished model")
    parser.add_argument("--sync", type=Path, help="sync.json: what was left out, and the last failure")
    parser.add_argument("--tree", type=Path, help="tree.json: links and empty directories")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    print(json.dumps(record(parse(sys.argv[1:]), int(time.time())), indent=1))

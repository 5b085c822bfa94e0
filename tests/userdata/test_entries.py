"""What a trainer leaves that cannot all be saved: the rest is, the job is complete, and what is missing is said."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from .machine import BUCKET, JOB, Machine, training

AWKWARD = r"""
mkdir -p ckpt-100 empty
echo model >ckpt-100/model
ln -s ckpt-100 latest
ln -s /solver/output/latest/model absolute
ln -s loop loop
ln -s one two
ln -s two one
ln -s /etc/shadow shadow
echo bad >$'caf\xe9.bin'
exec 5>>open.log
echo half >&5
echo training
until [[ -e $FAKES/go ]]; do sleep 0.05; done
"""
ORIGIN = "i-0ddddddddddddddddd"
LEFT_OUT = {
    "caf\\xe9.bin": "its name is not UTF-8",
    "loop": "a link that leads in a circle",
    "one": "a link that leads in a circle",
    "two": "a link that leads in a circle",
    "shadow": "a link that leads outside",
}


def told(machine: Machine, name: str) -> dict[str, Any]:
    """What the job has told with its logs."""
    text = machine.stored(f"logs/{name}")
    found: dict[str, Any] = json.loads(text) if text else {}
    return found


def test_one_bad_entry_never_takes_the_rest(machine: Machine) -> None:
    machine.write("trainer", AWKWARD)
    with training(machine):
        machine.until(lambda: "open.log.torn" in machine.listed("output"))
        machine.until(lambda: told(machine, "tree.json").get("torn"))
        machine.until(lambda: "open.log" in told(machine, "sync.json").get("left_out", {}))
        sync, tree = told(machine, "sync.json"), told(machine, "tree.json")
        assert machine.listed("output") == ["ckpt-100/model", "open.log.torn"]
        assert sync["synced_at"]
        assert sync["failed"] == ""
        assert sync["left_out"].keys() == {*LEFT_OUT, "open.log"}
        assert tree == {
            "links": {"absolute": "latest/model", "latest": "ckpt-100"},
            "directories": ["empty"],
            "torn": ["open.log"],
        }
        machine.write("go")
    record = machine.record
    assert record
    assert (record["status"], record["reason"]) == ("complete", "")
    assert [file["path"] for file in record["bundle"]] == ["ckpt-100/model", "open.log"]
    assert machine.listed("bundle") == ["ckpt-100/model", "open.log"]
    assert record["warnings"] == [f"{path}: {reason}" for path, reason in sorted(LEFT_OUT.items())]
    assert (record["links"], record["directories"]) == (tree["links"], ["empty"])
    assert told(machine, "sync.json")["left_out"] == LEFT_OUT
    assert "retry" not in machine.log
    assert len([call for call in machine.called("aws s3 sync") if call.endswith("/bundle")]) == 1


def test_a_resume_finds_links_and_directories_again(tmp_path: Path) -> None:
    machine = Machine(tmp_path, origin=ORIGIN)
    machine.write(f"s3/{BUCKET}/jobs/{ORIGIN}/output/ckpt-100/model", "model\n")
    machine.write(f"s3/{BUCKET}/jobs/{ORIGIN}/output/db.torn", "rows\n")
    tree = {"links": {"latest": "ckpt-100", "evil": "../../etc"}, "directories": ["empty"], "torn": ["db"]}
    machine.write(f"s3/{BUCKET}/jobs/{ORIGIN}/logs/tree.json", json.dumps(tree))
    machine.write("trainer", "cat latest/model db >seen; [[ -d empty && ! -L evil ]]")
    machine.boot()
    assert machine.record
    assert machine.record["status"] == "complete"
    assert machine.stored("bundle/seen") == "model\nrows\n"
    assert machine.record["links"] == {"latest": "ckpt-100"}


def test_a_trainer_that_leaves_nothing_is_complete_with_a_warning(machine: Machine) -> None:
    machine.write("trainer", "exit 0")
    machine.boot()
    assert machine.record
    assert machine.record["status"] == "complete"
    assert machine.record["bundle"] == []
    assert machine.record["warnings"] == ["the trainer ended well, but left no files"]


def test_a_sync_that_fails_is_told_with_the_last_good_one(machine: Machine) -> None:
    machine.write("trainer", "echo 1 >a; until [[ -e $FAKES/go ]]; do sleep 0.05; done; echo 2 >a")
    with training(machine):
        machine.until(lambda: told(machine, "sync.json").get("synced_at"))
        machine.write("fail", f"aws s3 sync * s3://{BUCKET}/jobs/{JOB}/output")
        machine.until(lambda: told(machine, "sync.json").get("failed"))
        sync = told(machine, "sync.json")
        assert sync["failed"] == "syncing output: aws: it went wrong"
        assert sync["synced_at"]
        machine.write("go")
    assert machine.record
    assert machine.record["status"] == "complete"
    assert "warnings" not in machine.record


def test_a_failure_in_strange_words_is_told_all_the_same(machine: Machine) -> None:
    machine.write("trainer", "echo 1 >a; until [[ -e $FAKES/go ]]; do sleep 0.05; done")
    with training(machine):
        machine.write("outage", 'a "quoted" \\ back\\slash\tand \x1b[31mcolour\n')
        machine.until(lambda: "failed (exit 255): syncing logs" in machine.log)
        failed = json.loads((machine.home / "logs/sync.json").read_text())["failed"]
        assert failed.startswith("syncing output: a  quoted    back slash and  [31mcolour")
        (machine.root / "outage").unlink()
        machine.write("go")
    assert machine.record
    assert machine.record["status"] == "complete"

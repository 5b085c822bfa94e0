"""A trainer behind a shell that leaves what cannot all be saved: the rest is in S3, and `status` says what is not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from .conftest import User
from .test_rewritten import place

TRAINER = r"""#!/bin/bash
cd /solver/output || exit
mkdir -p ckpt-100 empty
echo model >ckpt-100/model
ln -s ckpt-100 latest
ln -s loop loop
ln -s /etc/shadow shadow
echo bad >$'caf\xe9.bin'
exec 5>>open.log
echo half >&5
echo training
sleep 20
echo whole >&5
"""


def listed(user: User, found: dict[str, Any], prefix: str) -> list[str]:
    """The files of a job below a prefix in S3."""
    at = place(found, prefix)
    client: Any = user.aws.s3
    answer = client.list_objects_v2(Bucket=at["Bucket"], Prefix=at["Key"])
    return sorted(each["Key"].removeprefix(at["Key"]) for each in answer.get("Contents", []))


def test_one_bad_entry_never_takes_the_rest(user: User, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / "Cargo.toml").touch()
    (source / "trainer.sh").write_text(TRAINER)
    (source / "Dockerfile").write_text("ARG RUNTIME_IMAGE\nFROM ${RUNTIME_IMAGE}\nCOPY trainer.sh /trainer.sh\n")
    monkeypatch.setitem(user.environment, "INVOKE_SOLVER_DOCKERFILE", str(source / "Dockerfile"))
    monkeypatch.setitem(user.environment, "INVOKE_SOLVER_TRAINER", "sh -c 'bash /trainer.sh {config} {output}; true'")
    job, _ = user.launch(user.config("entries.yaml"), "~/models/entries", source=source)
    found = user.until(job, lambda found: any("open.log" in one for one in found["warnings"]))
    assert found["synced_at"]
    assert listed(user, found, "output/") == ["ckpt-100/model", "open.log.torn"]
    said = user.run("status", job).stdout
    assert "caf\\xe9.bin: its name is not UTF-8" in said
    user.run("wait", job)
    client: Any = user.aws.s3
    record = json.loads(client.get_object(**place(found, "job.json"))["Body"].read())
    assert (record["status"], record["reason"]) == ("complete", "")
    assert listed(user, found, "bundle/") == ["ckpt-100/model", "open.log"]
    assert record["warnings"] == [
        "caf\\xe9.bin: its name is not UTF-8",
        "loop: a link that leads in a circle",
        "shadow: a link that leads outside",
    ]
    assert (record["links"], record["directories"]) == ({"latest": "ckpt-100"}, ["empty"])

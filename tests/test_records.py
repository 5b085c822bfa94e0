from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from cloud import records
from cloud.aws import Aws
from cloud.records import File, Record

from .conftest import record

STARTED = datetime(2026, 11, 24, 8, 1, tzinfo=UTC)
DIGEST = "0" * 64


def put(aws: Aws, job: str, **changes: Any) -> None:
    aws.s3.put_object(Bucket=aws.bucket, Key=records.key(job), Body=json.dumps(record(job, **changes)).encode())


def test_a_record_is_read_as_the_instance_wrote_it(store: Aws) -> None:
    put(store, "i-0aaaaaaa", bundle=[{"path": "strategy.csv", "size": 3, "sha256": DIGEST}])
    found = records.read(store, "i-0aaaaaaa")
    assert isinstance(found, Record)
    assert (found.status, found.exit_code, found.started_at) == ("complete", 0, STARTED)
    assert found.bundle == (File("strategy.csv", 3, DIGEST),)


def test_what_is_not_there_is_none(store: Aws) -> None:
    assert records.read(store, "i-0aaaaaaa") is None

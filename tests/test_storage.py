from __future__ import annotations

from cloud import storage
from cloud.aws import Aws


def test_the_tail_of_a_log(store: Aws) -> None:
    store.s3.put_object(Bucket=store.bucket, Key="log", Body=b"x" * 5000 + b"end")
    store.s3.put_object(Bucket=store.bucket, Key="empty", Body=b"")
    assert storage.tail(store, "log", 4) == "xend"
    assert storage.tail(store, "empty") == ""
    assert storage.tail(store, "missing") == ""


def test_a_log_is_streamed_as_it_is(store: Aws) -> None:
    store.s3.put_object(Bucket=store.bucket, Key="log", Body=b"\xff\x00line\r\n")
    chunks: list[bytes] = []
    assert storage.stream(store, "log", chunks.append)
    assert b"".join(chunks) == b"\xff\x00line\r\n"
    assert not storage.stream(store, "missing", chunks.append)

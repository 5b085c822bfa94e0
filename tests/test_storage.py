from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from cloud import storage
from cloud.aws import Aws
from cloud.errors import CloudError
from cloud.records import File

PREFIX = "jobs/i-1/bundle/"
CONTENT = {"strategy.csv": b"a,b\n1,2\n" * 1000, "deep/er/table.csv": b"", "config.yaml": b"seed: 1\n"}


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Where the bundle goes."""
    directory = tmp_path / "run"
    directory.mkdir()
    return directory


@pytest.fixture
def files(store: Aws) -> tuple[File, ...]:
    for path, data in CONTENT.items():
        store.s3.put_object(Bucket=store.bucket, Key=PREFIX + path, Body=data)
    return tuple(File(path, len(data), hashlib.sha256(data).hexdigest()) for path, data in CONTENT.items())


def tree(directory: Path) -> dict[str, bytes]:
    return {str(p.relative_to(directory)): p.read_bytes() for p in directory.rglob("*") if p.is_file()}


def test_a_bundle_arrives_whole(store: Aws, files: tuple[File, ...], run: Path) -> None:
    seen: list[int] = []
    done = storage.download(store, PREFIX, files, run / "new", seen.append)
    assert tree(run / "new") == CONTENT
    assert (done.fetched, done.kept, done.bytes) == (3, 0, sum(map(len, CONTENT.values()))) == (3, 0, sum(seen))


def test_only_what_is_missing_or_different_is_fetched(store: Aws, files: tuple[File, ...], run: Path) -> None:
    storage.download(store, PREFIX, files, run, lambda _: None)
    (run / "strategy.csv").write_bytes(b"x" * len(CONTENT["strategy.csv"]))  # same size, other content
    (run / "config.yaml").unlink()
    (run / "mine.txt").write_text("not ours")
    done = storage.download(store, PREFIX, files, run, lambda _: None)
    assert (done.fetched, done.kept) == (2, 1)
    assert tree(run) == {**CONTENT, "mine.txt": b"not ours"}


def test_a_file_that_is_not_what_the_record_says_leaves_the_old_one_and_no_trace(
    store: Aws, files: tuple[File, ...], run: Path
) -> None:
    (run / "config.yaml").write_text("old")
    store.s3.put_object(Bucket=store.bucket, Key=PREFIX + "config.yaml", Body=b"seed: 2\n")
    with pytest.raises(CloudError, match=r"config\.yaml in S3 is not what the job's record says"):
        storage.download(store, PREFIX, files, run, lambda _: None)
    assert (run / "config.yaml").read_text() == "old"
    assert set(tree(run)) <= set(CONTENT)


def test_a_file_missing_in_s3_is_one_clear_error(store: Aws, files: tuple[File, ...], run: Path) -> None:
    store.s3.delete_object(Bucket=store.bucket, Key=PREFIX + "config.yaml")
    with pytest.raises(CloudError, match=r"cannot fetch config\.yaml"):
        storage.download(store, PREFIX, files, run, lambda _: None)
    assert set(tree(run)) <= set(CONTENT) - {"config.yaml"}


@pytest.mark.parametrize("path", ["../evil", "/etc/evil", "a/../../evil", ""])
def test_a_record_cannot_write_outside_the_directory(store: Aws, path: str, run: Path) -> None:
    with pytest.raises(CloudError, match="outside the bundle"):
        storage.download(store, PREFIX, (File(path, 1, "00"),), run, lambda _: None)


def test_a_full_disk_is_seen_before_anything_is_fetched(store: Aws, run: Path) -> None:
    with pytest.raises(CloudError, match=r"bytes, but .* has"):
        storage.download(store, PREFIX, (File("huge", 1 << 60, "00"),), run / "new", lambda _: None)
    assert not (run / "new").exists()


def test_a_file_in_the_way_of_a_directory_is_named(store: Aws, files: tuple[File, ...], run: Path) -> None:
    (run / "deep").write_text("in the way")
    with pytest.raises(CloudError, match="cannot write"):
        storage.download(store, PREFIX, files, run, lambda _: None)


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

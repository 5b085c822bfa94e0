"""S3: a job's bundle down to this machine, its logs and host keys."""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from .aws import Aws, aws_errors, error_code
from .errors import CloudError
from .records import File

CHUNK = 1 << 20
THREADS = 16


@dataclass(frozen=True)
class Download:
    """What a download did: files and bytes fetched, and files that were there already."""

    fetched: int
    bytes: int
    kept: int


def download(
    aws: Aws, prefix: str, files: tuple[File, ...], directory: Path, progress: Callable[[int], None]
) -> Download:
    """Bring files from S3 to a directory: only what is missing or different, each whole or not at all.

    prefix: key prefix of the files, "jobs/<id>/bundle/".
    files: what the record says there is; each file's sha256 is checked while it is read, before it gets its name.
    progress: told the number of bytes of each chunk that has arrived.
    Raises CloudError when a file is not what the record says, the disk is full, or S3 does not give it.
    """
    targets = [(file, _target(directory, file.path)) for file in files]
    with ThreadPoolExecutor(THREADS) as pool:
        wanted = [pair for pair, same in zip(targets, pool.map(lambda t: _same(*t), targets), strict=True) if not same]
        size = sum(file.size for file, _ in wanted)
        _check_space(directory, size)
        jobs = [pool.submit(_fetch, aws, prefix, file, target, progress) for file, target in wanted]
        try:
            for job in jobs:
                job.result()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return Download(len(wanted), size, len(files) - len(wanted))


def _target(directory: Path, path: str) -> Path:
    """Where a file of the record goes; raises CloudError for a path that would leave the directory."""
    parts = PurePosixPath(path).parts
    if not parts or path.startswith("/") or ".." in parts:
        raise CloudError(
            f"the record names a file outside the bundle: {path!r}", fix="this bundle is not to be trusted"
        )
    return directory.joinpath(*parts)


def _same(file: File, target: Path) -> bool:
    """Whether the file is there already, byte for byte."""
    if not target.is_file() or target.stat().st_size != file.size:
        return False
    with target.open("rb") as data:
        return hashlib.file_digest(data, "sha256").hexdigest() == file.sha256


def _check_space(directory: Path, size: int) -> None:
    existing = next(path for path in (directory, *directory.parents) if path.exists())
    free = shutil.disk_usage(existing).free
    if size > free:
        raise CloudError(f"the bundle needs {size:,} bytes, but {existing} has {free:,} left")


def _fetch(aws: Aws, prefix: str, file: File, target: Path, progress: Callable[[int], None]) -> None:
    """One file: into a temporary name beside the target, checked on the way, then renamed over it."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with _whole_file(target) as out, aws_errors(f"fetch {file.path}"):
            digest = hashlib.sha256()
            body = aws.s3.get_object(Bucket=aws.bucket, Key=prefix + file.path)["Body"]
            for chunk in body.iter_chunks(CHUNK):
                digest.update(chunk)
                out.write(chunk)
                progress(len(chunk))
            if digest.hexdigest() != file.sha256:
                raise CloudError(f"{file.path} in S3 is not what the job's record says (sha256 differs)")
    except OSError as error:
        raise CloudError(f"cannot write {target}: {error.strerror}") from None


@contextmanager
def _whole_file(target: Path) -> Iterator[BinaryIO]:
    """A file that gets its name when the block ends well, and leaves no trace when it does not."""
    temporary = target.with_name(f".{target.name[:64]}.{secrets.token_hex(6)}")
    with temporary.open("xb") as out:
        try:
            yield out
            out.flush()
            os.fsync(out.fileno())
            temporary.replace(target)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise


def tail(aws: Aws, key: str, size: int = 4096) -> str:
    """The last bytes of an object as text; "" when there is no such object or it is empty."""
    with aws_errors(f"read {key}"):
        try:
            body = aws.s3.get_object(Bucket=aws.bucket, Key=key, Range=f"bytes=-{size}")["Body"]
        except aws.s3.exceptions.ClientError as error:
            if error_code(error) in ("NoSuchKey", "InvalidRange"):
                return ""
            raise
        return body.read().decode(errors="replace")


def written_at(aws: Aws, key: str) -> datetime | None:
    """When an object was last written; None when there is no such object."""
    with aws_errors(f"look at {key}"):
        try:
            return aws.s3.head_object(Bucket=aws.bucket, Key=key)["LastModified"]
        except aws.s3.exceptions.ClientError as error:
            if error_code(error) != "404":
                raise
            return None


def stream(aws: Aws, key: str, write: Callable[[bytes], object]) -> bool:
    """Hand an object's bytes to `write`; returns False when there is no such object."""
    with aws_errors(f"read {key}"):
        try:
            body = aws.s3.get_object(Bucket=aws.bucket, Key=key)["Body"]
        except aws.s3.exceptions.NoSuchKey:
            return False
        for chunk in body.iter_chunks(CHUNK):
            write(chunk)
    return True

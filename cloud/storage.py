"""S3: small reads, of a job's logs and host keys."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from .aws import Aws, aws_errors, error_code

CHUNK = 1 << 20


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

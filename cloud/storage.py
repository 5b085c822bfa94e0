"""S3: small objects, and logs, read to their end although a body breaks off, which botocore does not mend."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any, TypeVar

from .aws import Aws, aws_errors, error_code

CHUNK = 1 << 20
ATTEMPTS = 8
Result = TypeVar("Result")


def read(aws: Aws, key: str, *, most: int | None = None, **options: str) -> tuple[bytes, str]:
    """An object's content, whole, and its ETag.

    most: bytes that it may have; raises ValueError for a larger one, which is not read. options: of GetObject, in
    boto3's spelling. For use inside `aws_errors`: raises botocore's errors, NoSuchKey too.
    """

    def once() -> tuple[bytes, str]:
        found = aws.s3.get_object(Bucket=aws.bucket, Key=key, **options)  # type: ignore[arg-type]
        if most is not None and found["ContentLength"] > most:
            found["Body"].close()
            raise ValueError(f"it has {found['ContentLength']:,} bytes, more than {most:,}")
        return found["Body"].read(), found["ETag"]

    return _again(once)


OVERTAKEN = ("PreconditionFailed", "ConditionalRequestConflict", "412", "409")
"""S3's answers to a conditional write that another writer was faster than:
https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes.html"""


def put_if(aws: Aws, key: str, body: bytes, **condition: str) -> str:
    """Write an object on condition that nobody was faster; returns its ETag, or "" if it was not written.

    condition: of PutObject, IfNoneMatch or IfMatch. For use inside `aws_errors`.
    """
    try:
        return aws.s3.put_object(Bucket=aws.bucket, Key=key, Body=body, **condition)["ETag"]  # type: ignore[arg-type]
    except aws.s3.exceptions.ClientError as error:
        if error_code(error) not in OVERTAKEN:
            raise
        return ""


def _again(call: Callable[[], Result]) -> Result:
    """Call until no body breaks off on the way, some times; before a body begins, botocore itself asks again."""
    import tenacity
    from botocore.exceptions import IncompleteReadError, ReadTimeoutError, ResponseStreamingError

    return tenacity.retry(
        retry=tenacity.retry_if_exception_type((IncompleteReadError, ReadTimeoutError, ResponseStreamingError)),
        wait=tenacity.wait_random_exponential(multiplier=0.2, max=20),
        stop=tenacity.stop_after_attempt(ATTEMPTS),
        reraise=True,
    )(call)()


def tail(aws: Aws, key: str, size: int = 4096) -> str:
    """The last bytes of an object as text; "" when there is no such object or it is empty."""
    with aws_errors(f"read {key}"):
        try:
            return read(aws, key, Range=f"bytes=-{size}")[0].decode(errors="replace")
        except aws.s3.exceptions.ClientError as error:
            if error_code(error) in ("NoSuchKey", "InvalidRange"):
                return ""
            raise


def written_at(aws: Aws, key: str) -> datetime | None:
    """When an object was last written; None when there is no such object."""
    with aws_errors(f"look at {key}"):
        try:
            return aws.s3.head_object(Bucket=aws.bucket, Key=key)["LastModified"]
        except aws.s3.exceptions.ClientError as error:
            if error_code(error) != "404":
                raise
            return None


def stream(aws: Aws, key: str, write: Callable[[bytes], object], start: int = 0) -> bool:
    """Hand an object's bytes from `start` on to `write`, each once; returns False when there is no such object."""
    position, version = start, ""

    def rest() -> None:
        nonlocal position, version
        # If it has been written anew meanwhile, S3 refuses rather than mix the two.
        options: dict[str, Any] = {"Range": f"bytes={position}-"} if position else {}
        options |= {"IfMatch": version} if version else {}
        found = aws.s3.get_object(Bucket=aws.bucket, Key=key, **options)
        version = found["ETag"]
        for chunk in found["Body"].iter_chunks(CHUNK):
            write(chunk)
            position += len(chunk)

    with aws_errors(f"read {key}"):
        try:
            _again(rest)
        except aws.s3.exceptions.NoSuchKey:
            return False
        except aws.s3.exceptions.ClientError as error:
            if error_code(error) != "InvalidRange":  # there is nothing behind `start` yet
                raise
    return True

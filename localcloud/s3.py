"""S3's answers where moto's differ: checksums that do not match, and who may read without credentials."""

# mypy: allow-subclassing-any
from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Callable
from typing import Any

from moto.core.common_types import TYPE_RESPONSE
from moto.s3 import urls
from moto.s3.exceptions import AccessDeniedByLock, BucketAlreadyExists, S3ClientError
from moto.s3.models import S3Backend, s3_backends
from moto.s3.responses import S3Response

from . import bucket_policies
from .routes import routed

DIGESTS: dict[str, Callable[[bytes], bytes]] = {
    "content-md5": lambda body: hashlib.md5(body, usedforsecurity=False).digest(),
    "x-amz-checksum-sha256": lambda body: hashlib.sha256(body).digest(),
    "x-amz-checksum-sha1": lambda body: hashlib.sha1(body, usedforsecurity=False).digest(),
    "x-amz-checksum-crc32": lambda body: binascii.crc32(body).to_bytes(4, "big"),
}
"""Header names and what they must hold, base64:
https://docs.aws.amazon.com/AmazonS3/latest/userguide/checking-object-integrity.html"""


def install() -> None:
    """Make moto's S3 this cloud's; before the first request."""
    bucket_policies.install()
    s3_backends.backend = LocalS3Backend


class LocalS3Backend(S3Backend):
    @property
    def _url_module(self) -> Any:
        return routed(urls, LocalS3Response)


class LocalS3Response(S3Response):
    def put_object(self) -> TYPE_RESPONSE:
        self._check_digests()
        return super().put_object()

    def upload_part(self) -> TYPE_RESPONSE:
        self._check_digests()
        return super().upload_part()

    def _authenticate_and_authorize_s3_action(
        self, bucket_name: str | None = None, key_name: str | None = None
    ) -> None:
        """Each request about a bucket comes by here.

        https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucket-owner-condition.html
        """
        expected = self.headers.get("x-amz-expected-bucket-owner")
        _, owner = s3_backends.bucket_accounts.get(bucket_name or "", ("", None))
        if expected and owner and expected != owner:
            raise S3ClientError("AccessDenied", "Access Denied")
        super()._authenticate_and_authorize_s3_action(bucket_name=bucket_name, key_name=key_name)

    def _bucket_response_put(self, request: Any, bucket_name: str, querystring: dict[str, Any]) -> str | TYPE_RESPONSE:
        try:
            answer: str | TYPE_RESPONSE = super()._bucket_response_put(request, bucket_name, querystring)
        except AccessDeniedByLock:
            if querystring:
                raise
            raise BucketAlreadyExists(bucket=bucket_name) from None  # CreateBucket, of a bucket that others own
        return answer

    def _check_digests(self) -> None:
        body = self.body or b""
        for header, digest in DIGESTS.items():
            given = self.headers.get(header)
            if given and given != base64.b64encode(digest(body)).decode():
                name = "Content-MD5" if header == "content-md5" else header.rpartition("-")[2].upper()
                raise S3ClientError("BadDigest", f"The {name} you specified did not match the calculated checksum.")


def anyone_may_read(path: str) -> bool:
    """Whether an object is readable without credentials: its ACL says so, or the bucket's policy.

    path: `/BUCKET/KEY` as in the URL.
    """
    from moto.iam.access_control import PermissionResult

    bucket_name, _, key = path.lstrip("/").partition("/")
    if not key or bucket_name not in s3_backends.bucket_accounts:
        return False
    partition, account = s3_backends.bucket_accounts[bucket_name]
    backend = s3_backends[account][partition]
    bucket, item = backend.get_bucket(bucket_name), backend.get_object(bucket_name, key)
    permission = bucket.get_permission("s3:GetObject", f"arn:{partition}:s3:::{bucket_name}/{key}")
    return permission == PermissionResult.PERMITTED or bool(item and item.acl and item.acl.public_read)

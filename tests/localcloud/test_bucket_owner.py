"""S3 refuses a request that expects another owner of the bucket:
https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucket-owner-condition.html"""

from __future__ import annotations

from typing import Any

import pytest
from botocore.exceptions import ClientError

OWNER, OTHER = "123456789012", "210987654321"

BUCKET: dict[str, dict[str, Any]] = {
    "head_bucket": {},
    "list_objects_v2": {},
    "list_object_versions": {},
    "get_bucket_policy": {},
    "get_bucket_versioning": {},
    "get_public_access_block": {},
    "put_bucket_versioning": {"VersioningConfiguration": {"Status": "Enabled"}},
    "delete_bucket_policy": {},
    "delete_objects": {"Delete": {"Objects": [{"Key": "one"}]}},
}
OBJECT: dict[str, dict[str, Any]] = {
    "get_object": {},
    "head_object": {},
    "put_object": {"Body": b"forged"},
    "create_multipart_upload": {},
    "delete_object": {},
}


@pytest.mark.parametrize("operation", [*BUCKET, *OBJECT, "delete_bucket"])
def test_another_owner_is_expected_in_vain(s3: Any, bucket: str, operation: str) -> None:
    s3.put_object(Bucket=bucket, Key="one", Body=b"1", ExpectedBucketOwner=OWNER)
    arguments = {**BUCKET.get(operation, {}), **({"Key": "one"} | OBJECT[operation] if operation in OBJECT else {})}
    with pytest.raises(ClientError) as raised:
        getattr(s3, operation)(Bucket=bucket, **arguments, ExpectedBucketOwner=OTHER)
    answer = raised.value.response
    assert answer["ResponseMetadata"]["HTTPStatusCode"] == 403
    assert answer["Error"]["Code"] in ("AccessDenied", "403")
    assert s3.get_object(Bucket=bucket, Key="one", ExpectedBucketOwner=OWNER)["Body"].read() == b"1"


def test_a_bucket_that_is_not_there_is_not_another_accounts(s3: Any) -> None:
    with pytest.raises(ClientError, match="NoSuchBucket"):
        s3.list_objects_v2(Bucket="nobody-has-this-bucket", ExpectedBucketOwner=OTHER)

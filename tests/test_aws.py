"""What the account's clients do otherwise than boto3's own."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import botocore.session
import pytest
from botocore.exceptions import ClientError
from botocore.utils import parse_timestamp

from cloud import asked as registered
from cloud import bucket, storage, transfer
from cloud.aws import Aws, gone_is_fine
from cloud.errors import CloudError


@pytest.mark.parametrize(
    "value",
    [
        "2026-01-02T03:04:05.678Z",
        "2026-01-02T03:04:05Z",
        "2026-01-02T03:04:05.678901234Z",
        "20260102T030405Z",
        "2026-01-02T03:04:05+01:00",
        "Fri, 02 Jan 2026 03:04:05 GMT",
        1767323045,
        1767323045.678,
        "1767323045",
    ],
)
def test_times_in_answers_are_what_botocore_takes_them_for(value: Any, aws: Aws) -> None:
    factory = aws.session._session.get_component("response_parser_factory")
    found = factory._defaults["timestamp_parser"](value)
    assert found == parse_timestamp(value)
    assert found.utcoffset() is not None


def test_times_of_s3_are_moments(store: Aws) -> None:
    store.s3.put_object(Bucket=store.bucket, Key="a", Body=b"")
    (listed,) = store.s3.list_objects_v2(Bucket=store.bucket)["Contents"]
    got = store.s3.get_object(Bucket=store.bucket, Key="a")
    for moment in (listed["LastModified"], got["LastModified"]):
        assert abs(moment - datetime.now(UTC)) < timedelta(minutes=1)


def test_a_bucket_of_another_account_is_neither_read_nor_written(spot: Aws) -> None:
    """It may have been made by whoever guessed its name, and be open to all:
    https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucket-owner-condition.html"""
    asked: list[dict[str, str]] = []
    spot.s3.meta.events.register("before-call.s3", lambda params, **_: asked.append(params["headers"]))
    spot.account, own = "210987654321", spot.account
    with pytest.raises(CloudError, match=r"unless the bucket .* belongs to another account"):
        storage.tail(spot, "jobs/i-1/ssh-host-keys")
    with pytest.raises(CloudError, match="belongs to another account"):
        registered.register(spot, "i-1", asked={}, launched_at=datetime.now(UTC))
    with pytest.raises(CloudError, match="belongs to another account"):
        bucket.exists(spot)
    with pytest.raises(CloudError, match="belongs to another account"):
        transfer.Source(spot, "jobs/i-1/bundle/")
    assert {headers["x-amz-expected-bucket-owner"] for headers in asked} == {"210987654321"}
    spot.account = own
    assert "Contents" not in spot.s3.list_objects_v2(Bucket=spot.bucket)


def test_requests_that_are_about_no_bucket_of_ours_expect_no_owner(spot: Aws) -> None:
    spot.account = "210987654321"
    assert spot.s3.list_buckets()["Buckets"]
    spot.s3.create_bucket(Bucket=f"{spot.bucket}-other")


def test_a_bucket_that_is_named_costs_one_call_for_its_owner(spot: Aws) -> None:
    aws = Aws(spot.settings.with_(bucket=spot.bucket))
    asked: list[str] = []
    aws.session.events.register("before-call.sts", lambda model, **_: asked.append(model.name))
    for _ in range(3):
        storage.tail(aws, "missing")
    storage.tail(Aws(aws.settings), "missing")
    assert len(asked) <= 1  # and none if this machine knows already


@pytest.mark.parametrize(
    "code",
    [
        *("InvalidInstanceID.NotFound", "InvalidSpotInstanceRequestID.NotFound", "InvalidVolume.NotFound"),
        *("ImageNotFoundException", "NoSuchUpload"),
    ],
)
def test_what_has_gone_already_is_no_error(code: str) -> None:
    """https://docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html,
    https://docs.aws.amazon.com/AmazonECR/latest/APIReference/API_DescribeImages.html,
    https://docs.aws.amazon.com/AmazonS3/latest/API/API_AbortMultipartUpload.html"""
    with gone_is_fine():
        raise ClientError({"Error": {"Code": code, "Message": "Gone."}}, "Terminate")
    with pytest.raises(ClientError), gone_is_fine():
        raise ClientError({"Error": {"Code": "UnauthorizedOperation", "Message": "No."}}, "Terminate")


def test_other_sessions_of_this_process_are_left_as_they_are(aws: Aws) -> None:
    _ = aws.session
    others = botocore.session.get_session().get_component("response_parser_factory")
    assert not others._defaults

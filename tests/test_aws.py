"""What the account's clients do otherwise than boto3's own."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import botocore.session
import pytest
from botocore.exceptions import ClientError
from botocore.utils import parse_timestamp

from cloud.aws import Aws, gone_is_fine


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

"""Who may call, and what S3, IAM and STS answer where moto alone would say something else."""

from __future__ import annotations

import base64
import hashlib
import json
import urllib.error
import urllib.request
import uuid
from contextlib import suppress
from typing import Any

import boto3
import pytest
from botocore import UNSIGNED
from botocore.config import Config
from botocore.exceptions import ClientError

from .conftest import FakeCloud, refusal

NOBODY = {"aws_access_key_id": "AKIAUNKNOWNUNKNOWN22", "aws_secret_access_key": "x"}
CALLS = [
    ("sts", "get_caller_identity", {}),
    ("iam", "list_roles", {}),
    ("ec2", "describe_instances", {}),
    ("ssm", "get_parameters", {"Names": ["x"]}),
    ("ecr", "describe_repositories", {}),
    ("s3", "list_buckets", {}),
    ("pricing", "get_products", {"ServiceCode": "AmazonS3"}),
    ("service-quotas", "list_service_quotas", {"ServiceCode": "ec2"}),
]
UNKNOWN = {
    "sts": ("InvalidClientTokenId", 403),
    "iam": ("InvalidClientTokenId", 403),
    "ec2": ("AuthFailure", 401),
    "ssm": ("UnrecognizedClientException", 400),
    "ecr": ("UnrecognizedClientException", 400),
    "s3": ("InvalidAccessKeyId", 403),
    "pricing": ("UnrecognizedClientException", 400),
    "service-quotas": ("UnrecognizedClientException", 400),
}
EXPIRED = {
    "sts": ("ExpiredToken", 403),
    "iam": ("ExpiredToken", 403),
    "ec2": ("RequestExpired", 400),
    "ssm": ("ExpiredTokenException", 400),
    "ecr": ("ExpiredTokenException", 400),
    "s3": ("ExpiredToken", 400),
    "pricing": ("ExpiredTokenException", 400),
    "service-quotas": ("ExpiredTokenException", 400),
}


def assume(cloud: FakeCloud, account: str = "123456789012") -> dict[str, str]:
    """The credentials of a role's session, as arguments of a boto3 session."""
    arn = f"arn:aws:iam::{account}:role/somebody"
    iam = cloud.client("iam")
    with suppress(iam.exceptions.EntityAlreadyExistsException):
        iam.create_role(RoleName="somebody", AssumeRolePolicyDocument="{}")
        anything = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}
        iam.put_role_policy(RoleName="somebody", PolicyName="anything", PolicyDocument=json.dumps(anything))
    given = cloud.client("sts").assume_role(RoleArn=arn, RoleSessionName="session")["Credentials"]
    return {
        "aws_access_key_id": given["AccessKeyId"],
        "aws_secret_access_key": given["SecretAccessKey"],
        "aws_session_token": given["SessionToken"],
    }


def refused(cloud: FakeCloud, service: str, call: str, arguments: Any, credentials: Any) -> tuple[str, int]:
    with pytest.raises(ClientError) as error:
        getattr(cloud.client(service, **credentials), call)(**arguments)
    answer = error.value.response
    return answer["Error"]["Code"], answer["ResponseMetadata"]["HTTPStatusCode"]


@pytest.mark.parametrize(("service", "call", "arguments"), CALLS)
def test_the_profile_may_do_everything(cloud: FakeCloud, service: str, call: str, arguments: Any) -> None:
    assert getattr(cloud.client(service), call)(**arguments)


@pytest.mark.parametrize(("service", "call", "arguments"), CALLS)
def test_unknown_credentials_are_refused_as_each_service_does(
    cloud: FakeCloud, service: str, call: str, arguments: Any
) -> None:
    assert refused(cloud, service, call, arguments, NOBODY) == UNKNOWN[service]


@pytest.mark.parametrize(("service", "call", "arguments"), CALLS)
def test_expired_credentials_are_refused_as_each_service_does(
    cloud: FakeCloud, service: str, call: str, arguments: Any
) -> None:
    session = assume(cloud)
    assert getattr(cloud.client(service, **session), call)(**arguments)
    cloud.post("expire-sessions")
    assert refused(cloud, service, call, arguments, session) == EXPIRED[service]


def test_an_upload_is_refused_in_words_however_large_it_is(cloud: FakeCloud) -> None:
    upload = {"Bucket": "any", "Key": "x", "Body": b"x" * 20_000_000}
    assert refused(cloud, "s3", "put_object", upload, NOBODY) == UNKNOWN["s3"]


def test_temporary_credentials_need_their_session_token(cloud: FakeCloud) -> None:
    session = {**assume(cloud), "aws_session_token": "another"}
    assert refused(cloud, "sts", "get_caller_identity", {}, session) == UNKNOWN["sts"]


def test_the_keys_of_iam_users_are_known_until_they_are_deleted(cloud: FakeCloud) -> None:
    iam, name = cloud.client("iam"), f"user-{uuid.uuid4().hex[:8]}"
    iam.create_user(UserName=name)
    key = iam.create_access_key(UserName=name)["AccessKey"]
    user = {"aws_access_key_id": key["AccessKeyId"], "aws_secret_access_key": key["SecretAccessKey"]}
    assert cloud.client("sts", **user).get_caller_identity()["Arn"].endswith(f":user/{name}")
    iam.delete_access_key(UserName=name, AccessKeyId=key["AccessKeyId"])
    assert refused(cloud, "sts", "get_caller_identity", {}, user) == UNKNOWN["sts"]


def test_a_call_without_credentials_is_refused(cloud: FakeCloud) -> None:
    client = boto3.client(
        "sts", region_name="us-east-1", endpoint_url=cloud.endpoint, config=Config(signature_version=UNSIGNED)
    )
    assert refusal(client.get_caller_identity)[0] == "MissingAuthenticationToken"


def test_motos_own_controls_cannot_be_reached(cloud: FakeCloud) -> None:
    request = urllib.request.Request(f"{cloud.endpoint}/moto-api/reset", method="POST")
    with pytest.raises(urllib.error.HTTPError, match="404"):
        urllib.request.urlopen(request)


@pytest.mark.parametrize(
    "headers",
    [
        {"X-Local-Key": ""},
        {"X-Local-Key": "no key"},
        {"Host": "evil.example"},
        {"Host": "127.0.0.1"},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_the_clouds_controls_are_its_owners_alone(cloud: FakeCloud, method: str, headers: dict[str, str]) -> None:
    assert cloud.running
    own = {"X-Local-Key": cloud.running.key}

    def ask(headers: dict[str, str], name: str = "status") -> int:
        request = urllib.request.Request(f"{cloud.endpoint}/_local/{name}", headers=headers, method=method)
        try:
            return int(urllib.request.urlopen(request).status)
        except urllib.error.HTTPError as error:
            return error.code

    assert ask({**own, **headers}) == 403
    assert ask({**own, **headers}, "forget") == 403
    assert ask(own) == (200 if method == "GET" else 404)


def test_the_callers_address_is_this_machines(cloud: FakeCloud) -> None:
    assert urllib.request.urlopen(f"{cloud.endpoint}/_local/caller-address").read() == b"127.0.0.1\n"


def test_a_bucket_of_another_account_can_neither_be_seen_nor_made(cloud: FakeCloud, s3: Any) -> None:
    name = f"taken-{uuid.uuid4().hex}"
    cloud.client("s3", **assume(cloud, "999999999999")).create_bucket(Bucket=name)
    assert refusal(s3.head_bucket, Bucket=name)[0] == "403"
    assert refusal(s3.create_bucket, Bucket=name)[0] == "BucketAlreadyExists"
    assert refusal(s3.put_object, Bucket=name, Key="x", Body=b"")[0] == "AccessDenied"
    assert refusal(s3.head_bucket, Bucket=f"none-{uuid.uuid4().hex}")[0] == "404"


def test_making_ones_own_bucket_again_is_taken_in_us_east_1_only(cloud: FakeCloud, s3: Any, bucket: str) -> None:
    s3.create_bucket(Bucket=bucket)
    west, name = cloud.client("s3", region_name="us-west-2"), f"west-{uuid.uuid4().hex}"
    constraint = {"LocationConstraint": "us-west-2"}
    west.create_bucket(Bucket=name, CreateBucketConfiguration=constraint)
    again = refusal(west.create_bucket, Bucket=name, CreateBucketConfiguration=constraint)
    assert again[0] == "BucketAlreadyOwnedByYou"


@pytest.mark.parametrize(
    "wrong",
    [
        {"ChecksumSHA256": base64.b64encode(hashlib.sha256(b"other").digest()).decode()},
        {"ContentMD5": base64.b64encode(hashlib.md5(b"other").digest()).decode()},
        {"ChecksumCRC32": "AAAAAA=="},
    ],
)
def test_an_object_that_does_not_match_its_checksum_is_refused(s3: Any, bucket: str, wrong: dict[str, str]) -> None:
    assert refusal(s3.put_object, Bucket=bucket, Key="x", Body=b"data", **wrong)[0] == "BadDigest"
    assert "Contents" not in s3.list_objects_v2(Bucket=bucket)


def test_an_object_that_matches_its_checksum_is_stored(s3: Any, bucket: str) -> None:
    right = base64.b64encode(hashlib.sha256(b"data").digest()).decode()
    s3.put_object(Bucket=bucket, Key="x", Body=b"data", ChecksumSHA256=right)
    assert s3.get_object(Bucket=bucket, Key="x")["Body"].read() == b"data"


def test_presigned_urls_work_until_they_expire(s3: Any, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="x", Body=b"data")
    params = {"Bucket": bucket, "Key": "x"}
    assert urllib.request.urlopen(s3.generate_presigned_url("get_object", Params=params)).read() == b"data"
    old = s3.generate_presigned_url("get_object", Params=params, ExpiresIn=-1)
    with pytest.raises(urllib.error.HTTPError, match="403"):
        urllib.request.urlopen(old)


def test_without_credentials_only_what_the_bucket_makes_public_is_read(cloud: FakeCloud, s3: Any, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="x", Body=b"data")
    for url in (f"{cloud.endpoint}/{bucket}/x", f"{cloud.endpoint}/{bucket}", f"{cloud.endpoint}/{bucket}/none"):
        with pytest.raises(urllib.error.HTTPError, match="403"):
            urllib.request.urlopen(url)
    s3.put_object_acl(Bucket=bucket, Key="x", ACL="public-read")
    assert urllib.request.urlopen(f"{cloud.endpoint}/{bucket}/x").read() == b"data"

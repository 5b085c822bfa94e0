"""The bucket: private, over TLS only, keeping what was overwritten for a while; and what is in it."""

from __future__ import annotations

import json
from functools import partial

from . import policies
from .aws import Aws, aws_errors, error_code
from .errors import CloudError
from .pieces import Found


def look(aws: Aws) -> Found:
    """What there is of the bucket and its settings."""
    there = exists(aws)
    parts = (
        (_is_private, _make_private),
        (_has_policy, _put_policy),
        (_has_lifecycle, _put_lifecycle),  # before there are versions for it to remove
        (_has_versions, _keep_versions),
    )
    with aws_errors(f"look at the bucket {aws.bucket}"):
        missing = [partial(make, aws) for has, make in parts if not (there and has(aws))]
    return Found(there, missing if there else [partial(_make_bucket, aws), *missing])


def exists(aws: Aws) -> bool:
    """Whether the bucket is there. Raises CloudError when it is somebody else's."""
    with aws_errors(f"look for the bucket {aws.bucket}"):
        try:
            aws.s3.head_bucket(Bucket=aws.bucket)
        except aws.s3.exceptions.ClientError as error:
            # HeadBucket has no body, so its codes are HTTP's.
            if error_code(error) == "404":
                return False
            if error_code(error) in ("403", "301"):
                raise _belongs_to_another(aws.bucket) from None
            raise
    return True


def _belongs_to_another(bucket: str) -> CloudError:
    return CloudError(
        f"the bucket {bucket} belongs to another account or region, or this profile may not use it",
        fix="choose another name: setting solver.bucket",
    )


def _make_bucket(aws: Aws) -> None:
    with aws_errors(f"make the bucket {aws.bucket}"):
        try:
            if aws.settings.region == "us-east-1":  # the one region that may not be named
                aws.s3.create_bucket(Bucket=aws.bucket)
            else:
                aws.s3.create_bucket(
                    Bucket=aws.bucket,
                    CreateBucketConfiguration={"LocationConstraint": aws.settings.region},  # type: ignore[typeddict-item]
                )
        except aws.s3.exceptions.BucketAlreadyExists:
            raise _belongs_to_another(aws.bucket) from None
        except aws.s3.exceptions.BucketAlreadyOwnedByYou:
            pass  # another setup was faster


PRIVATE = dict.fromkeys(("BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets"), True)


def _is_private(aws: Aws) -> bool:
    try:
        return aws.s3.get_public_access_block(Bucket=aws.bucket)["PublicAccessBlockConfiguration"] == PRIVATE
    except aws.s3.exceptions.ClientError as error:
        return _lacks(error, "NoSuchPublicAccessBlockConfiguration")


def _make_private(aws: Aws) -> None:
    with aws_errors(f"close the bucket {aws.bucket} to the public"):
        aws.s3.put_public_access_block(Bucket=aws.bucket, PublicAccessBlockConfiguration=PRIVATE)  # type: ignore[arg-type]


def _has_policy(aws: Aws) -> bool:
    """Whether the bucket has any: one that someone else wrote is left alone."""
    try:
        aws.s3.get_bucket_policy(Bucket=aws.bucket)
    except aws.s3.exceptions.ClientError as error:
        return _lacks(error, "NoSuchBucketPolicy")
    return True


def _put_policy(aws: Aws) -> None:
    with aws_errors(f"put a policy on the bucket {aws.bucket}"):
        aws.s3.put_bucket_policy(Bucket=aws.bucket, Policy=json.dumps(policies.bucket_policy(aws.bucket)))


def _has_lifecycle(aws: Aws) -> bool:
    """Whether the bucket has our rules, or any that someone else wrote: those are left alone."""
    try:
        there = aws.s3.get_bucket_lifecycle_configuration(Bucket=aws.bucket)["Rules"]
    except aws.s3.exceptions.ClientError as error:
        return _lacks(error, "NoSuchLifecycleConfiguration")
    ids = {rule.get("ID") for rule in there}
    return ids == set(policies.LIFECYCLE) or not ids <= set(policies.LIFECYCLE)


def _put_lifecycle(aws: Aws) -> None:
    with aws_errors(f"put lifecycle rules on the bucket {aws.bucket}"):
        aws.s3.put_bucket_lifecycle_configuration(
            Bucket=aws.bucket,
            LifecycleConfiguration=policies.bucket_lifecycle(),  # type: ignore[arg-type]
        )


def _has_versions(aws: Aws) -> bool:
    return aws.s3.get_bucket_versioning(Bucket=aws.bucket).get("Status") == "Enabled"


def _keep_versions(aws: Aws) -> None:
    """What a role overwrites or deletes can be had back: no role of ours may touch older versions."""
    with aws_errors(f"turn on versioning for the bucket {aws.bucket}"):
        aws.s3.put_bucket_versioning(Bucket=aws.bucket, VersioningConfiguration={"Status": "Enabled"})


def _lacks(error: Exception, code: str) -> bool:
    """False, if the error has the code by which S3 says that a bucket lacks something; raises any other error."""
    if error_code(error) != code:
        raise error
    return False

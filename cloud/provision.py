"""setup: converge the account. Each piece looks first, then makes what is missing: any run finishes the one before."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

from . import firewall, keypair, policies
from .aws import Aws, aws_errors, error_code
from .errors import CloudError

Outcome = Literal["made", "completed", "there"]


@dataclass(frozen=True)
class Piece:
    """One thing the account needs, and whether setup made it, completed it, or found it whole."""

    kind: str
    name: str
    outcome: Outcome


def role_name(aws: Aws) -> str:
    """Role and instance profile; IAM is global, the bucket in their policy is of one region."""
    return f"{aws.settings.name}-{aws.settings.region}"


def converge(aws: Aws) -> Iterator[Piece]:
    """Bring the account to what launch needs, yielding each piece as it is done.

    Nothing is made before the credentials have answered. Raises CloudError for what setup may not do or cannot mend.
    """
    settings = aws.settings
    pieces: list[tuple[str, str, Callable[[Aws], Outcome]]] = [
        ("bucket", aws.bucket, _bucket),
        ("repository", settings.repository, _repository),
        ("key pair", settings.name, keypair.converge),
        ("security group", settings.name, firewall.converge),
        ("role", role_name(aws), _role),
        ("instance profile", role_name(aws), _instance_profile),
        ("spot role", SPOT_ROLE, _spot_role),
    ]
    for kind, name, make in pieces:
        yield Piece(kind, name, make(aws))


def _bucket(aws: Aws) -> Outcome:
    bucket = aws.bucket
    made = not _bucket_exists(aws)
    if made:
        with aws_errors(f"make the bucket {bucket}"):
            try:
                if aws.settings.region == "us-east-1":  # the one region that may not be named
                    aws.s3.create_bucket(Bucket=bucket)
                else:
                    aws.s3.create_bucket(
                        Bucket=bucket,
                        CreateBucketConfiguration={"LocationConstraint": aws.settings.region},  # type: ignore[typeddict-item]
                    )
            except aws.s3.exceptions.BucketAlreadyExists:
                raise _belongs_to_another(bucket) from None
            except aws.s3.exceptions.BucketAlreadyOwnedByYou:
                made = False
    with aws_errors(f"set up the bucket {bucket}"):
        changed = [_public_access_block(aws), _bucket_policy(aws), _lifecycle(aws)]
    return "made" if made else "completed" if any(changed) else "there"


def _bucket_exists(aws: Aws) -> bool:
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


def _public_access_block(aws: Aws) -> bool:
    wanted = dict.fromkeys(("BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets"), True)
    try:
        if aws.s3.get_public_access_block(Bucket=aws.bucket)["PublicAccessBlockConfiguration"] == wanted:
            return False
    except aws.s3.exceptions.ClientError as error:
        if error_code(error) != "NoSuchPublicAccessBlockConfiguration":
            raise
    aws.s3.put_public_access_block(Bucket=aws.bucket, PublicAccessBlockConfiguration=wanted)  # type: ignore[arg-type]
    return True


def _bucket_policy(aws: Aws) -> bool:
    """Puts ours where there is none; a policy that someone else wrote is left alone."""
    try:
        aws.s3.get_bucket_policy(Bucket=aws.bucket)
    except aws.s3.exceptions.ClientError as error:
        if error_code(error) != "NoSuchBucketPolicy":
            raise
    else:
        return False
    aws.s3.put_bucket_policy(Bucket=aws.bucket, Policy=json.dumps(policies.bucket_policy(aws.bucket)))
    return True


def _lifecycle(aws: Aws) -> bool:
    """Puts ours where there is none; rules that someone else wrote are left alone."""
    try:
        aws.s3.get_bucket_lifecycle_configuration(Bucket=aws.bucket)
    except aws.s3.exceptions.ClientError as error:
        if error_code(error) != "NoSuchLifecycleConfiguration":
            raise
    else:
        return False
    aws.s3.put_bucket_lifecycle_configuration(
        Bucket=aws.bucket,
        LifecycleConfiguration=policies.bucket_lifecycle(),  # type: ignore[arg-type]
    )
    return True


def _repository(aws: Aws) -> Outcome:
    """Tags are content hashes, so one that was pushed is never pushed again: IMMUTABLE."""
    with aws_errors("make the repository"):
        try:
            aws.ecr.create_repository(repositoryName=aws.settings.repository, imageTagMutability="IMMUTABLE")
        except aws.ecr.exceptions.RepositoryAlreadyExistsException:
            return "there"
    return "made"


def _role(aws: Aws) -> Outcome:
    name = role_name(aws)
    wanted = policies.instance_policy(
        account=aws.account,
        region=aws.settings.region,
        bucket=aws.bucket,
        repository=aws.settings.repository,
        name=aws.settings.name,
    )
    made = False
    with aws_errors("make the instances' role"):
        try:
            aws.iam.get_role(RoleName=name)
        except aws.iam.exceptions.NoSuchEntityException:
            aws.iam.create_role(RoleName=name, AssumeRolePolicyDocument=json.dumps(policies.trust_policy()))
            made = True
        try:
            if aws.iam.get_role_policy(RoleName=name, PolicyName=name)["PolicyDocument"] == wanted:
                return "there"
        except aws.iam.exceptions.NoSuchEntityException:
            pass
        aws.iam.put_role_policy(RoleName=name, PolicyName=name, PolicyDocument=json.dumps(wanted))
    return "made" if made else "completed"


def _instance_profile(aws: Aws) -> Outcome:
    name = role_name(aws)
    made = False
    with aws_errors("make the instance profile"):
        try:
            profile = aws.iam.get_instance_profile(InstanceProfileName=name)["InstanceProfile"]
        except aws.iam.exceptions.NoSuchEntityException:
            profile = aws.iam.create_instance_profile(InstanceProfileName=name)["InstanceProfile"]
            made = True
        if any(role["RoleName"] == name for role in profile["Roles"]):
            return "there"
        aws.iam.add_role_to_instance_profile(InstanceProfileName=name, RoleName=name)
        aws.iam.get_waiter("instance_profile_exists").wait(InstanceProfileName=name)
    return "made" if made else "completed"


SPOT_ROLE = "AWSServiceRoleForEC2Spot"
"""Spot requests by API need it, and only the console makes it by itself:
https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/service-linked-roles-spot-instance-requests.html"""


def _spot_role(aws: Aws) -> Outcome:
    with aws_errors("make the spot service's role"):
        try:
            aws.iam.create_service_linked_role(AWSServiceName="spot.amazonaws.com")
        except aws.iam.exceptions.ClientError as error:
            # IAM answers InvalidInput, "… has been taken in this account"; nothing else about this call can be invalid.
            if error_code(error) not in ("InvalidInput", "EntityAlreadyExists"):
                raise
            return "there"
    return "made"

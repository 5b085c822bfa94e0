"""setup: converge the account. All is looked at, then what is missing is made: any run finishes the one before."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

from . import bucket, firewall, keypair, policies
from .aws import Aws, aws_errors, error_code
from .pieces import Found, Outcome


@dataclass(frozen=True)
class Piece:
    """One thing the account needs, and whether setup made it, completed it, or found it whole."""

    kind: str
    name: str
    outcome: Outcome


def role_name(aws: Aws) -> str:
    """Role and instance profile; IAM is global, the bucket in their policy is of one region."""
    return f"{aws.settings.name}-{aws.settings.region}"


def converge(aws: Aws, *, dry_run: bool = False) -> Iterator[Piece]:
    """Bring the account to what launch needs, yielding each piece as it is done.

    dry_run: make nothing, and yield what would be made.
    Nothing is made before all has been looked at; what another setup makes meanwhile will do as well.
    Raises CloudError for what setup may not do or cannot mend.
    """
    settings = aws.settings
    pieces: list[tuple[str, str, Callable[[Aws], Found]]] = [
        ("bucket", aws.bucket, bucket.look),
        ("repository", settings.repository, _repository),
        ("key pair", settings.name, keypair.look),
        ("security group", settings.name, firewall.look),
        ("role", role_name(aws), _role),
        ("instance profile", role_name(aws), _instance_profile),
        ("spot role", SPOT_ROLE, _spot_role),
    ]
    for kind, name, found in [(kind, name, look(aws)) for kind, name, look in pieces]:
        for make in () if dry_run else found.missing:
            make()
        yield Piece(kind, name, found.outcome(dry_run=dry_run))


def _repository(aws: Aws) -> Found:
    exists = repository_exists(aws)
    return Found(exists, [] if exists else [partial(_make_repository, aws)])


def repository_exists(aws: Aws) -> bool:
    """Whether the repository is there."""
    with aws_errors("look for the repository"):
        try:
            aws.ecr.describe_repositories(repositoryNames=[aws.settings.repository])
        except aws.ecr.exceptions.RepositoryNotFoundException:
            return False
    return True


def _make_repository(aws: Aws) -> None:
    """Tags are content hashes, so one that was pushed is never pushed again: IMMUTABLE."""
    with aws_errors("make the repository"), suppress(aws.ecr.exceptions.RepositoryAlreadyExistsException):
        aws.ecr.create_repository(repositoryName=aws.settings.repository, imageTagMutability="IMMUTABLE")


def _role(aws: Aws) -> Found:
    name = role_name(aws)
    wanted = policies.instance_policy(
        account=aws.account,
        region=aws.settings.region,
        bucket=aws.bucket,
        repository=aws.settings.repository,
        name=aws.settings.name,
    )
    exists, policy = role_exists(aws), None
    with aws_errors("look at the instances' role"), suppress(aws.iam.exceptions.NoSuchEntityException):
        policy = aws.iam.get_role_policy(RoleName=name, PolicyName=name)["PolicyDocument"]
    make, allow = partial(_make_role, aws), partial(_put_role_policy, aws, json.dumps(wanted))
    return Found(exists, [*([] if exists else [make]), *([] if policy == wanted else [allow])])


def role_exists(aws: Aws) -> bool:
    """Whether the instances' role is there."""
    with aws_errors("look for the instances' role"):
        try:
            aws.iam.get_role(RoleName=role_name(aws))
        except aws.iam.exceptions.NoSuchEntityException:
            return False
    return True


def _make_role(aws: Aws) -> None:
    trust = json.dumps(policies.trust_policy())
    with aws_errors("make the instances' role"), suppress(aws.iam.exceptions.EntityAlreadyExistsException):
        aws.iam.create_role(RoleName=role_name(aws), AssumeRolePolicyDocument=trust)


def _put_role_policy(aws: Aws, policy: str) -> None:
    with aws_errors("say what the instances may do"):
        aws.iam.put_role_policy(RoleName=role_name(aws), PolicyName=role_name(aws), PolicyDocument=policy)


def _instance_profile(aws: Aws) -> Found:
    roles = profile_roles(aws)
    if roles is None:
        return Found(False, [partial(_make_profile, aws), partial(_put_role_into_profile, aws)])
    return Found(True, [] if role_name(aws) in roles else [partial(_put_role_into_profile, aws)])


def profile_roles(aws: Aws) -> list[str] | None:
    """Names of the roles in the instance profile; None when there is no profile."""
    with aws_errors("look for the instance profile"):
        try:
            profile = aws.iam.get_instance_profile(InstanceProfileName=role_name(aws))["InstanceProfile"]
        except aws.iam.exceptions.NoSuchEntityException:
            return None
    return [role["RoleName"] for role in profile["Roles"]]


def _make_profile(aws: Aws) -> None:
    with aws_errors("make the instance profile"), suppress(aws.iam.exceptions.EntityAlreadyExistsException):
        aws.iam.create_instance_profile(InstanceProfileName=role_name(aws))


def _put_role_into_profile(aws: Aws) -> None:
    name = role_name(aws)
    with aws_errors("put the role into the instance profile"):
        aws.iam.add_role_to_instance_profile(InstanceProfileName=name, RoleName=name)
        aws.iam.get_waiter("instance_profile_exists").wait(InstanceProfileName=name)


SPOT_ROLE = "AWSServiceRoleForEC2Spot"
"""Spot requests by API need it, and only the console makes it by itself:
https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/service-linked-roles-spot-instance-requests.html"""


def _spot_role(aws: Aws) -> Found:
    with aws_errors("look for the spot service's role"):
        try:
            aws.iam.get_role(RoleName=SPOT_ROLE)
        except aws.iam.exceptions.NoSuchEntityException:
            return Found(False, [partial(_make_spot_role, aws)])
    return Found(True)


def _make_spot_role(aws: Aws) -> None:
    with aws_errors("make the spot service's role"):
        try:
            aws.iam.create_service_linked_role(AWSServiceName="spot.amazonaws.com")
        except aws.iam.exceptions.ClientError as error:
            # IAM answers InvalidInput, "… has been taken in this account"; nothing else about this call can be invalid.
            if error_code(error) not in ("InvalidInput", "EntityAlreadyExists"):
                raise

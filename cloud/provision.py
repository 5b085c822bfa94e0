"""setup: converge the account. All is looked at, then what is missing is made: any run finishes the one before."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

from . import bucket, firewall, keypair, older, policies, roles
from .aws import Aws, aws_errors, instances
from .errors import CloudError
from .jobs import GONE
from .pieces import Found, Outcome
from .roles import Role


@dataclass(frozen=True)
class Piece:
    """One thing the account needs, and whether setup made it, completed it, or found it whole."""

    kind: str
    name: str
    outcome: Outcome


def role_name(aws: Aws) -> str:
    """Role and instance profile; IAM is global, the bucket in their policy is of one region."""
    return f"{aws.settings.name}-{aws.settings.region}"


def job_role(aws: Aws) -> str:
    """The role that an instance takes for its own job, to reach S3."""
    return f"{role_name(aws)}-job"


def role_arn(aws: Aws, name: str) -> str:
    """The ARN of a role of this account."""
    return f"arn:aws:iam::{aws.account}:role/{name}"


def converge(aws: Aws, *, dry_run: bool = False) -> Iterator[Piece]:
    """Bring the account to what launch needs, yielding each piece as it is done.

    dry_run: make nothing, and yield what would be made.
    Nothing is made before all has been looked at; what another setup makes meanwhile will do as well.
    Raises CloudError for what setup may not do or cannot mend.
    """
    return made(aws, _pieces(aws), dry_run=dry_run)


Look = tuple[str, str, Callable[[Aws], Found]]
"""A kind of piece, its name, and how to look at it."""


def _pieces(aws: Aws) -> list[Look]:
    settings = aws.settings
    return [
        ("bucket", aws.bucket, bucket.look),
        ("registry", "asked/", older.look),
        ("repository", settings.repository, _repository),
        ("key pair", settings.name, keypair.look),
        ("security group", settings.name, firewall.look),
        ("role", role_name(aws), _role),
        ("jobs' role", job_role(aws), _job_role),
        ("instance profile", role_name(aws), _instance_profile),
        ("spot role", SPOT_ROLE, _spot_role),
    ]


def made(aws: Aws, pieces: Iterable[Look], *, dry_run: bool) -> Iterator[Piece]:
    """Look at all of these pieces, then make what is missing of them, one after the other."""
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
    allowed = policies.instance_policy(
        account=aws.account,
        region=aws.settings.region,
        repository=aws.settings.repository,
        name=aws.settings.name,
        job_role=role_arn(aws, job_role(aws)),
    )
    found = roles.look(aws, Role(role_name(aws), policies.trust_policy("ec2.amazonaws.com"), allowed))
    if found.missing:
        _check_no_older_job_lives(aws)
    return found


def _check_no_older_job_lives(aws: Aws) -> None:
    """Instances of a version before the jobs' role reach S3 by the role itself: without that, their output is lost."""
    if '"s3:' not in json.dumps(roles.own_policy(aws, role_name(aws))):
        return
    with aws_errors("look for jobs"):
        living = [
            one["InstanceId"]
            for one in instances(aws, [{"Name": f"tag:{policies.OURS}", "Values": [aws.settings.name]}])
            if one["State"]["Name"] not in GONE
        ]
    if living:
        raise CloudError(
            f"not while a job of an older version runs, which would lose its access to S3: {', '.join(living)}",
            fix=f"`inv wait` or `inv terminate` {living[0]}, then run `inv setup` again",
        )


def _job_role(aws: Aws) -> Found:
    trust = policies.job_trust(instance_role=role_arn(aws, role_name(aws)))
    return roles.look(aws, Role(job_role(aws), trust, policies.job_policy(bucket=aws.bucket)))


def _instance_profile(aws: Aws) -> Found:
    return roles.look_at_profile(aws, role_name(aws))


SPOT_ROLE = "AWSServiceRoleForEC2Spot"
"""Spot requests by API need it, and only the console makes it by itself:
https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/service-linked-roles-spot-instance-requests.html"""


def _spot_role(aws: Aws) -> Found:
    return roles.look_at_linked(aws, SPOT_ROLE, "spot.amazonaws.com")

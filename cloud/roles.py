"""IAM roles, instance profiles and the roles that AWS's own services want: what there is of them, made, and removed."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

from .aws import Aws, aws_errors, error_code
from .pieces import Found
from .policies import Policy


@dataclass(frozen=True)
class Role:
    """A role as it is to be; its instance profile, if it has one, has its name."""

    name: str
    trust: Policy
    policy: Policy | None = None
    """Its own policy, of its name."""
    managed: str = ""
    """The ARN of a policy of AWS's that it has instead."""


def look(aws: Aws, role: Role) -> Found:
    """What there is of a role and its policies."""
    trust, policy, attached = _trust(aws, role.name), None, False
    with aws_errors(f"look at the role {role.name}"), suppress(aws.iam.exceptions.NoSuchEntityException):
        if role.policy:
            policy = own_policy(aws, role.name)
        if role.managed:
            attached = role.managed in _attached(aws, role.name)
    missing: list[Callable[[], object]] = []
    if trust is None:
        missing.append(partial(_make, aws, role))
    elif trust != role.trust:
        missing.append(partial(_put_trust, aws, role))
    if role.policy != policy:
        missing.append(partial(_put_policy, aws, role.name, json.dumps(role.policy)))
    if role.managed and not attached:
        missing.append(partial(_attach, aws, role))
    return Found(trust is not None, missing)


def exists(aws: Aws, name: str) -> bool:
    """Whether a role is there."""
    return _trust(aws, name) is not None


def _trust(aws: Aws, name: str) -> Policy | None:
    """Who may take a role; None for one that is not there."""
    with aws_errors(f"look for the role {name}"):
        try:
            return _document(aws.iam.get_role(RoleName=name)["Role"]["AssumeRolePolicyDocument"])
        except aws.iam.exceptions.NoSuchEntityException:
            return None


def own_policy(aws: Aws, name: str) -> Policy | None:
    """What a role may do by the policy of its name; None where there is none."""
    with aws_errors(f"look at the role {name}"):
        try:
            return _document(aws.iam.get_role_policy(RoleName=name, PolicyName=name)["PolicyDocument"])
        except aws.iam.exceptions.NoSuchEntityException:
            return None


def _document(policy: object) -> Policy:
    """boto3 decodes IAM's documents; its types do not say so."""
    return policy if isinstance(policy, dict) else {}


def _attached(aws: Aws, name: str) -> list[str]:
    found = aws.iam.list_attached_role_policies(RoleName=name)["AttachedPolicies"]
    return [one["PolicyArn"] for one in found]


def _make(aws: Aws, role: Role) -> None:
    with aws_errors(f"make the role {role.name}"), suppress(aws.iam.exceptions.EntityAlreadyExistsException):
        _trusting(aws, aws.iam.create_role, RoleName=role.name, AssumeRolePolicyDocument=json.dumps(role.trust))


def _put_trust(aws: Aws, role: Role) -> None:
    with aws_errors(f"say who may take the role {role.name}"):
        _trusting(aws, aws.iam.update_assume_role_policy, RoleName=role.name, PolicyDocument=json.dumps(role.trust))


PATIENCE = (1, 2, 3, 5, 8, 13)
"""Seconds between the tries of a call that names a role that has just been made."""


def _trusting(aws: Aws, call: Callable[..., object], **arguments: str) -> None:
    """Make a call that names roles as principals; IAM may not know a new one everywhere for some seconds.

    https://docs.aws.amazon.com/IAM/latest/UserGuide/troubleshoot_general.html#troubleshoot_general_eventual-consistency
    """
    for seconds in PATIENCE:
        try:
            call(**arguments)
            return
        except aws.iam.exceptions.MalformedPolicyDocumentException as error:
            if "principal" not in str(error).lower():
                raise
            time.sleep(seconds)
    call(**arguments)


def _put_policy(aws: Aws, name: str, policy: str) -> None:
    with aws_errors(f"say what the role {name} may do"):
        aws.iam.put_role_policy(RoleName=name, PolicyName=name, PolicyDocument=policy)


def _attach(aws: Aws, role: Role) -> None:
    with aws_errors(f"say what the role {role.name} may do"):
        aws.iam.attach_role_policy(RoleName=role.name, PolicyArn=role.managed)


def remains(aws: Aws, name: str) -> Sequence[Callable[[], object]]:
    """What removes a role, step by step; nothing if there is none.

    IAM refuses it to a role with policies that others have put on it, and says so.
    """
    if not exists(aws, name):
        return ()
    with aws_errors(f"look at the role {name}"):
        attached = [partial(_detach, aws, name, arn) for arn in _attached(aws, name) if ":aws:policy/" in arn]
    return [partial(_delete_policy, aws, name), *attached, partial(_delete, aws, name)]


def _delete_policy(aws: Aws, name: str) -> None:
    with aws_errors(f"delete the policy of the role {name}"), suppress(aws.iam.exceptions.NoSuchEntityException):
        aws.iam.delete_role_policy(RoleName=name, PolicyName=name)


def _detach(aws: Aws, name: str, policy: str) -> None:
    with aws_errors(f"take a policy from the role {name}"), suppress(aws.iam.exceptions.NoSuchEntityException):
        aws.iam.detach_role_policy(RoleName=name, PolicyArn=policy)


def _delete(aws: Aws, name: str) -> None:
    with aws_errors(f"delete the role {name}"):
        aws.iam.delete_role(RoleName=name)


def look_at_profile(aws: Aws, name: str) -> Found:
    """What there is of the instance profile that hands the role of its name to instances."""
    roles = profile_roles(aws, name)
    if roles is None:
        return Found(False, [partial(_make_profile, aws, name), partial(_put_role_into_profile, aws, name)])
    return Found(True, [] if name in roles else [partial(_put_role_into_profile, aws, name)])


def profile_roles(aws: Aws, name: str) -> list[str] | None:
    """Names of the roles in an instance profile; None when there is no profile."""
    with aws_errors("look for the instance profile"):
        try:
            profile = aws.iam.get_instance_profile(InstanceProfileName=name)["InstanceProfile"]
        except aws.iam.exceptions.NoSuchEntityException:
            return None
    return [role["RoleName"] for role in profile["Roles"]]


def _make_profile(aws: Aws, name: str) -> None:
    with aws_errors("make the instance profile"), suppress(aws.iam.exceptions.EntityAlreadyExistsException):
        aws.iam.create_instance_profile(InstanceProfileName=name)


def _put_role_into_profile(aws: Aws, name: str) -> None:
    with aws_errors("put the role into the instance profile"):
        aws.iam.add_role_to_instance_profile(InstanceProfileName=name, RoleName=name)
        aws.iam.get_waiter("instance_profile_exists").wait(InstanceProfileName=name)


def profile_remains(aws: Aws, name: str) -> Sequence[Callable[[], object]]:
    """What removes an instance profile, step by step; nothing if there is none."""
    roles = profile_roles(aws, name)
    if roles is None:
        return ()
    return [*(partial(_take_role_out, aws, name, role) for role in roles), partial(_delete_profile, aws, name)]


def _take_role_out(aws: Aws, profile: str, role: str) -> None:
    with aws_errors("take the role out of the instance profile"):
        aws.iam.remove_role_from_instance_profile(InstanceProfileName=profile, RoleName=role)


def _delete_profile(aws: Aws, name: str) -> None:
    with aws_errors("delete the instance profile"):
        aws.iam.delete_instance_profile(InstanceProfileName=name)


def look_at_linked(aws: Aws, name: str, service: str) -> Found:
    """What there is of a role that belongs to a service of AWS, such as spot.amazonaws.com."""
    return Found(True) if exists(aws, name) else Found(False, [partial(_make_linked, aws, name, service)])


def _make_linked(aws: Aws, name: str, service: str) -> None:
    with aws_errors(f"make the role {name}"):
        try:
            aws.iam.create_service_linked_role(AWSServiceName=service)
        except aws.iam.exceptions.ClientError as error:
            # IAM answers InvalidInput, "… has been taken in this account"; nothing else about this call can be invalid.
            if error_code(error) not in ("InvalidInput", "EntityAlreadyExists"):
                raise

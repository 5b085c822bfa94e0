"""Whether a role's session may do what it asks for: by its role's policies, and the trust of a role that it takes.

Users, and whoever runs the cloud, are not looked at. What a scenario denies besides: authorization.py.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any
from urllib.parse import unquote

from moto.core import DEFAULT_ACCOUNT_ID
from moto.iam.models import iam_backends

from . import authorization, s3_permissions
from .policy_language import Request, allowed, context
from .protocol import Environ, Refusal, asked_of_ec2, asked_of_json, form

Policies = Sequence[dict[str, Any]]
FREE = {"sts:GetCallerIdentity", "sts:DecodeAuthorizationMessage"}
"""Of these the first needs no permission, and nobody but our own tests has the second's messages."""


def check(environ: Environ, access_key: str, service: str, region: str) -> Refusal | None:
    """Why a request of a session of the owner's roles is refused; None when it may pass, or when it is none."""
    session = authorization.role_session(access_key)
    if session is None or session.account_id != DEFAULT_ACCOUNT_ID:  # what other accounts allow is theirs to say
        return None
    policies, known = _policies(session.role_arn), _known(session)
    can = partial(_can, policies, known)
    match service:
        case "s3":
            wanted = s3_permissions.asked(environ)
        case "ec2":
            wanted = asked_of_ec2(form(environ), region)
        case "sts":
            wanted = _asked_of_sts(form(environ))
        case _:
            wanted = asked_of_json(environ, service, region)
    for request in wanted:
        request = Request(request.action, request.resource, {**request.context, **known})
        if request.action in FREE:
            continue
        trusted = service != "sts" or _trusted(session, request)
        if not (can(request) and trusted):
            return _refusal(service, authorization.principal(access_key, region), request)
    if service == "s3" and s3_permissions.reveals_absence(environ, can):
        return s3_permissions.refusal(wanted[0], authorization.principal(access_key, region))
    return None


def _can(policies: Policies, known: dict[str, Any], request: Request) -> bool:
    return allowed(policies, Request(request.action, request.resource, {**request.context, **known}))


def _policies(role_arn: str) -> Policies:
    """Those of a role, its own and those attached; none for a role that there is none of."""
    role = _role(role_arn)
    if role is None:
        return []
    own = [_document(text) for text in role.policies.values()]
    return own + [_document(policy.default_version.document) for policy in role.managed_policies.values()]


def _role(role_arn: str) -> Any:
    roles = iam_backends[DEFAULT_ACCOUNT_ID]["aws"].roles.values()
    return next((role for role in roles if role.arn == role_arn), None)


def _document(policy: Any) -> dict[str, Any]:
    if isinstance(policy, dict):
        return policy
    return dict(json.loads(policy if policy.lstrip().startswith("{") else unquote(policy)))


def _known(session: Any) -> dict[str, Any]:
    """What is known of who asks: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_condition-keys.html

    user_id is ROLE-ID:SESSION-NAME, which for an instance is ROLE-ID:INSTANCE-ID.
    """
    tags = getattr(session, "tags", {})
    return context(
        **{
            "aws:userid": session.user_id,
            "aws:PrincipalArn": session.role_arn,
            "aws:PrincipalAccount": session.account_id,
            "aws:SecureTransport": "true",  # loopback, where nobody listens in
            "ec2:SourceInstanceARN": getattr(session, "source_instance", None),
            **{f"aws:PrincipalTag/{key}": value for key, value in tags.items()},
        }
    )


def _asked_of_sts(asked: dict[str, str]) -> list[Request]:
    tags = session_tags(asked)
    known = context(
        **{
            "aws:TagKeys": tuple(tags) or None,
            **{f"aws:RequestTag/{key}": value for key, value in tags.items()},
            "sts:ExternalId": asked.get("ExternalId"),
        }
    )
    action, resource = asked.get("Action", ""), asked.get("RoleArn", "*")
    return [
        Request(f"sts:{one}", resource, known)
        for one in (action, *(("TagSession",) if tags and action == "AssumeRole" else ()))
    ]


def session_tags(asked: dict[str, str]) -> dict[str, str]:
    """The tags that AssumeRole asks for: https://docs.aws.amazon.com/IAM/latest/UserGuide/id_session-tags.html"""

    def pairs() -> Iterator[tuple[str, str]]:
        number = 1
        while (key := asked.get(f"Tags.member.{number}.Key")) is not None:
            yield key, asked.get(f"Tags.member.{number}.Value", "")
            number += 1

    return dict(pairs())


def _trusted(session: Any, request: Request) -> bool:
    """Whether the role that is to be taken trusts this session's role. AWS lets a role of the same account that is
    named there do without a policy of its own; here it needs both, which is what AWS recommends."""
    role = _role(request.resource)
    if role is None:
        return False
    return allowed([_document(role.assume_role_policy_document)], request, principal=session.role_arn)


def _refusal(service: str, who: str, request: Request) -> Refusal:
    if service == "s3":
        return s3_permissions.refusal(request, who)
    code, status = (
        ("AccessDenied", "403 Forbidden") if service in ("sts", "iam") else ("AccessDeniedException", "400 Bad Request")
    )
    if service == "ec2":
        return Refusal(
            "ec2", "403 Forbidden", "UnauthorizedOperation", authorization.denial(who, request.action, request.resource)
        )
    return Refusal(
        service, status, code, authorization.sentence(who, request.action, f" on resource: {request.resource}")
    )

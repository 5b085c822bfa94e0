"""IAM's policy language, by what its documentation says."""

from __future__ import annotations

from typing import Any

import pytest

from localcloud.policy_language import Request, allowed, context

GET = Request("s3:GetObject", "arn:aws:s3:::models/jobs/i-0a/output/x")


def policy(**changes: Any) -> dict[str, Any]:
    statement = {"Effect": "Allow", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::models/*", **changes}
    return {"Version": "2012-10-17", "Statement": [{key: one for key, one in statement.items() if one is not None}]}


def holds(condition: dict[str, Any], **known: Any) -> bool:
    known = {key.replace("__", ":"): value for key, value in known.items()}
    return allowed([policy(Condition=condition)], Request(GET.action, GET.resource, context(**known)))


def test_what_no_statement_allows_is_denied_and_a_denial_wins() -> None:
    """https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_evaluation-logic.html"""
    assert not allowed([], GET)
    assert allowed([policy()], GET)
    assert not allowed([policy(), policy(Effect="Deny")], GET)
    assert allowed([policy(), policy(Effect="Deny", Action="s3:PutObject")], GET)


@pytest.mark.parametrize(
    ("changes", "right"),
    [
        ({"Action": "s3:*"}, True),
        ({"Action": "S3:getobject"}, True),
        ({"Action": ["s3:Put*", "s3:Get?bject"]}, True),
        ({"Action": "s3:GetObjectVersion"}, False),
        ({"Action": None, "NotAction": "s3:Put*"}, True),
        ({"Action": None, "NotAction": "s3:Get*"}, False),
        ({"Resource": "*"}, True),
        ({"Resource": "arn:aws:s3:::models/jobs/i-0a"}, False),
        ({"Resource": ["arn:aws:s3:::other/*", "arn:aws:s3:::models/jobs/*/output/*"]}, True),
        ({"Resource": "arn:aws:s3:::MODELS/*"}, False),
        ({"Resource": None, "NotResource": "arn:aws:s3:::models/jobs/*"}, False),
        ({"Resource": None, "NotResource": "arn:aws:s3:::models/asked/*"}, True),
    ],
)
def test_actions_and_resources(changes: dict[str, Any], right: bool) -> None:
    assert allowed([policy(**changes)], GET) is right


@pytest.mark.parametrize(
    ("resource", "tag", "right"),
    [
        ("arn:aws:s3:::models/jobs/${aws:PrincipalTag/job}/*", "i-0a", True),
        ("arn:aws:s3:::models/jobs/${aws:PrincipalTag/job}/*", "i-0b", False),
        ("arn:aws:s3:::models/jobs/${aws:PrincipalTag/job}/*", "*", False),  # a value has no wildcards
        ("arn:aws:s3:::models/jobs/${aws:PrincipalTag/job}/*", None, False),
        ("arn:aws:s3:::models/jobs/${aws:PrincipalTag/job, 'i-0a'}/*", None, True),
        ("arn:aws:s3:::models/jobs/${*}/*", "i-0a", False),
    ],
)
def test_variables_of_resources(resource: str, tag: str | None, right: bool) -> None:
    known = context(**{"aws:PrincipalTag/job": tag})
    assert allowed([policy(Resource=resource)], Request(GET.action, GET.resource, known)) is right


def test_a_denial_with_a_missing_variable_denies_nothing() -> None:
    """The whole statement is left out:
    https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_variables.html#policy-vars-no-value"""
    denial = policy(Effect="Deny", Condition={"StringNotEquals": {"aws:PrincipalTag/job": "${aws:RequestTag/job}"}})
    assert allowed([policy(), denial], GET)


ROLE = "arn:aws:ec2:eu-west-1:1:instance/i-0a"


@pytest.mark.parametrize(
    ("condition", "known", "right"),
    [
        ({"StringEquals": {"s3:prefix": ["a", "b"]}}, {"s3__prefix": "b"}, True),
        ({"StringEquals": {"s3:prefix": "*"}}, {"s3__prefix": "b"}, False),
        ({"StringEquals": {"S3:PREFIX": "b"}}, {"s3__prefix": "b"}, True),
        ({"StringEquals": {"s3:prefix": "b"}}, {}, False),
        ({"StringEqualsIfExists": {"s3:prefix": "b"}}, {}, True),
        ({"StringNotEquals": {"s3:prefix": ["a", "b"]}}, {"s3__prefix": "b"}, False),
        ({"StringNotEquals": {"s3:prefix": "b"}}, {}, True),
        ({"StringLike": {"s3:prefix": "jobs/*/"}}, {"s3__prefix": "jobs/i-0a/"}, True),
        ({"StringLike": {"s3:prefix": "jobs/?"}}, {"s3__prefix": "jobs/"}, False),
        ({"StringLike": {"aws:userid": "*:${aws:RequestTag/job}"}}, {"aws__userid": "AROA:i-0a"}, False),
        ({"Bool": {"aws:SecureTransport": "false"}}, {"aws__SecureTransport": "false"}, True),
        ({"Bool": {"aws:SecureTransport": False}}, {"aws__SecureTransport": "true"}, False),
        ({"Null": {"s3:prefix": "true"}}, {}, True),
        ({"Null": {"s3:prefix": True}}, {"s3__prefix": "x"}, False),
        ({"Null": {"s3:prefix": "false"}}, {"s3__prefix": "x"}, True),
        ({"ArnLike": {"ec2:SourceInstanceARN": "arn:aws:ec2:*:1:instance/*"}}, {"ec2__SourceInstanceARN": ROLE}, True),
        ({"ArnEquals": {"ec2:SourceInstanceARN": "arn:*:instance/i-0a"}}, {"ec2__SourceInstanceARN": ROLE}, False),
        (
            {"ArnLike": {"ec2:SourceInstanceARN": "arn:aws:ec2:eu-west-1:1:instance/${ec2:InstanceId}"}},
            {"ec2__SourceInstanceARN": ROLE, "ec2__InstanceID": "i-0a"},
            True,
        ),
        (
            {"ArnLike": {"ec2:SourceInstanceARN": "arn:aws:ec2:eu-west-1:1:instance/${ec2:InstanceId}"}},
            {"ec2__SourceInstanceARN": ROLE, "ec2__InstanceID": "i-0b"},
            False,
        ),
        ({"ForAllValues:StringEquals": {"aws:TagKeys": ["a", "b"]}}, {"aws__TagKeys": ["a", "b"]}, True),
        ({"ForAllValues:StringEquals": {"aws:TagKeys": ["a"]}}, {"aws__TagKeys": ["a", "b"]}, False),
        ({"ForAllValues:StringEquals": {"aws:TagKeys": ["a"]}}, {}, True),
        ({"ForAnyValue:StringEquals": {"aws:TagKeys": ["a"]}}, {"aws__TagKeys": ["a", "b"]}, True),
        ({"ForAnyValue:StringEquals": {"aws:TagKeys": ["a"]}}, {}, False),
        ({"StringEquals": {"a:a": "1"}, "StringLike": {"a:b": "2"}}, {"a__a": "1", "a__b": "3"}, False),
    ],
)
def test_conditions(condition: dict[str, Any], known: dict[str, Any], right: bool) -> None:
    """https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_condition_operators.html"""
    assert holds(condition, **known) is right


def test_an_operator_that_is_not_known_is_no_guess() -> None:
    with pytest.raises(NotImplementedError, match="DateLessThan"):
        holds({"DateLessThan": {"aws:CurrentTime": "2026-01-01T00:00:00Z"}}, aws__CurrentTime="2026-01-02T00:00:00Z")


def test_a_trust_policy_names_its_principals() -> None:
    trust = policy(Action="sts:AssumeRole", Resource=None, Principal={"AWS": "arn:aws:iam::1:role/instance"})
    asked = Request("sts:AssumeRole", "arn:aws:iam::1:role/job")
    assert allowed([trust], asked, principal="arn:aws:iam::1:role/instance")
    assert not allowed([trust], asked, principal="arn:aws:iam::1:role/other")
    service = policy(Action="sts:AssumeRole", Resource=None, Principal={"Service": "ec2.amazonaws.com"})
    assert not allowed([service], asked, principal="arn:aws:iam::1:role/instance")

"""The policies, to the letter where it matters; what they mean is in tests/test_what_roles_may_do.py."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from cloud import policies

ACCOUNT = "arn:aws:ec2:eu-west-1:123456789012"
INSTANCE = policies.instance_policy(
    account="123456789012",
    region="eu-west-1",
    repository="trainer",
    name="solver-cloud",
    job_role="arn:aws:iam::123456789012:role/solver-cloud-eu-west-1-job",
)
JOB = policies.job_policy(bucket="models")
CHILD = policies.child_policy(bucket="models")


def allowed(policy: policies.Policy) -> Iterator[tuple[str, Any]]:
    for statement in policy["Statement"]:
        assert statement["Effect"] == "Allow"
        actions, resources = statement["Action"], statement["Resource"]
        for action in [actions] if isinstance(actions, str) else actions:
            for resource in [resources] if isinstance(resources, str) else resources:
                yield action, resource.removeprefix("arn:aws:s3:::models/")


def test_an_instance_can_do_these_things_and_no_others() -> None:
    repository = "arn:aws:ecr:eu-west-1:123456789012:repository/trainer"
    role = "arn:aws:iam::123456789012:role/solver-cloud-eu-west-1-job"
    assert set(allowed(INSTANCE)) == {
        ("sts:AssumeRole", role),
        ("sts:TagSession", role),
        ("ecr:GetAuthorizationToken", "*"),
        ("ecr:BatchCheckLayerAvailability", repository),
        ("ecr:BatchGetImage", repository),
        ("ecr:GetDownloadUrlForLayer", repository),
        ("ec2:DescribeInstances", "*"),
        ("ec2:DescribeSpotInstanceRequests", "*"),
        ("ec2:DescribeSpotPriceHistory", "*"),
        ("ec2:CreateTags", f"{ACCOUNT}:instance/*"),
        ("ec2:TerminateInstances", f"{ACCOUNT}:instance/*"),
        ("ec2:CancelSpotInstanceRequests", f"{ACCOUNT}:spot-instances-request/*"),
    }


def test_a_job_reaches_these_objects_and_no_others() -> None:
    own = "jobs/${aws:PrincipalTag/job}/*"
    assert set(allowed(JOB)) == {
        *((action, own) for action in policies.KEEP),
        ("s3:GetObject", "configs/*"),
        ("s3:GetObject", "jobs/*/output/*"),
        ("s3:GetObject", "jobs/*/logs/tree.json"),
        ("s3:ListBucket", "arn:aws:s3:::models"),
    }


def test_a_child_reaches_these_objects_and_no_others() -> None:
    assert set(allowed(CHILD)) == {
        *((action, "sweeps/*") for action in policies.KEEP),
        ("s3:GetObject", "configs/*"),
        ("s3:GetObject", "runners/*"),
        ("s3:ListBucket", "arn:aws:s3:::models"),
        ("ec2:DescribeSpotPriceHistory", "*"),
    }


def test_no_role_touches_older_versions() -> None:
    assert not [action for policy in (INSTANCE, JOB, CHILD) for action, _ in allowed(policy) if "Version" in action]


def test_only_the_instance_itself_can_be_tagged_or_ended() -> None:
    conditions = {statement["Sid"]: statement.get("Condition", {}) for statement in INSTANCE["Statement"]}
    profile = "arn:aws:iam::123456789012:instance-profile/solver-cloud-eu-west-1"
    for statement in ("TagItself", "EndItself"):
        assert conditions[statement]["ArnEquals"] == {"ec2:InstanceProfile": profile}
        assert conditions[statement]["ArnLike"] == {"ec2:SourceInstanceARN": f"{ACCOUNT}:instance/${{ec2:InstanceID}}"}
    tags = conditions["TagItself"]["ForAllValues:StringEquals"]["aws:TagKeys"]
    assert "solver:cloud" not in tags  # or an instance could make others "ours"
    assert "solver:launch" not in tags  # or it could pose as the owner of another launch
    assert conditions["CancelOurs"] == {"StringEquals": {"aws:ResourceTag/solver:cloud": "solver-cloud"}}


def test_the_bucket_refuses_what_is_not_tls() -> None:
    (statement,) = policies.bucket_policy("models")["Statement"]
    assert statement["Effect"] == "Deny"
    assert statement["Principal"] == "*"
    assert statement["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}
    assert statement["Resource"] == ["arn:aws:s3:::models", "arn:aws:s3:::models/*"]

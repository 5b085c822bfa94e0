"""The policies, to the letter where it matters: what an instance can do, and above all what it cannot."""

from __future__ import annotations

from cloud import policies

POLICY = policies.instance_policy(
    account="123456789012", region="eu-west-1", bucket="models", repository="trainer", name="solver-cloud"
)


def test_an_instance_can_do_these_things_and_no_others() -> None:
    allowed = {
        action: statement["Resource"]
        for statement in POLICY["Statement"]
        for action in ([statement["Action"]] if isinstance(statement["Action"], str) else statement["Action"])
    }
    instances = "arn:aws:ec2:eu-west-1:123456789012:instance/*"
    jobs = ["arn:aws:s3:::models/jobs/*", "arn:aws:s3:::models/launches/*"]
    repository = "arn:aws:ecr:eu-west-1:123456789012:repository/trainer"
    assert allowed == {
        "s3:GetObject": jobs,
        "s3:PutObject": jobs,
        "s3:DeleteObject": jobs,
        "s3:AbortMultipartUpload": jobs,
        "s3:ListBucket": "arn:aws:s3:::models",
        "ecr:GetAuthorizationToken": "*",
        "ecr:BatchCheckLayerAvailability": repository,
        "ecr:BatchGetImage": repository,
        "ecr:GetDownloadUrlForLayer": repository,
        "ec2:DescribeInstances": "*",
        "ec2:DescribeSpotInstanceRequests": "*",
        "ec2:DescribeSpotPriceHistory": "*",
        "ec2:CreateTags": instances,
        "ec2:TerminateInstances": instances,
        "ec2:CancelSpotInstanceRequests": "arn:aws:ec2:eu-west-1:123456789012:spot-instances-request/*",
    }
    assert all(statement["Effect"] == "Allow" for statement in POLICY["Statement"])


def test_only_our_own_instances_can_be_tagged_or_ended() -> None:
    """Ours by their profile, since an instance that a spot request starts again has no tags."""
    conditions = {statement["Sid"]: statement.get("Condition", {}) for statement in POLICY["Statement"]}
    profile = "arn:aws:iam::123456789012:instance-profile/solver-cloud-eu-west-1"
    for statement in ("TagOurs", "EndOurs"):
        assert conditions[statement]["ArnEquals"] == {"ec2:InstanceProfile": profile}
    tags = conditions["TagOurs"]["ForAllValues:StringEquals"]["aws:TagKeys"]
    assert "solver:cloud" not in tags  # or an instance could make others "ours"
    assert conditions["CancelOurs"] == {"StringEquals": {"aws:ResourceTag/solver:cloud": "solver-cloud"}}


def test_the_bucket_refuses_what_is_not_tls() -> None:
    (statement,) = policies.bucket_policy("models")["Statement"]
    assert statement["Effect"] == "Deny"
    assert statement["Principal"] == "*"
    assert statement["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}
    assert statement["Resource"] == ["arn:aws:s3:::models", "arn:aws:s3:::models/*"]

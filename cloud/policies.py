"""The policies of the account's pieces: pure functions, dict out."""

from __future__ import annotations

from typing import Any

Policy = dict[str, Any]

OURS = "solver:cloud"
"""Tag that every instance, volume and spot request of solver-cloud carries; its value is the setting `name`."""


def bucket_policy(bucket: str) -> Policy:
    """Refuses every request that does not come over TLS.

    https://docs.aws.amazon.com/config/latest/developerguide/s3-bucket-ssl-requests-only.html
    """
    return {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Sid": "TlsOnly",
                "Effect": "Deny",
                "Principal": "*",
                "Action": "s3:*",
                "Resource": [f"arn:aws:s3:::{bucket}", f"arn:aws:s3:::{bucket}/*"],
                "Condition": {"Bool": {"aws:SecureTransport": "false"}},
            }
        ],
    }


def bucket_lifecycle() -> dict[str, Any]:
    """Parts of uploads that were never completed are paid for until they are removed: after a week."""
    return {
        "Rules": [
            {
                "ID": "abandoned-uploads",
                "Status": "Enabled",
                "Filter": {"Prefix": ""},
                "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 7},
            }
        ]
    }


def trust_policy(service: str) -> Policy:
    """A service of AWS may hand the role on: ec2.amazonaws.com to instances, ecs-tasks.amazonaws.com to containers."""
    return {
        "Version": "2012-10-17",
        "Statement": [
            {"Effect": "Allow", "Principal": {"Service": service}, "Action": "sts:AssumeRole"},
        ],
    }


def instance_policy(*, account: str, region: str, bucket: str, repository: str, name: str) -> Policy:
    """What an instance may do: its bucket, its repository, and tags, spot requests and end of our own instances.

    It can start nothing. Our own instances are those with this policy's instance profile, not those with our tags: an
    instance that a spot request has started again has none. Describe calls and ECR's token know no resources, so they
    are for `*`: https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazonec2.html
    """
    profile = f"arn:aws:iam::{account}:instance-profile/{name}-{region}"
    ours = {"ArnEquals": {"ec2:InstanceProfile": profile}}
    ec2 = f"arn:aws:ec2:{region}:{account}"
    return {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Sid": "ReadConfigs",
                "Effect": "Allow",
                "Action": "s3:GetObject",
                "Resource": f"arn:aws:s3:::{bucket}/configs/*",
            },
            {
                "Sid": "KeepJobs",
                "Effect": "Allow",
                "Action": ["s3:GetObject", "s3:PutObject", "s3:DeleteObject", "s3:AbortMultipartUpload"],
                "Resource": [f"arn:aws:s3:::{bucket}/jobs/*", f"arn:aws:s3:::{bucket}/launches/*"],
            },
            {
                "Sid": "ListBucket",
                "Effect": "Allow",
                "Action": "s3:ListBucket",
                "Resource": f"arn:aws:s3:::{bucket}",
            },
            {
                "Sid": "LogInToRegistry",
                "Effect": "Allow",
                "Action": "ecr:GetAuthorizationToken",
                "Resource": "*",
            },
            {
                "Sid": "PullImage",
                "Effect": "Allow",
                "Action": ["ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"],
                "Resource": f"arn:aws:ecr:{region}:{account}:repository/{repository}",
            },
            {
                "Sid": "SeeInstances",
                "Effect": "Allow",
                "Action": [
                    "ec2:DescribeInstances",
                    "ec2:DescribeSpotInstanceRequests",
                    "ec2:DescribeSpotPriceHistory",
                ],
                "Resource": "*",
            },
            {
                "Sid": "TagOurs",
                "Effect": "Allow",
                "Action": "ec2:CreateTags",
                "Resource": f"{ec2}:instance/*",
                "Condition": {
                    **ours,
                    "ForAllValues:StringEquals": {
                        "aws:TagKeys": ["solver:status", "solver:phase", "solver:s3-path", "solver:kept-until"]
                    },
                },
            },
            {
                "Sid": "EndOurs",
                "Effect": "Allow",
                "Action": "ec2:TerminateInstances",
                "Resource": f"{ec2}:instance/*",
                "Condition": ours,
            },
            {
                "Sid": "CancelOurs",
                "Effect": "Allow",
                "Action": "ec2:CancelSpotInstanceRequests",
                "Resource": f"{ec2}:spot-instances-request/*",
                "Condition": {"StringEquals": {f"aws:ResourceTag/{OURS}": name}},
            },
        ],
    }


def child_policy(*, bucket: str) -> Policy:
    """What a child of a sweep may do: read and write below sweeps/, and ask what machines cost.

    It can start nothing, and reach no job.
    """
    return {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Sid": "KeepSweeps",
                "Effect": "Allow",
                "Action": ["s3:GetObject", "s3:PutObject", "s3:DeleteObject", "s3:AbortMultipartUpload"],
                "Resource": f"arn:aws:s3:::{bucket}/sweeps/*",
            },
            {
                "Sid": "ListBucket",
                "Effect": "Allow",
                "Action": "s3:ListBucket",
                "Resource": f"arn:aws:s3:::{bucket}",
            },
            {
                "Sid": "SeePrices",
                "Effect": "Allow",
                "Action": "ec2:DescribeSpotPriceHistory",
                "Resource": "*",
            },
        ],
    }

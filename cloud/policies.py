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


LIFECYCLE = "abandoned-uploads", "older-versions", "many-versions-jobs", "many-versions-sweeps"
"""The ids of our lifecycle rules, by which they are told from those of others and of older versions."""


def bucket_lifecycle() -> dict[str, Any]:
    """What nobody sees, and what is paid for all the same, goes after a week: parts of uploads that were never
    completed, and versions of objects that were overwritten or deleted. Of what a training overwrites often the latest
    five versions stay that long, and the others a day, which is the least that S3 knows.

    https://docs.aws.amazon.com/AmazonS3/latest/userguide/intro-lifecycle-rules.html
    """
    uploads, versions, *many = LIFECYCLE
    return {
        "Rules": [
            _rule(uploads, "", AbortIncompleteMultipartUpload={"DaysAfterInitiation": 7}),
            _rule(
                versions,
                "",
                NoncurrentVersionExpiration={"NoncurrentDays": 7},
                Expiration={"ExpiredObjectDeleteMarker": True},
            ),
            *(
                _rule(id, prefix, NoncurrentVersionExpiration={"NoncurrentDays": 1, "NewerNoncurrentVersions": 5})
                for id, prefix in zip(many, ("jobs/", "sweeps/"), strict=True)
            ),
        ]
    }


def _rule(id: str, prefix: str, **actions: dict[str, Any]) -> dict[str, Any]:
    return {"ID": id, "Status": "Enabled", "Filter": {"Prefix": prefix}, **actions}


def trust_policy(service: str) -> Policy:
    """A service of AWS may hand the role on: ec2.amazonaws.com to instances, ecs-tasks.amazonaws.com to containers."""
    return {
        "Version": "2012-10-17",
        "Statement": [
            {"Effect": "Allow", "Principal": {"Service": service}, "Action": "sts:AssumeRole"},
        ],
    }


def job_trust(*, instance_role: str) -> Policy:
    """An instance may take the job role for its own job, and for no other: the tag `job` has to be its own id.

    instance_role: ARN of the role that may take it. The user id of an instance's session is ROLE-ID:INSTANCE-ID, which
    EC2 sets, not the instance; a tag's value has neither `*` nor `?`; without the tag nothing matches.
    https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_variables.html#policy-vars-infotouse
    https://docs.aws.amazon.com/IAM/latest/UserGuide/id_session-tags.html
    """
    return {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Sid": "OwnJobOnly",
                "Effect": "Allow",
                "Principal": {"AWS": instance_role},
                "Action": ["sts:AssumeRole", "sts:TagSession"],
                "Condition": {
                    "StringLike": {"aws:userid": "*:${aws:RequestTag/job}"},
                    "ForAllValues:StringEquals": {"aws:TagKeys": ["job"]},
                },
            },
        ],
    }


def instance_policy(*, account: str, region: str, repository: str, name: str, job_role: str) -> Policy:
    """What an instance may do as itself: pull its image, tag and end itself, and take the job role for all of S3.

    job_role: ARN. It can start nothing. Describe calls and ECR's token know no resources, so they are for `*`:
    https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazonec2.html
    A spot request says nothing of its instance by which it could be told from others, so those are told by our tag.
    """
    profile = f"arn:aws:iam::{account}:instance-profile/{name}-{region}"
    ec2 = f"arn:aws:ec2:{region}:{account}"
    itself = {
        "ArnEquals": {"ec2:InstanceProfile": profile},
        "ArnLike": {"ec2:SourceInstanceARN": f"{ec2}:instance/${{ec2:InstanceID}}"},
    }
    """Who asks (SourceInstanceARN) is whom it is about (InstanceID), as AWS's own AWSEC2VssSnapshotPolicy has it:
    https://docs.aws.amazon.com/aws-managed-policy/latest/reference/AWSEC2VssSnapshotPolicy.html"""
    return {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Sid": "TakeJobRole",
                "Effect": "Allow",
                "Action": ["sts:AssumeRole", "sts:TagSession"],
                "Resource": job_role,
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
                "Sid": "TagItself",
                "Effect": "Allow",
                "Action": "ec2:CreateTags",
                "Resource": f"{ec2}:instance/*",
                "Condition": {
                    **itself,
                    "ForAllValues:StringEquals": {
                        "aws:TagKeys": ["solver:status", "solver:phase", "solver:s3-path", "solver:kept-until"]
                    },
                },
            },
            {
                "Sid": "EndItself",
                "Effect": "Allow",
                "Action": "ec2:TerminateInstances",
                "Resource": f"{ec2}:instance/*",
                "Condition": itself,
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


def job_policy(*, bucket: str) -> Policy:
    """What an instance may do with S3: all with its own job's objects but their older versions, and read two things.

    Those are configurations, by their sha256, and what other jobs have put out, with its links, by their id, which a
    resumed job goes on from. `jobs/` cannot be listed, so an id has to be known.
    docs/decisions/0001-one-role-many-instances.md
    """
    own, output, logs = "jobs/${aws:PrincipalTag/job}/*", "jobs/*/output/*", "jobs/*/logs/"
    return {
        "Version": "2012-10-17",
        "Statement": [
            _objects("KeepOwnJob", bucket, own, *KEEP),
            _objects("ReadWhatIsGiven", bucket, ("configs/*", output, f"{logs}tree.json"), "s3:GetObject"),
            _listing(bucket, own, output, f"{logs}*"),
        ],
    }


def child_policy(*, bucket: str) -> Policy:
    """What a child of a sweep may do: keep what is below sweeps/, read its script and configuration, and see prices.

    It can start nothing, and reach no job.
    """
    return {
        "Version": "2012-10-17",
        "Statement": [
            _objects("KeepSweeps", bucket, "sweeps/*", *KEEP),
            _objects("ReadWhatIsGiven", bucket, ("configs/*", "runners/*"), "s3:GetObject"),
            _listing(bucket, "sweeps/*"),
            {
                "Sid": "SeePrices",
                "Effect": "Allow",
                "Action": "ec2:DescribeSpotPriceHistory",
                "Resource": "*",
            },
        ],
    }


KEEP = ("s3:GetObject", "s3:PutObject", "s3:DeleteObject", "s3:AbortMultipartUpload")
"""Not s3:GetObjectVersion or s3:DeleteObjectVersion: what was overwritten or deleted stays for its user."""


def _objects(sid: str, bucket: str, keys: str | tuple[str, ...], *actions: str) -> Policy:
    """A statement that allows these actions on the objects with these keys."""
    resources = [f"arn:aws:s3:::{bucket}/{key}" for key in ((keys,) if isinstance(keys, str) else keys)]
    return {"Sid": sid, "Effect": "Allow", "Action": list(actions), "Resource": resources}


def _listing(bucket: str, *prefixes: str) -> Policy:
    """A statement that allows to list what is below these prefixes, each of which ends with a slash and a star."""
    return {
        "Sid": "List",
        "Effect": "Allow",
        "Action": "s3:ListBucket",
        "Resource": f"arn:aws:s3:::{bucket}",
        "Condition": {"StringLike": {"s3:prefix": list(prefixes)}},
    }

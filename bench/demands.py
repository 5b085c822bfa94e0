"""What solver-cloud's commands and instances ask of AWS, and AWS's limits; tests/test_fleet.py counts the former."""

from __future__ import annotations

import math
from collections.abc import Callable

from .canned import PAGE

LIMITS: dict[str, tuple[float, float]] = {
    "ec2 RunInstances": (5, 2),
    "ec2 TerminateInstances": (100, 5),
    "ec2 CancelSpotInstanceRequests": (50, 5),
    "ec2 CreateTags": (100, 10),
    "ec2 DescribeInstances by id": (50, 10),
    "ec2 Describe*": (100, 20),
    "service-quotas GetServiceQuota": (10, 5),
    "pricing GetProducts": (10, 5),
    "ecr GetAuthorizationToken": (500, 500),
    "sts AssumeRole": (600, 600),
    "ecr BatchGetImage": (2000, 2000),
    "ecr GetDownloadUrlForLayer": (3000, 3000),
    "s3 PutObject": (3500, 3500),
    "s3 GetObject": (5500, 5500),
}
"""Tokens that a bucket holds, and that come back each second: an account's in a region, by action; S3's, by prefix.

EC2: https://docs.aws.amazon.com/ec2/latest/devguide/ec2-api-throttling.html. Each Describe* has a bucket of its own; a
DescribeInstances with neither filter nor page size has a smaller one; ids are taken for no filter. RunInstances and
TerminateInstances have buckets of instances, too (1000 and 2; 1000 and 20), which calls for one instance never reach.
Quotas: https://docs.aws.amazon.com/servicequotas/latest/userguide/reference_limits.html
Prices: https://docs.aws.amazon.com/awsaccountbilling/latest/aboutv2/using-price-list-query-api.html
ECR: https://docs.aws.amazon.com/AmazonECR/latest/userguide/service-quotas.html
S3: https://docs.aws.amazon.com/AmazonS3/latest/userguide/optimizing-performance.html, which does not name LIST: like
HTTP, it is counted here as a GET. HeadObject counts as GetObject.
"""

DEAR, CHEAP = 0.005 / 1000, 0.0004 / 1000
"""Dollars for a PUT, POST or LIST, and for a GET or HEAD, in us-east-1: https://aws.amazon.com/s3/pricing/"""
MACHINE, MONTH_HOURS = 0.30, 730
"""Dollars an hour of a c7i.4xlarge on spot, roughly; the hours of AWS's month."""
CLI_SECONDS = 0.75
"""What an `aws` process takes that is not throttled: docs/performance.md, "one aws call"."""
LAUNCH_SECONDS = 3.0
"""What a launch takes besides RunInstances when its image is in ECR: a guess for some dozens of ms to AWS."""
MULTIPART = 8 << 20
"""Bytes from which on `aws s3` uploads in parts, and of a part: https://docs.aws.amazon.com/cli/latest/topic/s3-config.html"""


def pages(jobs: int, size: int = PAGE) -> int:
    """Calls for a list of so many jobs, page by page."""
    return max(1, math.ceil(jobs / size))


LAUNCH = {
    **dict.fromkeys(("ec2 DescribeVpcs", "ec2 DescribeSecurityGroups", "ec2 DescribeSubnets"), 1),
    **dict.fromkeys(("ec2 DescribeInstanceTypeOfferings", "ec2 DescribeSpotPriceHistory"), 1),
    **{"ec2 DescribeImages": 2, "ec2 DescribeInstanceTypes": 2, "ec2 RunInstances": 1},
    **dict.fromkeys(("ecr DescribeRepositories", "ecr DescribeImages", "ssm GetParameters"), 1),
    **{"pricing GetProducts": 1, "service-quotas GetServiceQuota": 1, "s3 PutObject": 4, "s3 HeadObject": 1},
}
COMMANDS: dict[str, Callable[[int], dict[str, int]]] = {
    "launch": lambda n: {**LAUNCH, "ec2 DescribeInstances": pages(n)},
    "status": lambda n: {"ec2 DescribeInstances": pages(n), "s3 ListObjectsV2": pages(n)},
    "status JOB": lambda n: {"ec2 DescribeInstances by id": 1, "s3 GetObject": 4, "s3 HeadObject": 1},
    "wait, each 5 s": lambda n: {"ec2 DescribeInstances by id": 1, "s3 GetObject": 3},
    "logs": lambda n: {"ec2 DescribeInstances by id": 1, "s3 GetObject": 3},
    "download": lambda n: {"ec2 DescribeInstances by id": 1, "s3 ListObjectsV2": 1, "s3 GetObject": 3},
    "terminate": lambda n: {
        **{"ec2 DescribeInstances by id": 2, "ec2 CancelSpotInstanceRequests": 1, "ec2 CreateTags": 1},
        **{"ec2 TerminateInstances": 1, "s3 GetObject": 5, "s3 PutObject": 1},
    },
    "costs": lambda n: {
        **{"ec2 DescribeInstances": pages(n), "pricing GetProducts": 1},
        **{"s3 ListObjectsV2": pages(n) + n, "s3 GetObject": 2 * n},
    },
    "gc": lambda n: {
        **{"ec2 DescribeInstances": pages(n) + pages(n, 200) + 1, "ec2 DescribeSpotInstanceRequests": pages(n)},
        **{"ec2 DescribeVolumes": pages(n), "ec2 DescribeImages": 1, "ecr DescribeImages": 1},
        "batch DescribeJobDefinitions": 1,
        **{"s3 ListMultipartUploads": 1, "s3 ListObjectsV2": pages(n), "s3 GetObject": 2 * n},
    },
    "offers": lambda n: {
        **dict.fromkeys(("ec2 DescribeSubnets", "ec2 DescribeInstanceTypeOfferings"), 1),
        **dict.fromkeys(("ec2 DescribeSpotPriceHistory", "ec2 DescribeAvailabilityZones", "pricing GetProducts"), 1),
        **{"ec2 DescribeInstanceTypes": 2, "service-quotas GetServiceQuota": 2, "ec2 DescribeInstances": pages(n)},
    },
}
"""The calls of each command in an account with n running jobs, if STS has been asked for the account once before.
`logs` is of a job that has ended. `download` is of a bundle of one file; each further one is a GetObject more."""

SWEEPS: dict[str, Callable[[int], dict[str, int]]] = {
    "sweep": lambda n: {
        **{"batch DescribeJobDefinitions": 1, "batch SubmitJob": 1, "s3 GetObject": 1, "s3 PutObject": n + 5},
    },
    "status SWEEP": lambda n: {"batch DescribeJobs": pages(n, 100), "s3 GetObject": 1, "s3 ListObjectsV2": pages(n)},
}
"""The calls for a sweep of n children: of `sweep`, those that submit it, besides what `launch` asks to decide, with the
job definition and the pool there; of `status`, for more than a hundred, each of which has told once what it cost."""

CLI: dict[str, dict[str, int]] = {
    "ec2 create-tags": {"ec2 CreateTags": 1},
    "ec2 describe-instances": {"ec2 DescribeInstances by id": 1},
    "ec2 describe-instances by tag": {"ec2 Describe*": 1},
    "ec2 describe-spot-price-history": {"ec2 Describe*": 1},
    "ec2 cancel-spot-instance-requests": {"ec2 CancelSpotInstanceRequests": 1},
    "ec2 terminate-instances": {"ec2 TerminateInstances": 1},
    "ecr get-login-password": {"ecr GetAuthorizationToken": 1},
    "docker pull": {"ecr BatchGetImage": 1, "ecr GetDownloadUrlForLayer": 10},
    "sts assume-role": {"sts AssumeRole": 1},
    "s3 cp down": {"s3 GetObject": 2},
    "s3 cp all down": {"s3 GetObject": 1},
    "s3 cp up": {"s3 PutObject": 1},
    "s3 sync up": {"s3 GetObject": 1, "s3 PutObject": 2},
}
"""What each command asks of AWS. S3, as aws-cli 1.45.11 does before a server that counts: `cp down` is HEAD and GET,
`cp all down`, of all that a child has in S3, a LIST and a GET for each file (here none), `sync up` a LIST and for
each changed file (here two) a PUT or, from 8 MiB, a PUT for each part and two POSTs. A pull asks for the manifest and
each layer (here ten): https://docs.aws.amazon.com/AmazonECR/latest/userguide/service-quotas.html
"""

INSTANCE: dict[str, dict[str, int]] = {
    "first boot": {
        **{"ec2 create-tags": 3, "ec2 describe-instances": 1, "ec2 describe-spot-price-history": 1},
        **{"ec2 describe-instances by tag": 1, "sts assume-role": 1},
        **{"ecr get-login-password": 1, "docker pull": 1, "s3 cp down": 2, "s3 cp up": 4},
    },
    "sync": {"s3 sync up": 2},
    "hour": {"ec2 describe-spot-price-history": 1},
    "reclaim": {"ec2 create-tags": 2, "ec2 describe-instances": 1, "s3 sync up": 2, "s3 cp up": 1},
    "restart": {
        **{"ec2 create-tags": 2, "ec2 describe-instances": 1, "ec2 describe-spot-price-history": 1},
        **{"sts assume-role": 1, "s3 cp down": 1, "s3 cp up": 3},
    },
    "end": {
        **{"ec2 create-tags": 2, "ec2 cancel-spot-instance-requests": 1, "ec2 terminate-instances": 1},
        **{"s3 sync up": 2, "s3 cp up": 1},
    },
}
"""The commands that a spot instance runs at each moment of its life."""

CHILD: dict[str, dict[str, int]] = {
    "attempt": {"s3 cp down": 1, "s3 cp all down": 1, "s3 cp up": 3, "s3 sync up": 2},
    "sync": {"s3 sync up": 2},
    "hour": {"ec2 describe-spot-price-history": 1},
}
"""The commands that a child of a sweep runs, besides those of the ECS agent and of Batch: for an attempt from its start
to its good end, and while that lasts."""

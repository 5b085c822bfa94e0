"""The policies of AWS's own that a caller may attach to a role; moto has all of them, or none.

https://docs.aws.amazon.com/aws-managed-policy/latest/reference/policy-list.html
"""

# mypy: allow-subclassing-any
from __future__ import annotations

import json
from typing import Any

from moto.iam import urls
from moto.iam.aws_managed_policies import aws_managed_policies_data
from moto.iam.models import AWSManagedPolicy, IAMBackend, ManagedPolicy, iam_backends

NAMES = ("AmazonEC2ContainerServiceforEC2Role",)
"""What an instance of Batch needs: https://docs.aws.amazon.com/batch/latest/userguide/instance_IAM_role.html"""


def install() -> None:
    """Make moto's IAM this cloud's; before the first request."""
    iam_backends.backend = LocalIAMBackend


class LocalIAMBackend(IAMBackend):
    @property
    def _url_module(self) -> Any:
        return urls

    def _init_aws_policies(self) -> list[ManagedPolicy]:
        data = json.loads(aws_managed_policies_data)
        return [AWSManagedPolicy.from_data(name, self.account_id, self.region_name, data[name]) for name in NAMES]

"""What moto's S3 lacks: the conditions of a bucket policy. It would apply every statement to every request."""

from __future__ import annotations

import json
from typing import Any


def install() -> None:
    """Make moto leave out the statements of a bucket policy whose conditions do not hold."""
    from moto.iam.access_control import IAMPolicy, PermissionResult
    from moto.s3.models import FakeBucket

    def get_permission(bucket: Any, action: str, resource: str) -> Any:
        if bucket.policy is None:
            return PermissionResult.NEUTRAL
        policy = json.loads(bucket.policy)
        holding = [statement for statement in policy["Statement"] if holds(statement.get("Condition", {}))]
        if not holding:
            return PermissionResult.NEUTRAL
        return IAMPolicy(json.dumps({**policy, "Statement": holding})).is_action_permitted(action, resource)

    FakeBucket.get_permission = get_permission


def holds(condition: dict[str, dict[str, Any]]) -> bool:
    """Whether a statement's condition holds for a request over loopback.

    Loopback counts as TLS: nobody can listen in, and a client refused for it could not be tried at all. Raises
    NotImplementedError for any other condition, rather than misread it.
    """
    if not condition:
        return True
    if condition.keys() != {"Bool"} or condition["Bool"].keys() != {"aws:SecureTransport"}:
        raise NotImplementedError(f"bucket policy condition {condition}")
    return str(condition["Bool"]["aws:SecureTransport"]).lower() == "true"

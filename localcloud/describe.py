"""DescribeInstances as AWS answers it: every filter, wildcards, and pages of instances.

https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DescribeInstances.html
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterable
from functools import lru_cache

from moto.ec2.exceptions import EC2ClientError
from moto.ec2.models.instances import Reservation
from moto.ec2.utils import filter_dict_attribute_mapping, get_object_value

from . import catalog
from .instances import LocalInstance

Member = tuple[Reservation, LocalInstance]

MOST = 1000

ATTRIBUTES = {
    **filter_dict_attribute_mapping,
    "client-token": "client_token",
    "hypervisor": "hypervisor",
    "iam-instance-profile.arn": "iam_instance_profile.Arn",
    "instance-lifecycle": "lifecycle",
    "instance-state-code": "state_code",
    "launch-index": "ami_launch_index",
    "root-device-name": "root_device_name",
    "root-device-type": "root_device_type",
    "spot-instance-request-id": "spot_instance_request_id",
    "virtualization-type": "virtualization_type",
}
"""Filter names and the attributes of moto's instance that they look at."""


def select(reservations: Iterable[Reservation], filters: dict[str, list[str]]) -> list[Member]:
    """The instances that all filters let through, each with its reservation.

    Raises EC2ClientError for a filter that does not exist.
    """
    members = [(reservation, instance) for reservation in reservations for instance in reservation.instances]
    for name, patterns in filters.items():
        whole = [re.compile(_expression(pattern)) for pattern in patterns]
        members = [
            member for member in members if any(p.fullmatch(value) for value in _values(member, name) for p in whole)
        ]
    return members


def _values(member: Member, name: str) -> list[str]:
    """What a filter compares, as text."""
    reservation, instance = member
    tags = {tag["key"]: tag["value"] for tag in instance.get_tags()} if name.startswith("tag") else {}
    match name:
        case "tag-key":
            return list(tags)
        case "tag-value":
            return list(tags.values())
        case "launch-time":
            return [f"{instance.launch_time:%Y-%m-%dT%H:%M:%S}.000Z"]
        case "reservation-id":
            return [reservation.id]
        case _ if name.startswith("tag:"):
            key = name.removeprefix("tag:")
            return [tags[key]] if key in tags else []
        case _ if name in ATTRIBUTES:
            value = get_object_value(instance, ATTRIBUTES[name])
            values = value if isinstance(value, list) else [value]
            return [str(one).lower() if isinstance(one, bool) else str(one) for one in values if one is not None]
        case _:
            raise EC2ClientError("InvalidParameterValue", f"The filter '{name}' is invalid")


def matches(value: str, patterns: Iterable[str]) -> bool:
    """Whether a filter lets a value through."""
    return any(_expression(pattern).fullmatch(value) for pattern in patterns)


@lru_cache
def _expression(pattern: str) -> re.Pattern[str]:
    r"""A filter value as a regular expression: `*` and `?` are wildcards, `\` makes the next character plain."""
    wild = {"*": ".*", "?": "."}
    text = re.sub(
        r"\\(.)|(.)", lambda m: re.escape(m[1]) if m[1] else wild.get(m[2], re.escape(m[2])), pattern, flags=re.DOTALL
    )
    return re.compile(text, re.DOTALL)


def page(members: list[Member], size: int | None, token: str | None) -> tuple[list[Reservation], str | None]:
    """One page of instances, in their reservations, and the token of the next page.

    size: MaxResults as asked, or None. Raises EC2ClientError for a size or token that EC2 would not take.
    """
    if size is not None and not 5 <= size <= MOST:
        raise EC2ClientError(
            "InvalidParameterValue",
            f"Value ( {size} ) for parameter maxResults is invalid. Expecting a value between 5 and {MOST}.",
        )
    starts = {instance.id: index for index, (_, instance) in enumerate(members)}
    if token and token not in starts:
        raise EC2ClientError("InvalidNextToken", f"The token '{token}' is invalid")
    start = starts[token] if token else 0
    end = start + (size or MOST)
    following = members[end][1].id if end < len(members) else None
    grouped: dict[str, Reservation] = {}
    for reservation, instance in members[start:end]:
        if reservation.id not in grouped:
            grouped[reservation.id] = copy.copy(reservation)
            grouped[reservation.id].instances = []
        grouped[reservation.id].instances.append(_with_cores(instance))
    return list(grouped.values()), following


def _with_cores(instance: LocalInstance) -> LocalInstance:
    """The same instance with what moto does not show, the cores and threads of its type.

    https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_CpuOptions.html
    """
    processor = catalog.instance_types()[instance.instance_type]["VCpuInfo"]
    shown = copy.copy(instance)
    shown.cpu_options = {
        "CoreCount": processor["DefaultCores"],
        "ThreadsPerCore": processor["DefaultThreadsPerCore"],
    }
    return shown

"""A launch is claimed in S3 before EC2 is asked: whoever repeats it, after a crash or at the same time, makes no second
instance."""

from __future__ import annotations

import hashlib
import json
import re
import time
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from . import records, storage
from .aws import Aws, aws_errors, instances
from .errors import CloudError
from .jobs import GONE
from .parsing import decode, mapping, moment, text
from .tags import tags_of

if TYPE_CHECKING:
    from mypy_boto3_ec2.type_defs import InstanceTypeDef

TOKEN, MOST_BYTES = re.compile("[0-9a-f]{32}"), 1 << 16
LASTS = timedelta(minutes=10)
"""How long a launch that was killed can be taken up again; after that it is begun anew."""
VISIBLE_SECONDS = 8.0
"""How long a new instance may be unknown to DescribeInstances; EC2's answers are only eventually consistent:
https://docs.aws.amazon.com/ec2/latest/devguide/eventual-consistency.html"""


@dataclass(frozen=True)
class Claim:
    """One launch, as it is claimed in S3."""

    token: str
    """32 hex digits; every client token of RunInstances is made of it, and the instance's tag solver:launch is it."""
    launched_at: datetime
    instance: str = ""
    """The instance that the launch has started already."""


def key_of(asked: dict[str, Any]) -> str:
    """Where the claim is of the launch that asks for this: the same question has the same place."""
    return f"claims/{hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()}.json"


def claim(aws: Aws, key: str, *, once: bool = False) -> Claim:
    """Claim a launch, or take up the claim of one that has not come to its end.

    key: where in S3 it is claimed. once: also an instance that has ended keeps the claim.
    Returns a claim with an instance if that launch has started one that has not ended.
    Raises CloudError when somebody else claims it at this very moment.
    """
    mine = new()
    if put(aws, key, mine, IfNoneMatch="*"):
        return mine
    there, version = read(aws, key)
    recent = datetime.now(UTC) - there.launched_at < LASTS
    instance = started(aws, there.token, patience=VISIBLE_SECONDS if recent else 0)
    if instance and (once or not _over(instance)):
        return replace(there, instance=instance["InstanceId"])
    if recent and not instance:
        return there
    if not put(aws, key, mine, IfMatch=version):
        raise CloudError("somebody else starts this very job right now", fix="inv status latest")
    return mine


def new() -> Claim:
    """A claim of this moment, which nobody else has."""
    return Claim(uuid4().hex, datetime.now(UTC).replace(microsecond=0))


def read(aws: Aws, key: str) -> tuple[Claim, str]:
    """The claim that is there, and its ETag. Raises CloudError for what is no claim."""
    with aws_errors(f"read {key}"):
        return _read(aws, key)


def _read(aws: Aws, key: str) -> tuple[Claim, str]:
    try:
        body, version = storage.read(aws, key, most=MOST_BYTES)
        return parsed(body), version
    except ValueError as error:
        raise CloudError(
            f"{key} in S3 is no claim of a launch: {error}",
            fix=f"if `inv status` shows nothing that was launched so: aws s3 rm s3://{aws.bucket}/{key}",
        ) from None


def parsed(body: bytes) -> Claim:
    """A claim from its JSON; raises ValueError for what is none."""
    data = mapping(decode(body), "the claim")
    token = text(data.get("token"), "token")
    if not TOKEN.fullmatch(token):
        raise ValueError(f"token is {token[:40]!r}")
    return Claim(token, moment(data.get("launched_at"), "launched_at"))


def running(aws: Aws, key: str) -> str:
    """The instance of a launch that is claimed there and has not ended; "" if there is none."""
    with aws_errors(f"read {key}"):
        try:
            there, _ = _read(aws, key)
        except aws.s3.exceptions.NoSuchKey:
            return ""
    instance = started(aws, there.token)
    return instance["InstanceId"] if instance and not _over(instance) else ""


def put(aws: Aws, key: str, claim: Claim, **condition: str) -> bool:
    """Write a claim on condition that nobody was faster; returns whether it was written.

    condition: of PutObject, IfNoneMatch or IfMatch.
    """
    body = json.dumps({"token": claim.token, "launched_at": records.iso(claim.launched_at)}).encode()
    with aws_errors("claim the launch"):
        return bool(storage.put_if(aws, key, body, **condition))


def _over(instance: InstanceTypeDef) -> bool:
    return instance["State"]["Name"] in GONE or tags_of(instance).get("solver:status") in records.FINAL


def started(aws: Aws, token: str, *, patience: float = 0) -> InstanceTypeDef | None:
    """The instance that a claimed launch has started; None while EC2 shows none.

    token: of the claim. patience: seconds to wait for it to become visible.
    """
    until = time.monotonic() + patience
    while True:
        with aws_errors("look for what was started"):
            found = instances(aws, [{"Name": "tag:solver:launch", "Values": [token]}])
        if found:
            # Of two, which only a race between two computers can make, one has ended itself or is about to.
            return min(found, key=_over)
        if time.monotonic() >= until:
            return None
        time.sleep(1)  # EC2 tells nobody that an instance has become visible

"""Actions that a scenario denies: how AWS says so, and the encoded message that STS decodes.

https://docs.aws.amazon.com/STS/latest/APIReference/API_DecodeAuthorizationMessage.html
"""

# mypy: allow-subclassing-any
from __future__ import annotations

import base64
import binascii
import json
import re
import zlib
from http import HTTPStatus
from typing import Any

from moto.core import DEFAULT_ACCOUNT_ID
from moto.core.responses import ActionResult
from moto.iam.models import SERVICE_NAME_CONVERSION
from moto.sts import urls
from moto.sts.exceptions import STSClientError
from moto.sts.models import STSBackend, sts_backends
from moto.sts.responses import TokenResponse

from .market import Market
from .refusal import Refused
from .routes import routed

ROLE_NAMES = {"spot": "EC2Spot", "spotfleet": "EC2SpotFleet", "batch": "Batch"}
"""Services and the names of their roles, after AWSServiceRoleFor:
https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/service-linked-roles-spot-instance-requests.html"""
READS = ("Describe", "Get", "List")
"""What the actions begin with that are refused without an encoded message."""


class LocalSTSBackend(STSBackend):
    @property
    def _url_module(self) -> Any:
        return routed(urls, LocalSTSResponse)


CHAINED_SECONDS = 3600
"""What a session lasts at most that a session of a role has asked for:
https://docs.aws.amazon.com/IAM/latest/UserGuide/id_roles.html#iam-term-role-chaining"""
TAG_VALUE = re.compile(r"[\w\s.:/=+\-@]{0,256}")
"""Above all neither `*` nor `?`: https://docs.aws.amazon.com/STS/latest/APIReference/API_Tag.html"""


class LocalSTSResponse(TokenResponse):
    def assume_role(self) -> ActionResult:
        tags = {one["Key"]: one["Value"] for one in self._get_param("Tags", [])}
        if wrong := [value for value in tags.values() if not TAG_VALUE.fullmatch(value)]:
            raise STSClientError("ValidationError", f"Value '{wrong[0]}' at 'tags' failed to satisfy constraint")
        chained = role_session(self.get_access_key()) is not None
        if chained and self._get_int_param("DurationSeconds", 3600) > CHAINED_SECONDS:
            text = "The requested DurationSeconds exceeds the 1 hour session limit for roles assumed by role chaining"
            raise STSClientError("ValidationError", text)
        answer = super().assume_role()
        answer.result["Credentials"].tags = tags
        return answer

    def decode_authorization_message(self) -> ActionResult:
        return ActionResult({"DecodedMessage": decode(self._get_param("EncodedMessage"))})


def install() -> None:
    """Make moto's STS this cloud's, and have IAM name EC2's roles as AWS does; before the first request."""
    sts_backends.backend = LocalSTSBackend
    SERVICE_NAME_CONVERSION.update(ROLE_NAMES)


def check_ec2(market: Market, region: str, action: str, access_key: str) -> None:
    """Raise UnauthorizedOperation for an action of EC2 that is denied."""
    if action not in market.scenario.region(region).denied:
        return
    resource = f"arn:aws:ec2:{region}:{DEFAULT_ACCOUNT_ID}:{'instance/' if action.endswith('Instances') else ''}*"
    message = denial(principal(access_key, region), f"ec2:{action}", resource)
    raise Refused(HTTPStatus.FORBIDDEN, "UnauthorizedOperation", message)


def denial(who: str, action: str, resource: str) -> str:
    """What EC2 says to an action that is denied. action: as in a policy, `ec2:TerminateInstances`."""
    reading = action.partition(":")[2].startswith(READS)
    said = sentence(who, action, "" if reading else f" on resource: {resource}")
    encoded = "" if reading else f" Encoded authorization failure message: {_encode(who, action, resource)}"
    return f"You are not authorized to perform this operation. {said}{encoded}"


def why_denied(market: Market, region: str, service: str, action: str, access_key: str) -> str | None:
    """What the other services say to an action that is denied; None for one that is not."""
    if action not in market.scenario.region(region).denied:
        return None
    return sentence(principal(access_key, region), f"{service}:{action}", "")


def role_session(access_key: str) -> Any:
    """moto's session of a role with that key; None for other keys."""
    for account in list(sts_backends.values()):
        for backend in list(account.values()):
            if (found := backend.get_assumed_role_from_access_key(access_key)) is not None:
                return found
    return None


def principal(access_key: str, region: str) -> str:
    """The ARN of whoever has that access key, as GetCallerIdentity tells it."""
    backend = sts_backends[DEFAULT_ACCOUNT_ID]["aws"]
    return str(backend.get_caller_identity(access_key, region)[1])


def sentence(who: str, action: str, where: str) -> str:
    """Why an action is refused: https://docs.aws.amazon.com/IAM/latest/UserGuide/troubleshoot_access-denied.html"""
    reason = f"because no identity-based policy allows the {action} action"
    return f"User: {who} is not authorized to perform: {action}{where} {reason}"


def _encode(who: str, action: str, resource: str) -> str:
    statement = {
        "allowed": False,
        "explicitDeny": False,
        "matchedStatements": {"items": []},
        "failures": {"items": []},
        "context": {
            "principal": {"id": who.rpartition("/")[2], "arn": who},
            "action": action,
            "resource": resource,
            "conditions": {"items": []},
        },
    }
    return base64.urlsafe_b64encode(zlib.compress(json.dumps(statement).encode())).decode()


def decode(message: str) -> str:
    """The JSON text in an encoded message; raises STSClientError for one that is none."""
    try:
        return zlib.decompress(base64.urlsafe_b64decode(message)).decode()
    except (ValueError, binascii.Error, zlib.error):
        raise STSClientError(
            "InvalidAuthorizationMessageException", "Message was not encoded by AWS or has been changed"
        ) from None

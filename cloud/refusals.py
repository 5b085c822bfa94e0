"""What EC2's refusals of a RunInstances mean: whether another offer may be had, and what the user can do.

Codes: https://docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from . import quotas
from .aws import Aws, error_code
from .errors import CloudError
from .offers import Offer, Refusal
from .parsing import decode, mapping
from .provision import SPOT_ROLE

CAPACITY = {
    *("InsufficientInstanceCapacity", "InsufficientHostCapacity", "InsufficientCapacity"),
    "InsufficientVolumeCapacity",
}
ZONE = {"Unsupported", "InsufficientFreeAddressesInSubnet"}
"""Refusals that waiting does not mend, but another zone may."""
QUOTA = {"MaxSpotInstanceCountExceeded", "VcpuLimitExceeded", "InstanceLimitExceeded"}
PRICE = "SpotMaxPriceTooLow"
ROLE = "AuthFailure.ServiceLinkedRoleCreationNotPermitted"
DENIED = "UnauthorizedOperation"
TRANSIENT = {
    *("RequestLimitExceeded", "Throttling", "ThrottlingException"),
    *("InternalError", "InternalFailure", "ServiceUnavailable", "Unavailable"),
}
"""Answers after which the same request may well be granted."""
ENCODED = re.compile(r"Encoded authorization failure message: (\S+)")


@dataclass(frozen=True)
class Refused:
    """One offer refused, and which others are refused with it."""

    refusal: Refusal
    others: frozenset[Offer]


def transient(error: BaseException) -> bool:
    """Whether the same request, sent again, may be granted.

    Of HTTP's 500s, InsufficientInstanceCapacity is not: the next zone is asked at once instead.
    A new instance profile is known to IAM some seconds before EC2 knows it.
    """
    from botocore import exceptions

    if isinstance(error, exceptions.HTTPClientError | exceptions.ConnectionError):
        return True
    return isinstance(error, exceptions.ClientError) and (
        error_code(error) in TRANSIENT or "Invalid IAM Instance Profile" in str(error)
    )


def read(aws: Aws, error: Exception, offer: Offer, others: list[Offer]) -> Refused | None:
    """What a refusal of an offer means; None when it is none that another offer could mend.

    others: what has not been asked for yet.
    """
    code = error_code(error)
    message = f"{str(getattr(error, 'response', {}).get('Error', {}).get('Message', error)).strip()} ({code})"
    if code in CAPACITY:
        return Refused(Refusal(str(offer), f"no capacity ({code})", _capacity_fix(aws, offer)), frozenset())
    if code in ZONE:
        return Refused(Refusal(str(offer), message, "another --instance or --region"), frozenset())
    if code == PRICE:
        return Refused(Refusal(str(offer), message, "a higher --max-price, or another --instance"), frozenset())
    if code in QUOTA:
        shared = [other for other in others if _same_quota(other, offer) and other.type.vcpus >= offer.type.vcpus]
        what = f"{offer.type.name} {offer.market}"
        return Refused(Refusal(what, message, _quota_fix(aws, offer)), frozenset(shared))
    if code == ROLE:
        fix = "once, by someone who may: aws iam create-service-linked-role --aws-service-name spot.amazonaws.com"
        spot = frozenset(other for other in others if other.market == "spot")
        return Refused(Refusal("spot machine", f"the account has no {SPOT_ROLE} ({code})", fix), spot)
    return None


def _capacity_fix(aws: Aws, offer: Offer) -> str:
    if offer.market == "spot" and not aws.settings.fallback:
        return "later, or another --instance, --region or --fallback on-demand"
    return "later, or another --instance or --region"


def _same_quota(one: Offer, other: Offer) -> bool:
    return quotas.key(one.type.family, one.market) == quotas.key(other.type.family, other.market)


def _quota_fix(aws: Aws, offer: Offer) -> str:
    """The command that asks for enough: for what is in use and this machine, and for more than there is now."""
    key = quotas.key(offer.type.family, offer.market)
    if key is None:
        return "ask for more under Service Quotas (EC2), or use a smaller --instance"
    code, name = quotas.CODES[key]
    found = quotas.of(quotas.find(aws, [offer.type.name], [offer.market]), offer.type, offer.market)
    enough = offer.type.vcpus + (max(found.used, found.vcpus) if found else 0)
    return f"ask for more of {name!r}: {quotas.increase(code, enough, aws.settings.region)}"


def denied(aws: Aws, error: Exception, doing: str) -> CloudError | None:
    """EC2's refusal for want of permission, with what its encoded message says; None for any other.

    https://docs.aws.amazon.com/STS/latest/APIReference/API_DecodeAuthorizationMessage.html
    """
    found = ENCODED.search(str(error))
    if error_code(error) != DENIED or not found:
        return None
    try:
        answer = aws.sts.decode_authorization_message(EncodedMessage=found[1])
        missing = _missing(mapping(decode(answer.get("DecodedMessage", "")), "the message"))
    except (aws.sts.exceptions.ClientError, ValueError):  # who may not read it has to ask someone who may
        missing = f"to see what is missing: aws sts decode-authorization-message --encoded-message {found[1]}"
    return CloudError(f"cannot {doing}: this profile may not ({DENIED})", fix=missing)


def _missing(decoded: dict[str, Any]) -> str:
    context = mapping(decoded.get("context", {}), "context")
    verb = "take back the explicit deny of" if decoded.get("explicitDeny") else "allow"
    who = mapping(context.get("principal", {}), "principal").get("arn", "this profile's user or role")
    return f"{verb} {context.get('action', 'ec2:RunInstances')} on {context.get('resource', '*')} for {who}"

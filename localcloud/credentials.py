"""Who is calling: a request is let through to moto only with credentials that this cloud has issued.

moto takes any. Codes: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-troubleshooting.html and the
error pages of each service. Signatures are not verified, as moto verifies none.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qs

from werkzeug.wsgi import get_input_stream

from . import permissions
from .protocol import JSON_SERVICES, Application, Environ, Refusal, StartResponse
from .s3 import anyone_may_read

DEFAULT_REGION = "us-east-1"
"""Of a request that does not tell."""


@dataclass(frozen=True)
class Caller:
    """What a request says of who sends it."""

    access_key: str
    service: str
    token: str | None
    """The session token of temporary credentials."""
    expires: datetime | None = None
    """When a presigned URL stops working."""
    region: str = ""
    """The region that the request is signed for, where its header tells."""


def middleware(application: Application, owner: str) -> Application:
    """Put the check in front of an application. owner: the access key id that is always good."""

    def checked(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        refusal = check(environ, owner)
        if refusal is None:
            return application(environ, start_response)
        _read_rest(environ)
        content_type, text = refusal.body()
        body = b"" if environ["REQUEST_METHOD"] == "HEAD" else text.encode()
        start_response(refusal.status, [("Content-Type", content_type), ("Content-Length", str(len(body)))])
        return [body]

    return checked


def _read_rest(environ: Environ) -> None:
    """Read a request's body to its end: a client that cannot get rid of it does not listen to the answer."""
    body = get_input_stream(environ)
    while body.read(1 << 20):
        pass


def check(environ: Environ, owner: str) -> Refusal | None:
    """Why a request is refused; None when it may pass."""
    caller = read_caller(environ)
    if caller is None:
        return _anonymous(environ)
    if caller.expires and caller.expires < datetime.now(UTC):
        return Refusal("s3", "403 Forbidden", "AccessDenied", "Request has expired")
    if caller.access_key == owner:
        return None
    known, expiration = _session(caller)
    if not known:
        return _unknown(caller.service)
    if expiration and expiration < datetime.now(UTC):
        return _expired(caller.service)
    return permissions.check(environ, caller.access_key, caller.service, caller.region or DEFAULT_REGION)


def read_caller(environ: Environ) -> Caller | None:
    """Read the Authorization header, or the query of a presigned URL; None for neither.

    https://docs.aws.amazon.com/IAM/latest/UserGuide/create-signed-request.html
    """
    header = environ.get("HTTP_AUTHORIZATION", "")
    if found := re.search(r"Credential=([^/]+)/\d+/([^/]+)/([^/]+)/aws4_request", header):
        return Caller(found[1], found[3], environ.get("HTTP_X_AMZ_SECURITY_TOKEN"), region=found[2])
    query = {key: values[0] for key, values in parse_qs(environ.get("QUERY_STRING", "")).items()}
    if credential := query.get("X-Amz-Credential"):
        access_key, _, _, service, _ = (credential.split("/") + [""] * 5)[:5]
        made = datetime.strptime(query.get("X-Amz-Date", "20000101T000000Z"), "%Y%m%dT%H%M%S%z")
        expires = made + timedelta(seconds=int(query.get("X-Amz-Expires", "0")))
        return Caller(access_key, service, query.get("X-Amz-Security-Token"), expires)
    if access_key := query.get("AWSAccessKeyId"):
        expires = datetime.fromtimestamp(int(query.get("Expires", "0")), UTC)
        return Caller(access_key, "s3", query.get("x-amz-security-token"), expires)
    return None


def _session(caller: Caller) -> tuple[bool, datetime | None]:
    """Whether IAM or STS has issued the key (with that session token), and when it expires."""
    from moto.iam.models import iam_backends
    from moto.sts.models import sts_backends

    for account in list(sts_backends.values()):
        for backend in list(account.values()):
            role = backend.get_assumed_role_from_access_key(caller.access_key)
            if role is not None:
                return role.session_token == caller.token, role.expiration.replace(tzinfo=UTC)
    keys = [backend.access_keys for account in list(iam_backends.values()) for backend in list(account.values())]
    found = next((of_account[caller.access_key] for of_account in keys if caller.access_key in of_account), None)
    return found is not None and found.status == "Active", None


def _anonymous(environ: Environ) -> Refusal | None:
    if environ.get("CONTENT_TYPE", "").startswith("application/x-www-form-urlencoded"):
        return Refusal("", "403 Forbidden", "MissingAuthenticationToken", "Request is missing Authentication Token")
    if environ["REQUEST_METHOD"] in ("GET", "HEAD") and anyone_may_read(environ["PATH_INFO"]):
        return None
    return Refusal("s3", "403 Forbidden", "AccessDenied", "Access Denied")


_UNKNOWN: Mapping[str, tuple[str, str, str]] = {
    "ec2": ("401 Unauthorized", "AuthFailure", "AWS was not able to validate the provided access credentials"),
    "s3": (
        "403 Forbidden",
        "InvalidAccessKeyId",
        "The AWS Access Key Id you provided does not exist in our records.",
    ),
}
_EXPIRED: Mapping[str, tuple[str, str, str]] = {
    "ec2": ("400 Bad Request", "RequestExpired", "Request has expired."),
    "s3": ("400 Bad Request", "ExpiredToken", "The provided token has expired."),
}


def _unknown(service: str) -> Refusal:
    code, status = (
        ("UnrecognizedClientException", "400") if service in JSON_SERVICES else ("InvalidClientTokenId", "403")
    )
    message = "The security token included in the request is invalid."
    return Refusal(service, *_UNKNOWN.get(service, (f"{status} Refused", code, message)))


def _expired(service: str) -> Refusal:
    code, status = ("ExpiredTokenException", "400") if service in JSON_SERVICES else ("ExpiredToken", "403")
    message = "The security token included in the request is expired"
    return Refusal(service, *_EXPIRED.get(service, (f"{status} Refused", code, message)))


def expire_sessions() -> int:
    """Let every session that STS has issued be over; returns how many there were."""
    from moto.sts.models import sts_backends

    roles = [
        role for account in sts_backends.values() for backend in account.values() for role in backend.assumed_roles
    ]
    for role in roles:
        role.expiration = datetime.now(UTC).replace(tzinfo=None)
    return len(roles)

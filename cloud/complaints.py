"""What botocore complains of before AWS has answered, or because somebody else did: each in our words, with a fix.

What AWS itself answers is in cloud/aws.py. https://botocore.amazonaws.com/v1/documentation/api/latest/reference/exceptions.html
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from traceback import walk_tb
from typing import NamedTuple

from .errors import CloudError
from .text import one_line

LONGEST = 300
"""Characters of somebody else's text that a message has at most: it may be a whole page of HTML."""


class Complaint(NamedTuple):
    """A kind of error. Of one that is of several kinds, the first counts."""

    kinds: tuple[type[BaseException], ...]
    problem: str
    """With {error} where botocore's own words say more."""
    fix: str | None


MEND_PROFILE = "mend the profile in ~/.aws/config; `aws sts get-caller-identity` reads it, too"
NOT_AWS = "a login page or a proxy of this network may stand in between: open any page in a browser, then try again"


@cache
def _complaints() -> tuple[Complaint, ...]:
    from botocore import exceptions as of
    from botocore.parsers import ResponseParserError

    return (
        Complaint(
            (of.NoCredentialsError, of.NoAuthTokenError),
            "no AWS credentials found",
            "`aws configure` or `aws sso login`, or name a profile: --profile NAME",
        ),
        Complaint(
            (of.SSOError, of.TokenRetrievalError, *_if_there(of, "LoginError")),
            "the AWS login has expired",
            "`aws sso login`, then the same again",
        ),
        Complaint(
            (of.CredentialRetrievalError,),
            "what the profile names to get credentials does not give any: {error}",
            "try the profile's credential_process by itself",
        ),
        Complaint((of.RefreshWithMFAUnsupportedError,), "the session of this MFA code is over", "run it again"),
        Complaint((of.ProfileNotFound, of.PartialCredentialsError), "{error}", MEND_PROFILE),
        Complaint((ResponseParserError,), "somebody else than AWS has answered: {error}", NOT_AWS),
        Complaint(
            (of.SSLError,),
            "whoever answers cannot prove to be AWS: {error}",
            "if this network has certificates of its own, AWS_CA_BUNDLE=FILE names them; or the clock is wrong",
        ),
        Complaint(
            (of.ProxyConnectionError, of.InvalidProxiesConfigError),
            "the proxy does not answer: {error}",
            "HTTPS_PROXY names it, and NO_PROXY what goes without",
        ),
        Complaint(
            (of.InvalidRegionError, of.NoRegionError, of.UnknownRegionError, of.EndpointProviderError),
            "there is no such region: {error}",
            "name one: --region us-east-1",
        ),
        Complaint(
            (of.HTTPClientError, of.ConnectionError),
            "AWS does not answer ({error})",
            "check the network and the region; `inv local.status` if the profile is the local cloud's",
        ),
        Complaint(
            (of.ParamValidationError,),
            "a value cannot be sent to AWS: {error}",
            "look at the settings: bucket, name, region, …",
        ),
        Complaint(
            (of.InvalidConfigError, of.UnknownCredentialError, of.InvalidRetryConfigurationError),
            "the profile is wrong: {error}",
            MEND_PROFILE,
        ),
        Complaint((of.BotoCoreError,), "{error}", None),
    )


def _if_there(module: object, name: str) -> tuple[type[BaseException], ...]:
    """A kind of error that older versions of botocore lack."""
    return (getattr(module, name),) if hasattr(module, name) else ()


def explained(doing: str, error: BaseException) -> CloudError | None:
    """An error on the way to AWS as a CloudError; None for one that comes from elsewhere.

    doing: what was being done, as it follows "cannot ".
    """
    from botocore.exceptions import ConfigParseError

    if isinstance(error, ConfigParseError):
        from .aws_files import unreadable

        return unreadable(error)
    for one in _complaints():
        if isinstance(error, one.kinds):
            return CloudError(f"cannot {doing}: {one.problem.format(error=short(error))}", fix=one.fix)
    if not isinstance(error, Exception) or isinstance(error, CloudError):
        return None
    where = set(_modules(error))
    # A credential_process that is no program or prints no JSON: botocore lets pass what Python says to that.
    if "botocore.credentials" in where or ("botocore.auth" in where and not isinstance(error, OSError)):
        problem = f"the profile's credentials cannot be had ({type(error).__name__}: {short(error)})"
        return CloudError(f"cannot {doing}: {problem}", fix=MEND_PROFILE)
    if isinstance(error, ValueError) and {"botocore.endpoint", "botocore.args", "botocore.client"} & where:
        return CloudError(f"cannot {doing}: {short(error)}", fix=MEND_PROFILE)
    return None


def short(error: object) -> str:
    """Somebody else's words in one line, which is not too long."""
    text = one_line(str(error))
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}…"


def _modules(error: BaseException) -> Iterator[str]:
    """The modules that an exception has come through."""
    for frame, _ in walk_tb(error.__traceback__):
        yield str(frame.f_globals.get("__name__"))

"""A session of boto3 with what we want otherwise: times, whose answer it is, and how an MFA code is asked for."""

from __future__ import annotations

import os
from contextlib import suppress
from datetime import datetime
from typing import TYPE_CHECKING, Any

from .errors import CloudError

if TYPE_CHECKING:
    import boto3


def make(profile: str | None, region: str) -> boto3.Session:
    """A session of its own; others of this process are left as they are. For use inside `aws_errors`."""
    import boto3
    import botocore.session
    from botocore import exceptions

    # As the AWS CLI does it: https://github.com/aws/aws-cli/blob/develop/awscli/customizations/scalarparse.py
    base = botocore.session.get_session()
    base.get_component("response_parser_factory").set_parser_defaults(timestamp_parser=_moment)
    base.register("after-call", _check_who_answers)
    session = boto3.Session(botocore_session=base, profile_name=profile, region_name=region)
    with suppress(exceptions.UnknownCredentialError):
        base.get_component("credential_provider").get_provider("assume-role")._prompter = _mfa_code
    return session


def _check_who_answers(**answer: Any) -> None:
    """Refuse a page where a service answers in JSON: botocore takes it for an empty answer; in XML, it notices itself.

    answer: as botocore's event `after-call` has it.
    """
    from botocore.parsers import ResponseParserError

    response, service = answer["http_response"], answer["model"].service_model
    if "json" in service.protocol and response.content.lstrip().startswith(b"<"):
        raise ResponseParserError(f"HTTP {response.status_code}, {response.content!r}")


def _mfa_code(prompt: str) -> str:
    """Ask for the code of a profile's mfa_serial; raises CloudError where nobody can be asked.

    botocore's own question would wait for a line of whatever stdin is, and show it.
    """
    from getpass import getpass

    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY))
    except OSError:
        raise CloudError(
            "this profile wants an MFA code, and there is no terminal to ask for it",
            fix="get a session first (`aws sts get-session-token --serial-number … --token-code …`), or use a terminal",
        ) from None
    return getpass(prompt)


def _moment(value: Any) -> datetime:
    """A moment in an answer of AWS. Python reads ISO 8601 in a fiftieth of the time that botocore's dateutil takes."""
    if isinstance(value, str) and value.endswith("Z"):
        with suppress(ValueError):
            return datetime.fromisoformat(value)
    from botocore.utils import parse_timestamp

    return parse_timestamp(value)

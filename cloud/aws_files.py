"""AWS's own files, ~/.aws/config and ~/.aws/credentials, as botocore reads them and nobody else does."""

from __future__ import annotations

from typing import Any

from .errors import CloudError


def section(profile: str | None) -> tuple[str | None, dict[str, Any]]:
    """A profile's keys in both files, and the name under which they were found.

    profile: None means the one of AWS_PROFILE; if that is not set, either, the name is None, and the keys are those of
    the default profile, if there is one.
    https://docs.aws.amazon.com/sdkref/latest/guide/file-format.html
    Raises CloudError when there is no such profile, or a file cannot be read.
    """
    import botocore.session
    from botocore import exceptions

    session = botocore.session.Session(profile=profile)
    try:
        return session.profile, session.get_scoped_config()
    except exceptions.ProfileNotFound:
        raise no_such_profile(session.profile) from None
    except exceptions.ConfigParseError as error:
        raise unreadable(error) from None


def no_such_profile(name: str | None) -> CloudError:
    """The error of a profile that is in neither file."""
    return CloudError(
        f"there is no AWS profile {name!r}",
        fix="`aws configure list-profiles` shows those there are; `aws configure --profile NAME` makes one",
    )


def unreadable(error: Any) -> CloudError:
    """A ConfigParseError with its cause, which botocore keeps to itself."""
    from .text import one_line

    cause = one_line(str(error.kwargs.get("error") or "not an INI file"))
    return CloudError(f"AWS's file {error.kwargs.get('path')} cannot be read: {cause}", fix="mend it, then try again")

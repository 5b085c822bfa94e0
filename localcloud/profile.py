"""The AWS profile that leads to the local cloud: one marked block in the user's AWS config file."""

from __future__ import annotations

import configparser
import os
import re
import tempfile
from collections.abc import Mapping
from pathlib import Path

from .errors import LocalCloudError

REGION = "us-east-1"


def name() -> str:
    """The profile's name: `local`, or what SOLVER_LOCAL_PROFILE says."""
    return os.environ.get("SOLVER_LOCAL_PROFILE") or "local"


def path() -> Path:
    """The AWS config file, where the AWS CLI and the SDKs look for it."""
    return Path(os.environ.get("AWS_CONFIG_FILE") or "~/.aws/config").expanduser().resolve()


def write(values: Mapping[str, str]) -> None:
    """Put the profile into the AWS config file, in place of the one written before.

    values: the profile's keys and values.
    Raises LocalCloudError when the file has a profile of that name that was not written here.
    """
    rest = _without_block(_read())
    parser = configparser.RawConfigParser(strict=False)
    try:
        parser.read_string(rest)
    except configparser.Error as error:
        raise LocalCloudError(f"{path()} cannot be read: {error}", fix="mend it, then try again") from None
    if parser.has_section(f"profile {name()}"):
        raise LocalCloudError(
            f"{path()} has a profile {name()!r} of its own",
            fix="choose another name for the local cloud's: SOLVER_LOCAL_PROFILE=NAME",
        )
    start, end = _markers()
    lines = [start, f"[profile {name()}]", *(f"{key} = {value}" for key, value in values.items()), end]
    # The line break in front belongs to the block, so that taking the block out gives back every byte of the rest.
    _replace(rest + "\n" + "\n".join(lines) + "\n")


def remove() -> None:
    """Take the profile out again; every other byte of the file stays as it is."""
    text = _read()
    rest = _without_block(text)
    if rest == text:
        return
    if rest:
        _replace(rest)
    else:
        path().unlink()


def _markers() -> tuple[str, str]:
    return (
        f"# >>> solver-cloud: profile {name()}, written by local.up, removed by local.down",
        f"# <<< solver-cloud: profile {name()}",
    )


def _without_block(text: str) -> str:
    start, end = (re.escape(marker) for marker in _markers())
    return re.sub(rf"\n{start}\n.*?\n{end}\n", "", text, flags=re.DOTALL)


def _read() -> str:
    try:
        # newline="": line ends are part of the bytes to be kept
        with path().open(encoding="utf-8", newline="") as file:
            return file.read()
    except FileNotFoundError:
        return ""


def _replace(text: str) -> None:
    """Write the file anew, all or nothing, with the mode it had."""
    target = path()
    target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    mode = target.stat().st_mode & 0o777 if target.exists() else 0o600
    with tempfile.NamedTemporaryFile("w", dir=target.parent, delete=False, encoding="utf-8", newline="") as file:
        file.write(text)
    Path(file.name).chmod(mode)
    Path(file.name).replace(target)

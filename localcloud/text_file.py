"""Files that a user names, read by the user's own command."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from .errors import LocalCloudError

MOST_BYTES = 1_000_000


def read(path: Path) -> str:
    """What a file has; raises LocalCloudError when it is not a regular file of text, or over 1 MB.

    The command reads it, which has no more rights than its user; the cloud opens no file that somebody names.
    """
    try:
        with open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK)) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise LocalCloudError(f"{path} is not a regular file")
            data = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise LocalCloudError(f"{path} cannot be read: {error.strerror}") from None
    if len(data) > MOST_BYTES:
        raise LocalCloudError(f"{path} is over 1 MB")
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise LocalCloudError(f"{path} is not text: {error.reason}") from None

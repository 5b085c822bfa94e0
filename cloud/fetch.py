"""The conversation of a download: what is waited for, asked and said."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from . import display, download
from .aws import Aws
from .bundle import Bundle
from .config import check_output
from .errors import CloudError, interruptible

SHOWN = 5
"""How many of the files to be overwritten are named."""


def fetch(aws: Aws, what: str, bundle: Bundle, output: str, *, yes: bool) -> Path:
    """Download a bundle; returns the directory that it is in.

    what: the job or sweep. output: as `--output` takes it, or as it was asked for at launch. yes: overwrite what no
    download put there without asking.
    Raises CloudError as `download` does, and when it is not to be overwritten.
    """
    directory = Path(check_output(output or None)).expanduser()

    def waiting() -> None:
        display.say(f"another download into {directory} is under way; waiting")

    def agree(names: list[str]) -> None:
        if not yes:
            ask(what, directory, names)

    with interruptible("what is there is whole, and the same again fetches the rest"):
        done = download.download(
            aws, bundle, directory, agree=agree, progress=partial(display.byte_progress, what), waiting=waiting
        )
    for warning in done.warnings:
        display.say(f"warning: {warning}")
    display.say(f"{done.fetched} files fetched ({done.bytes:,} bytes), {done.kept} were there already")
    return directory


def ask(what: str, directory: Path, names: list[str]) -> None:
    """Raise CloudError unless the user agrees to what is overwritten, UsageError where nobody can be asked."""
    display.say(f"in {directory} there is already, and no download has put it there:")
    for name in names[:SHOWN]:
        display.say(f"  {name}")
    if len(names) > SHOWN:
        display.say(f"  and {len(names) - SHOWN} more")
    if not display.agreed(f"overwrite these {len(names)}?", otherwise=f"inv download {what} --yes"):
        raise CloudError("nothing was overwritten or fetched", fix="another directory: --output DIRECTORY")

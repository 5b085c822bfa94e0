"""Running git: its command line and environment, what it prints, and what it complains about."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from .errors import CloudError

OPTIONS = {
    "add.ignoreErrors": "false",
    "core.fsmonitor": "false",
    "core.hooksPath": os.devnull,
    # Larger files are streamed, and packs read piece by piece: a checkpoint in the source may be larger than memory.
    "core.bigFileThreshold": "16m",
    "core.compression": "0",
    "core.looseCompression": "0",
    "core.packedGitLimit": "64m",
    "core.packedGitWindowSize": "16m",
    "core.preloadIndex": "true",
    "core.splitIndex": "false",
    # The private index lives for less than a second; a checksum over it takes longer than writing it (git 2.40).
    "index.skipHash": "true",
    "tar.umask": "0022",
}
"""Stronger than the user's own configuration, which is read: it says what is always ignored, and whom to trust."""

LEFT_OUT = re.compile(rb"^(Ignoring path |warning: could not open directory )", re.MULTILINE)
"""How git says that it leaves out a path that no repository may have, like .GIT/x, or a directory it may not read."""

One = TypeVar("One")
Other = TypeVar("Other")


def run(*arguments: str, cwd: Path, feed: bytes = b"", fine: tuple[int, ...] = (0,), **variables: str) -> bytes:
    """What one git command prints. Raises CloudError with git's own complaint in one line.

    feed: what it reads; fine: exit codes that are answers; variables: of its environment.
    """
    try:
        done = subprocess.run(
            command(*arguments), cwd=cwd, input=feed, capture_output=True, env=environment(**variables)
        )
    except OSError as error:
        if error.filename != "git":
            raise CloudError(f"cannot run git in {cwd}: {error.strerror}") from None
        raise CloudError("there is no git on PATH", fix="install git: it reads the trainer's source tree") from None
    # Both are left out, and git says so, but does not fail.
    if done.returncode not in fine or LEFT_OUT.search(done.stderr):
        raise CloudError(f"cannot read the source in {cwd}: {complaint(done.stderr)}", fix=_advice(done.stderr))
    return done.stdout


def at_once(one: Callable[[], One], other: Callable[[], Other]) -> tuple[One, Other]:
    """What both return, which run at the same time. Raises what one of them raises, once both have ended."""
    with ThreadPoolExecutor(1) as pool:
        second = pool.submit(other)
        return one(), second.result()


def nul_terminated(entries: Iterable[bytes]) -> bytes:
    """The entries, paths for example, as git reads them with -z."""
    return b"".join(entry + b"\0" for entry in entries)


def command(*arguments: str) -> list[str]:
    """The command line of git with our options; `arguments` start with the subcommand."""
    return ["git", *(word for key, value in OPTIONS.items() for word in ("-c", f"{key}={value}")), *arguments]


def environment(**variables: str) -> dict[str, str]:
    """This process's environment for git: without what a surrounding git (a hook, say) has set, plus `variables`."""
    kept = ("GIT_CONFIG", "GIT_CEILING_DIRECTORIES", "GIT_DISCOVERY_ACROSS_FILESYSTEM")
    outer = {key: value for key, value in os.environ.items() if not key.startswith("GIT_") or key.startswith(kept)}
    return {**outer, "LC_ALL": "C", "GIT_OPTIONAL_LOCKS": "0", **variables}


def complaint(stderr: bytes) -> str:
    """What git says is wrong, in one line: its first error, else its first fatal, else all but the hints."""
    lines = stderr.decode(errors="replace").splitlines()
    for start in ("error: ", "fatal: ", "warning: could not open "):
        for line in lines:
            if line.startswith(start):
                return line.removeprefix(start.partition(" ")[0] + " ")
    return " ".join(line for line in lines if not line.startswith(("hint:", "warning:")))


def _advice(stderr: bytes) -> str | None:
    """How this can be mended: a command of git's own, as it has one about a directory of another user's."""
    if found := re.search(rb"^\t(git .*)$", stderr, re.MULTILINE):
        return found[1].decode(errors="replace")
    return "make it readable, or list it in .gitignore" if b"Permission denied" in stderr else None

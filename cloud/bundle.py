"""What a bundle holds, and the names that it may have: they come from S3, and are written on this machine."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from .errors import CloudError
from .records import File

if TYPE_CHECKING:
    from .jobs import Job

WORK = ".solver-cloud"
"""Lock and unfinished files, in the directory while a download is under way; its removal removes all that is ours."""


@dataclass(frozen=True)
class Bundle:
    """Files, symbolic links and empty directories, by their paths below one directory."""

    prefix: str
    """Key prefix of the files, "jobs/<id>/bundle/"."""
    files: tuple[File, ...] = ()
    links: Mapping[str, str] = field(default_factory=dict)
    """What each link points to, from the place of the link."""
    directories: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    """What the instance says is not as it should be."""
    keys: Mapping[str, str] = field(default_factory=dict)
    """Where below the prefix a file is, by its path, if that is not the path itself."""

    @property
    def paths(self) -> list[str]:
        """All the names that are to be there."""
        return [*(file.path for file in self.files), *self.links, *self.directories]


def of_job(job: Job) -> Bundle:
    """The bundle of a job that is complete."""
    return Bundle(f"jobs/{job.id}/bundle/", job.bundle, job.links, job.directories, job.warnings)


def check(bundle: Bundle) -> None:
    """Raise CloudError for a name that leads out of the directory, or cannot be together with the others."""
    for path in bundle.paths:
        _check_name(path)
    leaves = Counter([*(file.path for file in bundle.files), *bundle.links])
    for path in [path for path, count in leaves.items() if count > 1] + sorted(leaves & Counter(above(bundle.paths))):
        raise _distrusted(f"the record names {path!r} as two things")
    for path in leaves.keys() & set(bundle.directories):
        raise _distrusted(f"the record names {path!r} as two things")


def _check_name(path: str) -> None:
    names = path.split("/")
    try:
        encoded = path.encode()  # S3's keys are UTF-8
    except UnicodeEncodeError:
        encoded = b"\0"
    if {"", ".", ".."} & set(names) or b"\0" in encoded or names[0].casefold() == WORK:
        raise _distrusted(f"the record names a file outside the bundle: {path!r}")
    try:
        os.fsencode(path)
    except UnicodeEncodeError:
        raise CloudError(
            f"this terminal's language settings have no name for {path!r}", fix="LC_ALL=C.UTF-8, then the same again"
        ) from None


def _distrusted(problem: str) -> CloudError:
    return CloudError(problem, fix="this bundle is not to be trusted")


def above(paths: Iterable[str]) -> set[str]:
    """All directories that paths are in, but the topmost."""
    found: set[str] = set()
    for path in paths:
        while (path := path.rpartition("/")[0]) and path not in found:
            found.add(path)
    return found


def stays_inside(path: str, target: str) -> bool:
    """Whether a link that is at a path leads to a place in the bundle's directory, whatever other links there are.

    It may go up from its own place, and then down: after a name that is itself a link, `..` would lead to where nobody
    can tell.
    """
    names = target.split("/")
    ups = next((count for count, name in enumerate(names) if name != ".."), len(names))
    try:
        encoded = target.encode()
    except UnicodeEncodeError:
        return False
    return bool(names[0]) and ".." not in names[ups:] and ups <= path.count("/") and b"\0" not in encoded


def check_cases(paths: Iterable[str]) -> None:
    """Raise CloudError for names that a file system takes for one when it does not tell upper from lower case."""
    seen = Counter(path.casefold() for path in paths)
    for path in paths:
        if seen[path.casefold()] > 1:
            raise CloudError(
                f"the bundle has another file like {path!r} but for upper and lower case, and this disk cannot"
                " hold both",
                fix="name an --output on another disk",
            )

"""Makes again below an output directory what S3 cannot hold: links and empty directories, from tree.json.

Of a file that was open for writing at every sync there is only a torn copy, which gets its name; any other torn
copy goes. Nothing is made outside the directory, through a link, or in the place of what is there, and no link leads
outside, whatever tree.json says. Standard library of Python 3.9 only.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from pathlib import Path
from typing import Any

FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_DIRECTORY


def restore(root: int, tree: Any) -> None:
    """Make what tree.json tells of, but for what it must not; the rest is made all the same."""
    for path in tree.get("torn", []):
        attempt(path, untear, root, path)
    for path in tree.get("directories", []):
        attempt(path, lambda path: os.close(enter(root, parts(path))), path)
    for path, target in tree.get("links", {}).items():
        attempt(path, link, root, path, target)


def attempt(path: Any, make: Any, *given: Any) -> None:
    """Try one of them; what cannot be made is named."""
    try:
        make(*given)
    except (OSError, ValueError, AttributeError, TypeError) as error:
        print(f"not made again: {path!a}: {error}", file=sys.stderr)


def parts(path: str) -> list[str]:
    """The names on a path inside; raises ValueError for one that may lead outside."""
    names = path.split("/")
    if not {"", ".", ".."}.isdisjoint(names):
        raise ValueError("not a path inside")
    return names


def enter(root: int, names: list[str]) -> int:
    """Open a directory below `root`, through no link, and make it where it is not there."""
    directory = os.dup(root)
    for name in names:
        with contextlib.suppress(FileExistsError):
            os.mkdir(name, dir_fd=directory)
        try:
            below = os.open(name, FLAGS, dir_fd=directory)
        finally:
            os.close(directory)
        directory = below
    return directory


def link(root: int, path: str, target: str) -> None:
    """Make a link. Its target goes up at the beginning only, so that it ends inside, whatever is a link on its way."""
    *parents, name = parts(path)
    down = target.split("/")
    while down and down[0] == "..":
        down = down[1:]
        if len(target.split("/")) - len(down) > len(parents):
            raise ValueError("it leads outside")
    if down and down != ["."]:
        parts("/".join(down))
    directory = enter(root, parents)
    try:
        os.symlink(target, name, dir_fd=directory)
    finally:
        os.close(directory)


def untear(root: int, path: str) -> None:
    """Give a torn copy its file's name, unless there is a whole version."""
    *parents, name = parts(path)
    directory = enter(root, parents)
    try:
        with contextlib.suppress(FileExistsError):
            os.link(f"{name}.torn", name, src_dir_fd=directory, dst_dir_fd=directory, follow_symlinks=False)
        os.unlink(f"{name}.torn", dir_fd=directory)
    finally:
        os.close(directory)


if __name__ == "__main__":
    output, told = map(Path, sys.argv[1:])
    try:
        found = json.loads(told.read_bytes())
        restore(os.open(output, FLAGS), found)
    except (OSError, ValueError, AttributeError, TypeError, RecursionError) as error:
        print(f"no links are made again: {error}", file=sys.stderr)

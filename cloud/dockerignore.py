"""What .dockerignore leaves out of a build, by Docker's own rules. Pure.

Docker's rules are the code of https://github.com/moby/patternmatcher, patternmatcher.go and ignorefile/ignorefile.go;
https://docs.docker.com/build/concepts/context/#dockerignore-files explains them. Git's patterns are others: `[!a]`,
`a**b` and `../a` mean something else there.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable
from itertools import groupby

from .errors import UsageError

NAME = ".dockerignore"

SPACE = "\t\n\v\f\r \x85\xa0\u1680\u2028\u2029\u202f\u205f\u3000" + "".join(map(chr, range(0x2000, 0x200B)))
"""What Go's strings.TrimSpace takes away: https://pkg.go.dev/unicode#IsSpace"""

TOKEN = re.compile(r"\*\*/?|\*|\?|\\.|\[\^?(?:\\.|[^\]\\-])(?:\\.|[^\]\\])*\]|.", re.DOTALL)
"""A pattern's parts, as Go's filepath.Match reads them."""

ALONE = frozenset("[\\")
"""What is no part by itself: the bracket or backslash is never closed."""


def dropped(content: bytes, name: str, paths: Iterable[bytes]) -> set[bytes]:
    """Those of `paths` that an ignore file leaves out.

    content: the file's; name: how errors call it; paths: relative to the context, with slashes.
    Raises UsageError for a pattern that Docker refuses, too: nobody knows what was meant to be kept secret.
    """
    rules = []
    for kept, group in groupby(_patterns(content, name), key=lambda pattern: pattern[0]):
        expressions = "|".join(_expression(pattern, name) for _, pattern in group)
        try:
            rules.append((kept, re.compile(rf"(?:{expressions})(?:/.*)?", re.DOTALL)))
        except re.error as error:
            raise UsageError(f"{name} has a pattern that Docker cannot read: {error}") from None
    found = set()
    for path in paths:
        text = path.decode(errors="surrogateescape")
        # The last group of patterns that fits decides.
        if next((not kept for kept, expression in reversed(rules) if expression.fullmatch(text)), False):
            found.add(path)
    return found


def _patterns(content: bytes, name: str) -> Iterable[tuple[bool, str]]:
    """Patterns in their order, each with whether it begins with `!`."""
    for line in content.removeprefix(b"\xef\xbb\xbf").split(b"\n"):
        text = line.decode(errors="surrogateescape")
        pattern = text.strip(SPACE)
        if not pattern or text.startswith("#"):
            continue
        kept = pattern.startswith("!")
        pattern = pattern.removeprefix("!").strip(SPACE)
        if not pattern:
            raise UsageError(f"{name} has a line with nothing behind the !")
        cleaned = posixpath.normpath(pattern)
        yield kept, cleaned.lstrip("/") if cleaned.strip("/") else cleaned


def _expression(pattern: str, name: str) -> str:
    """A pattern as a regular expression for the whole of a path, or of a directory above it."""
    tokens = TOKEN.findall(pattern)
    if ALONE.intersection(tokens):
        raise UsageError(f"{name} has a pattern that Docker cannot read: {pattern}")
    if pattern.startswith("**") and not re.search(r"[*?\[\]\\]", pattern[2:]):
        # Whatever ends so: `**a` is `b/ca`, too. Before 2023 Docker wanted a slash there; to send less is safer.
        return rf".*{re.escape(pattern[2:])}" + (f"|{re.escape(pattern[3:])}" if pattern[2:3] == "/" else "")
    return "".join(_part(token, last=number == len(tokens)) for number, token in enumerate(tokens, 1))


def _part(token: str, *, last: bool) -> str:
    match token[:2]:
        case "**":
            return ".*" if last else r"(?:[^\n]*/)?"
        case "*":
            return "[^/]*"
        case "?":
            return "[^/]"
    if token[0] == "[" and len(token) > 1:
        negated = token[1] == "^"
        inside = re.sub(r"([\[&~|])", r"\\\1", token[1 + negated : -1]).replace("--", r"-\-")
        return f"[{'^' if negated else ''}{inside}]"
    return re.escape(token[-1])

"""What .dockerignore leaves out, as Docker reads it; tests/test_engine.py asks the engine itself about more."""

from __future__ import annotations

import pytest

from cloud.dockerignore import dropped
from cloud.errors import UsageError


@pytest.mark.parametrize(
    ("content", "gone"),
    [
        # https://github.com/moby/patternmatcher/blob/main/ignorefile/ignorefile_test.go
        (b"\xef\xbb\xbfsecret\nother", "secret other"),
        (b"secret\r\nother\r\n", "secret other"),
        (b"  secret \t\n\n\n", "secret"),
        (b"# secret\n", ""),
        (b" #hash\n", "#hash"),  # a comment begins at the line's first character
        (b"/secret\n./other/\n", "secret other"),
        (b"a/../secret\n", "secret"),
        (b"../secret\n/../other\n", "other"),
        (b"secret\x85other\n", ""),
        (b".\n/\n", ""),
        (b"*\n!a\n! secret \na/b\n", "other #hash x/secret x/deep/secret b-a ab a/b"),
        # https://github.com/moby/patternmatcher/blob/main/patternmatcher_test.go
        (b"**/secret\n", "secret x/secret x/deep/secret"),
        (b"**secret\n", "secret x/secret x/deep/secret"),
        (b"**/*cret\n", "secret x/secret x/deep/secret"),
        (b"x/**/secret\n", "x/secret x/deep/secret"),
        (b"x/**\n", "x/secret x/deep/secret"),
        (b"x/*\n!x/deep\n", "x/secret"),
        (b"a**b\n", "ab a/b"),  # slashes and what is before them, or nothing
        (b"?b\n", "ab"),
        (b"[!a]*\n", "ab a/b"),  # no negation: that is [^a]
        (b"[^a]*\n", "secret other #hash x/secret x/deep/secret b-a"),
        (b"\\#hash\n", "#hash"),
        (b"b\\-a\n", "b-a"),
        (b"**\n!x/secret\n", "secret other #hash x/deep/secret b-a ab a/b"),
    ],
)
def test_patterns_mean_what_they_mean_to_docker(content: bytes, gone: str) -> None:
    paths = [b"secret", b"other", b"#hash", b"x/secret", b"x/deep/secret", b"b-a", b"ab", b"a/b"]
    assert dropped(content, ".dockerignore", paths) == set(gone.encode().split())


@pytest.mark.parametrize("pattern", ["!", "[", "a[b", "[]a]", "a[-]b", "a\\", "[z-a]", "! "])
def test_what_docker_refuses_is_refused(pattern: str) -> None:
    with pytest.raises(UsageError, match=r"\.dockerignore has a "):
        dropped(f"ok\n{pattern}\n".encode(), ".dockerignore", [b"a"])


def test_names_of_any_bytes_can_be_left_out() -> None:
    paths = [b"caf\xe9.bin", "café".encode(), b"a\nb", b"-rf"]
    assert dropped(b"caf*\na?b\n-rf", ".dockerignore", paths) == set(paths)
    assert dropped(b"caf\xe9.bin\n", ".dockerignore", paths) == {b"caf\xe9.bin"}

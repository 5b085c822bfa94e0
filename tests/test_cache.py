"""What is kept in the user's cache directory: losing it costs time only, and it leaves nothing lying about."""

from __future__ import annotations

import errno
import os
import stat
import tempfile
from pathlib import Path

import pytest

from cloud import cache


def test_what_was_kept_is_there_for_this_user_only(home: Path) -> None:
    cache.keep("a", {"b": "\udce9 é"})
    assert cache.load("a")
    assert stat.S_IMODE(cache.path("a").stat().st_mode) == 0o600
    assert os.listdir(cache.directory()) == ["a.json"]


@pytest.mark.parametrize("content", [b"", b"\xff", b"[1]", b'{"a": ', b"[" * 100_000, b"null"])
def test_what_cannot_be_read_is_nothing(content: bytes, home: Path) -> None:
    cache.keep("a", {})
    cache.path("a").write_bytes(content)
    assert cache.load("a") == {}


@pytest.mark.parametrize("at", ["mkstemp", "write", "replace"])
def test_a_full_disk_is_no_reason_to_fail_and_leaves_no_stray_file(
    at: str, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache.keep("a", {"before": 1})

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    where = {"mkstemp": (tempfile, "mkstemp"), "write": (cache, "open"), "replace": (os, "replace")}[at]
    monkeypatch.setattr(*where, full, raising=at != "write")
    cache.keep("a", {"after": 1})
    assert os.listdir(cache.directory()) == ["a.json"]
    assert cache.load("a") == {"before": 1}


def test_no_home_is_no_reason_to_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody(self: Path) -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(Path, "expanduser", nobody)
    cache.keep("a", {"b": 1})
    assert cache.load("a") == {}


@pytest.mark.parametrize("base", ["", "relative/path"])
def test_a_cache_directory_that_is_not_absolute_is_ignored(
    base: str, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """https://specifications.freedesktop.org/basedir-spec/: "If an implementation encounters a relative path …"."""
    monkeypatch.setenv("XDG_CACHE_HOME", base)
    assert cache.directory() == home / ".cache" / "solver-cloud"

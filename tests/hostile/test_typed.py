"""Whatever is typed or configured: a value that can be used, or one line that says what is wrong with it."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cloud import config
from cloud.config import Settings
from cloud.defaults import DEFAULTS
from cloud.dockerignore import dropped
from cloud.errors import CloudError, UsageError
from cloud.trainer_config import read_trainer_config

QUICK = settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
LONG = settings(QUICK, max_examples=10_000)

NUMBERS = st.sampled_from(["nan", "inf", "-inf", "1e9", "1e400", "0x10", "1_0", "٣", " 1 ", "", "9" * 5000, "1e-400"])
TEXTS = st.one_of(NUMBERS, st.text(max_size=20), st.integers().map(str), st.floats().map(str))
ANY: st.SearchStrategy[Any] = st.one_of(
    TEXTS, st.integers(), st.floats(), st.booleans(), st.none(), st.lists(st.integers(), max_size=2)
)
PATHS = st.text(st.sampled_from("a/.~\0\n\x1b é🂡-\\\udce9"), max_size=12) | st.text(max_size=300)


def numbers_are_finite_or_refused(text: str) -> None:
    with contextlib.suppress(UsageError):
        found = config.check_number("--cpus", text)
        assert found is not None
        assert 0 <= found <= 1e9


def settings_are_of_their_kind_or_refused(name: str, value: Any) -> None:
    with contextlib.suppress(CloudError):
        found = getattr(Settings.from_context({"solver": {name: value}}), name)
        assert not isinstance(found, float) or math.isfinite(found)


def paths_can_be_shown_or_are_refused(path: str) -> None:
    with contextlib.suppress(UsageError):
        assert config.check_output(path).isprintable()
    with contextlib.suppress(UsageError):
        assert read_trainer_config(path).name.isprintable()


def other_texts_are_refused(text: str) -> None:
    for check in (config.check_day, lambda _, text: config.trainer_arguments(text, config="/c", output="/o")):
        with contextlib.suppress(UsageError):
            check("--x", text)


def ignore_files_are_read_or_refused(content: bytes, paths: list[bytes]) -> None:
    with contextlib.suppress(UsageError):
        assert dropped(content, ".dockerignore", paths) <= set(paths)


PATTERNS = st.text(st.sampled_from("ab/*?[]^!\\-# \n.\r"), max_size=20).map(str.encode)
NAMES = st.lists(st.sampled_from([b"a", b"a/b", b"ab", b"\xff", b"a\nb", b"-", b"[", b"^"]))
CHECKS: list[tuple[Callable[..., None], tuple[st.SearchStrategy[Any], ...]]] = [
    (numbers_are_finite_or_refused, (TEXTS,)),
    (settings_are_of_their_kind_or_refused, (st.sampled_from(sorted(DEFAULTS)), ANY)),
    (paths_can_be_shown_or_are_refused, (PATHS,)),
    (other_texts_are_refused, (TEXTS | st.text(st.sampled_from("{}config.output[]!:'\\\" "), max_size=30),)),
    (ignore_files_are_read_or_refused, (PATTERNS | st.binary(max_size=20), NAMES)),
]


@pytest.mark.parametrize(("check", "strategies"), CHECKS)
@pytest.mark.parametrize("often", [QUICK, pytest.param(LONG, marks=pytest.mark.long)], ids=["quick", "long"])
def test_what_is_typed_is_used_or_refused(
    home: Path,
    monkeypatch: pytest.MonkeyPatch,
    check: Callable[..., None],
    strategies: tuple[st.SearchStrategy[Any], ...],
    often: settings,
) -> None:
    monkeypatch.chdir(home)
    often(given(*strategies)(check))()

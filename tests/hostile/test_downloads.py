"""What a role may write, and a download reads: names, links, host keys. Nothing of it harms this machine."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import paramiko
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cloud import bundle, bundle_directory, bundle_index, cache, session, storage
from cloud.bundle import Bundle
from cloud.errors import CloudError
from cloud.records import File

from ..test_jobs import remembered

quick = settings(max_examples=200, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck))
thorough = settings(max_examples=10_000, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck))
HOW = pytest.mark.parametrize("how", [quick, pytest.param(thorough, marks=pytest.mark.long)], ids=["quick", "long"])

NAMES = st.sampled_from(["a", "b", "c", "latest", "A", "é", "~", "a b"])
HOSTILE = st.sampled_from(["..", ".", "", ".solver-cloud", "lock", "\0", "\ud800", "x" * 300, "\x1b]0;x\x07", "a\nb"])
PATHS = st.lists(NAMES | NAMES | NAMES | HOSTILE, min_size=1, max_size=4).map("/".join)
TARGETS = PATHS | st.lists(st.sampled_from(["..", "a", "latest", "."]), max_size=5).map("/".join)
CONTENT = st.sampled_from(["", "one", "two", "three"])
BUNDLES = st.tuples(
    st.dictionaries(PATHS, CONTENT, max_size=5),
    st.dictionaries(PATHS, TARGETS, max_size=3),
    st.lists(PATHS, max_size=3),
)
THERE = st.dictionaries(
    st.lists(NAMES, min_size=1, max_size=3).map("/".join),
    st.sampled_from(["file", "directory", "link outside", "link inside"]),
    max_size=5,
)


def tried(how: settings, check: Callable[..., None], *inputs: Any) -> None:
    run: Callable[[], None] = how(given(*inputs)(check))  # type: ignore[no-untyped-call]
    run()


def found(top: Path) -> dict[str, str]:
    """All that is below a directory."""
    every = [Path(where, name) for where, below, files in os.walk(top) for name in below + files]
    return {
        str(path.relative_to(top)): f"-> {os.readlink(path)}"
        if path.is_symlink()
        else "directory"
        if path.is_dir()
        else path.read_text()
        for path in every
    }


def furnish(run: Path, there: dict[str, str], outside: Path) -> None:
    """Put things of the user's there, as far as they can be together."""
    for path, kind in there.items():
        try:
            (run / path).parent.mkdir(parents=True, exist_ok=True)
            match kind:
                case "file":
                    (run / path).write_text("mine")
                case "directory":
                    (run / path).mkdir()
                case "link outside":
                    (run / path).symlink_to(outside)
                case "link inside":
                    (run / path).symlink_to("a")
        except OSError:
            pass


def put(run: Path, coming: tuple[dict[str, str], dict[str, str], list[str]]) -> list[str]:
    """What a download does, of someone who agrees to everything; returns what was agreed to."""
    content, links, directories = coming
    sha256 = {path: hashlib.sha256(text.encode()).hexdigest() for path, text in content.items()}
    files = tuple(File(path, len(text), sha256[path]) for path, text in content.items())
    named = Bundle("jobs/i-1/bundle/", files, links, tuple(directories))
    with bundle_directory.opened(run, lambda: None) as held:
        missing = held.missing(named)
        held.remove_outdated()
        for file in missing.files:
            with held.whole_file(file) as out:
                os.pwrite(out, content[file.path].encode(), 0)
        for path in directories:
            held.make_directory(path)
        for path in missing.links:
            if bundle.stays_inside(path, links[path]):
                held.make_link(path, links[path])
    return missing.overwritten


@HOW
@pytest.mark.usefixtures("home")
def test_whatever_records_name_nothing_is_lost_unasked_or_written_elsewhere(how: settings) -> None:
    def check(there: dict[str, str], bundles: list[tuple[dict[str, str], dict[str, str], list[str]]]) -> None:
        with tempfile.TemporaryDirectory() as name:
            top = Path(name).resolve()
            run, outside = top / "run", top / "outside"
            run.mkdir()
            outside.mkdir()
            (outside / "precious").write_text("mine")
            furnish(run, there, outside)
            mine = {path: what for path, what in found(run).items() if what != "directory"}
            elsewhere = found(outside)
            for coming in bundles:
                agreed: list[str] = []
                try:
                    agreed = put(run, coming)
                except CloudError as error:
                    # It may have been agreed to before.
                    agreed = list(coming[0]) + list(coming[1]) if "cannot write" in error.problem else []
                mine = {path: what for path, what in mine.items() if path not in agreed}
                now = found(run)
                assert {path: now.get(path) for path in mine} == mine
                assert found(outside) == elsewhere
                assert sorted(path.name for path in top.iterdir()) == ["outside", "run"]
                for path, what in now.items():
                    if what.startswith("-> ") and path not in mine and os.path.exists(run / path):
                        real = (run / path).resolve()
                        assert real.is_relative_to(run) or any(kind == "link outside" for kind in there.values())

    tried(how, check, THERE, st.lists(BUNDLES, min_size=1, max_size=3))


KEY = paramiko.ECDSAKey.generate()
POINT = 65
"""Bytes of a point of its curve, at the end of a key."""
KINDS = ["ssh-ed25519", "ssh-rsa", "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp521", "ssh-dss", "x", KEY.get_name()]


@st.composite
def lines(draw: st.DrawFn) -> str:
    """A line of host keys: a key of which some bytes are others, or anything."""
    data = bytearray(KEY.asbytes())
    for _ in range(draw(st.integers(0, 3))):
        data[draw(st.integers(0, len(data) - 1))] = draw(st.integers(0, 255))
    cut = bytes(data[: draw(st.integers(0, len(data)))])
    text = draw(st.sampled_from([base64.b64encode(bytes(data)), base64.b64encode(cut), cut]))
    line = f"{draw(st.sampled_from(KINDS))} {text.decode(errors='replace')}"
    return draw(st.sampled_from([line, line, line, draw(st.text(max_size=30))]))


@HOW
def test_whatever_stands_for_host_keys_is_keys_or_said(how: settings, monkeypatch: pytest.MonkeyPatch) -> None:
    job = remembered("running")

    def check(several: list[str]) -> None:
        text = "\n".join(several)
        monkeypatch.setattr(storage, "tail", lambda *_, **__: text)
        keys: list[paramiko.PKey] = []
        with suppress(CloudError):
            keys = session.host_keys(None, job)  # type: ignore[arg-type]
        # By the point that is the key: paramiko also reads one whose length is written wrong.
        given = []
        for line in several:
            with suppress(ValueError):
                given.append(base64.b64decode(line.split(" ", 1)[-1], validate=True))
        assert all(any(key.asbytes()[-POINT:] in data for data in given) for key in keys)

    tried(how, check, st.lists(lines(), max_size=4))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8) | st.just("a"), inner, max_size=4),
    max_leaves=8,
)


@HOW
def test_whatever_is_remembered_costs_no_more_than_a_question(how: settings, home: Path) -> None:
    kept = cache.path(bundle_index.name(home / "run"))
    kept.parent.mkdir(parents=True)

    def check(names: Any, start: str) -> None:
        kept.write_text(json.dumps({start: names}))
        index = bundle_index.Index(home / "run")
        for path in ("a", "", *(names if isinstance(names, dict) else ())):
            known = index.put(path)
            assert known is None or len(known.stamp) == 4
        index.note_put("b", (0, 0, 0, 0), "c")
        index.remember()
        assert bundle_index.Index(home / "run").put("b")

    stamped = st.lists(JSON, min_size=2, max_size=3) | st.tuples(st.lists(st.integers(), max_size=5), JSON, JSON)
    dictionaries = st.dictionaries(st.just("a") | st.text(max_size=3), stamped | JSON, max_size=3)
    tried(how, check, dictionaries | JSON, st.sampled_from([bundle_index.boot(), bundle_index.BEFORE, "other"]))

"""What a directory of the user's goes through when a bundle comes: nothing is lost, nothing is written elsewhere."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from cloud import bundle_directory, bundle_index, bundle_lock, cache
from cloud.bundle import WORK, Bundle
from cloud.bundle_directory import BundleDirectory
from cloud.errors import CloudError, UsageError
from cloud.records import File

pytestmark = pytest.mark.usefixtures("home")


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return tmp_path / "run"


def bundle(content: dict[str, str], links: dict[str, str] | None = None, directories: tuple[str, ...] = ()) -> Bundle:
    files = (File(path, len(text), hashlib.sha256(text.encode()).hexdigest()) for path, text in content.items())
    return Bundle("jobs/i-1/bundle/", tuple(files), links or {}, directories)


@contextmanager
def opened(run: Path) -> Iterator[BundleDirectory]:
    with bundle_directory.opened(run, lambda: None) as held:
        yield held


def put(run: Path, content: dict[str, str], links: dict[str, str] | None = None) -> list[str]:
    """Put a bundle of these files there, as a download does; returns what was overwritten."""
    coming = bundle(content, links)
    with opened(run) as held:
        missing = held.missing(coming)
        held.remove_outdated()
        for file in missing.files:
            with held.whole_file(file) as out:
                os.pwrite(out, content[file.path].encode(), 0)
        for path in missing.links:
            assert held.make_link(path, coming.links[path]) == ""
        return missing.overwritten


def overwritten(run: Path, coming: Bundle) -> list[str]:
    with opened(run) as held:
        return held.missing(coming).overwritten


def next_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if the machine had been started anew."""
    before = bundle_index.boot()
    monkeypatch.setattr(bundle_index, "boot", lambda: f"after {before}")


def test_what_no_download_put_there_is_asked_about(run: Path) -> None:
    run.mkdir()
    (run / "notes").write_text("mine")
    (run / "same").write_text("same")
    (run / "link").symlink_to("notes")
    os.mkfifo(run / "pipe")
    coming = bundle({"notes": "theirs", "same": "same", "link": "x", "pipe": "x", "new": "x"}, {"new-link": "new"})
    assert overwritten(run, coming) == ["notes", "link", "pipe"]
    assert (run / "notes").read_text() == "mine"


def test_what_a_download_put_there_is_its_own_to_replace(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(run, {"model": "one", "config": "1"})
    next_start(monkeypatch)
    assert put(run, {"model": "two!", "config": "2"}) == []
    next_start(monkeypatch)
    assert put(run, {"model": "3"}) == []
    assert put(run, {"config": "4"}) == []  # known from two starts before


def test_what_was_changed_since_is_asked_about_again(run: Path) -> None:
    put(run, {"model": "one", "config": "1"})
    os.utime(run / "model")  # touched: it is still what was put there
    (run / "config").write_text("2")
    assert overwritten(run, bundle({"model": "two", "config": "3"})) == ["config"]


def test_a_file_of_the_users_does_not_become_ours_by_being_the_same(run: Path) -> None:
    run.mkdir()
    (run / "config").write_text("1")
    assert put(run, {"config": "1"}) == []
    assert overwritten(run, bundle({"config": "2"})) == ["config"]


def test_what_an_earlier_version_put_there_is_ours(run: Path) -> None:
    run.mkdir()
    (run / "model").write_text("one")
    there = (run / "model").stat()
    stamp = [there.st_size, there.st_ino, there.st_mtime_ns, there.st_ctime_ns]
    sha256 = hashlib.sha256(b"one").hexdigest()
    cache.keep(bundle_index.name(run), {"some start": {"model": [stamp, sha256]}})
    assert overwritten(run, bundle({"model": "two"})) == []


def test_a_directory_is_never_replaced(run: Path) -> None:
    (run / "model").mkdir(parents=True)
    for coming in (bundle({"model": "x"}), bundle({}, {"model": "x"})):
        with pytest.raises(CloudError, match="run/model is in the way: the bundle has a file or link"):
            overwritten(run, coming)


@pytest.mark.parametrize("coming", [bundle({"a/b": "x"}), bundle({}, {"a/b": "x"}), bundle({}, {}, ("a",))])
def test_a_file_of_the_users_is_never_made_a_directory(run: Path, coming: Bundle) -> None:
    run.mkdir()
    (run / "a").write_text("mine")
    with pytest.raises(CloudError, match="run/a is in the way: the bundle has a directory"):
        overwritten(run, coming)


def test_what_a_download_put_there_may_become_a_directory(run: Path) -> None:
    put(run, {"a": "x", "ckpt/model": "x"}, links={"latest": "ckpt"})
    assert put(run, {"a/b": "y", "latest/model": "x"}) == []
    assert (run / "a" / "b").read_text() == "y"
    assert not (run / "latest").is_symlink()
    assert (run / "latest" / "model").read_text() == "x"
    assert (run / "ckpt" / "model").read_text() == "x"


def test_links_are_made_kept_and_changed(run: Path) -> None:
    content = {"ckpt-1/model": "one", "ckpt-2/model": "two"}
    put(run, content, links={"latest": "ckpt-1", "ckpt-1/up": ".."})
    assert (run / "latest" / "model").read_text() == "one"
    with opened(run) as held:
        assert held.missing(bundle(content, {"latest": "ckpt-1", "ckpt-1/up": ".."})).links == []
    assert put(run, content, links={"latest": "ckpt-2"}) == []
    assert (run / "latest" / "model").read_text() == "two"
    (run / "latest").unlink()
    (run / "latest").symlink_to("ckpt-1")  # by the user
    assert overwritten(run, bundle(content, {"latest": "ckpt-2"})) == ["latest"]


def test_a_file_system_without_links_says_so(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(1, "Operation not permitted")  # as vfat does: symlink(2)

    monkeypatch.setattr(os, "symlink", refuse)
    with opened(run) as held:
        assert held.make_link("latest", "x") == "Operation not permitted"
    assert list(run.iterdir()) == []


def test_empty_directories_are_made(run: Path) -> None:
    with opened(run) as held:
        held.make_directory("a/b")
        held.make_directory("a/b")
    assert (run / "a" / "b").is_dir()


@pytest.mark.parametrize("target", ["~", "~/..", "/", "~/models/.."])
def test_nothing_is_put_into_the_home_directory_or_above(home: Path, target: str) -> None:
    (home / "models").mkdir()
    with pytest.raises(UsageError, match="is the home directory, or above it"), opened(Path(target).expanduser()):
        pass


def test_a_link_to_the_home_directory_is_the_home_directory(home: Path, run: Path) -> None:
    run.symlink_to(home)
    with pytest.raises(UsageError, match="is the home directory"), opened(run):
        pass
    assert list(home.iterdir()) == []


def of_the_users(run: Path, kind: str, outside: Path) -> None:
    """Something of the user's in the place of `.solver-cloud`."""
    outside.mkdir()
    (outside / "precious").write_text("mine")
    work = run / WORK
    run.mkdir()
    match kind:
        case "file":
            work.write_text("mine")
            return
        case "link":
            work.symlink_to(outside)
            return
    work.mkdir()
    match kind:
        case "directory":
            (work / "precious").write_text("mine")
        case "with a lock":
            (work / "lock").touch()
            (work / "precious").write_text("mine")
        case "another lock":
            (work / "lock").write_text("mine")
        case "linked lock":
            (work / "lock").symlink_to(outside / "precious")
        case "lock directory":
            (work / "lock").mkdir()
        case "our names, no lock":
            (work / ("0" * 64)).write_text("mine")
        case "directory of our name":
            (work / "lock").touch()
            (work / ("0" * 64)).mkdir()


@pytest.mark.parametrize(
    "kind",
    [
        *("file", "link", "directory", "with a lock", "another lock", "linked lock", "lock directory"),
        *("our names, no lock", "directory of our name"),
    ],
)
def test_what_the_user_calls_as_we_do_stays(run: Path, kind: str, tmp_path: Path) -> None:
    of_the_users(run, kind, tmp_path / "outside")

    def found() -> list[tuple[str, bytes]]:
        every = [path for top in (run, tmp_path / "outside") for path in sorted(top.rglob("*"))]
        return [(str(path), path.read_bytes() if path.is_file() else b"") for path in every]

    before = found()
    with pytest.raises(CloudError, match=r"\.solver-cloud is needed for downloads") as raised, opened(run):
        pass
    assert raised.value.fix
    assert found() == before


@pytest.mark.parametrize("lock", [b"", bundle_lock.MARK])
def test_what_a_killed_download_left_is_removed(run: Path, lock: bytes, tmp_path: Path) -> None:
    (run / WORK).mkdir(parents=True)
    (run / WORK / "lock").write_bytes(lock)
    (run / WORK / ("a" * 64)).write_text("unfinished")
    (tmp_path / "precious").write_text("mine")
    (run / WORK / ("b" * 64)).symlink_to(tmp_path / "precious")  # an unfinished link
    with opened(run):
        assert sorted(path.name for path in (run / WORK).iterdir()) == ["lock"]
        assert (run / WORK / "lock").read_bytes() == bundle_lock.MARK
    assert list(run.iterdir()) == []
    assert (tmp_path / "precious").read_text() == "mine"


def test_what_the_user_puts_beside_the_lock_meanwhile_stays(run: Path) -> None:
    with opened(run):
        (run / WORK / "precious").write_text("mine")
    assert (run / WORK / "precious").read_text() == "mine"


def test_an_error_in_between_is_not_one_of_the_directory(run: Path) -> None:
    with pytest.raises(ConnectionError), opened(run):
        raise ConnectionError
    assert list(run.iterdir()) == []


def test_a_bundle_that_leads_out_of_the_directory_is_refused_whole(run: Path) -> None:
    for coming in (bundle({"a": "x", "../b": "x"}), bundle({"a": "x"}, {"/b": "a"}), bundle({"a": "x"}, {}, ("..",))):
        with pytest.raises(CloudError, match="outside the bundle"):
            overwritten(run, coming)

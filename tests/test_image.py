"""The image's tag follows what the image is built from, and the build context is exactly that."""

from __future__ import annotations

import io
import os
import shutil
import socket
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from cloud import git as git_command
from cloud.config import PACKAGE
from cloud.errors import CloudError, UsageError
from cloud.image import DOCKERFILE, Snapshot, snapshot

BASES = ("rust:1.85", "debian:bookworm-slim", "linux/amd64")


def git(directory: Path, *arguments: str) -> str:
    identity = ("-c", "user.name=Test", "-c", "user.email=test@example.com", "-c", "protocol.file.allow=always")
    return subprocess.run(
        ["git", *identity, *arguments], cwd=directory, check=True, capture_output=True, text=True
    ).stdout


def commit(directory: Path) -> None:
    git(directory, "add", "--all")
    git(directory, "commit", "--quiet", "--allow-empty", "--message", "x")


def workspace(directory: Path) -> Path:
    """The files of a Cargo workspace, in no repository."""
    (directory / "src").mkdir(parents=True)
    (directory / "Cargo.toml").write_text("[workspace]\n")
    (directory / "src/main.rs").write_text("fn main() {}\n")
    (directory / ".gitignore").write_text("/target\n*.log\n")
    return directory


@pytest.fixture
def source(tmp_path: Path, home: Path) -> Path:
    """A committed Cargo workspace."""
    directory = workspace(tmp_path / "trainer")
    git(directory, "init", "--quiet")
    commit(directory)
    return directory


@pytest.fixture
def dockerfile(tmp_path: Path) -> Path:
    path = tmp_path / "Dockerfile"
    path.write_text("FROM scratch\n")
    return path


@pytest.fixture
def take(dockerfile: Path) -> Callable[[Path], Snapshot]:
    return lambda source: snapshot(source, dockerfile)


@pytest.fixture
def tag(dockerfile: Path) -> Callable[[Path], str]:
    def tag(source: Path) -> str:
        with snapshot(source, dockerfile) as taken:
            return taken.tag(*BASES)

    return tag


def members(taken: Snapshot) -> dict[str, tarfile.TarInfo]:
    archive = io.BytesIO()
    taken.write_context(archive)
    archive.seek(0)
    with tarfile.open(fileobj=archive) as tar:
        return {member.name: member for member in tar if not member.isdir()}


@pytest.fixture
def sent(dockerfile: Path) -> Callable[[Path], dict[str, bytes]]:
    """The files of the build context and their content, without the Dockerfile."""

    def sent(source: Path) -> dict[str, bytes]:
        with snapshot(source, dockerfile) as taken:
            return content(taken)

    return sent


def content(taken: Snapshot) -> dict[str, bytes]:
    archive = io.BytesIO()
    taken.write_context(archive)
    archive.seek(0)
    with tarfile.open(fileobj=archive) as tar:
        files = [(member.name, tar.extractfile(member)) for member in tar if member.isfile()]
        return {name: file.read() for name, file in files if file and name != DOCKERFILE}


Tag = Callable[[Path], str]
Sent = Callable[[Path], dict[str, bytes]]
Take = Callable[[Path], Snapshot]


def test_a_tag_is_twenty_hex_digits(source: Path, tag: Tag) -> None:
    assert len(tag(source)) == 20
    int(tag(source), 16)


EDITS: dict[str, Callable[[Path], object]] = {
    "one byte": lambda source: (source / "src/main.rs").write_text("fn main(){ }\n"),
    "a new file": lambda source: (source / "src/lib.rs").touch(),
    "a deleted file": lambda source: (source / "src/main.rs").unlink(),
    "a renamed file": lambda source: (source / "src/main.rs").rename(source / "src/main2.rs"),
    "an executable bit": lambda source: (source / "src/main.rs").chmod(0o755),
    "a symlink": lambda source: (source / "link").symlink_to("src/main.rs"),
}


@pytest.mark.parametrize("edit", EDITS.values(), ids=EDITS.keys())
def test_the_tag_changes_with_any_edit(source: Path, tag: Tag, edit: Callable[[Path], object]) -> None:
    before = tag(source)
    edit(source)
    edited = tag(source)
    assert edited != before
    commit(source)
    assert tag(source) == edited


def test_the_tag_changes_with_the_dockerfile(source: Path, tag: Tag, dockerfile: Path) -> None:
    before = tag(source)
    dockerfile.write_text("FROM scratch\n\n")
    assert tag(source) != before


def test_the_tag_changes_with_base_images_and_platform(source: Path, take: Take) -> None:
    with take(source) as taken:
        others = [("rust:1.86", *BASES[1:]), (BASES[0], "debian:trixie", BASES[2]), (*BASES[:2], "linux/arm64")]
        assert len({taken.tag(*bases) for bases in (BASES, *others)}) == 4


def test_the_tag_does_not_change_with_what_is_not_sent(source: Path, tag: Tag, tmp_path: Path) -> None:
    before = tag(source)
    os.utime(source / "src/main.rs")
    (source / "target").mkdir()
    (source / "target/binary").write_text("x")
    (source / "train.log").write_text("x")
    (source / "empty").mkdir()
    git(source, "commit", "--quiet", "--allow-empty", "--message", "y")
    git(source, "gc", "--quiet")
    assert tag(source) == before
    elsewhere = workspace(tmp_path / "elsewhere")
    assert tag(elsewhere) == before, "no repository"
    git(elsewhere, "init", "--quiet", "--object-format=sha1")
    assert tag(elsewhere) == before, "nothing committed"


def test_the_context_is_what_is_on_disk(source: Path, sent: Sent, take: Take) -> None:
    (source / "with space\nand line").write_text("a")
    (source / os.fsdecode(b"latin-\xe9")).write_text("b")
    (source / '"quoted"').write_text("c")
    (source / "big").write_bytes(os.urandom(20_000_000))
    (source / "src/main.rs").write_text("fn main() { println!(); }\n")
    git(source, "add", "src/main.rs")
    (source / "src/main.rs").write_text("fn main() { eprintln!(); }\n")
    (source / "staged then deleted").touch()
    git(source, "add", "staged then deleted")
    (source / "staged then deleted").unlink()
    (source / "run.sh").touch(0o755)
    (source / "link").symlink_to("src/missing")
    on_disk = {
        os.fsdecode(path.relative_to(source)): path.read_bytes()
        for path in source.rglob("*")
        if path.is_file() and ".git" not in path.parts
    }
    assert sent(source) == on_disk
    with take(source) as taken:
        found = members(taken)
    assert (found["link"].issym(), found["link"].linkname) == (True, "src/missing")
    assert (found["run.sh"].mode, found["src/main.rs"].mode) == (0o755, 0o644)
    assert found[DOCKERFILE].isfile()


def test_a_source_below_the_top_of_a_repository_follows_its_ignore_files(source: Path, sent: Sent) -> None:
    crate = workspace(source / "crates/trainer")
    (source / ".gitignore").write_text("*.tmp\n")
    (source / ".git/info/exclude").write_text("*.secret\n")
    for name in ("a.tmp", "a.secret", "a.log", "a.rs"):
        (crate / name).touch()
    commit(source)
    (crate / "b.tmp").touch()
    (crate / "b.rs").touch()
    assert sorted(sent(crate)) == [".gitignore", "Cargo.toml", "a.rs", "b.rs", "src/main.rs"]


def test_a_tracked_file_is_sent_though_it_is_ignored(source: Path, sent: Sent) -> None:
    (source / "kept.log").write_text("1")
    git(source, "add", "--force", "kept.log")
    commit(source)
    (source / "kept.log").write_text("2")
    assert sent(source)["kept.log"] == b"2"


def test_attributes_do_not_change_what_is_sent(source: Path, sent: Sent) -> None:
    rules = {
        "ignored": "export-ignore",
        "substituted": "export-subst",
        "lines": "text eol=crlf",
        "crlf": "text=auto",
        "keyword": "ident",
        "filtered": "filter=upper",
        "wide": "working-tree-encoding=UTF-16LE",
    }
    git(source, "config", "filter.upper.clean", "tr a-z A-Z")
    git(source, "config", "filter.upper.smudge", "tr A-Z a-z")
    (source / ".gitattributes").write_text("".join(f"{name} {rule}\n" for name, rule in rules.items()))
    data = {
        "ignored": b"x",
        "substituted": b"$Format:%H$\n",
        "lines": b"one\r\ntwo\r\n",
        "crlf": b"one\r\ntwo\r\n",
        "keyword": b"$Id$\n",
        "filtered": b"abc\n",
        "wide": "ab\n".encode("utf-16-le"),
    }
    for name, value in data.items():
        (source / name).write_bytes(value)
    untracked = sent(source)
    commit(source)
    assert git(source, "status", "--porcelain") == ""
    committed = sent(source)
    for name, value in data.items():
        assert untracked[name] == value
        assert committed[name] == value


def test_automatic_line_ends_do_not_change_what_is_sent(source: Path, sent: Sent) -> None:
    git(source, "config", "core.autocrlf", "true")
    (source / "dos").write_bytes(b"one\r\n")
    commit(source)
    assert sent(source)["dos"] == b"one\r\n"


@pytest.mark.parametrize("flag", ["--assume-unchanged", "--skip-worktree"])
def test_an_edit_is_seen_though_git_is_told_not_to_look(source: Path, sent: Sent, flag: str) -> None:
    git(source, "update-index", flag, "src/main.rs")
    (source / "src/main.rs").write_text("edited")
    assert sent(source)["src/main.rs"] == b"edited"
    (source / "src/main.rs").unlink()
    assert "src/main.rs" not in sent(source)


def test_an_edit_in_the_moment_of_git_add_is_seen(source: Path, sent: Sent, monkeypatch: pytest.MonkeyPatch) -> None:
    for number, (key, value) in enumerate({"core.trustctime": "false", "core.checkStat": "minimal"}.items()):
        monkeypatch.setenv(f"GIT_CONFIG_KEY_{number}", key)
        monkeypatch.setenv(f"GIT_CONFIG_VALUE_{number}", value)
    monkeypatch.setenv("GIT_CONFIG_COUNT", "2")
    file, moment = source / "src/main.rs", 1_700_000_000
    file.write_text("one")
    os.utime(file, (moment, moment))
    git(source, "add", "src/main.rs")
    os.utime(source / ".git/index", (moment, moment))
    file.write_text("two")
    os.utime(file, (moment, moment))
    assert sent(source)["src/main.rs"] == b"two"


def test_an_edit_and_a_new_file_are_seen_though_git_has_its_own_memory_of_the_directory(
    source: Path, sent: Sent, tmp_path: Path
) -> None:
    monitor = tmp_path / "monitor"
    monitor.write_text("#!/bin/sh\nprintf 'nothing has changed\\0'\n")
    monitor.chmod(0o755)
    git(source, "config", "core.fsmonitor", str(monitor))
    git(source, "config", "core.untrackedCache", "true")
    git(source, "update-index", "--fsmonitor", "--force-untracked-cache")
    assert git(source, "status", "--porcelain") == ""
    (source / "src/main.rs").write_text("edited")
    (source / "src/new.rs").write_text("new")
    assert git(source, "status", "--porcelain") == "", "git believes the monitor"
    found = sent(source)
    assert (found["src/main.rs"], found["src/new.rs"]) == (b"edited", b"new")


def test_a_path_that_no_repository_may_have_is_one_clear_error(source: Path, take: Take) -> None:
    (source / ".GIT").mkdir()
    (source / ".GIT/config").touch()
    with pytest.raises(CloudError, match=r"Ignoring path \.GIT/config") as error:
        take(source)
    assert "\n" not in error.value.problem


def test_content_that_the_users_repository_has_lost_is_an_error_when_it_is_sent(source: Path, take: Take) -> None:
    lost = git(source, "rev-parse", "HEAD:src/main.rs").strip()
    (source / ".git/objects" / lost[:2] / lost[2:]).unlink()
    with take(source) as taken, pytest.raises(CloudError, match=f"cannot send the source: .*{lost}"):
        content(taken)


def test_a_split_index_can_be_read(source: Path, sent: Sent) -> None:
    git(source, "update-index", "--split-index")
    (source / "new.rs").touch()
    git(source, "add", "new.rs")
    assert list((source / ".git").glob("sharedindex.*"))
    assert {"new.rs", "src/main.rs"} <= sent(source).keys()


def test_a_conflict_is_sent_as_it_is_on_disk(source: Path, sent: Sent) -> None:
    crate = workspace(source / "crate")
    commit(source)
    start = git(source, "rev-parse", "--abbrev-ref", "HEAD").strip()
    for branch in ("one", "two"):
        git(source, "checkout", "--quiet", "-b", branch, start)
        (source / "src/main.rs").write_text(branch)
        commit(source)
    with pytest.raises(subprocess.CalledProcessError):
        git(source, "merge", "one")
    assert b"<<<<<<<" in sent(source)["src/main.rs"]
    assert "src/main.rs" in sent(crate)
    (source / ".gitignore").write_text("main.rs\n")
    assert b"<<<<<<<" in sent(source)["src/main.rs"], "tracked, so it counts though it is ignored"
    (source / "src/main.rs").unlink()
    assert "src/main.rs" not in sent(source)


def test_a_repository_with_long_ids_can_be_read(tmp_path: Path, home: Path, sent: Sent) -> None:
    directory = workspace(tmp_path / "long")
    git(directory, "init", "--quiet", "--object-format=sha256")
    (directory / "deleted.rs").touch()
    commit(directory)
    (directory / "deleted.rs").unlink()
    (directory / "new.rs").touch()
    (directory / "src/main.rs").write_text("edited")
    found = sent(directory)
    assert sorted(found) == [".gitignore", "Cargo.toml", "new.rs", "src/main.rs"]
    assert found["src/main.rs"] == b"edited"


def test_submodules_and_repositories_inside_are_sent_with_their_files(source: Path, sent: Sent, tmp_path: Path) -> None:
    library = workspace(tmp_path / "library")
    git(library, "init", "--quiet")
    commit(library)
    git(source, "submodule", "--quiet", "add", str(library), "vendor/library")
    commit(source)
    git(source, "clone", "--quiet", str(library), "clone")
    (source / "vendor/library/src/main.rs").write_text("edited")
    (source / "vendor/library/x.log").touch()
    (source / "clone/.git/info/exclude").write_text("private\n")
    (source / "clone/private").touch()
    found = sent(source)
    assert found["vendor/library/src/main.rs"] == b"edited"
    assert {name for name in found if name.startswith("clone/")} == {
        f"clone/{name}" for name in (".gitignore", "Cargo.toml", "src/main.rs")
    }
    assert "vendor/library/x.log" not in found
    shutil.rmtree(source / "vendor/library/.git", ignore_errors=True)
    (source / "vendor/library/.git").unlink(missing_ok=True)
    assert sent(source)["vendor/library/src/main.rs"] == b"edited", "no longer a repository"


def test_a_submodule_that_is_not_there_sends_nothing(source: Path, sent: Sent, tmp_path: Path) -> None:
    library = workspace(tmp_path / "library")
    git(library, "init", "--quiet")
    commit(library)
    git(source, "submodule", "--quiet", "add", str(library), "library")
    commit(source)
    git(source, "submodule", "--quiet", "deinit", "--force", "library")
    assert not [name for name in sent(source) if name.startswith("library")]


def test_a_repository_inside_without_commits_is_sent_with_its_files(source: Path, sent: Sent) -> None:
    git(source, "init", "--quiet", "inside")
    (source / "inside/a.rs").write_text("a")
    assert sent(source)["inside/a.rs"] == b"a"


def test_a_file_that_became_a_repository_is_sent_as_that(source: Path, sent: Sent, tmp_path: Path) -> None:
    library = workspace(tmp_path / "library")
    git(library, "init", "--quiet")
    commit(library)
    (source / "src/main.rs").unlink()
    git(source, "clone", "--quiet", str(library), "src/main.rs")
    found = sent(source)
    assert "src/main.rs" not in found
    assert found["src/main.rs/src/main.rs"] == b"fn main() {}\n"


def test_a_file_that_became_a_directory_and_the_other_way_round(source: Path, sent: Sent, take: Take) -> None:
    (source / "deep").mkdir()
    (source / "deep/a.rs").touch()
    (source / "other").mkdir()
    (source / "other/a.rs").touch()
    (source / "file").touch()
    commit(source)
    shutil.rmtree(source / "deep")
    (source / "deep").write_text("now a file")
    (source / "file").unlink()
    (source / "file").mkdir()
    (source / "file/a.rs").write_text("now a directory")
    (source / "other").rename(source / "moved")
    (source / "other").symlink_to("moved")
    found = sent(source)
    assert (found["deep"], found["file/a.rs"], found["moved/a.rs"]) == (b"now a file", b"now a directory", b"")
    assert not {"deep/a.rs", "file", "other/a.rs"} & found.keys()
    with take(source) as taken:
        assert members(taken)["other"].linkname == "moved"


def test_a_file_that_is_only_announced_to_git_is_sent(source: Path, sent: Sent) -> None:
    (source / "new.rs").write_text("new")
    git(source, "add", "--intent-to-add", "new.rs")
    assert sent(source)["new.rs"] == b"new"


def test_a_crate_of_which_nothing_is_tracked_is_sent(source: Path, sent: Sent) -> None:
    crate = workspace(source / "crates/new")
    (source / "src/main.rs").write_text("edited, and not of the crate")
    (crate / "README.md").write_text("of the crate, not of the repository")
    assert sorted(sent(crate)) == [".gitignore", "Cargo.toml", "README.md", "src/main.rs"]
    assert sent(crate)["src/main.rs"] == b"fn main() {}\n"


@pytest.mark.parametrize("file", [".gitignore", ".dockerignore"])
def test_an_ignored_crate_is_refused(source: Path, take: Take, file: str) -> None:
    crate = workspace(source / "crates/trainer")
    (crate / file).write_text("*\n")
    with pytest.raises(UsageError, match=r"Cargo.toml is ignored"):
        take(crate)


def test_the_users_settings_of_git_diff_do_not_matter(source: Path, sent: Sent, tmp_path: Path) -> None:
    crate = workspace(source / "crates/trainer")
    commit(source)
    (crate / "src/main.rs").rename(crate / "src/moved.rs")
    (source / "src/main.rs").write_text("edited")
    settings = {"diff.relative": "true", "diff.renames": "copies", "diff.noprefix": "true", "core.quotePath": "false"}
    for key, value in (settings | {"diff.external": "false", "status.showUntrackedFiles": "no"}).items():
        git(source, "config", "--global", key, value)
    assert sorted(sent(crate)) == [".gitignore", "Cargo.toml", "src/moved.rs"]
    assert sent(source)["src/main.rs"] == b"edited"


def test_a_linked_work_tree_is_a_source_too(source: Path, sent: Sent, tmp_path: Path) -> None:
    git(source, "worktree", "add", "--quiet", str(tmp_path / "linked"))
    (tmp_path / "linked/new.rs").touch()
    assert {"new.rs", "src/main.rs"} <= sent(tmp_path / "linked").keys()


def test_a_surrounding_git_command_does_not_matter(
    source: Path, tag: Tag, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = tag(source)
    for name in ("GIT_DIR", "GIT_INDEX_FILE", "GIT_WORK_TREE", "GIT_OBJECT_DIRECTORY"):
        monkeypatch.setenv(name, str(tmp_path / "other"))
    assert tag(source) == before


def test_the_users_repository_stays_as_it_is(source: Path, tag: Tag) -> None:
    (source / "src/main.rs").write_text("edited")
    (source / "untracked.rs").write_text("new")
    os.utime(source / "Cargo.toml")

    def state() -> dict[str, tuple[int, object]]:
        # Git marks objects that it meets as fresh, so that they are not pruned; it does so in borrowed ones, too.
        return {
            str(path): (0 if "objects" in path.parts else path.stat().st_mtime_ns, path.is_file() and path.read_bytes())
            for path in (source / ".git").rglob("*")
        }

    before = state()
    tag(source)
    assert state() == before


def test_a_change_after_the_snapshot_is_not_sent(source: Path, take: Take) -> None:
    (source / "untracked.rs").write_text("before")
    with take(source) as taken:
        (source / "src/main.rs").write_text("after")
        (source / "untracked.rs").write_text("after")
        (source / "Cargo.toml").unlink()
        found = content(taken)
    assert found["src/main.rs"] == b"fn main() {}\n"
    assert found["untracked.rs"] == b"before"
    assert "Cargo.toml" in found


def test_nothing_is_left_behind(source: Path, take: Take, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    with take(source):
        assert list(temporary.iterdir())
    assert not list(temporary.iterdir())
    (source / ".gitignore").write_text("Cargo.toml\n")
    git(source, "rm", "--quiet", "--cached", "Cargo.toml")
    with pytest.raises(UsageError):
        take(source)
    assert not list(temporary.iterdir())


def test_a_reader_of_the_context_may_stop_early(source: Path, take: Take) -> None:
    (source / "big").write_bytes(os.urandom(5_000_000))
    with take(source) as taken:
        with taken.context() as stream:
            assert stream.read(10)
        assert "big" in content(taken)


def test_a_large_file_is_not_held_in_memory(source: Path, dockerfile: Path) -> None:
    size = 200 << 20
    with (source / "checkpoint.bin").open("wb") as file:
        file.truncate(size)
    program = """
import os, resource, sys
from pathlib import Path
from cloud.image import snapshot
with snapshot(Path(sys.argv[1]), Path(sys.argv[2])) as taken, open(os.devnull, "wb") as nothing:
    taken.write_context(nothing)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss << 10)
"""
    command = [sys.executable, "-c", program, str(source), str(dockerfile)]
    most = subprocess.run(command, check=True, capture_output=True, cwd=PACKAGE).stdout
    assert int(most) < size // 2


def test_dockerignore_counts_below_a_repository_too(source: Path, sent: Sent) -> None:
    crate = workspace(source / "crate")
    (crate / ".dockerignore").write_text("docs\n**/*.md\n!README.md\n")
    for name in ("docs/a.rs", "src/NOTES.md", "README.md", "src/docs"):
        (crate / name).parent.mkdir(exist_ok=True)
        (crate / name).touch()
    commit(source)
    expected = [".dockerignore", ".gitignore", "Cargo.toml", "README.md", "src/docs", "src/main.rs"]
    assert sorted(sent(crate)) == expected


def test_a_byte_order_mark_does_not_hide_the_first_pattern(source: Path, sent: Sent) -> None:
    (source / "secret.pem").touch()
    (source / ".dockerignore").write_bytes(b"\xef\xbb\xbfsecret.pem\r\nsrc\r\n")
    assert sorted(sent(source)) == [".dockerignore", ".gitignore", "Cargo.toml"]


def test_a_dockerfiles_own_dockerignore_counts(source: Path, dockerfile: Path, sent: Sent, take: Take) -> None:
    (source / ".dockerignore").write_text("src\n")
    dockerfile.with_name("Dockerfile.dockerignore").write_text(".gitignore\n")
    assert sorted(sent(source)) == [".dockerignore", "Cargo.toml", "src/main.rs"]
    with take(source) as taken:
        assert taken.why_missing("/.gitignore") == f".gitignore is left out by {dockerfile}.dockerignore"
        assert taken.why_missing("src/main.rs") is not None, "which is there"
        assert taken.why_missing("nothing") is None


def test_an_ignore_file_that_cannot_be_read_is_refused(source: Path, take: Take) -> None:
    os.mkfifo(source / ".dockerignore")
    with pytest.raises(UsageError, match=r"\.dockerignore cannot be read: not a regular file"):
        take(source)
    (source / ".dockerignore").unlink()
    (source / ".dockerignore").write_text("[\n")
    with pytest.raises(UsageError, match=r"\.dockerignore has a pattern that Docker cannot read: \["):
        take(source)


def test_pointers_of_git_lfs_are_told(source: Path, sent: Sent, take: Take, tmp_path: Path) -> None:
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:" + "0" * 64 + "\nsize 12345\n"
    (source / ".gitattributes").write_text("*.bin filter=lfs diff=lfs merge=lfs -text\n")
    for name in ("a.bin", "b.bin", "there.bin", "ignored.bin"):
        (source / name).write_text("the content" if name == "there.bin" else pointer)
    (source / "notes.txt").write_text(pointer)
    (source / ".dockerignore").write_text("ignored.bin\n")
    commit(source)
    with take(source) as taken:
        assert taken.pointers == ("a.bin", "b.bin")
        assert taken.warnings == [
            "warning: a.bin and 1 more: Git LFS has only a pointer there, not the file: git lfs pull"
        ]
    assert sent(source)["a.bin"] == pointer.encode()
    other = workspace(tmp_path / "other")
    git(other, "init", "--quiet")
    git(other, "submodule", "--quiet", "add", str(source), "sub")
    with take(other) as taken:
        assert taken.pointers == ("sub/a.bin", "sub/b.bin", "sub/ignored.bin")
    for name in ("a.bin", "b.bin"):
        (source / name).write_text("the content")
    with take(source) as taken:
        assert taken.warnings == []


def test_a_repository_of_somebody_else_comes_with_gits_own_fix(
    source: Path, take: Take, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = git_command.environment
    monkeypatch.setattr(
        git_command, "environment", lambda **more: {**ours(**more), "GIT_TEST_ASSUME_DIFFERENT_OWNER": "1"}
    )
    with pytest.raises(CloudError, match="detected dubious ownership") as error:
        take(source)
    assert error.value.fix == f"git config --global --add safe.directory {source}"


def test_what_is_no_file_is_left_out_and_hostile_names_are_sent(source: Path, sent: Sent, take: Take) -> None:
    os.mkfifo(source / "fifo")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(source / "socket"))
        (source / "loop").symlink_to("loop")
        (source / "src/up").symlink_to("..")
        names = ["-rf", "--help", "\x1b[2J", "a\rb", " ", "...", "~", "$(id)", ":(glob)x", "!x", "#x", "é\u202e"]
        for name in names:
            (source / name).write_text(name)
        found = sent(source)
        with take(source) as taken:
            links = {name: member.linkname for name, member in members(taken).items() if member.issym()}
    assert {name: found[name].decode() for name in names} == {name: name for name in names}
    assert not {"fifo", "socket"} & found.keys()
    assert links == {"loop": "loop", "src/up": ".."}


def test_a_tracked_file_that_became_a_pipe_is_named(source: Path, take: Take) -> None:
    (source / "src/main.rs").unlink()
    os.mkfifo(source / "src/main.rs")
    with pytest.raises(CloudError, match=r"src/main\.rs: unsupported file type"):
        take(source)


@pytest.mark.parametrize("name", ["src", "Cargo.lock"])
def test_what_cannot_be_read_is_an_error(source: Path, dockerfile: Path, name: str) -> None:
    """Git warns about a directory, and goes on without it."""
    if name == "Cargo.lock":
        (source / name).touch()
    else:
        git(source, "rm", "-r", "--quiet", "--cached", name)
    (source / name).chmod(0)
    program = (
        "import sys; from pathlib import Path; from cloud.image import snapshot; snapshot(*map(Path, sys.argv[1:]))"
    )
    command = [sys.executable, "-c", program, str(source), str(dockerfile)]
    if os.geteuid() == 0:
        command = ["setpriv", "--bounding-set=-dac_override,-dac_read_search", "--inh-caps=-all", "--", *command]
    done = subprocess.run(command, cwd=PACKAGE, capture_output=True, text=True)
    (source / name).chmod(0o755)
    assert f"CloudError: cannot read the source in {source}" in done.stderr
    assert "Permission denied\n  make it readable, or list it in .gitignore" in done.stderr


def test_a_directory_without_a_workspace_is_refused(tmp_path: Path, home: Path, take: Take) -> None:
    for directory in (tmp_path, tmp_path / "missing"):
        with pytest.raises(UsageError, match="no Cargo workspace in") as error:
            take(directory)
        assert "--source" in str(error.value.fix)


@pytest.mark.parametrize("file", [".gitignore", ".dockerignore"])
def test_an_ignored_workspace_is_refused(tmp_path: Path, home: Path, take: Take, file: str) -> None:
    directory = workspace(tmp_path / "trainer")
    (directory / file).write_text("Cargo.*\n")
    with pytest.raises(UsageError, match=r"Cargo.toml is ignored"):
        take(directory)


def test_a_source_that_its_repository_ignores_is_a_tree_of_its_own(
    source: Path, tmp_path: Path, tag: Tag, sent: Sent
) -> None:
    """As the example trainer of a package in a project's virtual environment is."""
    (source / ".gitignore").write_text("/scratch/\n*.rs\n")
    ignored, alone = workspace(source / "scratch" / "trainer"), workspace(tmp_path / "alone")
    assert sorted(sent(ignored)) == [".gitignore", "Cargo.toml", "src/main.rs"]
    assert tag(ignored) == tag(alone)


def test_a_missing_dockerfile_is_refused(source: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"Dockerfile .* cannot be read: No such file") as error:
        snapshot(source, tmp_path / "none")
    assert "solver.dockerfile" in str(error.value.fix)


def test_a_missing_git_is_one_clear_error(
    source: Path, take: Take, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(CloudError, match="no git on PATH"):
        take(source)


def test_gits_complaint_is_one_line(source: Path, take: Take) -> None:
    (source / ".git/index").write_bytes(b"nonsense")
    with pytest.raises(CloudError, match="cannot read the source") as error:
        take(source)
    assert "\n" not in error.value.problem


def test_importing_it_is_cheap() -> None:
    heavy = "{'boto3', 'botocore', 'docker', 'requests', 'fabric', 'tarfile'} & sys.modules.keys()"
    command = f"import sys, cloud.image; print({heavy} or 'cheap')"
    repository = Path(__file__).parent.parent
    done = subprocess.run([sys.executable, "-c", command], cwd=repository, capture_output=True, text=True, check=True)
    assert done.stdout == "cheap\n"

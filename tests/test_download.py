from __future__ import annotations

import base64
import hashlib
import os
import random
import shutil
import signal
import ssl
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import pytest

from cloud import bundle, bundle_directory, bundle_index, cache, download, storage, transfer
from cloud import fetch as conversation
from cloud.aws import Aws
from cloud.bundle import WORK, Bundle
from cloud.config import Settings
from cloud.errors import CloudError, UsageError
from cloud.records import File

from .breaking_proxy import Fault, Proxy, Seen, Server

PREFIX = "jobs/i-1/bundle/"
CONTENT = {
    "strategy.csv": b"a,b\n1,2\n" * 1000,
    "deep/er/table.csv": b"",
    "config.yaml": b"seed: 1\n",
    "naïve +%2F ~name": "♠".encode(),
}
BIG = random.Random(1).randbytes(1_000_003)


@pytest.fixture(scope="module")
def s3() -> Iterator[int]:
    """The port of an S3 server on real sockets."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(port=0, verbose=False)
    server.start()
    yield server.get_host_and_port()[1]
    server.stop()


@pytest.fixture
def proxy(s3: int) -> Iterator[Proxy]:
    urllib.request.urlopen(f"http://127.0.0.1:{s3}/moto-api/reset", data=b"").close()
    with serving(Server(s3)) as proxy:
        yield proxy


@pytest.fixture
def secure(s3: int, proxy: Proxy, certificate: Path) -> Iterator[Proxy]:
    """The same, spoken to by TLS."""
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate, certificate.with_suffix(".key"))
    with serving(Server(s3, tls)) as secure:
        yield secure


@contextmanager
def serving(server: Server) -> Iterator[Proxy]:
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield server.proxy
    server.proxy.released.set()
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for 127.0.0.1 that nobody has signed, with its key beside it."""
    path = tmp_path_factory.mktemp("tls") / "own.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=own"]
    names = ["-addext", "subjectAltName=IP:127.0.0.1"]
    files = ["-out", str(path), "-keyout", str(path.with_suffix(".key"))]
    subprocess.run([*command, *names, *files], check=True, capture_output=True)
    return path


@pytest.fixture
def aws(proxy: Proxy, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Aws:
    """An account behind the proxy that has the bucket."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.address)
    monkeypatch.setattr(transfer, "SLEEP", 0.05)
    account = Aws(settings)
    account.s3.create_bucket(Bucket=account.bucket)
    return account


@pytest.fixture
def files(aws: Aws) -> tuple[File, ...]:
    return tuple(put(aws, path, data) for path, data in CONTENT.items())


@pytest.fixture
def big(aws: Aws, monkeypatch: pytest.MonkeyPatch) -> File:
    """A file of eight parts."""
    monkeypatch.setattr(download, "PART", 1 << 17)
    monkeypatch.setattr(download, "BIG", 1 << 18)
    return put(aws, "big", BIG)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Where the bundle goes."""
    return tmp_path / "run"


def put(aws: Aws, path: str, data: bytes) -> File:
    aws.s3.put_object(Bucket=aws.bucket, Key=PREFIX + path, Body=data)
    return File(path, len(data), hashlib.sha256(data).hexdigest())


class Refused(Exception):
    """Something would have been overwritten."""


def refuse(names: list[str]) -> None:
    raise Refused(names)


def fetch(
    aws: Aws,
    files: tuple[File, ...],
    directory: Path,
    progress: Callable[[int], None] = lambda _: None,
    *,
    waiting: Callable[[], None] = lambda: None,
    agree: Callable[[list[str]], None] = refuse,
    **more: Any,
) -> download.Download:
    """Download a bundle of files, and of `more`; by someone who agrees to nothing."""
    return download.download(
        aws,
        Bundle(PREFIX, files, **more),
        directory,
        agree=agree,
        progress=lambda _: nullcontext(progress),
        waiting=waiting,
    )


def tree(directory: Path) -> dict[str, bytes]:
    return {str(p.relative_to(directory)): p.read_bytes() for p in directory.rglob("*") if p.is_file()}


def test_a_bundle_arrives_whole_and_nothing_else(aws: Aws, files: tuple[File, ...], run: Path) -> None:
    seen: list[int] = []
    done = fetch(aws, files, run, seen.append)
    assert tree(run) == CONTENT
    assert not (run / WORK).exists()
    assert (done.fetched, done.kept, done.bytes) == (4, 0, sum(map(len, CONTENT.values()))) == (4, 0, sum(seen))


def test_only_what_is_missing_or_different_is_fetched(
    aws: Aws, files: tuple[File, ...], run: Path, proxy: Proxy
) -> None:
    fetch(aws, files, run)
    changed = put(aws, "strategy.csv", b"x" * len(CONTENT["strategy.csv"]))  # same size, other content
    (run / "config.yaml").unlink()
    (run / "mine.txt").write_text("not ours")
    proxy.seen.clear()
    done = fetch(aws, (changed, *files[1:]), run)
    assert (done.fetched, done.kept) == (2, 2) == (len(proxy.seen), 2)
    put(aws, "strategy.csv", CONTENT["strategy.csv"])
    assert fetch(aws, files, run).fetched == 1
    assert tree(run) == {**CONTENT, "mine.txt": b"not ours"}


def test_a_file_that_is_known_is_neither_fetched_nor_read(
    aws: Aws, files: tuple[File, ...], run: Path, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[Path] = []
    sha256 = bundle_directory._sha256

    def noted(target: str) -> str:
        read.append(Path(target))
        return sha256(target)

    monkeypatch.setattr(bundle_directory, "_sha256", noted)
    fetch(aws, files, run)
    os.utime(run / "config.yaml")
    proxy.seen.clear()
    assert fetch(aws, files, run).kept == 4
    assert (read, proxy.seen) == ([run / "config.yaml"], [])
    assert fetch(aws, files, run).kept == 4
    assert read == [run / "config.yaml"]


def test_an_edit_that_keeps_size_and_time_is_seen(aws: Aws, files: tuple[File, ...], run: Path) -> None:
    fetch(aws, files, run)
    before = (run / "config.yaml").stat()
    with (run / "config.yaml").open("r+b") as edited:
        edited.write(b"SEED")
    os.utime(run / "config.yaml", ns=(before.st_atime_ns, before.st_mtime_ns))
    assert fetch(aws, files, run, agree=lambda _: None).fetched == 1
    assert tree(run) == CONTENT


@pytest.mark.parametrize(
    "damage", ["", "{}", "[1]", '{"BOOT": 3}', '{"BOOT": {"config.yaml": 3}}', '{"BOOT": {"config.yaml": [[1], "x"]}}']
)
def test_a_damaged_memory_costs_a_reading_and_no_more(
    aws: Aws, files: tuple[File, ...], run: Path, damage: str
) -> None:
    fetch(aws, files, run)
    cache.path(bundle_index.name(run)).write_text(damage.replace("BOOT", bundle_index.boot()))
    assert fetch(aws, files, run).kept == 4


def test_what_a_power_failure_may_have_spoiled_is_read_again(
    aws: Aws, files: tuple[File, ...], run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetch(aws, files, run)
    stamp = bundle_directory._stamp
    spoiled = run / "config.yaml"
    before = spoiled.stat()
    spoiled.write_bytes(b"\0" * len(CONTENT["config.yaml"]))
    monkeypatch.setattr(
        bundle_directory, "_stamp", lambda there: stamp(before if there and there.st_ino == before.st_ino else there)
    )
    assert fetch(aws, files, run).fetched == 0  # as if nobody had touched it
    monkeypatch.setattr(bundle_index, "boot", lambda: "the next")
    assert fetch(aws, files, run).fetched == 1
    assert tree(run) == CONTENT


@pytest.mark.parametrize("how", ["end", "reset", "stall"])
def test_a_body_that_breaks_goes_on_where_it_stopped(
    aws: Aws, run: Path, proxy: Proxy, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(aws.s3.meta.config, "read_timeout", 0.5, raising=False)
    file = put(aws, "one", BIG)
    proxy.faults.extend([Fault(how, 600_000), Fault(how, 100)])
    seen: list[int] = []
    fetch(aws, (file,), run, seen.append)
    assert tree(run) == {"one": BIG}
    assert sum(seen) == len(BIG)
    first, second, third = (begin(one) for one in proxy.seen)
    assert (first, proxy.seen[0].if_match) == (0, None)
    assert second <= 600_000
    assert second <= third <= second + 100
    assert second or how == "reset"  # a reset takes away what has arrived and is not read yet
    assert {one.if_match for one in proxy.seen[1:]} == {f'"{hashlib.md5(BIG).hexdigest()}"'}


def begin(seen: Seen) -> int:
    """The first byte that a GET asks for."""
    return int(seen.range.removeprefix("bytes=").split("-")[0]) if seen.range else 0


@pytest.mark.parametrize("status", [500, 503])
def test_an_error_of_the_server_is_asked_again(
    aws: Aws, files: tuple[File, ...], run: Path, proxy: Proxy, status: int
) -> None:
    proxy.faults.extend([Fault(status)] * 5)
    fetch(aws, files, run)
    assert tree(run) == CONTENT
    assert len(proxy.seen) == 5 + len(files)


@pytest.mark.parametrize(
    ("fault", "problem"),
    [(Fault("end"), "cannot fetch .*: "), (Fault(503), r"Please reduce your request rate\. \(SlowDown\)")],
)
def test_a_server_that_stays_broken_is_given_up(
    aws: Aws, files: tuple[File, ...], run: Path, proxy: Proxy, fault: Fault, problem: str
) -> None:
    fetch(aws, files[:1], run)
    proxy.always = fault
    with pytest.raises(CloudError, match=problem) as raised:
        fetch(aws, files, run)
    assert raised.value.fix
    assert raised.value.fix.endswith("the same again fetches the rest")
    assert {path for path, data in tree(run).items() if data} == {"strategy.csv"}
    most = max(sum(one.key == other.key for one in proxy.seen) for other in proxy.seen)
    assert most <= transfer.ATTEMPTS
    proxy.always = None
    assert fetch(aws, files, run).kept >= 1
    assert tree(run) == CONTENT


def test_a_big_file_comes_in_parts_each_of_which_may_break(aws: Aws, big: File, run: Path, proxy: Proxy) -> None:
    proxy.faults.extend([Fault("end", 1000), Fault(500), Fault("reset", 5), Fault("end", 0)])
    seen: list[int] = []
    fetch(aws, (big,), run, seen.append)
    assert tree(run) == {"big": BIG}
    assert sum(seen) == len(BIG)
    assert len(proxy.seen) == 8 + 4
    assert all(one.range for one in proxy.seen)


def test_an_object_that_changes_meanwhile_is_never_mixed(aws: Aws, run: Path, proxy: Proxy) -> None:
    file = put(aws, "one", BIG)

    def change(_: int) -> None:
        if not proxy.always:
            proxy.always = Fault(500)
            put(aws, "one", BIG[::-1])
            proxy.always = None

    proxy.faults.append(Fault("end", 500_000))
    with pytest.raises(CloudError, match="one in S3 is not what the job's record says"):
        fetch(aws, (file,), run, change)
    assert tree(run) == {}
    assert proxy.seen[-1].if_match


@pytest.mark.parametrize("other", [b"seed: 2\n", b"seed: 10\n", b""])
def test_a_file_that_is_not_what_the_record_says_leaves_the_old_one_and_no_trace(
    aws: Aws, files: tuple[File, ...], run: Path, other: bytes
) -> None:
    run.mkdir()
    (run / "config.yaml").write_text("old")
    put(aws, "config.yaml", other)
    with pytest.raises(CloudError, match=r"config\.yaml in S3 is not what the job's record says"):
        fetch(aws, files, run, agree=lambda _: None)
    assert (run / "config.yaml").read_text() == "old"
    assert set(tree(run)) <= set(CONTENT)


def test_a_big_file_that_is_not_what_the_record_says_leaves_no_trace(aws: Aws, big: File, run: Path) -> None:
    put(aws, "big", BIG[:-1] + b"?")
    with pytest.raises(CloudError, match="big in S3 is not what the job's record says"):
        fetch(aws, (big,), run)
    assert tree(run) == {}


def test_a_file_missing_in_s3_is_one_clear_error(aws: Aws, files: tuple[File, ...], run: Path) -> None:
    aws.s3.delete_object(Bucket=aws.bucket, Key=PREFIX + "config.yaml")
    with pytest.raises(CloudError, match=r"cannot fetch config\.yaml: .*NoSuchKey"):
        fetch(aws, files, run)
    assert set(tree(run)) <= set(CONTENT) - {"config.yaml"}


def test_keys_that_are_renewed_meanwhile_sign_what_comes_after(
    aws: Aws, files: tuple[File, ...], run: Path, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = aws.session.get_credentials()
    assert keys
    monkeypatch.setattr(download, "THREADS", 1)

    def renew(_: int) -> None:
        keys.access_key = "AKIARENEWED"

    fetch(aws, files, run, renew)
    used = [one.authorization.split("Credential=")[1].split("/")[0] for one in proxy.seen]
    assert (used[0], used[-1]) == ("AKIATEST", "AKIARENEWED")


def test_each_request_says_whose_bucket_it_is_for(aws: Aws, files: tuple[File, ...], run: Path, proxy: Proxy) -> None:
    fetch(aws, files, run)
    assert {one.owner for one in proxy.seen} == {aws.account}
    for one in proxy.seen:
        assert "x-amz-expected-bucket-owner" in one.authorization.split("SignedHeaders=")[1].split(",")[0].split(";")


def test_certificate_and_host_name_are_checked(
    aws: Aws, files: tuple[File, ...], run: Path, secure: Proxy, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_CA_BUNDLE", str(certificate))
    monkeypatch.setenv("AWS_ENDPOINT_URL", secure.address)
    account = Aws(aws.settings)
    assert fetch(account, files, run).fetched == len(secure.seen) == 4
    assert tree(run) == CONTENT
    wrong_name = secure.address.replace("127.0.0.1", "localhost")
    with pytest.raises(ssl.SSLCertVerificationError, match="Hostname mismatch"):
        transfer._connector(account, wrong_name)().connect()
    monkeypatch.delenv("AWS_CA_BUNDLE")
    with pytest.raises(ssl.SSLCertVerificationError, match=r"self.signed"):
        transfer._connector(Aws(aws.settings), secure.address)().connect()


def test_a_proxy_is_asked_for_a_tunnel(
    aws: Aws,
    files: tuple[File, ...],
    run: Path,
    proxy: Proxy,
    secure: Proxy,
    certificate: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("AWS_CA_BUNDLE", str(certificate))
    monkeypatch.setenv("AWS_ENDPOINT_URL", secure.address)
    monkeypatch.setenv("HTTPS_PROXY", proxy.address.replace("//", "//me:p%40ss@"))
    assert fetch(Aws(aws.settings), files, run).fetched == len(secure.seen) == 4
    assert tree(run) == CONTENT
    to = (secure.address.removeprefix("https://"), f"Basic {base64.b64encode(b'me:p@ss').decode()}")
    assert set(proxy.tunnels) == {to}
    assert len(proxy.tunnels) >= 2  # botocore's listing goes through one as well
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    proxy.tunnels.clear()
    shutil.rmtree(run)
    assert fetch(Aws(aws.settings), files, run).fetched == 4
    assert proxy.tunnels == []


def test_a_proxy_that_cannot_be_used_is_refused(aws: Aws, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "https://proxy.example:3128")
    with pytest.raises(CloudError, match="https:// proxy"):
        transfer._connector(aws, "https://bucket.example/")


def test_a_connection_serves_many_files(
    aws: Aws, files: tuple[File, ...], run: Path, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download, "THREADS", 1)
    fetch(aws, files, run)
    assert len(proxy.seen) == 4
    assert len({one.client for one in proxy.seen}) == 1


def test_nothing_changed_writes_nothing(aws: Aws, files: tuple[File, ...], run: Path) -> None:
    fetch(aws, files, run)
    index = cache.path(bundle_index.name(run))
    before = index.stat()
    fetch(aws, files, run)
    assert index.stat() == before


def test_a_link_in_the_directory_is_not_followed(aws: Aws, files: tuple[File, ...], run: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "precious").write_text("mine")
    run.mkdir()
    (run / "config.yaml").symlink_to(tmp_path / "precious")
    (run / "deep").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(CloudError, match=r"run/deep is in the way: the bundle has a directory of this name"):
        fetch(aws, files, run)
    (run / "deep").unlink()
    with pytest.raises(Refused, match=r"config\.yaml"):
        fetch(aws, files, run)
    fetch(aws, files, run, agree=lambda _: None)
    assert tree(run) == CONTENT
    assert (tmp_path / "precious").read_text() == "mine"
    assert not (run / "config.yaml").is_symlink()


def test_a_directory_that_becomes_a_link_meanwhile_is_not_followed(
    aws: Aws, files: tuple[File, ...], run: Path, tmp_path: Path
) -> None:
    (tmp_path / "elsewhere").mkdir()
    (run / "deep").mkdir(parents=True)

    def swap(_: list[str]) -> None:
        (run / "deep").rmdir()
        (run / "deep").symlink_to(tmp_path / "elsewhere")

    (run / "strategy.csv").touch()  # to be asked, after all was looked at
    with pytest.raises(CloudError, match=r"cannot write .*run/deep/er/table\.csv: Not a directory"):
        fetch(aws, files, run, agree=swap)
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_a_directory_may_be_a_link_itself(aws: Aws, files: tuple[File, ...], run: Path, tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    run.symlink_to(tmp_path / "disk")
    fetch(aws, files, run)
    assert tree(tmp_path / "disk") == CONTENT


def test_names_that_differ_in_case_only_are_refused_where_they_cannot_be_told_apart() -> None:
    bundle.check_cases(("a", "b"))
    with pytest.raises(CloudError, match="upper and lower case"):
        bundle.check_cases(("Model", "model"))


def test_a_full_disk_is_seen_before_anything_is_fetched(aws: Aws, run: Path, proxy: Proxy) -> None:
    with pytest.raises(CloudError, match=r"bytes, but .* has"):
        fetch(aws, (File("huge", 1 << 60, "00"),), run)
    assert (tree(run), proxy.seen) == ({}, [])


def test_a_write_that_takes_only_a_part_is_gone_on_with(
    aws: Aws, files: tuple[File, ...], run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda out, data, position: whole(out, data[:7], position))
    fetch(aws, files, run)
    assert tree(run) == CONTENT


@pytest.mark.parametrize("in_the_way", ["deep", "."])
def test_a_file_in_the_way_of_a_directory_is_named(
    aws: Aws, files: tuple[File, ...], run: Path, in_the_way: str
) -> None:
    run.joinpath(in_the_way).parent.mkdir(exist_ok=True)
    run.joinpath(in_the_way).write_text("in the way")
    with pytest.raises(CloudError, match=r"run/deep is in the way|cannot write .*run: File exists"):
        fetch(aws, files, run)


def test_a_second_download_waits_and_finds_all_there(
    aws: Aws, files: tuple[File, ...], run: Path, proxy: Proxy
) -> None:
    waits = threading.Event()
    done: list[download.Download] = []

    def second() -> None:
        done.append(fetch(aws, files, run, waiting=waits.set))

    proxy.faults.append(Fault("stall"))  # the first download is held up in the middle
    first = threading.Thread(target=lambda: done.append(fetch(aws, files, run)))
    first.start()
    while not proxy.seen:
        first.join(0.01)
    other = threading.Thread(target=second)
    other.start()
    assert waits.wait(10)
    assert done == []
    proxy.released.set()
    first.join()
    other.join()
    assert sorted((one.fetched, one.kept) for one in done) == [(0, 4), (4, 0)]
    assert tree(run) == CONTENT


def test_many_at_once_all_find_it_whole(aws: Aws, files: tuple[File, ...], run: Path) -> None:
    done: list[download.Download] = []
    threads = [threading.Thread(target=lambda: done.append(fetch(aws, files, run))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(one.fetched for one in done) == [0] * 7 + [4]
    assert tree(run) == CONTENT


def test_one_takes_the_directory_while_another_leaves_it(tmp_path: Path) -> None:
    """The one before removes `.solver-cloud` at every moment of the next one's making it."""

    def hold() -> int:
        for _ in range(50):
            with bundle_directory.opened(tmp_path / "run", lambda: None):
                pass
        return 50

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(lambda _: hold(), range(8))) == 400


def test_links_and_empty_directories_come_with_the_files(aws: Aws, files: tuple[File, ...], run: Path) -> None:
    links = {"latest": "deep/er", "deep/top": "../config.yaml", "out": "../elsewhere"}
    done = fetch(aws, files, run, links=links, directories=("empty", "deep/empty"), warnings=("one file was torn",))
    assert (run / "latest" / "table.csv").read_bytes() == CONTENT["deep/er/table.csv"]
    assert (run / "deep" / "top").read_bytes() == CONTENT["config.yaml"]
    assert (run / "empty").is_dir()
    assert (run / "deep" / "empty").is_dir()
    assert not (run / "out").is_symlink()
    assert done.warnings == (
        "one file was torn",
        "out is left out: it links to ../elsewhere, outside the bundle",
    )
    assert fetch(aws, files, run, links=links).fetched == 0


def test_the_end_of_a_file_counts_as_much_as_its_beginning(aws: Aws, run: Path) -> None:
    """Of more than two MiB: what reads files by the MiB must read more than one."""
    data = BIG + BIG + BIG
    file = put(aws, "long", data)
    put(aws, "long", data[:-1] + b"?")
    with pytest.raises(CloudError, match="long in S3 is not what the job's record says"):
        fetch(aws, (file,), run)
    put(aws, "long", data)
    assert fetch(aws, (file,), run).fetched == 1
    (run / "long").write_bytes(data[:-1] + b"?")
    assert fetch(aws, (file,), run, agree=lambda _: None).fetched == 1
    assert tree(run) == {"long": data}


def converse(aws: Aws, files: tuple[File, ...], run: Path, *, yes: bool = False) -> Path:
    """What `inv download` does."""
    return conversation.fetch(aws, "i-1", Bundle(PREFIX, files, warnings=("torn\x1b",)), str(run), yes=yes)


@pytest.fixture
def mine(run: Path) -> list[str]:
    """Files of the user's, of the names of those of a bundle; the names."""
    for path in ("strategy.csv", "config.yaml"):
        run.mkdir(exist_ok=True)
        (run / path).write_text("mine")
    return ["strategy.csv", "config.yaml"]


def test_without_a_terminal_nothing_of_the_users_is_overwritten(
    aws: Aws, files: tuple[File, ...], run: Path, mine: list[str], proxy: Proxy, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(UsageError, match=r"overwrite these 2\?.*\n.*inv download i-1 --yes"):
        converse(aws, files, run)
    assert [line.strip() for line in capsys.readouterr().err.splitlines()[1:]] == mine
    assert (tree(run), proxy.seen) == (dict.fromkeys(mine, b"mine"), [])
    assert converse(aws, files, run, yes=True) == run
    assert tree(run) == CONTENT


@pytest.mark.parametrize(("answer", "taken"), [("n", False), ("", False), ("y", True)])
def test_at_a_terminal_the_user_is_asked(
    aws: Aws,
    files: tuple[File, ...],
    run: Path,
    mine: list[str],
    answer: str,
    taken: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    user, terminal = os.openpty()
    os.write(user, f"{answer}\n".encode())
    with os.fdopen(terminal) as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)
        if taken:
            converse(aws, files, run)
        else:
            with pytest.raises(CloudError, match="nothing was overwritten or fetched"):
                converse(aws, files, run)
    os.close(user)
    assert tree(run) == (CONTENT if taken else dict.fromkeys(mine, b"mine"))


def test_a_job_that_was_asked_for_no_directory_is_not_put_into_this_one(aws: Aws, files: tuple[File, ...]) -> None:
    with pytest.raises(UsageError, match="no output directory"):
        conversation.fetch(aws, "i-1", Bundle(PREFIX, files), "", yes=True)


def test_many_files_to_be_overwritten_are_not_all_named(
    run: Path, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(UsageError, match="overwrite these 100"):
        conversation.ask("i-1", run, [f"file-{number}" for number in range(100)])
    assert capsys.readouterr().err.splitlines()[-1] == "  and 95 more"


KILLED = """
import sys
from pathlib import Path
from cloud import bundle_directory
from cloud.records import File
with bundle_directory.opened(Path(sys.argv[1]), lambda: None) as held, held.whole_file(File("big", 1000, "")):
    print("begun", flush=True)
    sys.stdin.read()
"""


def test_what_a_killed_download_left_is_removed_by_the_next(aws: Aws, files: tuple[File, ...], run: Path) -> None:
    command = [sys.executable, "-c", KILLED, str(run)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as killed:
        assert killed.stdout
        assert killed.stdout.readline() == b"begun\n"
        killed.send_signal(signal.SIGKILL)
    assert len(tree(run)) == 2  # the lock and the unfinished file
    fetch(aws, files, run)
    assert tree(run) == CONTENT


@pytest.mark.parametrize("fault", [Fault("end", 10), Fault("reset", 3)])
def test_small_objects_are_read_whole_although_their_bodies_break(aws: Aws, proxy: Proxy, fault: Fault) -> None:
    """Records and logs, which `wait` and `status` read all the time."""
    put(aws, "log", b"line\n" * 100)
    proxy.faults.extend([fault, fault])
    assert storage.tail(aws, f"{PREFIX}log", 50) == "line\n" * 10
    proxy.faults.extend([fault, fault])
    chunks: list[bytes] = []
    assert storage.stream(aws, f"{PREFIX}log", chunks.append)
    assert b"".join(chunks) == b"line\n" * 100
    assert not proxy.faults

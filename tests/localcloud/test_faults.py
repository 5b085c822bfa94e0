"""Requests that go wrong because somebody asked for it: what each fault looks like to a client that tries once."""

from __future__ import annotations

import socket
import threading
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError, ConnectionClosedError, IncompleteReadError, ResponseStreamingError

from localcloud import supervisor
from localcloud.errors import LocalCloudError
from localcloud.state import Running

from .conftest import FakeCloud, eventually
from .test_api import CALLS, EXPIRED, assume, refused

BODY = bytes(range(256)) * 400

THROTTLED = {
    "sts": ("Throttling", 400),
    "iam": ("Throttling", 400),
    "ec2": ("RequestLimitExceeded", 503),
    "ssm": ("ThrottlingException", 400),
    "ecr": ("ThrottlingException", 400),
    "pricing": ("ThrottlingException", 400),
    "service-quotas": ("TooManyRequestsException", 400),
    "s3": ("SlowDown", 503),
}

Begin = Callable[..., list[str]]


@pytest.fixture
def running(cloud: FakeCloud) -> Iterator[Running]:
    assert cloud.running
    yield cloud.running
    supervisor.change_faults(cloud.running, "none")


@pytest.fixture
def begin(running: Running) -> Begin:
    """Begin a fault that hits every request, unless told otherwise."""

    def begin(kind: str, **figures: str) -> list[str]:
        return supervisor.change_faults(running, kind, **{"percent": "100", **figures})

    return begin


@pytest.fixture
def bucket(s3: Any, bucket: str) -> str:
    """A bucket with one object, `x`."""
    s3.put_object(Bucket=bucket, Key="x", Body=BODY)
    return bucket


def hits(running: Running) -> dict[str, int]:
    return {fault["kind"]: fault["hits"] for fault in supervisor.faults(running)}


def asked(s3: Any, bucket: str, method: str = "GET") -> bytes:
    """The bytes of one request for the object, as HTTP has them."""
    operation = {"GET": "get_object", "PUT": "put_object"}[method]
    url = urllib.parse.urlsplit(s3.generate_presigned_url(operation, Params={"Bucket": bucket, "Key": "x"}))
    return f"{method} {url.path}?{url.query} HTTP/1.1\r\nHost: {url.netloc}\r\nContent-Length: 0\r\n\r\n".encode()


def connect(cloud: FakeCloud) -> socket.socket:
    url = urllib.parse.urlsplit(cloud.endpoint)
    return socket.create_connection((url.hostname, url.port or 80), timeout=20)


@pytest.mark.parametrize(("kind", "code", "status"), [("500", "InternalError", 500), ("503", "SlowDown", 503)])
def test_s3_answers_with_its_own_errors(
    s3: Any, bucket: str, running: Running, begin: Begin, kind: str, code: str, status: int
) -> None:
    begin(kind)
    with pytest.raises(ClientError) as error:
        s3.get_object(Bucket=bucket, Key="x")
    assert error.value.response["Error"]["Code"] == code
    assert error.value.response["ResponseMetadata"]["HTTPStatusCode"] == status
    with pytest.raises(ClientError) as error:  # an answer to HEAD has no body, so no code
        s3.head_object(Bucket=bucket, Key="x")
    assert error.value.response["Error"]["Code"] == str(status)
    with pytest.raises(ClientError) as error:
        s3.put_object(Bucket=bucket, Key="y", Body=b"x" * 20_000_000)
    assert error.value.response["Error"]["Code"] == code
    assert hits(running) == {kind: 3}


def test_a_request_that_got_a_500_was_carried_out_or_not(s3: Any, bucket: str, running: Running, begin: Begin) -> None:
    begin("500")
    for number in range(20):
        with pytest.raises(ClientError):
            s3.put_object(Bucket=bucket, Key=f"many/{number}", Body=b"data")
    supervisor.change_faults(running, "none")
    assert 0 < s3.list_objects_v2(Bucket=bucket, Prefix="many/")["KeyCount"] < 20


@pytest.mark.parametrize("method", ["GET", "PUT"])
def test_a_connection_is_reset(cloud: FakeCloud, s3: Any, bucket: str, begin: Begin, method: str) -> None:
    begin("reset")
    with connect(cloud) as connection:
        connection.sendall(asked(s3, bucket, method))
        with pytest.raises(ConnectionResetError):
            connection.recv(1)
    with pytest.raises(ConnectionClosedError):
        s3.get_object(Bucket=bucket, Key="x")


def test_resets_leave_no_descriptors_behind(cloud: FakeCloud, s3: Any, bucket: str, begin: Begin) -> None:
    def descriptors() -> int:
        return len(list(Path(f"/proc/{cloud.process.pid}/fd").iterdir()))

    before = descriptors()
    begin("reset")
    for _ in range(20):
        with pytest.raises(ConnectionClosedError):
            s3.get_object(Bucket=bucket, Key="x")
    eventually(lambda: descriptors() <= before + 2)


def test_a_body_ends_early(s3: Any, bucket: str, running: Running, begin: Begin) -> None:
    begin("truncated")
    lengths = set()
    for _ in range(5):
        answer = s3.get_object(Bucket=bucket, Key="x")
        assert answer["ContentLength"] == len(BODY)
        begun: list[bytes] = []
        with pytest.raises((IncompleteReadError, ResponseStreamingError)):
            begun.extend(answer["Body"].iter_chunks(1000))
        assert BODY.startswith(b"".join(begun))
        lengths.add(len(b"".join(begun)))
    assert len(lengths) > 1
    s3.put_object(Bucket=bucket, Key="x", Body=BODY)  # only GETs
    assert hits(running) == {"truncated": 5}


def test_an_answer_is_late_but_the_request_is_carried_out_at_once(
    cloud: FakeCloud, s3: Any, bucket: str, running: Running, begin: Begin
) -> None:
    begin("timeout", seconds="1.5", of="PUT /")
    begun = time.monotonic()
    with connect(cloud) as connection:
        connection.sendall(asked(s3, bucket, "PUT"))
        eventually(lambda: s3.head_object(Bucket=bucket, Key="x")["ContentLength"] == 0)
        assert time.monotonic() < begun + 1.5
        assert connection.recv(100).startswith(b"HTTP/1.1 200")
    assert time.monotonic() > begun + 1.5


def test_who_waits_for_a_late_answer_gets_it_when_the_fault_ends(
    cloud: FakeCloud, s3: Any, bucket: str, running: Running, begin: Begin
) -> None:
    begin("timeout", seconds="900")
    with connect(cloud) as connection:
        connection.sendall(asked(s3, bucket))
        eventually(lambda: hits(running) == {"timeout": 1})
        supervisor.change_faults(running, "none")
        assert connection.recv(100).startswith(b"HTTP/1.1 200")


def test_bodies_trickle_both_ways(s3: Any, bucket: str, begin: Begin) -> None:
    begin("slow", bytes_per_second="100000")
    times = [time.monotonic()]
    s3.put_object(Bucket=bucket, Key="y", Body=BODY)
    times.append(time.monotonic())
    assert s3.get_object(Bucket=bucket, Key="y")["Body"].read() == BODY
    times.append(time.monotonic())
    for begun, ended in pairwise(times):
        assert 0.9 < ended - begun < 10


@pytest.mark.parametrize(("service", "call", "arguments"), CALLS)
def test_each_service_throttles_in_its_own_words(
    cloud: FakeCloud, begin: Begin, service: str, call: str, arguments: Any
) -> None:
    begin("throttled")
    assert refused(cloud, service, call, arguments, {}) == THROTTLED[service]


@pytest.mark.parametrize(("service", "call", "arguments"), CALLS)
def test_only_sessions_expire(cloud: FakeCloud, begin: Begin, service: str, call: str, arguments: Any) -> None:
    session = assume(cloud)
    begin("expired")
    assert refused(cloud, service, call, arguments, session) == EXPIRED[service]
    assert getattr(cloud.client(service), call)(**arguments)


def test_s3s_faults_are_s3s_alone(ec2: Any, running: Running, begin: Begin) -> None:
    for kind in ("500", "503", "reset", "timeout", "truncated", "slow"):
        begin(kind)
    assert ec2.describe_instances()
    assert set(hits(running).values()) == {0}


@pytest.mark.parametrize(
    ("of", "service", "call", "arguments"),
    [
        ("DescribeVpcs", "ec2", "describe_vpcs", {}),
        ("DescribeRepositories", "ecr", "describe_repositories", {}),
        ("GET /", "s3", "list_buckets", {}),
    ],
)
def test_a_fault_can_be_of_one_operation(
    cloud: FakeCloud, begin: Begin, of: str, service: str, call: str, arguments: Any
) -> None:
    begin("throttled", of=of)
    assert refused(cloud, service, call, arguments, {}) == THROTTLED[service]
    assert cloud.client("sts").get_caller_identity()
    assert cloud.client("ec2").describe_instances()


def test_a_share_of_the_requests_is_hit_and_the_seed_says_which(
    s3: Any, bucket: str, running: Running, begin: Begin
) -> None:
    def outcomes(seed: str) -> list[bool]:
        begin("503", percent="30", seed=seed)
        return [gone_wrong(lambda: s3.get_object(Bucket=bucket, Key="x")) for _ in range(60)]

    first = outcomes("1")
    assert 8 < sum(first) < 30
    assert hits(running) == {"503": sum(first)}
    assert outcomes("1") == first
    assert outcomes("2") != first


def gone_wrong(call: Callable[[], Any]) -> bool:
    try:
        call()
    except ClientError:
        return True
    return False


def test_several_faults_are_active_until_none_is(s3: Any, bucket: str, running: Running, begin: Begin) -> None:
    begin("slow", bytes_per_second="1e9")
    assert len(begin("truncated")) == 2
    with pytest.raises((IncompleteReadError, ResponseStreamingError)):
        s3.get_object(Bucket=bucket, Key="x")["Body"].read()
    assert hits(running) == {"slow": 1, "truncated": 1}
    assert supervisor.change_faults(running, "none") == ["no faults"]
    assert supervisor.faults(running) == []
    assert s3.get_object(Bucket=bucket, Key="x")["Body"].read() == BODY


def test_the_clouds_own_requests_are_never_hit(cloud: FakeCloud, running: Running, begin: Begin) -> None:
    for kind in ("throttled", "500", "reset"):
        begin(kind)
    assert urllib.request.urlopen(f"{cloud.endpoint}/_local/caller-address").read() == b"127.0.0.1\n"
    assert set(hits(running).values()) == {0}


def test_many_at_once_are_counted_one_by_one(
    cloud: FakeCloud, s3: Any, bucket: str, running: Running, begin: Begin
) -> None:
    begin("503", percent="50")
    wrong: list[bool] = []

    def read() -> None:
        client = cloud.client("s3")
        wrong.extend(gone_wrong(lambda: client.get_object(Bucket=bucket, Key="x")) for _ in range(10))

    readers = [threading.Thread(target=read) for _ in range(6)]
    for reader in readers:
        reader.start()
    for reader in readers:
        reader.join()
    assert len(wrong) == 60
    assert hits(running) == {"503": sum(wrong)}


@pytest.mark.parametrize(
    ("kind", "figures", "problem"),
    [
        ("earthquake", {}, "there is no fault 'earthquake'"),
        ("500", {"percent": "0"}, "--percent is a number above 0, 100 at most, not '0'"),
        ("500", {"percent": "101"}, "--percent is a number above 0, 100 at most, not '101'"),
        ("500", {"percent": "many"}, "--percent is a number above 0, 100 at most, not 'many'"),
        ("500", {"percent": "nan"}, "--percent is a number above 0, 100 at most, not 'nan'"),
        ("timeout", {"seconds": "-1"}, "--seconds is a number above 0"),
        ("slow", {"bytes_per_second": "inf"}, "--bytes-per-second is a number above 0"),
    ],
)
def test_what_makes_no_sense_is_refused_in_one_line(
    running: Running, kind: str, figures: dict[str, str], problem: str
) -> None:
    with pytest.raises(LocalCloudError) as error:
        supervisor.change_faults(running, kind, **figures)
    assert error.value.problem.startswith(problem)
    assert supervisor.faults(running) == []

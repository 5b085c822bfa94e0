"""What the launch and boot rows of the benchmarks are measured with: a slow server, and the count of calls in a row."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from botocore.exceptions import ClientError

from bench import rebuild
from bench.slow_aws import Call, SlowAws, in_front_of, round_trips
from cloud.aws import Aws
from cloud.config import PACKAGE

from .localcloud.conftest import FakeCloud

LATE = 0.3


@pytest.fixture
def slow(cloud: FakeCloud, spot: Aws, monkeypatch: pytest.MonkeyPatch) -> Iterator[SlowAws]:
    """A slow server in front of the local cloud, at which an account's clients are made from now on."""
    with in_front_of(cloud.endpoint) as found:
        monkeypatch.setenv("AWS_ENDPOINT_URL", found.address)
        yield found


def test_each_call_is_late_and_noted_and_its_answer_is_the_servers(slow: SlowAws, spot: Aws) -> None:
    aws = Aws(spot.settings)
    slow.latency = LATE
    assert aws.sts.get_caller_identity()["Account"] == "123456789012"
    aws.s3.put_object(Bucket=aws.bucket, Key="some/key", Body=b"content")
    assert aws.s3.get_object(Bucket=aws.bucket, Key="some/key")["Body"].read() == b"content"
    assert aws.s3.head_object(Bucket=aws.bucket, Key="some/key")["ContentLength"] == 7
    with pytest.raises(ClientError, match="ImageNotFoundException"):
        aws.ecr.describe_images(repositoryName=aws.settings.repository, imageIds=[{"imageTag": "none"}])
    key = f"/{aws.bucket}/some/key"
    expected = ["GetCallerIdentity", f"PUT {key}", f"GET {key}", f"HEAD {key}", "DescribeImages"]
    assert [call.operation for call in slow.calls] == expected
    assert all(call.ended - call.began >= LATE for call in slow.calls)
    assert round_trips(slow.calls, slow.calls[-1]) == len(expected)


def test_calls_at_once_are_late_at_once(slow: SlowAws, spot: Aws) -> None:
    aws = Aws(spot.settings)
    _ = aws.ec2
    slow.latency = 4 * LATE
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: aws.ec2.describe_vpcs(), range(4)))
    assert max(call.began for call in slow.calls) < min(call.ended for call in slow.calls)
    assert max(round_trips(slow.calls, call) for call in slow.calls) == 1


@pytest.mark.parametrize(
    ("calls", "trips"),
    [
        ([(0, 1)], 1),
        ([(0, 1), (0, 1), (1, 2)], 2),
        ([(0, 1), (0.5, 1.5), (1, 2), (1.5, 2.5), (2.5, 3)], 3),
        ([(2, 3), (0, 1), (1, 2), (3, 4)], 4),
        ([(0, 1), (1, 9), (2, 3)], 2),
    ],
)
def test_calls_in_a_row_are_those_that_began_after_the_answer_before(
    calls: list[tuple[float, float]], trips: int
) -> None:
    """The last one that is listed is the one until which is counted."""
    made = [Call(str(number), began, ended) for number, (began, ended) in enumerate(calls)]
    assert round_trips(made, made[-1]) == trips


def test_the_rebuild_row_has_caches_of_its_own() -> None:
    recipe = rebuild.own_caches((PACKAGE / "docker" / "Dockerfile").read_text())
    assert recipe.count("type=cache") == recipe.count(f"type=cache,{rebuild.BENCH_ID}") == 2

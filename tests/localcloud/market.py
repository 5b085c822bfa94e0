"""Scenarios for the tests of the market: what EC2 sells is set by a file and put back afterwards."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from localcloud import supervisor

from .conftest import IMAGE, FakeCloud

REGION = "eu-west-2"
"""Where these tests launch: what other tests have running in us-east-1 does not count here."""

SetMarket = Callable[[str], None]
Launch = Callable[..., dict[str, Any]]


@pytest.fixture
def set_market(cloud: FakeCloud, tmp_path: Path) -> Iterator[SetMarket]:
    """Have EC2 sell what a text says about REGION."""

    running = cloud.running
    assert running

    def set_market(text: str) -> None:
        file = tmp_path / "market.yaml"
        file.write_text(f"regions:\n  {REGION}:\n" + textwrap.indent(textwrap.dedent(text), "    "))
        supervisor.change_market(running, str(file))

    yield set_market
    supervisor.change_market(running, "none")


@pytest.fixture(scope="module")
def region(cloud: FakeCloud) -> Any:
    """EC2 in REGION."""
    return cloud.client("ec2", region_name=REGION)


@pytest.fixture
def launch(cloud: FakeCloud, region: Any) -> Iterator[Launch]:
    """Launch one instance in REGION; returns RunInstances' description of it. They end with the test."""
    image = cloud.client("ssm", region_name=REGION).get_parameter(Name=IMAGE)["Parameter"]["Value"]
    made = []

    def launch(**changes: Any) -> dict[str, Any]:
        request = {"ImageId": image, "InstanceType": "c7i.4xlarge", "MinCount": 1, "MaxCount": 1, **changes}
        instance: dict[str, Any] = region.run_instances(**request)["Instances"][0]
        made.append(instance)
        return instance

    yield launch
    requests = [one["SpotInstanceRequestId"] for one in made if "SpotInstanceRequestId" in one]
    if requests:
        region.cancel_spot_instance_requests(SpotInstanceRequestIds=requests)
    if made:
        region.terminate_instances(InstanceIds=[one["InstanceId"] for one in made])

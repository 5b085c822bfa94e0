"""The file that sets a scenario: what it may say, and the line that is wrong."""

from __future__ import annotations

import os
import textwrap
import urllib.error
from pathlib import Path

import pytest

from localcloud import market_file, supervisor, text_file
from localcloud.errors import LocalCloudError
from localcloud.market import GENEROUS, Market, Offer

from .conftest import FakeCloud

WHOLE = """
    regions:
      us-east-1:
        quotas: {spot: 64, on-demand: 0}
        denied: [RunInstances, GetProducts]
        spot_role: missing
        types:
          c7i.4xlarge:
            on_demand: 0.714
            zones:
              us-east-1a: {spot: 0.31, capacity: none}
              us-east-1b: unsupported
              us-east-1c: spot-none
          m7i.large:
            capacity: on-demand-none
            zones: {us-east-1a: enough}
      eu-west-1: {}
"""


def test_everything_that_a_scenario_can_say() -> None:
    scenario = market_file.parse(textwrap.dedent(WHOLE))
    region, market = scenario.region("us-east-1"), Market(scenario)
    assert region.denied == {"RunInstances", "GetProducts"}
    assert not region.makes_spot_role
    assert market.quota("us-east-1", "on-demand") == 0
    assert market.quota("us-east-1", "spot-gpu") == market.quota("us-west-2", "spot") == GENEROUS
    assert market.sale("us-east-1", "c7i.4xlarge").on_demand == 0.714
    assert market.offer("us-east-1", "us-east-1a", "c7i.4xlarge") == Offer(spot=0.31, capacity="none")
    assert market.zones("us-east-1", "c7i.4xlarge") == [f"us-east-1{letter}" for letter in "acdf"]
    for zone, spot, there in (("c", True, False), ("c", False, True), ("d", True, True)):
        assert market.has_capacity("us-east-1", f"us-east-1{zone}", "c7i.4xlarge", spot=spot) is there
    for zone, there in (("a", True), ("b", False)):
        assert market.has_capacity("us-east-1", f"us-east-1{zone}", "m7i.large", spot=False) is there
    assert market.zones("eu-west-1", "c7i.4xlarge")


def test_what_local_capacity_takes_away_is_gone_whatever_the_scenario_says() -> None:
    market = Market(market_file.parse(textwrap.dedent(WHOLE)), {"m7i.large"})
    assert not market.has_capacity("us-east-1", "us-east-1a", "m7i.large", spot=True)
    assert not market.has_capacity("us-west-2", "us-west-2a", "m7i.large", spot=False)


@pytest.mark.parametrize(
    ("old", "new", "line", "problem"),
    [
        ("us-east-1:", "us-east-9:", 2, "there is no region 'us-east-9'"),
        ("spot: 64", "spot: many", 3, "'many' is no number of vCPUs"),
        ("spot: 64", "spots: 64", 3, "'spots' is not known here"),
        ("[RunInstances, GetProducts]", "[RunInstance]", 4, "there is no action 'RunInstance'"),
        ("[RunInstances, GetProducts]", "RunInstances", 4, "`denied` is a list"),
        ("spot_role: missing", "spot_role: gone", 5, "'gone' is not known here"),
        ("c7i.4xlarge", "c7i.5xlarge", 7, "us-east-1 does not sell 'c7i.5xlarge'"),
        ("0.714", "cheap", 8, "'cheap' is no price in dollars an hour"),
        ("0.714", "-1", 8, "'-1' is no price in dollars an hour"),
        ("us-east-1a: {", "us-east-1z: {", 10, "'us-east-1z' does not sell c7i.4xlarge"),
        ("capacity: none", "capacity: some", 10, "'some' is not known here"),
        ("unsupported", "maybe", 11, "'maybe' is not known here"),
        ("us-east-1b: unsupported", "us-east-1a: unsupported", 11, "'us-east-1a' stands here twice"),
        ("m7i.large:", "m7i.large: [", 15, "expected"),
        ("eu-west-1: {}", "eu-west-1: all", 16, "here belongs a mapping"),
        ("regions:", "region:", 1, "'region' is not known here"),
    ],
)
def test_what_is_wrong_is_told_with_its_line(old: str, new: str, line: int, problem: str) -> None:
    text = textwrap.dedent(WHOLE).lstrip().replace(old, new, 1)
    with pytest.raises(LocalCloudError) as error:
        market_file.parse(text)
    assert error.value.problem.startswith(f"line {line}: ")
    assert problem in error.value.problem


def test_the_scenario_in_force_is_told_and_a_wrong_file_leaves_it(cloud: FakeCloud, tmp_path: Path) -> None:
    right, wrong = tmp_path / "right.yaml", tmp_path / "wrong.yaml"
    right.write_text(textwrap.dedent(WHOLE))
    wrong.write_text("regions:\n  nowhere: {}\n")
    running = cloud.running
    assert running
    assert supervisor.market_file(running) == ""
    supervisor.change_market(running, str(right))
    with pytest.raises(LocalCloudError, match=r"wrong\.yaml, line 2: there is no region 'nowhere'"):
        supervisor.change_market(running, str(wrong))
    assert supervisor.market_file(running) == str(right)
    supervisor.change_market(running, "none")
    assert supervisor.market_file(running) == ""


def test_a_file_that_is_none_is_named(tmp_path: Path) -> None:
    with pytest.raises(LocalCloudError, match=r"none.yaml cannot be read"):
        text_file.read(tmp_path / "none.yaml")
    with pytest.raises(LocalCloudError, match=r"empty.yaml, line 1: there is no `regions`"):
        market_file.scenario("", "empty.yaml")


def test_only_regular_files_of_a_size_are_read(tmp_path: Path) -> None:
    pipe, large, bytes_ = tmp_path / "pipe", tmp_path / "large", tmp_path / "bytes"
    os.mkfifo(pipe)
    large.write_bytes(b" " * (text_file.MOST_BYTES + 1))
    bytes_.write_bytes(b"\xff")
    for path in (pipe, Path("/dev/zero"), tmp_path):
        with pytest.raises(LocalCloudError, match=r"is not a regular file|Is a directory"):
            text_file.read(path)
    with pytest.raises(LocalCloudError, match="over 1 MB"):
        text_file.read(large)
    with pytest.raises(LocalCloudError, match="is not text"):
        text_file.read(bytes_)


def test_the_cloud_opens_no_file_that_a_request_names(cloud: FakeCloud, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("regions: {nowhere: hunter2}")
    with pytest.raises(urllib.error.HTTPError) as error:
        cloud.post(f"market?file={secret}")
    assert b"nowhere" not in error.value.read()

"""`inv offers`: what there is, for how much, and how sure it is."""

from __future__ import annotations

import json
import subprocess
from typing import Any

import pytest
from botocore.exceptions import ClientError

from cloud import instance_types, listing, offer_view
from cloud.aws import Aws
from cloud.listing import Listed

from .market import environment, shop
from .shop import BOTH, C7I, HOME, M7I, SMALL, SPOT, Shop
from .test_tasks import inv

__all__ = ["shop"]  # a fixture


def look(shop: Shop, names: str, **settings: Any) -> list[Listed]:
    aws = shop.aws(**settings)
    return listing.look(aws, instance_types.look(aws, tuple(names.split(","))))


def typed(shop: Shop, *options: str) -> subprocess.CompletedProcess[str]:
    """`inv offers` as it is typed."""
    environ = {"INVOKE_SOLVER_NAME": shop.name, **environment(shop.cloud)}
    return inv("offers", "--region", HOME, *options, home=shop.directory, **environ)


def test_the_cheapest_on_spot_comes_first_and_what_one_saves_is_told(shop: Shop) -> None:
    done = typed(shop, "--instance", BOTH)
    assert done.returncode == 0, done.stderr
    assert [line.split("\t") for line in done.stdout.splitlines()] == [
        ["c7i.4xlarge", "16", "32", "", "x86_64", "eu-west-2b", "0.3000", "0.9000", "67%", ""],
        ["c7i.4xlarge", "16", "32", "", "x86_64", "eu-west-2a", "0.3100", "0.9000", "66%", ""],
        ["c7i.4xlarge", "16", "32", "", "x86_64", "eu-west-2c", "0.3200", "0.9000", "64%", ""],
        ["m7i.4xlarge", "16", "64", "", "x86_64", "eu-west-2a", "0.4000", "1.0000", "60%", ""],
        ["m7i.4xlarge", "16", "64", "", "x86_64", "eu-west-2b", "0.4100", "1.0000", "59%", ""],
        ["m7i.4xlarge", "16", "64", "", "x86_64", "eu-west-2c", "0.4200", "1.0000", "58%", ""],
    ]


def test_json_has_what_the_table_has_and_the_highest_price_leaves_out_what_costs_more(shop: Shop) -> None:
    shop.sells(unsupported={C7I: "a"})
    found = json.loads(typed(shop, "--instance", BOTH, "--max-price", "0.4", "--json").stdout)
    assert [(one["type"]["name"], one["zone"], one["spot"]) for one in found] == [
        (C7I, "eu-west-2b", 0.3),
        (C7I, "eu-west-2c", 0.32),
        (M7I, "eu-west-2a", 0.4),
    ]
    assert found[0]["type"]["vcpus"] == 16
    assert (found[0]["on_demand"], found[0]["score"]) == (0.9, None)


@pytest.mark.parametrize(
    ("options", "first"),
    [
        pytest.param(("--cpus", "16", "--memory", "64"), M7I, marks=pytest.mark.long),
        (("--gpus", "1"), "g4dn.xlarge"),
        pytest.param(("--cpus", "16", "--arm"), "c7g.4xlarge", marks=pytest.mark.long),
    ],
)
def test_what_fits_is_listed(shop: Shop, options: tuple[str, ...], first: str) -> None:
    shop.sells(spot={**SPOT, first: {"b": 0.001}})
    lines = typed(shop, *options).stdout.splitlines()
    assert lines[0].startswith(f"{first}\t")
    assert len(lines) > 3


def test_what_aws_does_not_tell_is_unknown_and_comes_last(shop: Shop) -> None:
    found = look(shop, f"i4i.4xlarge,{C7I}")
    assert [one.type.name for one in found] == [C7I] * 3 + ["i4i.4xlarge"] * 3
    assert offer_view.row(found[-1])[6:] == ("unknown", "unknown", "", "")
    shop.sells(denied=["DescribeSpotPriceHistory", "GetServiceQuota"])
    shop.denies_prices()
    assert {(one.spot, one.on_demand) for one in look(shop, C7I)} == {(None, None)}


def test_how_likely_capacity_is_goes_by_zone_and_wants_three_types(shop: Shop) -> None:
    """With fewer types every score is low: https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/spot-placement-score.html"""
    three = f"{BOTH},{SMALL}"
    shop.sells(spot_none={C7I: "a", M7I: "a", SMALL: "a"})
    scores = {(one.zone, one.score) for one in look(shop, three)}
    assert scores == {("eu-west-2a", 1), ("eu-west-2b", 10), ("eu-west-2c", 10)}
    assert {one.score for one in look(shop, BOTH)} == {None}
    assert offer_view.row(look(shop, three)[0])[-1] == "10/10"


@pytest.mark.parametrize("code", ["UnauthorizedOperation", "MaxConfigLimitExceeded"])
def test_prices_are_told_though_the_scores_are_refused(shop: Shop, monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    """AWS limits how many different questions about scores it answers in a day; the local cloud does not."""
    aws = shop.aws()
    refused: list[str] = []

    def refuse(**_: object) -> None:
        refused.append(code)
        raise ClientError({"Error": {"Code": code, "Message": "No."}}, "GetSpotPlacementScores")

    monkeypatch.setattr(aws.ec2, "get_spot_placement_scores", refuse)
    found = listing.look(aws, instance_types.look(aws, (C7I, M7I, SMALL)))
    assert {one.score for one in found} == {None}
    assert found[0].spot == 0.3
    assert refused == [code]


def test_types_that_do_not_exist_are_wrong_usage(shop: Shop) -> None:
    done = typed(shop, "--instance", "c7i.5xlarge")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.splitlines() == [
        "there is no instance type 'c7i.5xlarge' in eu-west-2",
        "  `inv offers --cpus 16 --memory 32` lists those that fit",
    ]


def test_a_single_type_is_told_by_its_name(shop: Shop) -> None:
    aws: Aws = shop.aws()
    (kind,) = instance_types.look(aws, ("g4dn.xlarge",))
    assert (kind.gpus, kind.gpu, kind.vcpus, kind.memory_gib, kind.family) == (1, "T4", 4, 16.0, "g")
    assert kind.markets == ("on-demand", "spot")

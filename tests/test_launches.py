"""Launches as a whole: regions, what is to fit, what it may cost, and the same command once more."""

from __future__ import annotations

import subprocess
from typing import Any

import pytest

from cloud.errors import CloudError, UsageError

from .market import environment, shop
from .shop import ALL_SPOT, AWAY, BOTH, C7I, DRY, HOME, NOWHERE, SMALL, SPOT, Shop, offers
from .test_tasks import inv

__all__ = ["shop"]  # a fixture

REGIONS = f"{HOME},{AWAY}"
UNPRICED = "i4i.4xlarge"
"""The local cloud's price list does not have it."""


@pytest.mark.parametrize(
    ("sells", "asked_at_home"),
    [({"spot_none": {C7I: "abc"}}, ALL_SPOT[:3]), ({"quotas": {"spot": 0}}, [])],
    ids=["no capacity", "no quota"],
)
def test_the_next_region_is_asked_when_the_first_refuses(
    shop: Shop, sells: dict[str, Any], asked_at_home: list[str]
) -> None:
    shop.sells(**sells)
    shop.sells(AWAY)
    job = shop.launch(region=REGIONS)
    assert shop.asked() == asked_at_home + offers(C7I, "spot", "b", AWAY)
    assert [one["InstanceId"] for one in shop.instances(AWAY)] == [job]
    assert shop.instances() == []


def test_when_all_regions_refuse_each_is_read(shop: Shop) -> None:
    shop.sells(spot_none={C7I: "abc"})
    shop.sells(AWAY, spot_none={C7I: "abc"})
    with pytest.raises(CloudError) as refused:
        shop.launch(region=REGIONS)
    assert str(refused.value) == (
        "no machine is to be had:\n"
        "  c7i.4xlarge spot in eu-west-2b, eu-west-2a, eu-west-2c, eu-west-1b, eu-west-1a, eu-west-1c\n"
        "    no capacity (InsufficientInstanceCapacity)\n"
        "    later, or another --instance, --region or --fallback on-demand"
    )


@pytest.mark.parametrize(
    ("instance", "needs", "cheap", "cheapest"),
    [
        pytest.param(None, {"cpus": "16", "memory": "32"}, {SMALL: 0.0005, C7I: 0.001}, C7I, marks=pytest.mark.long),
        (None, {"cpus": "16", "memory": "64"}, {C7I: 0.0005, "m7i.4xlarge": 0.001}, "m7i.4xlarge"),
        pytest.param(None, {"gpus": "1"}, {C7I: 0.0005, "g4dn.xlarge": 0.001}, "g4dn.xlarge", marks=pytest.mark.long),
        (None, {"cpus": "16", "arm": True}, {C7I: 0.0005, "c7g.4xlarge": 0.001}, "c7g.4xlarge"),
        (f"{UNPRICED},{C7I}", {}, {C7I: 0.2}, C7I),
    ],
    ids=["cpus", "memory", "gpus", "arm", "named, one without a price"],
)
def test_the_cheapest_that_fits_is_asked_for(
    shop: Shop, instance: str | None, needs: dict[str, Any], cheap: dict[str, float], cheapest: str
) -> None:
    shop.sells(spot={**SPOT, **{kind: {"b": price} for kind, price in cheap.items()}})
    shop.launch(instance, **needs)
    assert shop.asked() == offers(cheapest, "spot", "b")


def test_an_unknown_price_is_shown_as_unknown_and_asked_for_last(
    shop: Shop, capsys: pytest.CaptureFixture[str]
) -> None:
    shop.sells(spot_none={C7I: "abc"})
    shop.launch(f"{UNPRICED},{C7I}")
    assert shop.asked() == ALL_SPOT[:3] + offers(UNPRICED, "spot", "a")
    said = capsys.readouterr().err.splitlines()
    assert said[-1] == f"asking for one {UNPRICED} spot in eu-west-2a, price unknown"
    shop.sells(denied=["DescribeSpotPriceHistory", "GetServiceQuota"])
    shop.denies_prices()
    shop.launch(config="another.yaml")
    said = capsys.readouterr().err.splitlines()
    assert said[0] == "c7i.4xlarge spot in eu-west-2a: price unknown"
    assert "$0" not in "".join(said)


@pytest.mark.parametrize("denied", [False, True], ids=["the machine's", "the disk's"])
def test_what_it_costs_cannot_be_limited_without_a_price(shop: Shop, denied: bool) -> None:
    if denied:
        shop.denies_prices()
    with pytest.raises(CloudError) as refused:
        shop.launch(C7I if denied else UNPRICED, max_cost=5)
    what = "the price of its disk is not known" if denied else f"no {UNPRICED} spot: AWS does not tell its price"
    assert str(refused.value) == f"{what}, so --max-cost cannot be kept\n  --max-hours instead"
    assert shop.asked() == []


@pytest.mark.parametrize(
    ("instance", "problem", "fix"),
    [
        (
            "c7i.5xlarge",
            "there is no instance type 'c7i.5xlarge' in eu-west-2",
            "`inv offers --cpus 16 --memory 32` lists those that fit",
        ),
        (
            f"{C7I},c7g.4xlarge,m7i.4xlarge",
            "c7i.4xlarge and c7g.4xlarge need different machine images",
            "one launch for each: --instance c7i.4xlarge,m7i.4xlarge or --instance c7g.4xlarge",
        ),
        (
            f"{C7I},g4dn.xlarge,c7g.4xlarge",
            "c7i.4xlarge and g4dn.xlarge need different machine images",
            "one launch for each: --instance c7i.4xlarge or --instance g4dn.xlarge or --instance c7g.4xlarge",
        ),
        (
            "g5g.xlarge",
            "g5g.xlarge has a GPU and an ARM processor, and there is no machine image with a driver for that",
            "choose a GPU machine with an x86_64 processor, such as g5.xlarge",
        ),
    ],
)
def test_types_that_cannot_be_launched_are_wrong_usage(shop: Shop, instance: str, problem: str, fix: str) -> None:
    with pytest.raises(UsageError) as refused:
        shop.launch(instance)
    assert (refused.value.problem, refused.value.fix, refused.value.code) == (problem, fix, 2)
    assert shop.asked() == []


def test_a_region_that_is_not_set_up_is_named(shop: Shop) -> None:
    with pytest.raises(CloudError, match=f"not set up for {shop.name} in {NOWHERE}\n.*inv setup"):
        shop.launch(region=NOWHERE)


def test_what_can_cost_more_than_one_wants_needs_a_yes(shop: Shop) -> None:
    with pytest.raises(UsageError, match="without a terminal: inv launch … --yes"):
        shop.launch(yes=False, ask_above=5.0)
    assert [call.operation for call in shop.calls if call.operation in ("PutObject", "RunInstances")] == []
    assert shop.launch(yes=True, ask_above=5.0)
    assert shop.launch(yes=False, ask_above=8.0, config="another.yaml")  # at most $7.84


def test_the_same_command_again_is_the_same_job_until_that_has_ended(
    shop: Shop, capsys: pytest.CaptureFixture[str]
) -> None:
    first = shop.launch(BOTH)
    assert shop.launch(BOTH) == first
    assert "this very job runs already, since " in capsys.readouterr().err
    assert len(shop.asked()) == len(shop.instances()) == 1
    shop.end_all()
    assert shop.launch(BOTH) != first


def test_the_same_command_again_is_the_same_job_though_it_has_used_the_quota_up(shop: Shop) -> None:
    shop.sells(quotas={"spot": 16})
    assert shop.launch() == shop.launch()


def test_the_same_command_again_is_the_same_job_though_an_earlier_region_has_capacity_again(shop: Shop) -> None:
    shop.sells(spot_none={C7I: "abc"})
    first = shop.launch(region=REGIONS)
    shop.sells()
    assert shop.launch(region=REGIONS) == first


def typed(shop: Shop, *options: str) -> subprocess.CompletedProcess[str]:
    """`inv launch` as it is typed."""
    words = ["launch", "--source", str(shop.aws().settings.source), "--region", HOME, *options]
    words += ["--config", str(shop.config()), "--output", "~/models/it"]
    return inv(*words, home=shop.directory, INVOKE_SOLVER_NAME=shop.name, **environment(shop.cloud))


def test_stdout_is_the_job_and_stderr_how_it_came_to_that(shop: Shop) -> None:
    shop.sells(spot_none={C7I: "b"})
    done = typed(shop, "--instance", C7I)
    job = done.stdout.strip()
    assert done.returncode == 0, done.stderr
    assert [one["InstanceId"] for one in shop.instances()] == [job]
    lines = done.stderr.splitlines()
    assert lines[0] == (
        "c7i.4xlarge spot in eu-west-2b: $0.3000 an hour, at most $7.36 for 24 h with its disk; $7.84 with the dearest"
    )
    assert lines[2:5] == [
        "asking for one c7i.4xlarge spot in eu-west-2b, $0.3000 an hour",
        "refused: no capacity (InsufficientInstanceCapacity)",
        "asking for one c7i.4xlarge spot in eu-west-2a, $0.3100 an hour",
    ]
    assert lines[5] == f"next:  inv status {job}     how it goes"


@pytest.mark.parametrize(
    ("options", "code", "last"),
    [
        (("--instance", BOTH), 1, "    later, or another --instance, --region or --fallback on-demand"),
        (
            ("--instance", BOTH, "--fallback", "on-demand", "--max-price", "0.95"),
            1,
            "    later, or another --instance or --region",
        ),
        (("--instance", BOTH, "--fallback", "spot"), 2, "  there is one: --fallback on-demand"),
        (("--cpus", "16", "--instance", C7I), 2, "  either --instance, or --cpus, --memory, --gpus and --arm"),
        (("--cpus", "many"), 2, "--cpus is 'many', which is not a number"),
        (("--gpus", "1", "--arm"), 2, "  ask for less"),
    ],
)
def test_a_refused_command_ends_with_what_to_do(shop: Shop, options: tuple[str, ...], code: int, last: str) -> None:
    shop.sells(none=DRY)
    done = typed(shop, *options)
    assert (done.returncode, done.stdout) == (code, "")
    assert done.stderr.splitlines()[-1] == last
    assert "Traceback" not in done.stderr

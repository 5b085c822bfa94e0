"""`inv launch --dry-run`: what would be built, asked and paid; nothing is made."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

import tasks
from cloud.errors import CloudError

from .market import environment, shop
from .shop import BOTH, C7I, DRY, FALLBACK, HOME, SMALL, Shop
from .test_tasks import inv

__all__ = ["shop"]  # a fixture


@pytest.fixture(autouse=True)
def _nothing_is_made(shop: Shop) -> Iterator[None]:
    def kept() -> Any:
        return shop.client("s3").list_objects_v2(Bucket=shop.aws().bucket).get("Contents")

    before = kept()
    yield
    assert shop.instances() == []
    assert kept() == before
    changes = {"PutObject", "CreateTags", "RequestSpotInstances"}
    assert not changes & {call.operation for call in shop.calls}


def preview(shop: Shop, instance: str = C7I, **settings: Any) -> None:
    tasks.preview(shop.aws(**settings), tuple(instance.split(",")), str(shop.config()), "~/models/it")


def test_the_whole_of_it_as_it_is_typed(shop: Shop) -> None:
    words = ["launch", "--dry-run", "--region", HOME, "--source", str(shop.aws().settings.source)]
    words += ["--instance", C7I, "--config", str(shop.config()), "--output", "~/models/it", "--max-price", "0.315"]
    done = inv(*words, home=shop.directory, INVOKE_SOLVER_NAME=shop.name, **environment(shop.cloud))
    assert done.returncode == 0, done.stderr
    request = json.loads(done.stdout)
    assert (request["InstanceType"], request["MaxCount"]) == (C7I, 1)
    assert request["InstanceMarketOptions"]["SpotOptions"]["MaxPrice"] == "0.315"
    assert request["UserData"].startswith("#!")
    lines = done.stderr.splitlines()
    assert lines[0].endswith(" is in ECR: nothing to build")
    assert lines[1].startswith(f"would put the config into s3://{shop.aws().bucket}/configs/")
    assert lines[2:-1] == [
        "would ask EC2 for c7i.4xlarge spot in eu-west-2b: $0.3000 an hour",
        "would ask EC2 for c7i.4xlarge spot in eu-west-2a: $0.3100 an hour",
        "c7i.4xlarge spot in eu-west-2b: $0.3000 an hour, at most $7.36 for 24 h with its disk; $7.60 with the dearest",
    ]
    assert lines[-1] == "Request would have succeeded, but DryRun flag is set."


def test_what_is_left_out_is_said_with_its_reason(shop: Shop, capsys: pytest.CaptureFixture[str]) -> None:
    shop.sells(quotas={"spot": 8})
    preview(shop, f"{C7I},{SMALL}", max_price=0.505, **FALLBACK)
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(" for ")[1] for line in lines if line.startswith("would ask")] == [
        "c7i.2xlarge spot in eu-west-2a: $0.5000 an hour",
        *(f"c7i.2xlarge on-demand in eu-west-2{letter}: $0.4500 an hour" for letter in "abc"),
    ]
    refused = [line for line in lines if line.startswith("not for ")]
    assert refused[0].endswith("(L-34B43A08): 8 of 8 vCPUs left, it has 16")
    assert refused[1] == "not for c7i.4xlarge on-demand: from $0.9000 an hour, over --max-price 0.505"


def test_an_image_that_ecr_lacks_would_be_built(shop: Shop, capsys: pytest.CaptureFixture[str]) -> None:
    preview(shop, source=shop.unbuilt())
    assert capsys.readouterr().err.startswith("would build and push ")


def test_capacity_is_not_asked_for(shop: Shop, capsys: pytest.CaptureFixture[str]) -> None:
    """A dry run checks permissions and parameters only:
    https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_RunInstances.html"""
    shop.sells(none=DRY)
    preview(shop, BOTH)
    assert json.loads(capsys.readouterr().out)["InstanceType"] == C7I
    assert [call.body.get("DryRun") for call in shop.calls if call.operation == "RunInstances"] == ["true"]


def test_who_may_not_launch_reads_what_is_missing(shop: Shop) -> None:
    shop.sells(denied=["RunInstances"])
    with pytest.raises(
        CloudError, match=r"this profile may not \(UnauthorizedOperation\)\n  allow ec2:RunInstances on "
    ):
        preview(shop)


def test_an_unknown_price_is_not_zero(shop: Shop, capsys: pytest.CaptureFixture[str]) -> None:
    preview(shop, "i4i.4xlarge")
    said = capsys.readouterr().err
    assert "would ask EC2 for i4i.4xlarge spot in eu-west-2a: price unknown" in said
    assert "$0" not in said

"""What AWS says of prices, quotas and types, malformed: what makes no sense is unknown, and no offer is built on it."""

from __future__ import annotations

import contextlib
import json
import math
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import strategies as st

from cloud import cleanup, instance_types, offers, prices, quotas, refusals
from cloud.aws import Aws
from cloud.config import Settings
from cloud.errors import CloudError

from .junk import BODIES, EXAMPLES, bodies, tried
from .shelf import Service, failure

NAME, ZONE = "c7i.large", "us-east-1a"
NOW = datetime.now(UTC)
TERM = {"priceDimensions": {"a": {"pricePerUnit": {"USD": "0.0892500000"}}}}
PRODUCT = {"product": {}, "terms": {"OnDemand": {"a": TERM}}}
DECODED = {"allowed": False, "context": {"principal": {"arn": "arn:x"}, "action": "ec2:RunInstances", "resource": "*"}}
INDEX = {"schemaVersion": 2, "manifests": [{"digest": "sha256:0", "size": 1}]}
TYPE: dict[str, Any] = {
    "InstanceType": NAME,
    "ProcessorInfo": {"SupportedArchitectures": ["x86_64"]},
    "VCpuInfo": {"DefaultVCpus": 2},
    "MemoryInfo": {"SizeInMiB": 4096},
    "SupportedUsageClasses": ["spot", "on-demand"],
    "GpuInfo": {"Gpus": [{"Name": "V100", "Count": 1}]},
}
SPOT = {"InstanceType": NAME, "AvailabilityZone": ZONE, "SpotPrice": "0.03", "Timestamp": NOW}


@st.composite
def lacking(draw: st.DrawFn, told: dict[str, Any]) -> dict[str, Any]:
    """An answer of AWS as botocore hands it on: of the kinds that AWS's model has, but with members missing."""
    return {
        key: draw(lacking(value)) if isinstance(value, dict) else value
        for key, value in told.items()
        if key == "InstanceType" or draw(st.integers(0, 7))
    }


class Answers(Service):
    """EC2, Service Quotas and the Price List API, which say what a test lets them say."""

    said: dict[str, Any]

    def page_of_get_products(self, **_: Any) -> Any:
        return self.said["products"]

    def page_of_describe_spot_price_history(self, **_: Any) -> Any:
        return self.said["history"]

    def page_of_describe_instance_type_offerings(self, **_: Any) -> Any:
        return self.said["sold"]

    def page_of_describe_instance_types(self, **_: Any) -> Any:
        return self.said["types"]

    def page_of_describe_instances(self, **_: Any) -> Any:
        return {"Reservations": [{"Instances": [{"InstanceType": NAME}]}]}

    def describe_instance_types(self, **_: Any) -> Any:
        return {"InstanceTypes": [], **self.said["types"]}

    def describe_subnets(self, **_: Any) -> Any:
        return self.said["subnets"]

    def get_service_quota(self, **_: Any) -> Any:
        return self.said["quota"]

    def decode_authorization_message(self, **_: Any) -> Any:
        return self.said["decoded"]


def account(said: dict[str, Any]) -> Aws:
    aws = Aws(Settings.from_context({}))
    answers = Answers(SimpleNamespace())  # type: ignore[arg-type]
    answers.said = said
    vars(aws).update(dict.fromkeys(("ec2", "pricing", "service_quotas", "sts"), answers))
    return aws


def page(name: str, item: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """A page of a list, which may lack the list."""
    return st.fixed_dictionaries({}, optional={name: st.lists(item, max_size=2)})


PRICES = st.sampled_from(("NaN", "inf", "-1", "0.03", "", "free", "1e999", "0,03"))
ANSWERS = st.fixed_dictionaries(
    {
        "products": page("PriceList", bodies(PRODUCT).map(lambda body: body.decode(errors="replace"))),
        "history": page("SpotPriceHistory", lacking(SPOT) | PRICES.map(lambda price: {**SPOT, "SpotPrice": price})),
        "sold": page("InstanceTypeOfferings", lacking({"InstanceType": NAME, "Location": ZONE})),
        "types": page("InstanceTypes", lacking(TYPE)),
        "subnets": lacking({"AvailabilityZone": ZONE, "SubnetId": "subnet-1"}).map(lambda one: {"Subnets": [one]}),
        "quota": lacking({"Quota": {"Value": 5.0}}) | st.floats().map(lambda value: {"Quota": {"Value": value}}),
    }
)


@EXAMPLES
def test_a_market(capsys: pytest.CaptureFixture[str], home: Any, examples: int) -> None:
    def a_market(said: dict[str, Any]) -> None:
        aws = account(said)
        with contextlib.suppress(CloudError):
            types = instance_types.look(aws, (NAME,))
            market = offers.find(aws, types, ("spot", "on-demand"), offers.Limits(price=1.0, cost=2.0))
            for offer in market.offers:
                assert offer.price is None or (math.isfinite(offer.price) and offer.price >= 0)
            market.check()
        prices.storage(aws)
        prices.disk(aws, prices.Disk(50, "gp3"))
        quotas.find(aws, [NAME], ["spot"])

    tried(capsys, examples, a_market, ANSWERS)


@EXAMPLES
def test_a_manifest(capsys: pytest.CaptureFixture[str], examples: int) -> None:
    def a_manifest(body: bytes) -> None:
        assert all(isinstance(digest, str) for digest in cleanup.parts_of(body.decode(errors="replace")))

    assert cleanup.parts_of(json.dumps(INDEX)) == ["sha256:0"]
    tried(capsys, examples, a_manifest, bodies(INDEX) | BODIES)


@EXAMPLES
def test_a_refusal(capsys: pytest.CaptureFixture[str], home: Any, examples: int) -> None:
    def a_refusal(body: bytes) -> None:
        error = failure("UnauthorizedOperation")
        error.args = ("Encoded authorization failure message: abc",)
        said = account({"decoded": {"DecodedMessage": body.decode(errors="replace")}})
        found = refusals.denied(said, error, "start it")
        assert found
        assert found.fix

    tried(capsys, examples, a_refusal, bodies(DECODED))


@pytest.mark.parametrize("wrong", ["NaN", "Infinity", "-0.1", "", "free"])
def test_a_price_that_makes_no_sense_is_unknown(home: Any, wrong: str) -> None:
    product = json.loads(json.dumps(PRODUCT).replace("0.0892500000", wrong))
    assert prices.storage(account({"products": {"PriceList": [json.dumps(product)]}})) is None
    assert prices.spot(account({"history": {"SpotPriceHistory": [{**SPOT, "SpotPrice": wrong}]}}), [NAME]) == {}

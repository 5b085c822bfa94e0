"""What is asked of EC2, to the letter, and what is left when asking fails."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from cloud import asked, claims, launch, machine, request, userdata
from cloud.aws import Aws
from cloud.claims import Claim
from cloud.errors import CloudError, UsageError
from cloud.instance_types import InstanceType
from cloud.machine import Machine
from cloud.offers import Facts, Limits, Market, Offer, Refusal, choose
from cloud.plan import Plan, Resumed, check_room, decide
from cloud.quotas import Quota
from cloud.trainer_config import TrainerConfig

C7I = InstanceType("c7i.4xlarge", "x86_64", 16, 32.0)
M7I = InstanceType("m7i.4xlarge", "x86_64", 16, 64.0)
MACHINE = Machine((C7I,), "ami-1", "/dev/xvda", 30, "sg-1")
OFFER = Offer(C7I, "spot", "us-east-1a", "subnet-a", 0.3)
CONFIG = TrainerConfig(Path("fast_buckets.yaml"), b"seed: 1\n")
IMAGE = "123456789012.dkr.ecr.us-east-1.amazonaws.com/solver-cloud:0123456789abcdef"
CLAIM = Claim("0" * 32, datetime(2026, 11, 24, 8, 0, tzinfo=UTC))


def plan(aws: Aws, *offers: Offer, resumes: Resumed | None = None, **changes: Any) -> Plan:
    settings = aws.settings.with_(**changes)
    market = Market(offers or (OFFER,))
    return decide(
        settings, MACHINE, market, IMAGE, CONFIG, "~/models/run-001", bucket="b", disk_price=0.005, resumes=resumes
    )


def changes(aws: Aws) -> list[str]:
    """What EC2 is asked to do from now on, in order; questions are left out."""
    asked: list[str] = []

    def note(model: Any, **_: object) -> None:
        if not model.name.startswith("Describe"):
            asked.append(model.name)

    for client in (aws.ec2, aws.ec2_once):
        client.meta.events.register("before-call", note)
    return asked


def found(aws: Aws, *types: str, markets: tuple[str, ...] = ("spot",)) -> Plan:
    """A plan of what the account has."""
    from cloud import offers

    there = machine.look(aws, types or ("c7i.4xlarge",))
    market = offers.find(aws, list(there.types), markets, Limits())
    return decide(aws.settings, there, market, IMAGE, CONFIG, "~/models/run-001", bucket=aws.bucket)


def test_the_request_to_the_letter(aws: Aws) -> None:
    asked = request.run_instances(aws, plan(aws), OFFER, CLAIM)
    assert len(asked.pop("UserData")) <= 16384
    assert asked == {
        "ClientToken": request.client_token(CLAIM, OFFER),
        "MinCount": 1,
        "MaxCount": 1,
        "InstanceType": "c7i.4xlarge",
        "ImageId": "ami-1",
        "KeyName": "solver-cloud",
        "SubnetId": "subnet-a",
        "SecurityGroupIds": ["sg-1"],
        "IamInstanceProfile": {"Name": "solver-cloud-us-east-1"},
        "MetadataOptions": {"HttpTokens": "required", "HttpPutResponseHopLimit": 1},
        "BlockDeviceMappings": [
            {
                "DeviceName": "/dev/xvda",
                "Ebs": {"VolumeSize": 50, "VolumeType": "gp3", "Encrypted": True, "DeleteOnTermination": True},
            }
        ],
        "InstanceMarketOptions": {
            "MarketType": "spot",
            "SpotOptions": {
                "SpotInstanceType": "persistent",
                "InstanceInterruptionBehavior": "stop",
                "ValidUntil": datetime(2026, 11, 25, 9, 0, tzinfo=UTC),
            },
        },
        "TagSpecifications": [
            {
                "ResourceType": "instance",
                "Tags": [
                    {"Key": "Name", "Value": "solver-cloud fast_buckets.yaml"},
                    {"Key": "solver:cloud", "Value": "solver-cloud"},
                    {"Key": "solver:launch", "Value": "0" * 32},
                    {"Key": "solver:launched-at", "Value": "2026-11-24T08:00:00Z"},
                    {"Key": "solver:max-hours", "Value": "24"},
                    {"Key": "solver:status", "Value": "starting"},
                    {"Key": "solver:phase", "Value": "booting"},
                    {"Key": "solver:job-config", "Value": "fast_buckets.yaml"},
                    {"Key": "solver:output", "Value": "~/models/run-001"},
                    {"Key": "solver:image", "Value": IMAGE},
                ],
            },
            {"ResourceType": "volume", "Tags": [{"Key": "solver:cloud", "Value": "solver-cloud"}]},
            {
                "ResourceType": "spot-instances-request",
                "Tags": [
                    {"Key": "solver:cloud", "Value": "solver-cloud"},
                    {"Key": "solver:launch", "Value": "0" * 32},
                ],
            },
        ],
    }


def test_on_demand_asks_for_no_spot_request_and_tags_none(aws: Aws) -> None:
    offer = replace(OFFER, market="on-demand")
    asked = request.run_instances(aws, plan(aws, offer), offer, CLAIM)
    assert "InstanceMarketOptions" not in asked
    assert asked["InstanceInitiatedShutdownBehavior"] == "terminate"
    assert [tags["ResourceType"] for tags in asked["TagSpecifications"]] == ["instance", "volume"]


def test_disk_and_highest_price_are_as_the_settings_want_them(aws: Aws) -> None:
    fast = Aws(aws.settings.with_(disk_gb=200, disk_iops=6000, disk_throughput=500, max_price=0.35))
    asked = request.run_instances(fast, plan(fast), OFFER, CLAIM)
    disk = asked["BlockDeviceMappings"][0]["Ebs"]
    assert (disk["VolumeSize"], disk["Iops"], disk["Throughput"]) == (200, 6000, 500)
    assert asked["InstanceMarketOptions"]["SpotOptions"]["MaxPrice"] == "0.35"


def test_every_offer_of_a_launch_has_a_token_of_its_own_and_always_the_same(aws: Aws) -> None:
    others = [replace(OFFER, zone="us-east-1b"), replace(OFFER, type=M7I), replace(OFFER, market="on-demand")]
    tokens = {request.client_token(CLAIM, offer) for offer in (OFFER, *others)}
    assert len(tokens) == 4
    assert all(len(token) <= 64 for token in tokens)  # RunInstances takes no longer ones
    assert request.run_instances(aws, plan(aws), OFFER, CLAIM) == request.run_instances(aws, plan(aws), OFFER, CLAIM)


def test_the_request_is_one_that_ec2_takes(ready: Aws) -> None:
    started = launch.run(ready, found(ready), claims.claim(ready, "claims/1.json"), print)
    instance = ready.ec2.describe_instances(InstanceIds=[started.id])["Reservations"][0]["Instances"][0]
    assert (instance["InstanceLifecycle"], instance["Placement"]["AvailabilityZone"]) == ("spot", started.offer.zone)
    programs = ready.s3.get_object(Bucket=ready.bucket, Key=userdata.fetched_key())["Body"].read()
    assert programs == userdata.fetched()  # what its user data fetches is there before it runs


def test_the_plan_says_what_was_asked(aws: Aws) -> None:
    decided = plan(aws, max_hours=3.0, max_cost=1.5)
    assert decided.deadline(CLAIM) - CLAIM.launched_at == timedelta(hours=3)
    assert decided.config_key == f"configs/{decided.config_sha256}/fast_buckets.yaml"
    assert decided.trainer == (
        *("poker-solver-trainer", "train", "--config", "/solver/config/fast_buckets.yaml"),
        *("--output", "/solver/output"),
    )
    assert decided.asked_of(OFFER) == {
        "instance_type": "c7i.4xlarge",
        "market": "spot",
        "zone": "us-east-1a",
        "price": 0.3,
        "region": "us-east-1",
        "config": f"s3://b/{decided.config_key}",
        "config_name": "fast_buckets.yaml",
        "config_sha256": decided.config_sha256,
        "output": "~/models/run-001",
        "image": IMAGE,
        "trainer": "poker-solver-trainer train --config {config} --output {output}",
        "max_hours": 3.0,
        "max_cost": 1.5,
        "keep_on_failure": None,
        "sync_seconds": 60,
        "disk_gb": 50,
        "disk_price": 0.005,
    }


def test_what_it_can_cost_is_the_hours_or_the_limit_whichever_is_less(aws: Aws) -> None:
    assert plan(aws, max_hours=10.0).most(OFFER) == pytest.approx(3.05)
    assert plan(aws, max_hours=10.0, max_cost=2.0).most(OFFER) == 2.0
    assert plan(aws, max_hours=10.0).most(replace(OFFER, price=None)) is None


def test_what_is_known_to_come_onto_the_disk_has_to_fit(aws: Aws) -> None:
    resumed = Resumed("i-0aaaaaaa", "i-0aaaaaaa", 0.0, bytes=4_000_000_000)
    assert plan(aws, resumes=resumed)
    with pytest.raises(UsageError, match="need 38 GB"):
        plan(aws, resumes=resumed, disk_gb=35)
    with pytest.raises(UsageError, match="need 36 GB"):
        check_room(aws.settings.with_(disk_gb=35), MACHINE, image_bytes=1_700_000_000)


def test_a_resumed_job_has_what_is_left_of_its_money(aws: Aws) -> None:
    resumed = Resumed("i-0aaaaaaa", "i-0aaaaaaa", 1.25)
    assert plan(aws, resumes=resumed, max_cost=2.0).budget == 0.75
    with pytest.raises(CloudError, match=r"has cost \$1\.25, of --max-cost 1\n  a higher --max-cost"):
        plan(aws, resumes=resumed, max_cost=1.0)
    with pytest.raises(CloudError, match="what the job has cost so far is not known, so --max-cost cannot be kept"):
        plan(aws, resumes=replace(resumed, spent=None), max_cost=2.0)


def test_what_ec2_would_refuse_is_refused_before_it_is_asked(aws: Aws) -> None:
    with pytest.raises(UsageError, match=r"solver\.disk_gb is 20, but .* need 30 GB\n  set it to 50"):
        plan(aws, disk_gb=20)
    with pytest.raises(UsageError, match="the output directory has 300 characters"):
        decide(aws.settings, MACHINE, Market((OFFER,)), IMAGE, CONFIG, "x" * 300, bucket="b")


@pytest.mark.parametrize(
    ("type", "architecture", "platform"),
    [("c7i.4xlarge", "x86_64", "linux/amd64"), ("c7g.4xlarge", "arm64", "linux/arm64")],
)
def test_the_machine_image_fits_the_type(ready: Aws, type: str, architecture: str, platform: str) -> None:
    found = machine.look(ready, (type,))
    assert (found.architecture, found.platform, found.root_device) == (architecture, platform, "/dev/xvda")
    assert ready.ec2.describe_images(ImageIds=[found.ami])["Images"][0]["Architecture"] == architecture


def test_a_type_that_does_not_exist_is_named(account: Aws) -> None:
    with pytest.raises(UsageError, match=r"no instance type 'c7i\.5xlarge' in us-east-1"):
        machine.look(account, ("c7i.5xlarge",))


def test_an_account_that_is_not_set_up_is_told_to(aws: Aws) -> None:
    with pytest.raises(CloudError, match=r"not set up for solver-cloud in us-east-1\n.*inv setup"):
        machine.look(aws, ("c7i.4xlarge",))


@pytest.mark.parametrize(
    ("code", "fix"),
    [
        ("InsufficientInstanceCapacity", "another --instance, --region or --fallback on-demand"),
        ("MaxSpotInstanceCountExceeded", "--quota-code L-34B43A08 --desired-value 16"),
        ("VcpuLimitExceeded", "--quota-code L-34B43A08 --desired-value 16"),
        ("SpotMaxPriceTooLow", "a higher --max-price"),
        ("AuthFailure.ServiceLinkedRoleCreationNotPermitted", "create-service-linked-role"),
        ("UnauthorizedOperation", "allow RunInstances to this profile"),
    ],
)
def test_each_refusal_says_what_to_do(account: Aws, monkeypatch: pytest.MonkeyPatch, code: str, fix: str) -> None:
    """Codes of https://docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html; moto refuses with none."""

    def refuse(**_: object) -> None:
        raise ClientError({"Error": {"Code": code, "Message": "No."}}, "RunInstances")

    monkeypatch.setattr(account.ec2_once, "run_instances", refuse)
    with pytest.raises(CloudError) as refused:
        launch.run(account, plan(account), CLAIM, print)
    assert code in refused.value.problem
    assert fix in (refused.value.fix or "")


class Ec2:
    """Answers RunInstances: each time with the next code of an error, or with an id."""

    def __init__(self, *answers: str) -> None:
        self.answers = list(answers)
        self.asked: list[dict[str, Any]] = []

    def __call__(self, **asked: Any) -> dict[str, Any]:
        self.asked.append(asked)
        answer = self.answers.pop(0)
        if answer.startswith("i-"):
            return {"Instances": [{"InstanceId": answer}]}
        raise ClientError({"Error": {"Code": answer, "Message": "No."}}, "RunInstances")


ON_DEMAND = replace(OFFER, market="on-demand", price=None)
OFFERS = (OFFER, replace(OFFER, zone="us-east-1b", subnet="subnet-b"), replace(OFFER, type=M7I), ON_DEMAND)


def test_one_offer_after_the_other_is_asked_for_until_one_is_granted(
    account: Aws, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A quota rules out whatever needs as many vCPUs of it; no capacity rules out just that zone."""
    ec2 = Ec2("InsufficientInstanceCapacity", "VcpuLimitExceeded", "i-0aaaaaaa")
    monkeypatch.setattr(account.ec2_once, "run_instances", ec2)
    said: list[str] = []
    assert launch.run(account, plan(account, *OFFERS), CLAIM, said.append) == launch.Started("i-0aaaaaaa", ON_DEMAND)
    assert ec2.asked == [
        request.run_instances(account, plan(account, *OFFERS), offer, CLAIM) for offer in (*OFFERS[:2], ON_DEMAND)
    ]
    assert said == [
        "asking for one c7i.4xlarge spot in us-east-1a, $0.3000 an hour",
        "refused: no capacity (InsufficientInstanceCapacity)",
        "asking for one c7i.4xlarge spot in us-east-1b, $0.3000 an hour",
        "refused: No. (VcpuLimitExceeded)",
        "asking for one c7i.4xlarge on-demand in us-east-1a, price unknown",
    ]


def test_when_none_is_granted_every_refusal_is_told(account: Aws, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(account.ec2_once, "run_instances", Ec2("SpotMaxPriceTooLow", "Unsupported"))
    before = Refusal("m7i.4xlarge spot", "too dear", "more money")
    decided = replace(plan(account), market=Market(OFFERS[:2], (before,)))
    with pytest.raises(CloudError) as refused:
        launch.run(account, decided, CLAIM, print)
    assert [line for line in str(refused.value).splitlines() if line.startswith("    ")] == [
        "    too dear",
        "    more money",
        "    No. (SpotMaxPriceTooLow)",
        "    a higher --max-price, or another --instance",
        "    No. (Unsupported)",
        "    another --instance or --region",
    ]


@pytest.mark.parametrize("code", ["InvalidParameterValue", "IdempotentParameterMismatch"])
def test_what_no_other_offer_mends_ends_the_launch(account: Aws, monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    ec2 = Ec2(code)
    monkeypatch.setattr(account.ec2_once, "run_instances", ec2)
    monkeypatch.setattr(claims, "VISIBLE_SECONDS", 0)
    with pytest.raises(CloudError, match=rf"cannot start a c7i.4xlarge: No\. \({code}\)"):
        launch.run(account, plan(account, *OFFERS), CLAIM, print)
    assert len(ec2.asked) == 1


def test_a_dry_run_asks_for_the_first_offer_and_starts_nothing(account: Aws, monkeypatch: pytest.MonkeyPatch) -> None:
    """https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_RunInstances.html (DryRun)"""
    ec2 = Ec2("DryRunOperation", "InvalidParameterValue", "i-0aaaaaaa")
    monkeypatch.setattr(account.ec2, "run_instances", ec2)
    assert launch.dry_run(account, plan(account, *OFFERS)) == "No."
    assert ec2.asked == [{**request.first(account, plan(account, *OFFERS)), "DryRun": True}]
    with pytest.raises(CloudError, match=r"cannot start a c7i.4xlarge: No\. \(InvalidParameterValue\)"):
        launch.dry_run(account, plan(account, *OFFERS))
    assert launch.dry_run(account, plan(account, *OFFERS)) == ""


def test_config_and_claim_are_in_s3_before_ec2_is_asked(store: Aws) -> None:
    decided = plan(store)
    claim = launch.prepare(store, decided, CONFIG)
    assert claims.read(store, decided.claim_key)[0] == claim
    there = store.s3.get_object(Bucket=store.bucket, Key=decided.config_key)
    assert (there["Body"].read(), there["ContentType"]) == (b"seed: 1\n", "application/yaml")


def test_ctrl_c_while_ec2_is_asked_leaves_nothing_running(ready: Aws, monkeypatch: pytest.MonkeyPatch) -> None:
    """The request may have arrived although its answer did not. A spot request that is open when its instance ends
    launches another: https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/using-spot-instances-cancel.html"""
    run_instances = ready.ec2_once.run_instances

    def interrupted(**asked: Any) -> None:
        run_instances(**asked)
        raise KeyboardInterrupt

    monkeypatch.setattr(ready.ec2_once, "run_instances", interrupted)
    asked = changes(ready)
    with pytest.raises(CloudError, match=r"interrupted; i-.* was terminated; nothing is left running") as error:
        launch.run(ready, found(ready), claims.claim(ready, "claims/1.json"), print)
    assert error.value.code == 130
    assert asked == ["RunInstances", "CancelSpotInstanceRequests", "TerminateInstances"]
    ours: Any = [{"Name": "tag:solver:cloud", "Values": [ready.settings.name]}]
    (instance,) = ready.ec2.describe_instances(Filters=ours)["Reservations"][0]["Instances"]
    assert instance["State"]["Name"] in ("shutting-down", "terminated")
    (request,) = ready.ec2.describe_spot_instance_requests(Filters=ours)["SpotInstanceRequests"]
    assert request["State"] == "cancelled"


def test_ctrl_c_before_anything_was_started_says_so(account: Aws, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(**_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(account.ec2_once, "run_instances", interrupted)
    monkeypatch.setattr(claims, "started", lambda *_, **__: None)
    with pytest.raises(CloudError, match="interrupted; no instance was started"):
        launch.run(account, plan(account), CLAIM, print)


def test_a_launch_that_started_nothing_ends_nothing(account: Aws, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(account.ec2, "describe_instances", lambda **_: {"Reservations": []})
    assert launch.end_launch(account, "0" * 32, patience=0) is None


def test_the_config_is_in_s3_and_the_job_in_the_registry(store: Aws) -> None:
    decided = plan(store)
    launch.put_config(store, decided, CONFIG)
    assert store.s3.get_object(Bucket=store.bucket, Key=decided.config_key)["Body"].read() == b"seed: 1\n"
    launch.open_record(store, decided, CLAIM, launch.Started("i-0aaaaaaa", OFFER))
    entry = asked.read(store, "i-0aaaaaaa")
    assert isinstance(entry, asked.Entry)
    assert (entry.launched_at, entry.asked) == (CLAIM.launched_at, decided.asked_of(OFFER))


FACTS = Facts(
    region="us-east-1",
    subnets={"us-east-1a": "subnet-a", "us-east-1b": "subnet-b"},
    sold={("c7i.4xlarge", "us-east-1a"), ("c7i.4xlarge", "us-east-1b"), ("m7i.4xlarge", "us-east-1b")},
    spot={("c7i.4xlarge", "us-east-1a"): 0.4, ("c7i.4xlarge", "us-east-1b"): 0.3, ("m7i.4xlarge", "us-east-1b"): 0.35},
    on_demand={"c7i.4xlarge": 0.714, "m7i.4xlarge": None},
    quotas=[],
)
BOTH, NO_LIMITS = ("spot", "on-demand"), Limits()


def order(facts: Facts = FACTS, markets: tuple[str, ...] = BOTH, limits: Limits = NO_LIMITS) -> list[str]:
    return [str(offer) for offer in choose([C7I, M7I], markets, facts, limits).offers]


def test_offers_are_asked_for_cheapest_first_and_those_without_a_price_last() -> None:
    assert order() == [
        "c7i.4xlarge spot in us-east-1b",
        "m7i.4xlarge spot in us-east-1b",
        "c7i.4xlarge spot in us-east-1a",
        "c7i.4xlarge on-demand in us-east-1a",
        "c7i.4xlarge on-demand in us-east-1b",
        "m7i.4xlarge on-demand in us-east-1b",
    ]


def test_what_costs_more_than_was_allowed_is_not_asked_for() -> None:
    assert order(limits=Limits(price=0.35)) == [
        "c7i.4xlarge spot in us-east-1b",
        "m7i.4xlarge spot in us-east-1b",
    ]


def test_a_limit_of_the_cost_leaves_out_what_has_no_price() -> None:
    assert "m7i.4xlarge on-demand in us-east-1b" not in order(limits=Limits(cost=5))


def test_a_quota_that_is_used_up_rules_a_type_out_and_says_how_to_ask_for_more() -> None:
    quota = Quota("L-34B43A08", "All Standard … Spot", "a c d h i m r t z", "spot", 32, 20)
    market = choose([C7I, M7I], ("spot",), replace(FACTS, quotas=[quota]), Limits())
    assert market.offers == ()
    assert [refusal.what for refusal in market.refusals] == ["c7i.4xlarge spot", "m7i.4xlarge spot"]
    assert "12 of 32 vCPUs left, it has 16" in market.refusals[0].why
    assert market.refusals[0].fix.endswith("--quota-code L-34B43A08 --desired-value 36 --region us-east-1")


def test_a_type_that_no_zone_sells_is_named() -> None:
    market = choose([C7I, M7I], ("spot",), replace(FACTS, sold={("m7i.4xlarge", "us-east-1b")}), Limits())
    assert [str(offer) for offer in market.offers] == ["m7i.4xlarge spot in us-east-1b"]
    assert market.refusals[0].why == "not sold in the zones of us-east-1"


def test_a_launch_taken_up_with_other_facts_is_still_the_same_instance(ready: Aws) -> None:
    """EC2 refuses a client token with other parameters: IdempotentParameterMismatch."""
    claim, decided = claims.claim(ready, "claims/1.json"), found(ready)
    started = launch.run(ready, decided, claim, print)
    dearer = replace(decided, market=Market(tuple(replace(one, price=0.9) for one in decided.market.offers)))
    assert launch.run(ready, dearer, claim, print).id == started.id

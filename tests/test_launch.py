"""What is asked of EC2, to the letter, and what is left when asking fails."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from cloud import launch, machine, records
from cloud.aws import Aws
from cloud.config import TrainerConfig
from cloud.errors import CloudError, UsageError
from cloud.machine import Machine
from cloud.plan import Plan, decide
from cloud.registry import Image

MACHINE = Machine("c7i.4xlarge", "x86_64", "ami-1", "/dev/xvda", 30, "sg-1")
CONFIG = TrainerConfig(Path("fast_buckets.yaml"), b"seed: 1\n")


def image() -> Image:
    return Image(
        uri="123456789012.dkr.ecr.us-east-1.amazonaws.com/solver-cloud:0123456789abcdef",
        tag="0123456789abcdef",
        digest="sha256:00",
        built=False,
        pushed=False,
    )


def plan(aws: Aws, on: Machine = MACHINE, **changes: Any) -> Plan:
    settings = aws.settings.with_(**changes)
    return decide(settings, on, image().uri, CONFIG, "~/models/run-001", bucket=aws.bucket)


def test_the_request_to_the_letter(aws: Aws) -> None:
    decided = replace(
        plan(aws),
        token="0" * 32,
        launched_at=datetime(2026, 11, 24, 8, 0, tzinfo=UTC),
        deadline=datetime(2026, 11, 25, 8, 0, tzinfo=UTC),
    )
    request = launch.request(aws, decided)
    assert len(request.pop("UserData")) <= 16384
    assert request == {
        "ClientToken": "0" * 32,
        "MinCount": 1,
        "MaxCount": 1,
        "InstanceType": "c7i.4xlarge",
        "ImageId": "ami-1",
        "KeyName": "solver-cloud",
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
                    {"Key": "solver:status", "Value": "starting"},
                    {"Key": "solver:phase", "Value": "booting"},
                    {"Key": "solver:job-config", "Value": "fast_buckets.yaml"},
                    {"Key": "solver:output", "Value": "~/models/run-001"},
                    {"Key": "solver:image", "Value": image().uri},
                ],
            },
            {"ResourceType": "volume", "Tags": [{"Key": "solver:cloud", "Value": "solver-cloud"}]},
            {"ResourceType": "spot-instances-request", "Tags": [{"Key": "solver:cloud", "Value": "solver-cloud"}]},
        ],
    }


def test_on_demand_asks_for_no_spot_request_and_tags_none(aws: Aws) -> None:
    on_demand = Aws(aws.settings.with_(on_demand=True))
    request = launch.request(on_demand, plan(on_demand))
    assert "InstanceMarketOptions" not in request
    assert request["InstanceInitiatedShutdownBehavior"] == "terminate"
    assert [tags["ResourceType"] for tags in request["TagSpecifications"]] == ["instance", "volume"]


def test_the_request_is_one_that_boto3_takes(account: Aws) -> None:
    found = machine.look(account, "c7i.4xlarge")
    id = launch.run(account, plan(account, found))
    assert id.startswith("i-")
    instance = account.ec2.describe_instances(InstanceIds=[id])["Reservations"][0]["Instances"][0]
    assert instance["InstanceLifecycle"] == "spot"


def test_two_launches_are_two_jobs_and_one_launch_is_one(aws: Aws) -> None:
    assert plan(aws).token != plan(aws).token
    decided = plan(aws)
    assert launch.request(aws, decided) == launch.request(aws, decided)


def test_the_plan_says_what_was_asked(aws: Aws) -> None:
    decided = plan(aws, max_hours=3.0)
    assert decided.deadline - decided.launched_at == timedelta(hours=3)
    assert decided.config_key == f"configs/{decided.config_sha256}/fast_buckets.yaml"
    assert decided.trainer == ("train", "--config", "/solver/config/fast_buckets.yaml", "--output", "/solver/output")
    assert decided.asked == {
        "instance_type": "c7i.4xlarge",
        "market": "spot",
        "region": "us-east-1",
        "config": f"s3://solver-cloud-123456789012-us-east-1/{decided.config_key}",
        "config_name": "fast_buckets.yaml",
        "config_sha256": decided.config_sha256,
        "output": "~/models/run-001",
        "image": image().uri,
        "trainer": "train --config {config} --output {output}",
        "max_hours": 3.0,
        "keep_on_failure": None,
        "sync_seconds": 60,
    }


def test_what_ec2_would_refuse_is_refused_before_it_is_asked(aws: Aws) -> None:
    with pytest.raises(UsageError, match=r"solver\.disk_gb is 20, but the machine image alone has 30 GB"):
        plan(aws, disk_gb=20)
    with pytest.raises(UsageError, match="the output directory has 300 characters"):
        decide(aws.settings, MACHINE, image().uri, CONFIG, "x" * 300, bucket="b")


@pytest.mark.parametrize(
    ("type", "architecture", "platform"),
    [("c7i.4xlarge", "x86_64", "linux/amd64"), ("c7g.4xlarge", "arm64", "linux/arm64")],
)
def test_the_machine_image_fits_the_type(account: Aws, type: str, architecture: str, platform: str) -> None:
    found = machine.look(account, type)
    assert (found.architecture, found.platform, found.root_device) == (architecture, platform, "/dev/xvda")
    assert account.ec2.describe_images(ImageIds=[found.ami])["Images"][0]["Architecture"] == architecture


def test_a_type_that_does_not_exist_is_named(account: Aws) -> None:
    with pytest.raises(UsageError, match=r"no instance type 'c7i\.5xlarge' in us-east-1"):
        machine.look(account, "c7i.5xlarge")


def test_an_account_that_is_not_set_up_is_told_to(aws: Aws) -> None:
    with pytest.raises(CloudError, match=r"not set up for solver-cloud in us-east-1\n.*inv setup"):
        machine.look(aws, "c7i.4xlarge")


@pytest.mark.parametrize(
    ("code", "fix"),
    [
        ("InsufficientInstanceCapacity", "EC2 has none of this type"),
        ("MaxSpotInstanceCountExceeded", "spot quota"),
        ("VcpuLimitExceeded", "vCPU quota"),
        ("UnauthorizedOperation", "allow RunInstances to this profile"),
    ],
)
def test_each_refusal_says_what_to_do(account: Aws, monkeypatch: pytest.MonkeyPatch, code: str, fix: str) -> None:
    """Codes of https://docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html; moto refuses with none."""

    def refuse(**_: object) -> None:
        raise ClientError({"Error": {"Code": code, "Message": "No."}}, "RunInstances")

    monkeypatch.setattr(account.ec2, "run_instances", refuse)
    with pytest.raises(CloudError, match=rf"cannot start a c7i\.4xlarge: .*{code}.*\n.*{fix}"):
        launch.run(account, plan(account))


def test_ctrl_c_while_ec2_is_asked_leaves_nothing_running(account: Aws, monkeypatch: pytest.MonkeyPatch) -> None:
    """The request may have arrived although its answer did not."""
    run_instances = account.ec2.run_instances

    def interrupted(**request: Any) -> None:
        # moto ignores client tokens, and so cannot find one: the instance carries it as a tag instead.
        run_instances(**request)
        raise KeyboardInterrupt

    def describe(**_: object) -> Any:
        return describe_instances(Filters=[{"Name": "tag:solver:cloud", "Values": ["solver-cloud"]}])

    describe_instances = account.ec2.describe_instances
    monkeypatch.setattr(account.ec2, "run_instances", interrupted)
    monkeypatch.setattr(account.ec2, "describe_instances", describe)
    with pytest.raises(CloudError, match=r"interrupted; i-.* was terminated; nothing is left running") as error:
        launch.run(account, plan(account, machine.look(account, "c7i.4xlarge")))
    assert error.value.code == 130
    assert describe()["Reservations"][0]["Instances"][0]["State"]["Name"] in ("shutting-down", "terminated")


def test_a_launch_that_started_nothing_ends_nothing(account: Aws, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(account.ec2, "describe_instances", lambda **_: {"Reservations": []})
    assert launch.end_launch(account, "0" * 32, patience=0) is None


def test_the_config_and_the_first_record_are_in_s3(account: Aws) -> None:
    decided = plan(account)
    launch.put_config(account, decided, CONFIG)
    assert account.s3.get_object(Bucket=account.bucket, Key=decided.config_key)["Body"].read() == b"seed: 1\n"
    launch.open_record(account, decided, "i-0aaaaaaa")
    record = records.read(account, "i-0aaaaaaa")
    assert record is not None
    assert record.asked == decided.asked

"""EC2 as AWS documents it, on machines that exist in name only."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from .conftest import FakeCloud, eventually, in_state, look, refusal

Run = Callable[..., dict[str, Any]]
ECS = "/aws/service/ecs/optimized-ami/amazon-linux-2023"


def test_an_instance_is_pending_then_running_with_an_address(
    ec2: Any, run: Run, cloud: FakeCloud, instance_profile: str
) -> None:
    instance = run(UserData="slow", IamInstanceProfile={"Name": instance_profile})
    id = instance["InstanceId"]
    assert instance["State"]["Name"] == "pending"
    assert "PublicIpAddress" not in look(ec2, id)
    (cloud.state.machines / id).touch()
    running = in_state(ec2, id, "running")
    assert running["PublicIpAddress"].startswith("127.0.77.")
    assert running["IamInstanceProfile"]["Arn"].endswith(instance_profile)
    assert f"boot {id} on-demand {instance_profile} None slow" in (cloud.state.machines / "calls").read_text()


def test_a_machine_that_does_not_boot_ends_as_terminated_and_says_why(ec2: Any, run: Run) -> None:
    ended = in_state(ec2, run(UserData="fail")["InstanceId"], "terminated")
    assert ended["StateReason"]["Code"] == "Server.InternalError"
    assert "no room on this machine" in ended["StateReason"]["Message"]


def test_terminating_while_it_boots_leaves_no_machine(ec2: Any, run: Run, cloud: FakeCloud) -> None:
    id = run(UserData="slow")["InstanceId"]
    change = ec2.terminate_instances(InstanceIds=[id])["TerminatingInstances"][0]
    assert change["CurrentState"]["Name"] == "shutting-down"
    assert change["PreviousState"]["Name"] == "pending"
    ended = in_state(ec2, id, "terminated")
    assert ended["StateReason"]["Code"] == "Client.UserInitiatedShutdown"
    assert ended["StateTransitionReason"].startswith("User initiated (")
    (cloud.state.machines / id).touch()  # the boot comes to its end only now
    eventually(lambda: cloud.calls(id) == ["boot", "terminate", "terminate"])
    assert look(ec2, id)["State"]["Name"] == "terminated"


def test_stop_and_start_keep_the_instance_and_give_a_new_address(ec2: Any, run: Run, cloud: FakeCloud) -> None:
    id = run()["InstanceId"]
    first = in_state(ec2, id, "running")["PublicIpAddress"]
    assert refusal(ec2.start_instances, InstanceIds=["i-0123456789abcdef0"])[0] == "InvalidInstanceID.NotFound"
    assert ec2.stop_instances(InstanceIds=[id])["StoppingInstances"][0]["CurrentState"]["Name"] == "stopping"
    stopped = in_state(ec2, id, "stopped")
    assert "PublicIpAddress" not in stopped
    assert stopped["StateReason"]["Code"] == "Client.UserInitiatedShutdown"
    assert refusal(ec2.reboot_instances, InstanceIds=[id])[0] == "IncorrectInstanceState"
    ec2.start_instances(InstanceIds=[id])
    assert in_state(ec2, id, "running")["PublicIpAddress"] != first
    ec2.reboot_instances(InstanceIds=[id])
    eventually(lambda: cloud.calls(id) == ["boot", "stop", "start", "reboot"])


@pytest.mark.parametrize(("behavior", "state"), [("terminate", "terminated"), ("stop", "stopped")])
def test_a_shutdown_from_inside_does_what_the_launch_asked(ec2: Any, run: Run, behavior: str, state: str) -> None:
    id = run(UserData="halt", InstanceInitiatedShutdownBehavior=behavior)["InstanceId"]
    ended = in_state(ec2, id, state)
    assert ended["StateReason"]["Code"] == "Client.InstanceInitiatedShutdown"


def test_a_client_token_makes_one_instance_however_often_it_is_sent(ec2: Any, run: Run) -> None:
    answers: list[str] = []
    threads = [threading.Thread(target=lambda: answers.append(run(ClientToken="once")["InstanceId"])) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(answers) == 4
    assert len(set(answers)) == 1
    filters = [{"Name": "client-token", "Values": ["once"]}]
    found = ec2.describe_instances(Filters=filters)["Reservations"]
    assert [i["InstanceId"] for r in found for i in r["Instances"]] == answers[:1]
    in_state(ec2, answers[0], "running")
    assert run(ClientToken="once")["State"]["Name"] == "running"
    assert refusal(run, ClientToken="once", InstanceType="c7i.xlarge")[0] == "IdempotentParameterMismatch"
    ec2.terminate_instances(InstanceIds=answers[:1])
    in_state(ec2, answers[0], "terminated")
    assert refusal(run, ClientToken="once")[0] == "IdempotentInstanceTerminated"


def test_a_refused_launch_leaves_its_client_token_unused(run: Run) -> None:
    assert refusal(run, ClientToken="second-try", KeyName="none")[0] == "InvalidKeyPair.NotFound"
    assert run(ClientToken="second-try")["InstanceId"]


def test_terminated_instances_are_forgotten_with_their_tags(ec2: Any, run: Run, cloud: FakeCloud) -> None:
    tags = [{"Key": "Name", "Value": "short-lived"}]
    id = run(TagSpecifications=[{"ResourceType": "instance", "Tags": tags}])["InstanceId"]
    ec2.terminate_instances(InstanceIds=[id])
    assert in_state(ec2, id, "terminated")["Tags"] == tags
    cloud.post("forget")
    assert refusal(ec2.describe_instances, InstanceIds=[id])[0] == "InvalidInstanceID.NotFound"
    filters = [{"Name": "resource-id", "Values": [id]}]
    assert ec2.describe_tags(Filters=filters)["Tags"] == []


@pytest.mark.parametrize(
    ("changes", "code", "message"),
    [
        ({"InstanceType": "c7i.gigantic"}, "InvalidParameterValue", "Invalid value 'c7i.gigantic' for InstanceType."),
        ({"ImageId": "ami-00000000000000000"}, "InvalidAMIID.NotFound", "does not exist"),
        ({"KeyName": "none"}, "InvalidKeyPair.NotFound", "The key pair 'none' does not exist"),
        ({"SecurityGroupIds": ["sg-00000000000000000"]}, "InvalidGroup.NotFound", "does not exist"),
        ({"SubnetId": "subnet-00000000000000000"}, "InvalidSubnetID.NotFound", "does not exist"),
        ({"IamInstanceProfile": {"Name": "none"}}, "InvalidParameterValue", "Invalid IAM Instance Profile name"),
        ({"UserData": "x" * 16385}, "InvalidParameterValue", "User data is limited to 16384 bytes"),
        ({"InstanceType": "c7g.large"}, "InvalidParameterValue", "does not match the architecture 'x86_64'"),
        ({"Placement": {"AvailabilityZone": "us-east-1e"}}, "Unsupported", "not supported in your requested Avail"),
        (
            {"InstanceType": "t2.nano", "InstanceMarketOptions": {"MarketType": "spot"}},
            "InvalidParameterValue",
            "'t2.nano' is an unsupported instance type",
        ),
        ({"DryRun": True}, "DryRunOperation", "Request would have succeeded"),
        (
            {"BlockDeviceMappings": [{"DeviceName": "/dev/xvda", "Ebs": {"VolumeSize": 8}}]},
            "InvalidBlockDeviceMapping",
            "expect size >= 30GB",
        ),
    ],
)
def test_a_launch_is_refused_in_the_words_of_ec2(run: Run, changes: dict[str, Any], code: str, message: str) -> None:
    refused = refusal(run, **changes)
    assert refused[0] == code
    assert message in refused[1]


def test_a_type_that_is_not_sold_on_spot_is_sold_on_demand(ec2: Any, run: Run) -> None:
    assert ec2.describe_instance_types(InstanceTypes=["t2.nano"])["InstanceTypes"][0]["SupportedUsageClasses"] == [
        "on-demand"
    ]
    assert run(InstanceType="t2.nano")["InstanceId"]


@pytest.mark.parametrize(("instance_type", "cores", "threads"), [("c7i.large", 1, 2), ("c7a.large", 2, 1)])
def test_an_instance_has_the_cores_of_its_type(
    ec2: Any, run: Run, instance_type: str, cores: int, threads: int
) -> None:
    """https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/cpu-options-supported-instances-values.html"""
    shown = look(ec2, run(InstanceType=instance_type)["InstanceId"])
    assert shown["CpuOptions"] == {"CoreCount": cores, "ThreadsPerCore": threads}


def test_user_data_of_exactly_the_limit_is_taken(run: Run) -> None:
    assert run(UserData="x" * 16384)["InstanceId"]


def test_disks_are_what_the_launch_asked_for_on_top_of_what_the_image_has(ec2: Any, run: Run) -> None:
    disk = {"VolumeSize": 50, "VolumeType": "gp3", "Iops": 4000, "Throughput": 250, "Encrypted": True}
    id = run(BlockDeviceMappings=[{"DeviceName": "/dev/xvda", "Ebs": disk}])["InstanceId"]
    filters = [{"Name": "attachment.instance-id", "Values": [id]}]
    volume = ec2.describe_volumes(Filters=filters)["Volumes"][0]
    shown = {"VolumeSize": volume["Size"], **{key: volume[key] for key in list(disk)[1:]}}
    assert shown == disk
    filters = [{"Name": "attachment.instance-id", "Values": [run()["InstanceId"]]}]
    volume = ec2.describe_volumes(Filters=filters)["Volumes"][0]
    assert (volume["Size"], volume["Attachments"][0]["Device"], volume["Iops"]) == (30, "/dev/xvda", 3000)
    ec2.terminate_instances(InstanceIds=[id])
    in_state(ec2, id, "terminated")
    filters = [{"Name": "attachment.instance-id", "Values": [id]}]
    assert ec2.describe_volumes(Filters=filters)["Volumes"] == []


def test_p3_2xlarge_exists_and_starts_where_it_is_sold(ec2: Any, run: Run) -> None:
    found = ec2.describe_instance_types(InstanceTypes=["p3.2xlarge"])["InstanceTypes"][0]
    assert found["VCpuInfo"]["DefaultVCpus"] == 8
    assert found["GpuInfo"]["Gpus"][0]["Name"] == "V100"
    offers = ec2.describe_instance_type_offerings(
        LocationType="availability-zone", Filters=[{"Name": "instance-type", "Values": ["p3.2xlarge"]}]
    )["InstanceTypeOfferings"]
    zone = run(InstanceType="p3.2xlarge")["Placement"]["AvailabilityZone"]
    assert zone in [offer["Location"] for offer in offers]
    assert refusal(ec2.describe_instance_types, InstanceTypes=["p3.gigantic"])[0] == "InvalidInstanceType"


@pytest.mark.parametrize("variant", ["recommended", "arm64/recommended", "gpu/recommended"])
def test_the_images_of_the_public_parameters_can_be_described(cloud: FakeCloud, ec2: Any, variant: str) -> None:
    ami = cloud.client("ssm").get_parameter(Name=f"{ECS}/{variant}/image_id")["Parameter"]["Value"]
    image = ec2.describe_images(ImageIds=[ami])["Images"][0]
    assert image["RootDeviceName"] == "/dev/xvda"
    assert image["Architecture"] == ("arm64" if variant.startswith("arm64") else "x86_64")
    assert image["BlockDeviceMappings"][0]["DeviceName"] == "/dev/xvda"
    assert image["BlockDeviceMappings"][0]["Ebs"]["VolumeSize"] == 30


def test_an_image_can_be_named_by_its_public_parameter(run: Run, ami: str) -> None:
    assert run(ImageId=f"resolve:ssm:{ECS}/recommended/image_id")["ImageId"] == ami


@pytest.mark.parametrize(
    ("name", "value", "there"),
    [
        ("instance-lifecycle", "spot", False),
        ("client-token", "filtered", True),
        ("spot-instance-request-id", "sir-*", False),
        ("launch-time", "{launched:%Y-%m-%d}T*", True),
        ("launch-time", "1999-*", False),
        ("tag-key", "colou?", True),
        ("tag:colour", "r*d", True),
        ("tag:colour", "blue", False),
        ("instance-type", "c7i.*", True),
        ("instance-state-code", "0", True),
    ],
)
def test_instances_are_found_by_every_filter(ec2: Any, run: Run, name: str, value: str, there: bool) -> None:
    tags = [{"Key": "colour", "Value": "red"}]
    one = run(ClientToken="filtered", UserData="slow", TagSpecifications=[{"ResourceType": "instance", "Tags": tags}])
    id, value = one["InstanceId"], value.format(launched=one["LaunchTime"])
    found = ec2.describe_instances(Filters=[{"Name": name, "Values": [value]}])["Reservations"]
    assert (id in [i["InstanceId"] for r in found for i in r["Instances"]]) is there


def test_a_filter_that_does_not_exist_is_refused(ec2: Any) -> None:
    filters = [{"Name": "flavour", "Values": ["sweet"]}]
    assert refusal(ec2.describe_instances, Filters=filters) == (
        "InvalidParameterValue",
        "The filter 'flavour' is invalid",
    )


def test_describe_instances_pages_by_instance(ec2: Any, ami: str) -> None:
    tags = [{"ResourceType": "instance", "Tags": [{"Key": "page", "Value": "yes"}]}]
    ec2.run_instances(ImageId=ami, InstanceType="c7i.large", MinCount=7, MaxCount=7, TagSpecifications=tags)
    filters = [{"Name": "tag:page", "Values": ["yes"]}]
    pages = ec2.get_paginator("describe_instances").paginate(Filters=filters, PaginationConfig={"PageSize": 5})
    assert [sum(len(r["Instances"]) for r in page["Reservations"]) for page in pages] == [5, 2]
    assert refusal(ec2.describe_instances, MaxResults=4)[0] == "InvalidParameterValue"


def test_ids_that_cannot_be_are_told_from_ids_that_are_not(ec2: Any) -> None:
    assert refusal(ec2.describe_instances, InstanceIds=["i-xyz"])[0] == "InvalidInstanceID.Malformed"
    assert refusal(ec2.terminate_instances, InstanceIds=["i-0123456789abcdef0"])[0] == "InvalidInstanceID.NotFound"


def test_the_console_is_the_machines(ec2: Any, run: Run) -> None:
    id = run()["InstanceId"]
    assert ec2.get_console_output(InstanceId=id)["Output"] == f"console of {id}\n"

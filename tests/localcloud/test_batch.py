"""Batch's API by AWS's rules, on machines that exist in name only: their containers run until a test ends them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest

from .batch_account import BatchAccount
from .conftest import FakeCloud, eventually, refusal
from .market import REGION, SetMarket, set_market

__all__ = ["set_market"]  # fixtures

IMAGE = "image-that-nobody-pulls"


@pytest.fixture
def account(cloud: FakeCloud) -> Iterator[BatchAccount]:
    account = BatchAccount(cloud)
    yield account
    account.batch.update_job_queue(jobQueue=account.name, state="DISABLED")
    account.batch.delete_job_queue(jobQueue=account.name)  # which terminates its jobs


def finish(account: BatchAccount, job: str, **how: Any) -> None:
    account.cloud.post(f"batch-finish?job={job}" + "".join(f"&{name}={value}" for name, value in how.items()))


def resources(account: BatchAccount, name: str) -> dict[str, Any]:
    found = account.batch.describe_compute_environments(computeEnvironments=[name])["computeEnvironments"]
    return dict(found[0]["computeResources"])


def test_an_environment_without_jobs_has_no_instance(account: BatchAccount) -> None:
    found = account.batch.describe_compute_environments(computeEnvironments=[account.spot])["computeEnvironments"][0]
    assert (found["status"], found["state"], found["type"]) == ("VALID", "ENABLED", "MANAGED")
    assert found["serviceRole"].endswith(":role/aws-service-role/batch.amazonaws.com/AWSServiceRoleForBatch")
    assert found["computeResources"]["desiredvCpus"] == 0
    assert account.instances() == []


def test_the_service_role_can_be_made_beforehand(cloud: FakeCloud) -> None:
    iam = cloud.client("iam")
    if "AWSServiceRoleForBatch" in [
        role["RoleName"] for role in iam.list_roles(PathPrefix="/aws-service-role/")["Roles"]
    ]:
        iam.delete_role(RoleName="AWSServiceRoleForBatch")
    role = iam.create_service_linked_role(AWSServiceName="batch.amazonaws.com")["Role"]
    assert role["RoleName"] == "AWSServiceRoleForBatch"
    account = BatchAccount(cloud)
    found = account.batch.describe_compute_environments(computeEnvironments=[account.spot])["computeEnvironments"][0]
    assert found["serviceRole"] == role["Arn"]


def test_an_instance_role_gets_the_policy_of_ecs(cloud: FakeCloud) -> None:
    iam, name = cloud.client("iam"), f"machines-{time.time_ns()}"
    arn = "arn:aws:iam::aws:policy/service-role/AmazonEC2ContainerServiceforEC2Role"
    iam.create_role(RoleName=name, AssumeRolePolicyDocument="{}")
    iam.attach_role_policy(RoleName=name, PolicyArn=arn)
    assert [one["PolicyArn"] for one in iam.list_attached_role_policies(RoleName=name)["AttachedPolicies"]] == [arn]


def test_environments_and_queues_are_deleted_in_order(account: BatchAccount) -> None:
    batch = account.batch
    name = account.environment("third", "SPOT", ("c7i.large",), 4)
    order = [{"order": 1, "computeEnvironment": name}]
    batch.create_job_queue(jobQueueName=name, priority=1, state="ENABLED", computeEnvironmentOrder=order)
    assert refusal(batch.delete_compute_environment, computeEnvironment=name)[0] == "ClientException"
    batch.update_compute_environment(computeEnvironment=name, state="DISABLED", computeResources={"maxvCpus": 6})
    assert resources(account, name)["maxvCpus"] == 6
    code, message = refusal(batch.delete_compute_environment, computeEnvironment=name)
    assert (code, message) == ("ClientException", "Cannot delete, found existing JobQueue relationship")
    assert refusal(batch.delete_job_queue, jobQueue=name)[0] == "ClientException"
    batch.update_job_queue(jobQueue=name, state="DISABLED")
    assert batch.describe_job_queues(jobQueues=[name])["jobQueues"][0]["state"] == "DISABLED"
    batch.delete_job_queue(jobQueue=name)
    batch.delete_compute_environment(computeEnvironment=name)
    assert batch.describe_compute_environments(computeEnvironments=[name])["computeEnvironments"] == []


def test_an_instance_is_what_environment_and_launch_template_say(account: BatchAccount) -> None:
    job = account.submit(account.definition(IMAGE))
    account.reaches(job, "RUNNING")
    (instance,) = account.instances("running")
    tags = {tag["Key"]: tag["Value"] for tag in instance["Tags"]}
    assert tags == {"solver:batch": account.name, "AWSBatchServiceTag": "batch"}
    assert instance["IamInstanceProfile"]["Arn"].endswith(f"/{account.name}")
    assert instance["SecurityGroups"][0]["GroupId"] == account.group
    request = account.ec2.describe_spot_instance_requests(SpotInstanceRequestIds=[instance["SpotInstanceRequestId"]])[
        "SpotInstanceRequests"
    ][0]
    assert (request["Type"], request["InstanceInterruptionBehavior"]) == ("one-time", "terminate")
    volume_id = instance["BlockDeviceMappings"][0]["Ebs"]["VolumeId"]
    volume = account.ec2.describe_volumes(VolumeIds=[volume_id])["Volumes"][0]
    assert (volume["Size"], volume["Encrypted"]) == (40, True)
    assert volume["Tags"] == [{"Key": "of", "Value": account.name}]
    assert resources(account, account.spot)["desiredvCpus"] == 2
    finish(account, job)
    eventually(lambda: not account.instances("pending", "running"))


@pytest.mark.parametrize(
    "changes",
    [
        {"retryStrategy": {"attempts": 11}},
        {"retryStrategy": {"attempts": 2, "evaluateOnExit": [{"onExitCode": "1", "action": "RETRY"}] * 6}},
        {"retryStrategy": {"attempts": 2, "evaluateOnExit": [{"onExitCode": "*1", "action": "RETRY"}]}},
        {"retryStrategy": {"attempts": 2, "evaluateOnExit": [{"onReason": "a", "action": "AGAIN"}]}},
        {"timeout": {"attemptDurationSeconds": 59}},
        {"arrayProperties": {"size": 1}},
        {"arrayProperties": {"size": 10001}},
        {"jobName": "has a space"},
        {"jobDefinition": "there-is-none:1"},
        {"jobQueue": "there-is-none"},
        {"containerOverrides": {"environment": [{"name": "LONG", "value": "x" * 31000}]}},
        {"dependsOn": [{"jobId": "x"}]},
        {"containerOverrides": {"resourceRequirements": [{"type": "VCPU", "value": "0"}]}},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_what_submit_job_refuses(account: BatchAccount, changes: dict[str, Any]) -> None:
    definition = account.definition(IMAGE)
    asked = {"jobName": account.name, "jobQueue": account.name, "jobDefinition": definition, **changes}
    assert refusal(account.batch.submit_job, **asked)[0] == "ClientException"
    assert account.batch.list_jobs(jobQueue=account.name, jobStatus="RUNNABLE")["jobSummaryList"] == []


def test_a_container_that_would_be_another_here_is_refused(account: BatchAccount) -> None:
    needs = [{"type": "VCPU", "value": "1"}, {"type": "MEMORY", "value": "64"}]
    for more in ({"privileged": True}, {"resourceRequirements": [*needs, {"type": "GPU", "value": "1"}]}):
        container = {"image": IMAGE, "resourceRequirements": needs, **more}
        asked = {"jobDefinitionName": account.name, "type": "container", "containerProperties": container}
        assert refusal(account.batch.register_job_definition, **asked)[0] == "ClientException"


def test_a_disabled_queue_and_a_deregistered_definition_take_no_jobs(account: BatchAccount) -> None:
    old, new = account.definition(IMAGE), account.definition(IMAGE)
    account.batch.deregister_job_definition(jobDefinition=new)
    active = account.batch.describe_job_definitions(jobDefinitionName=account.name, status="ACTIVE")["jobDefinitions"]
    assert [one["jobDefinitionArn"] for one in active] == [old]
    asked = {"jobName": account.name, "jobQueue": account.name}
    assert refusal(account.batch.submit_job, jobDefinition=new, **asked)[0] == "ClientException"
    by_name = account.batch.submit_job(jobDefinition=account.name, **asked)["jobId"]
    assert account.look(by_name)[0]["jobDefinition"] == old
    account.batch.update_job_queue(jobQueue=account.name, state="DISABLED")
    assert refusal(account.batch.submit_job, jobDefinition=old, **asked)[0] == "ClientException"


def test_a_job_is_described_as_aws_does(account: BatchAccount) -> None:
    definition = account.definition(IMAGE, "train", "--fast", retryStrategy={"attempts": 3})
    parent = account.submit(
        definition,
        3,
        containerOverrides={"environment": [{"name": "WHO", "value": "overridden"}], "command": ["other"]},
        timeout={"attemptDurationSeconds": 600},
        tags={"solver:sweep": "one"},
    )
    account.reaches(f"{parent}:2", "RUNNING")
    finish(account, f"{parent}:0", exit=0)
    finish(account, f"{parent}:1", exit=3, reason="because")
    account.reaches(f"{parent}:1", "RUNNING")
    array, first, second = account.look(parent, f"{parent}:0", f"{parent}:1")
    assert array["status"] == "PENDING"
    assert array["arrayProperties"]["size"] == 3
    assert array["arrayProperties"]["statusSummary"] == {
        "SUBMITTED": 0, "PENDING": 0, "RUNNABLE": 0, "STARTING": 0, "RUNNING": 2, "SUCCEEDED": 1, "FAILED": 0,
    }  # fmt: skip
    assert array["tags"] == {"solver:sweep": "one"}
    assert first["jobId"] == f"{parent}:0"
    assert first["arrayProperties"]["index"] == 0
    assert first["status"] == "SUCCEEDED"
    assert first["jobQueue"] == account.queue
    assert first["jobDefinition"] == definition
    assert first["timeout"] == {"attemptDurationSeconds": 600}
    assert first["retryStrategy"]["attempts"] == 3
    assert first["createdAt"] <= first["startedAt"] <= first["stoppedAt"] <= time.time() * 1000
    assert first["container"]["command"] == ["other"]
    assert {"name": "WHO", "value": "overridden"} in first["container"]["environment"]
    assert first["container"]["exitCode"] == 0
    (failed,) = second["attempts"]  # the one that runs is not listed
    assert failed["container"]["exitCode"] == 3
    assert failed["container"]["reason"] == "because"
    assert failed["statusReason"] == "Essential container in task exited"
    assert failed["startedAt"] <= failed["stoppedAt"]
    assert "exitCode" not in second["container"]
    finish(account, f"{parent}:1-2", exit=1)
    for _ in range(2):
        account.reaches(f"{parent}:2", "RUNNING", "FAILED")
        finish(account, parent, exit=1)
    found = account.over(parent)
    assert (found["status"], found["arrayProperties"]["statusSummary"]["FAILED"]) == ("FAILED", 2)


def test_one_thousand_children_are_described_and_listed_fast(cloud: FakeCloud) -> None:
    account = BatchAccount(cloud, types=("c7i.large",), max_vcpus=2)
    parent = account.submit(account.definition(IMAGE), 1000)
    account.reaches(f"{parent}:1", "RUNNING")
    finish(account, f"{parent}:0-299")
    finish(account, f"{parent}:300-399", exit=1)
    assert (
        refusal(account.batch.describe_jobs, jobs=[f"{parent}:{index}" for index in range(101)])[0] == "ClientException"
    )
    ids = [f"{parent}:{index}" for index in range(100)]
    seconds = min(timed(lambda: account.look(*ids)) for _ in range(3))
    assert seconds < 0.1
    pages = list(account.batch.get_paginator("list_jobs").paginate(arrayJobId=parent, jobStatus="SUCCEEDED"))
    assert [len(page["jobSummaryList"]) for page in pages] == [100, 100, 100]
    listed = [job for page in pages for job in page["jobSummaryList"]]
    assert [job["arrayProperties"]["index"] for job in listed] == list(range(300))
    summary = account.look(parent)[0]["arrayProperties"]["statusSummary"]
    assert (summary["SUCCEEDED"], summary["FAILED"]) == (300, 100)
    account.batch.terminate_job(jobId=parent, reason="enough")
    found = account.over(parent)
    assert (found["status"], found["statusReason"]) == ("FAILED", "enough")
    assert found["arrayProperties"]["statusSummary"]["SUCCEEDED"] == 300


def timed(call: Any) -> float:
    began = time.monotonic()
    call()
    return time.monotonic() - began


def test_jobs_are_listed_by_queue_status_and_name(account: BatchAccount) -> None:
    definition = account.definition(IMAGE)
    ids = [account.submit(definition, 2, jobName=f"{account.name}-{run}") for run in range(3)]
    single = account.submit(definition, jobName="single")
    account.reaches(single, "RUNNING")
    queue = {"jobQueue": account.name}
    running = account.batch.list_jobs(**queue)["jobSummaryList"]
    assert [job["jobId"] for job in running] == [single]
    pending = account.batch.list_jobs(**queue, jobStatus="PENDING", maxResults=2)
    assert [job["jobId"] for job in pending["jobSummaryList"]] == ids[:2]
    rest = account.batch.list_jobs(**queue, jobStatus="PENDING", maxResults=2, nextToken=pending["nextToken"])
    assert [job["jobId"] for job in rest["jobSummaryList"]] == ids[2:]
    assert rest["jobSummaryList"][0]["arrayProperties"] == {"size": 2}
    named = [{"name": "JOB_NAME", "values": [f"{account.name}-*".upper()]}]
    found = account.batch.list_jobs(**queue, filters=named)["jobSummaryList"]
    assert {job["jobId"] for job in found} == set(ids)


def test_cancel_spares_what_has_started(cloud: FakeCloud) -> None:
    account = BatchAccount(cloud, max_vcpus=2)
    parent = account.submit(account.definition(IMAGE, vcpus=2), 4)
    for index in range(2):
        account.reaches(f"{parent}:{index}", "RUNNING")
    account.batch.cancel_job(jobId=parent, reason="not needed")
    states = [(child["status"], child["isCancelled"]) for child in account.children(parent)]
    assert states == [("RUNNING", False)] * 2 + [("FAILED", True)] * 2
    assert account.look(f"{parent}:3")[0]["statusReason"] == "not needed"
    account.batch.terminate_job(jobId=parent, reason="gone")
    assert account.over(f"{parent}:0")["isTerminated"]


def test_without_spot_capacity_the_next_environment_serves(account: BatchAccount, cloud: FakeCloud) -> None:
    dear = BatchAccount(cloud, types=("c7i.xlarge", "c7i.large"))
    cloud.post("capacity?type=c7i.large&state=none")
    try:
        job = dear.submit(dear.definition(IMAGE))
        dear.reaches(job, "RUNNING")
        assert [one["InstanceType"] for one in dear.instances("running")] == ["c7i.xlarge"]
        waiting = account.submit(account.definition(IMAGE))
        assert account.look(waiting)[0]["status"] == "RUNNABLE"
    finally:
        cloud.post("capacity?type=c7i.large&state=back")
    account.reaches(waiting, "RUNNING")
    finish(dear, job)


def test_beyond_the_first_environments_limit_the_second_serves(cloud: FakeCloud) -> None:
    account = BatchAccount(cloud, max_vcpus=2)
    parent = account.submit(account.definition(IMAGE, vcpus=2), 3)
    eventually(lambda: account.look(parent)[0]["arrayProperties"]["statusSummary"]["RUNNING"] == 2)
    kinds = sorted(one.get("InstanceLifecycle", "on-demand") for one in account.instances("running"))
    assert kinds == ["on-demand", "spot"]
    assert account.look(f"{parent}:2")[0]["status"] == "RUNNABLE"
    finish(account, f"{parent}:0")
    account.reaches(f"{parent}:2", "RUNNING")
    account.batch.terminate_job(jobId=parent, reason="enough")


def test_a_terminated_instance_fails_its_children_by_rule(account: BatchAccount) -> None:
    rules = [{"onStatusReason": "Host EC2*", "action": "retry"}, {"onReason": "*", "action": "exit"}]
    definition = account.definition(IMAGE, retryStrategy={"attempts": 2, "evaluateOnExit": rules})
    job = account.submit(definition, 2)
    account.reaches(f"{job}:1", "RUNNING")
    (first,) = {account.instance_of(child) for child in account.children(job)}
    account.ec2.terminate_instances(InstanceIds=[first])
    for index in range(2):
        child = eventually(lambda: [one for one in account.look(f"{job}:{index}") if one["attempts"]])[0]  # noqa: B023
        assert child["attempts"][0]["statusReason"] == f"Host EC2 (instance {first}) terminated."
        again = account.reaches(f"{job}:{index}", "RUNNING")
        assert account.instance_of(again) != first
    finish(account, f"{job}:0", exit=1)
    failed = account.over(f"{job}:0")
    assert [attempt["container"].get("exitCode") for attempt in failed["attempts"]] == [None, 1]


def test_an_instance_that_is_to_be_reclaimed_takes_no_more_jobs(cloud: FakeCloud) -> None:
    account = BatchAccount(cloud)
    definition = account.definition(IMAGE, retryStrategy={"attempts": 2})
    job = account.submit(definition)
    doomed = account.instance_of(account.reaches(job, "RUNNING"))
    account.interrupt(job, notice=60)
    finish(account, job, exit=75)
    eventually(lambda: account.look(job)[0]["attempts"])
    assert account.instance_of(account.reaches(job, "RUNNING")) != doomed
    finish(account, job)


def test_a_child_is_named_by_its_job_and_index(account: BatchAccount) -> None:
    definition = account.definition(IMAGE)
    first, second = (account.submit(definition, 2, jobName=f"{account.name}-{run}") for run in range(2))
    for job in (f"{first}:1", f"{second}:1"):
        account.reaches(job, "RUNNING")
    expected = {job: account.instance_of(account.look(f"{job}:1")[0]) for job in (first, second)}
    for reference, instance in ((f"{second[:20]}:1", expected[second]), (f"{account.name}/1", expected[first])):
        account.interrupt(reference, notice=0)
        eventually(lambda: instance not in [one["InstanceId"] for one in account.instances("running")])  # noqa: B023


def test_denied_and_throttled_calls_are_refused_as_batch_does(
    account: BatchAccount, cloud: FakeCloud, set_market: SetMarket
) -> None:
    set_market("denied: [SubmitJob]")
    elsewhere = cloud.session(region_name=REGION).client("batch", endpoint_url=cloud.endpoint)
    code, message = refusal(elsewhere.submit_job, jobName="job", jobQueue="queue", jobDefinition="definition")
    assert code == "AccessDeniedException"
    assert "is not authorized to perform: batch:SubmitJob" in message
    cloud.post("fault?kind=throttled&percent=100&of=describejobqueues")
    try:
        assert refusal(account.batch.describe_job_queues)[0] == "TooManyRequestsException"
    finally:
        cloud.post("fault?kind=none")


def test_status_tells_of_jobs_that_are_not_over(account: BatchAccount) -> None:
    from localcloud import supervisor

    parent = account.submit(account.definition(IMAGE), 2)
    account.reaches(f"{parent}:1", "RUNNING")
    finish(account, f"{parent}:0")
    assert account.cloud.running
    found = {job["id"]: job for job in supervisor.batch_jobs(account.cloud.running)}
    assert found[parent] == {"id": parent, "name": f"{account.name}-0", "counts": {"RUNNING": 1, "SUCCEEDED": 1}}
    finish(account, parent)
    assert parent not in [job["id"] for job in supervisor.batch_jobs(account.cloud.running)]

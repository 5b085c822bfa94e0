"""What `teardown` removes, what it leaves, and that it can be broken off anywhere."""

from __future__ import annotations

import inspect
import json
import threading
from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError
from moto.ec2.models import ec2_backends
from moto.ec2.models.instances import InstanceState
from moto.iam.models import SERVICE_NAME_CONVERSION

import tasks
from cloud import firewall, keypair, leftovers, provision, teardown
from cloud.aws import Aws
from cloud.errors import CloudError, UsageError

from .localcloud.conftest import in_state
from .test_jobs import start
from .test_leftovers import launch, push, relaunched

KINDS = ["security group", "instance profile", "jobs' role", "role", "key pair", "repository", "bucket"]


@pytest.fixture(autouse=True)
def as_iam_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """The spot service's role, which moto would call AWSServiceRoleForspot."""
    monkeypatch.setitem(SERVICE_NAME_CONVERSION, "spot", "EC2Spot")


def look(aws: Aws, *, bucket_too: bool = True) -> list[teardown.Remainder]:
    return teardown.look(aws, bucket_too=bucket_too)


def kinds(aws: Aws) -> list[str]:
    return [one.kind for one in look(aws)]


def remove_all(aws: Aws, *, bucket_too: bool = True) -> None:
    for one in look(aws, bucket_too=bucket_too):
        if not one.stays:
            teardown.remove(one)


def ours(aws: Aws) -> dict[str, list[str]]:
    """Everything in the account that has our name, by the service that lists it."""
    name, role = aws.settings.name, provision.role_name(aws)
    listed = {
        "buckets": [one["Name"] for one in aws.s3.list_buckets()["Buckets"]],
        "repositories": [one["repositoryName"] for one in aws.ecr.describe_repositories()["repositories"]],
        "key pairs": [one["KeyName"] for one in aws.ec2.describe_key_pairs()["KeyPairs"]],
        "security groups": [one["GroupName"] for one in aws.ec2.describe_security_groups()["SecurityGroups"]],
        "roles": [one["RoleName"] for one in aws.iam.list_roles()["Roles"]],
        "profiles": [one["InstanceProfileName"] for one in aws.iam.list_instance_profiles()["InstanceProfiles"]],
        "parameters": [one["Name"] for one in aws.ssm.describe_parameters()["Parameters"]],
        "files": [path.name for path in keypair.local_path(aws).parent.glob("*")],
    }
    names = {name, role, provision.job_role(aws), aws.bucket, keypair.parameter_name(aws), keypair.local_path(aws).name}
    return {kind: found for kind, all_ in listed.items() if (found := [one for one in all_ if one in names])}


def put(aws: Aws, *keys: str) -> None:
    for key in keys:
        aws.s3.put_object(Bucket=aws.bucket, Key=key, Body=b"0123456789")


def test_everything_goes_and_setup_makes_it_again(account: Aws) -> None:
    assert sum(map(len, ours(account).values())) == 9
    assert kinds(account) == KINDS
    remove_all(account)
    assert ours(account) == {}
    assert kinds(account) == []
    made = {piece.kind: piece.outcome for piece in provision.converge(account)}
    assert made == {**dict.fromkeys((*KINDS, "registry", "spot role"), "made"), "spot role": "there"}


def test_the_same_on_the_local_cloud(ready: Aws) -> None:
    assert {piece.outcome for piece in provision.converge(ready, dry_run=True)} == {"there"}
    push(ready, "0" * 20, config={"size": 1}, layers=[{"size": 9, "digest": "x"}])
    remove_all(ready)
    assert ours(ready) == {}
    made = {piece.kind: piece.outcome for piece in provision.converge(ready)}
    assert made == {**dict.fromkeys((*KINDS, "registry", "spot role"), "made"), "spot role": "there"}
    assert leftovers.images(ready) == []
    remove_all(ready)


STEPS = 14
"""All parts: a wait and the group, two of profile, each role and bucket, three of the key, the repository."""


def test_a_teardown_that_was_broken_off_anywhere_is_finished_by_the_next(account: Aws) -> None:
    put(account, "jobs/i-0a/job.json")
    for done in range(1, STEPS + 1):
        steps = [step for one in look(account) for step in one.steps]
        assert len(steps) == STEPS
        for step in steps[:done]:
            step()
        remove_all(account)
        assert ours(account) == {}, done
        list(provision.converge(account))
        put(account, "jobs/i-0a/job.json")


def test_setup_finishes_what_a_broken_off_teardown_has_left(account: Aws) -> None:
    for done in range(1, STEPS + 1):
        for step in [step for one in look(account) for step in one.steps][:done]:
            step()
        list(provision.converge(account))
        assert {piece.outcome for piece in provision.converge(account, dry_run=True)} == {"there"}, done


def test_the_bucket_stays_unless_it_is_asked_for(account: Aws) -> None:
    put(account, "jobs/i-0a/output/model", "jobs/i-0a/job.json", "jobs/i-0b/job.json", "configs/x/fast.yaml")
    bucket = look(account, bucket_too=False)[-1]
    assert bucket.stays == "--bucket-too removes it as well"
    assert bucket.holds == "2 jobs with output and models, 40 bytes"
    remove_all(account, bucket_too=False)
    assert ours(account) == {"buckets": [account.bucket]}
    assert account.s3.list_objects_v2(Bucket=account.bucket)["KeyCount"] == 5  # with setup's mark
    remove_all(account, bucket_too=True)
    assert ours(account) == {}


def test_a_bucket_with_versions_goes_whole(account: Aws) -> None:
    account.s3.put_bucket_versioning(Bucket=account.bucket, VersioningConfiguration={"Status": "Enabled"})
    put(account, *["jobs/i-0a/job.json"] * 3)
    account.s3.delete_object(Bucket=account.bucket, Key="jobs/i-0a/job.json")
    assert look(account)[-1].holds == "1 job with output and models, 30 bytes"
    remove_all(account)
    assert ours(account) == {}


def test_a_bucket_with_more_than_one_page_goes_whole(account: Aws) -> None:
    put(account, *(f"jobs/i-0a/output/{number}" for number in range(1005)))
    remove_all(account)
    assert ours(account) == {}


def test_what_others_have_put_there_stays(account: Aws) -> None:
    put(account, "jobs/i-0a/job.json", "theses/draft.tex")
    push(account, "latest", config={"size": 1}, layers=[])
    stays = {one.kind: one.stays for one in look(account) if one.stays}
    assert stays == {
        "bucket": "there is more in it than jobs: theses/draft.tex",
        "repository": "`launch` did not push all of its images: latest",
    }
    remove_all(account)
    assert ours(account) == {"buckets": [account.bucket], "repositories": ["solver-cloud"]}


def test_a_role_with_a_policy_of_others_is_left_with_iams_reason(account: Aws) -> None:
    name = provision.role_name(account)
    theirs = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:*", "Resource": "*"}]}
    account.iam.put_role_policy(RoleName=name, PolicyName="theirs", PolicyDocument=json.dumps(theirs))
    with pytest.raises(CloudError, match=r"cannot delete the role [\w-]+: .*\(DeleteConflict\)"):
        remove_all(account)
    account.iam.delete_role_policy(RoleName=name, PolicyName="theirs")
    remove_all(account)
    assert ours(account) == {}


def test_what_is_lost_with_the_images_is_said(account: Aws) -> None:
    for tag in ("0" * 20, "1" * 20):
        push(account, tag, config={"size": 10}, layers=[{"size": 10, "digest": tag}])
    total = sum(image["imageSizeInBytes"] for image in leftovers.images(account))
    assert {one.kind: one.holds for one in look(account)}["repository"] == f"2 images, {total} bytes"
    assert total


LIVING: dict[str, Callable[[Aws, str], object]] = {
    "running": lambda aws, id: None,
    "stopped": lambda aws, id: aws.ec2.stop_instances(InstanceIds=[id]),
}


@pytest.mark.parametrize("state", LIVING)
def test_nothing_goes_while_a_job_lives(account: Aws, state: str) -> None:
    id = start(account)
    LIVING[state](account, id)
    with pytest.raises(CloudError, match=rf"not while a job lives: {id} \({state}\)\n  inv terminate {id}, then"):
        look(account)
    account.ec2.terminate_instances(InstanceIds=[id])
    assert kinds(account) == KINDS


def test_the_instances_of_others_are_no_jobs(account: Aws) -> None:
    start(account, {"solver:cloud": "somebody-else"}, ours=False)
    assert kinds(account) == KINDS


def test_nothing_goes_while_a_spot_request_waits(ready: Aws) -> None:
    id, request = launch(ready)
    with pytest.raises(CloudError, match=f"not while a job lives: {id}"):
        look(ready)
    second = relaunched(ready, request, id)  # it has no tags, but its request has
    with pytest.raises(CloudError, match=f"not while a spot request may start an instance: {request}\n  `inv gc`"):
        look(ready)
    ready.ec2.cancel_spot_instance_requests(SpotInstanceRequestIds=[request])
    ready.ec2.terminate_instances(InstanceIds=[second])
    in_state(ready.ec2, second, "terminated")
    assert kinds(ready) == KINDS


def test_the_group_waits_for_an_instance_that_is_shutting_down(account: Aws) -> None:
    group = firewall.find(account)
    assert group
    id = start(account)
    account.ec2.modify_instance_attribute(InstanceId=id, Groups=[group["GroupId"]])
    instance = ec2_backends["123456789012"]["us-east-1"].get_instance(id)
    instance._state = InstanceState("shutting-down", 32)
    threading.Timer(0.5, lambda: account.ec2.terminate_instances(InstanceIds=[id])).start()
    remove_all(account)
    assert instance.state == "terminated"
    assert ours(account) == {}


def test_a_group_that_an_unseen_instance_has_keeps_everything(account: Aws, monkeypatch: pytest.MonkeyPatch) -> None:
    """EC2 has the last word: of a job launched just now, say. moto would delete the group."""
    refusal = ClientError({"Error": {"Code": "DependencyViolation", "Message": "has a dependent"}}, "Delete")

    def refuse(**_: Any) -> None:
        raise refusal

    before = ours(account)
    monkeypatch.setattr(account.ec2, "delete_security_group", refuse)
    with pytest.raises(CloudError, match="cannot delete the security group: has a dependent"):
        remove_all(account)
    assert ours(account) == before


def test_without_the_group_a_launch_asks_for_setup(account: Aws) -> None:
    from cloud import machine

    teardown.remove(look(account)[0])
    assert firewall.find(account) is None
    with pytest.raises(CloudError, match="run `inv setup` first"):
        machine.look(account, ("c7i.large",))


def command(aws: Aws, **options: bool) -> None:
    """`inv teardown`, without the settings."""
    inspect.unwrap(tasks.teardown.body)(aws, **options)


def test_the_command_lists_asks_and_removes(account: Aws, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UsageError, match="without a terminal: inv teardown --yes"):
        command(account)
    assert kinds(account) == KINDS
    capsys.readouterr()
    command(account, yes=True)
    said = capsys.readouterr()
    assert "key pair\tsolver-cloud\tthe private key in SSM and here" in said.out.splitlines()
    assert f"the bucket {account.bucket} stays (empty): --bucket-too removes it as well" in said.err
    assert "removed repository solver-cloud" in said.err
    assert kinds(account) == ["bucket"]
    command(account)
    assert "nothing of setup is left to remove" in capsys.readouterr().err
    command(account, bucket_too=True, yes=True)
    assert ours(account) == {}

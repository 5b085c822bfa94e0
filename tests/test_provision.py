from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError
from moto.iam.models import SERVICE_NAME_CONVERSION

from cloud import firewall, keypair, policies, provision, roles
from cloud.aws import Aws
from cloud.config import Settings
from cloud.errors import CloudError

from .test_jobs import start


@pytest.fixture(autouse=True)
def as_iam_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """The spot service's role, which moto would call AWSServiceRoleForspot."""
    monkeypatch.setitem(SERVICE_NAME_CONVERSION, "spot", "EC2Spot")


def outcomes(aws: Aws) -> dict[str, str]:
    return {piece.kind: piece.outcome for piece in provision.converge(aws)}


def previewed(aws: Aws) -> dict[str, str]:
    """What a dry run says, of an account of which it asks questions only."""
    asked: list[str] = []
    fresh = Aws(aws.settings)
    fresh.session.events.register("before-call.*.*", lambda model, **_: asked.append(model.name))
    said: dict[str, str] = {piece.kind: piece.outcome for piece in provision.converge(fresh, dry_run=True)}
    assert "GetInstanceProfile" in asked
    assert [name for name in asked if not name.startswith(("Describe", "Get", "Head"))] == []
    return said


KINDS = [
    "bucket",
    "registry",
    "repository",
    "key pair",
    "security group",
    "role",
    "jobs' role",
    "instance profile",
    "spot role",
]
ROLE = "solver-cloud-us-east-1"


def test_a_new_account_gets_every_piece(aws: Aws) -> None:
    assert outcomes(aws) == dict.fromkeys(KINDS, "made")
    block = aws.s3.get_public_access_block(Bucket=aws.bucket)["PublicAccessBlockConfiguration"]
    assert all(block.values())
    assert len(block) == 4
    repository = aws.ecr.describe_repositories(repositoryNames=["solver-cloud"])["repositories"][0]
    assert repository["imageTagMutability"] == "IMMUTABLE"
    role = aws.iam.get_instance_profile(InstanceProfileName="solver-cloud-us-east-1")["InstanceProfile"]["Roles"][0]
    assert role["RoleName"] == "solver-cloud-us-east-1"
    assert role["AssumeRolePolicyDocument"] == policies.trust_policy("ec2.amazonaws.com")


def test_a_second_setup_changes_nothing(aws: Aws) -> None:
    outcomes(aws)
    assert outcomes(aws) == dict.fromkeys(KINDS, "there")


def test_a_dry_run_makes_nothing(aws: Aws) -> None:
    assert previewed(aws) == dict.fromkeys(KINDS, "would make")
    assert not keypair.local_path(aws).exists()
    assert outcomes(aws) == dict.fromkeys(KINDS, "made")
    assert previewed(aws) == dict.fromkeys(KINDS, "there")


def test_the_bucket_of_another_region_is_made_there(home: Path, aws: Aws) -> None:
    elsewhere = Aws(Settings.from_context({}, region="eu-west-1"))
    outcomes(elsewhere)
    assert elsewhere.s3.get_bucket_location(Bucket=elsewhere.bucket)["LocationConstraint"] == "eu-west-1"


BREAKAGES: dict[str, Callable[[Aws], object]] = {
    "bucket": lambda aws: aws.s3.delete_public_access_block(Bucket=aws.bucket),
    "key pair": lambda aws: aws.ec2.delete_key_pair(KeyName="solver-cloud"),
    "security group": lambda aws: aws.ec2.revoke_security_group_ingress(
        GroupName="solver-cloud", IpProtocol="tcp", FromPort=22, ToPort=22, CidrIp="192.0.2.7/32"
    ),
    "role": lambda aws: aws.iam.delete_role_policy(RoleName=ROLE, PolicyName=ROLE),
    "jobs' role": lambda aws: aws.iam.update_assume_role_policy(
        RoleName=f"{ROLE}-job", PolicyDocument=json.dumps(policies.trust_policy("ec2.amazonaws.com"))
    ),
    "instance profile": lambda aws: aws.iam.remove_role_from_instance_profile(
        InstanceProfileName="solver-cloud-us-east-1", RoleName="solver-cloud-us-east-1"
    ),
}


@pytest.mark.parametrize("kind", BREAKAGES)
def test_what_an_earlier_run_left_half_made_is_completed(aws: Aws, kind: str) -> None:
    outcomes(aws)
    BREAKAGES[kind](aws)
    assert previewed(aws) == {**dict.fromkeys(KINDS, "there"), kind: "would complete"}
    assert outcomes(aws) == {**dict.fromkeys(KINDS, "there"), kind: "completed"}


def test_what_a_role_may_do_and_who_may_take_it_is_brought_up_to_date(account: Aws) -> None:
    made = {name: documents(account, name) for name in (ROLE, f"{ROLE}-job")}
    older = json.dumps({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:*", "Resource": "*"}]})
    anyone = json.dumps(policies.trust_policy("lambda.amazonaws.com"))
    for name in made:
        account.iam.put_role_policy(RoleName=name, PolicyName=name, PolicyDocument=older)
        account.iam.update_assume_role_policy(RoleName=name, PolicyDocument=anyone)
    changed = outcomes(account)
    assert (changed["role"], changed["jobs' role"]) == ("completed", "completed")
    assert {name: documents(account, name) for name in made} == made
    assert made[f"{ROLE}-job"][0]["Statement"][0]["Principal"] == {"AWS": f"arn:aws:iam::123456789012:role/{ROLE}"}


def documents(aws: Aws, name: str) -> tuple[Any, Any]:
    """Who may take a role, and what it may do."""
    policy = aws.iam.get_role_policy(RoleName=name, PolicyName=name)["PolicyDocument"]
    return aws.iam.get_role(RoleName=name)["Role"]["AssumeRolePolicyDocument"], policy


def test_a_job_of_an_older_version_keeps_its_access_to_s3(account: Aws) -> None:
    """It writes as its instance: without these rights its output would be lost with its disk."""
    older = json.dumps(
        {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:GetObject", "Resource": "*"}]}
    )
    account.iam.put_role_policy(RoleName=ROLE, PolicyName=ROLE, PolicyDocument=older)
    job = start(account)
    with pytest.raises(CloudError, match=f"a job of an older version .*{job}"):
        outcomes(account)
    account.ec2.terminate_instances(InstanceIds=[job])
    assert outcomes(account)["role"] == "completed"


def test_a_role_that_iam_does_not_know_everywhere_yet_is_named_again(
    account: Aws, monkeypatch: pytest.MonkeyPatch
) -> None:
    """https://docs.aws.amazon.com/IAM/latest/UserGuide/troubleshoot_general.html (eventual consistency)"""
    error: Any = {"Code": "MalformedPolicyDocument", "Message": "Invalid principal in policy"}
    refused, update = [1, 1], account.iam.update_assume_role_policy

    def refusing(**arguments: Any) -> object:
        if refused:
            refused.pop()
            raise account.iam.exceptions.MalformedPolicyDocumentException({"Error": error}, "UpdateAssumeRolePolicy")
        return update(**arguments)

    BREAKAGES["jobs' role"](account)
    monkeypatch.setattr(account.iam, "update_assume_role_policy", refusing)
    monkeypatch.setattr(roles, "PATIENCE", (0, 0))
    assert outcomes(account)["jobs' role"] == "completed"
    assert refused == []


LIFECYCLE_BEFORE_VERSIONS = {
    "ID": "abandoned-uploads",
    "Status": "Enabled",
    "Filter": {"Prefix": ""},
    "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 7},
}


def lifecycle(aws: Aws) -> list[Any]:
    return aws.s3.get_bucket_lifecycle_configuration(Bucket=aws.bucket)["Rules"]


def put_lifecycle(aws: Aws, *rules: Any) -> None:
    aws.s3.put_bucket_lifecycle_configuration(Bucket=aws.bucket, LifecycleConfiguration={"Rules": list(rules)})


def test_the_bucket_keeps_versions_for_a_week(account: Aws) -> None:
    assert account.s3.get_bucket_versioning(Bucket=account.bucket)["Status"] == "Enabled"
    wanted = policies.bucket_lifecycle()["Rules"]
    assert [rule["ID"] for rule in lifecycle(account)] == [rule["ID"] for rule in wanted]
    assert {rule["ID"]: rule.get("NoncurrentVersionExpiration") for rule in wanted} == {
        "abandoned-uploads": None,
        "older-versions": {"NoncurrentDays": 7},
        "many-versions-jobs": {"NoncurrentDays": 1, "NewerNoncurrentVersions": 5},
        "many-versions-sweeps": {"NoncurrentDays": 1, "NewerNoncurrentVersions": 5},
    }


def test_a_bucket_of_an_older_setup_is_brought_up_to_date(account: Aws) -> None:
    put_lifecycle(account, LIFECYCLE_BEFORE_VERSIONS)
    account.s3.put_bucket_versioning(Bucket=account.bucket, VersioningConfiguration={"Status": "Suspended"})
    assert previewed(account)["bucket"] == "would complete"
    assert outcomes(account)["bucket"] == "completed"
    assert len(lifecycle(account)) == 4
    assert account.s3.get_bucket_versioning(Bucket=account.bucket)["Status"] == "Enabled"
    assert outcomes(account)["bucket"] == "there"


def test_lifecycle_rules_of_someone_else_stay(account: Aws) -> None:
    put_lifecycle(account, LIFECYCLE_BEFORE_VERSIONS, {**LIFECYCLE_BEFORE_VERSIONS, "ID": "theirs"})
    assert outcomes(account)["bucket"] == "there"
    assert {rule["ID"] for rule in lifecycle(account)} == {"abandoned-uploads", "theirs"}


def test_a_policy_that_someone_else_put_on_the_bucket_stays(account: Aws) -> None:
    theirs = json.dumps({"Version": "2012-10-17", "Statement": []})
    account.s3.put_bucket_policy(Bucket=account.bucket, Policy=theirs)
    assert outcomes(account)["bucket"] == "there"
    assert account.s3.get_bucket_policy(Bucket=account.bucket)["Policy"] == theirs


def test_a_bucket_of_another_account_is_refused(account: Aws) -> None:
    from unittest.mock import patch

    # moto has one namespace per account; S3's real one is global and answers HeadBucket with a bare 403:
    # https://docs.aws.amazon.com/AmazonS3/latest/API/API_HeadBucket.html
    refusal = ClientError({"Error": {"Code": "403", "Message": "Forbidden"}}, "HeadBucket")
    with (
        patch.object(account.s3, "head_bucket", side_effect=refusal),
        pytest.raises(CloudError, match=r"solver\.bucket"),
    ):
        outcomes(account)


def test_another_machine_fetches_the_private_key_and_keeps_it_to_itself(account: Aws) -> None:
    path = keypair.local_path(account)
    text = path.read_text()
    path.unlink()
    assert keypair.private_key(account).read_text() == text
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_key_that_is_only_on_this_machine_is_stored_again(account: Aws) -> None:
    account.ssm.delete_parameter(Name=keypair.parameter_name(account))
    assert outcomes(account)["key pair"] == "completed"
    stored = account.ssm.get_parameter(Name=keypair.parameter_name(account), WithDecryption=True)["Parameter"]["Value"]
    assert stored == keypair.local_path(account).read_text()


def test_a_key_pair_whose_private_key_is_lost_is_refused_with_the_fix(account: Aws) -> None:
    account.ssm.delete_parameter(Name=keypair.parameter_name(account))
    keypair.local_path(account).unlink()
    with pytest.raises(CloudError, match="aws ec2 delete-key-pair --key-name solver-cloud"):
        outcomes(account)


def test_a_key_pair_of_someone_else_under_our_name_is_refused(account: Aws) -> None:
    account.ec2.delete_key_pair(KeyName="solver-cloud")
    account.ec2.create_key_pair(KeyName="solver-cloud", KeyType="ed25519")
    account.s3.delete_bucket_policy(Bucket=account.bucket)
    for dry_run in (True, False):
        with pytest.raises(CloudError, match="does not belong to the private key"):
            list(provision.converge(account, dry_run=dry_run))
    with pytest.raises(ClientError, match="NoSuchBucketPolicy"):  # all is looked at before anything is made
        account.s3.get_bucket_policy(Bucket=account.bucket)


def rules(aws: Aws) -> set[str]:
    group = firewall.find(aws)
    assert group is not None
    return {r["CidrIp"] for permission in group["IpPermissions"] for r in permission["IpRanges"]}


def test_only_this_machines_present_address_is_let_in(account: Aws, monkeypatch: pytest.MonkeyPatch) -> None:
    assert rules(account) == {"192.0.2.7/32"}
    monkeypatch.setattr(firewall, "caller_address", lambda _: "198.51.100.9")
    assert outcomes(account)["security group"] == "completed"
    assert rules(account) == {"198.51.100.9/32"}


def test_the_address_of_a_colleague_stays(account: Aws, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(firewall, "_this_machine", lambda: "colleague@elsewhere")
    monkeypatch.setattr(firewall, "caller_address", lambda _: "198.51.100.9")
    outcomes(account)
    assert rules(account) == {"192.0.2.7/32", "198.51.100.9/32"}


def test_a_region_without_a_default_vpc_is_told_how_to_make_one(aws: Aws) -> None:
    vpc = firewall.default_vpc(aws)
    for subnet in aws.ec2.describe_subnets(Filters=[{"Name": "vpc-id", "Values": [vpc]}])["Subnets"]:
        aws.ec2.delete_subnet(SubnetId=subnet["SubnetId"])
    aws.ec2.delete_vpc(VpcId=vpc)
    with pytest.raises(CloudError, match="aws ec2 create-default-vpc --region us-east-1"):
        outcomes(aws)

"""What a compromised instance or child can do, with the credentials that it has: its own work, and nothing to others.

The local cloud judges by the policies that `setup` has made, as IAM would: localcloud/policy_language.py.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from cloud import firewall, policies, pool, provision, roles
from cloud.aws import Aws
from cloud.config import Settings
from cloud.policies import OURS
from cloud.roles import Role

from .localcloud.conftest import IMAGE, FakeCloud, in_state

OTHER = "i-0cccccccccccccccc"
OTHERS = (f"jobs/{OTHER}/job.json", f"jobs/{OTHER}/ssh-host-keys", "asked/jobs/x.json", "claims/x", "runners/sha")
"""Keys of what no job may read."""
REFUSED = {"AccessDenied", "403", "UnauthorizedOperation", "AccessDeniedException"}


class Session:
    """Clients of AWS with credentials that an instance or a container has got."""

    def __init__(self, cloud: FakeCloud, given: Any) -> None:
        self.endpoint = cloud.endpoint
        self.session = boto3.Session(
            aws_access_key_id=given["AccessKeyId"],
            aws_secret_access_key=given["SecretAccessKey"],
            aws_session_token=given.get("Token") or given["SessionToken"],
            region_name="us-east-1",
        )

    def __getattr__(self, service: str) -> Any:
        config = Config(retries={"total_max_attempts": 1})
        return self.session.client(service, endpoint_url=self.endpoint, config=config)  # type: ignore[call-overload]


class World:
    """An account that is set up, one instance of ours, and what belongs to others."""

    def __init__(self, aws: Aws, cloud: FakeCloud) -> None:
        self.aws, self.cloud = aws, cloud
        self.me, self.neighbour = self.launch(), self.launch()
        for key in (*OTHERS, f"jobs/{OTHER}/output/model", "configs/sha/x.yaml", "sweeps/a/0/job.json"):
            aws.s3.put_object(Bucket=aws.bucket, Key=key, Body=b"theirs")
        self.instance = self.metadata(self.me)
        self.job = self.as_job(self.me)

    def launch(self) -> str:
        aws = self.aws
        image = aws.ssm.get_parameter(Name=IMAGE)["Parameter"]["Value"]
        tags: Any = [{"Key": OURS, "Value": aws.settings.name}, {"Key": "solver:launch", "Value": "a" * 32}]
        named: Any = [{"ResourceType": "instance", "Tags": tags}]
        made = aws.ec2.run_instances(
            ImageId=image,
            MinCount=1,
            MaxCount=1,
            InstanceType="c7i.large",
            IamInstanceProfile={"Name": provision.role_name(aws)},
            TagSpecifications=named,
        )
        id = made["Instances"][0]["InstanceId"]
        in_state(aws.ec2, id, "running")
        return id

    def metadata(self, id: str) -> Session:
        """What the metadata service gives an instance."""
        return Session(self.cloud, json.loads((self.cloud.state.machines / f"credentials-{id}").read_text()))

    def child(self) -> Session:
        """What a container of Batch is given."""
        name = pool.child_role_arn(self.aws)
        return Session(self.cloud, self.aws.sts.assume_role(RoleArn=name, RoleSessionName="task")["Credentials"])

    def as_job(self, job: str) -> Session:
        """The credentials for a job, as userdata/instance.sh asks for them."""
        given = self.instance.sts.assume_role(
            RoleArn=provision.role_arn(self.aws, provision.job_role(self.aws)),
            RoleSessionName=job,
            Tags=[{"Key": "job", "Value": job}],
        )
        return Session(self.cloud, given["Credentials"])


@pytest.fixture(scope="module")
def world(cloud: FakeCloud, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(tmp_path_factory.mktemp("home")))
        patch.setenv("AWS_ENDPOINT_URL", cloud.endpoint)
        patch.setenv("AWS_ACCESS_KEY_ID", cloud.state.key().id)
        patch.setenv("AWS_SECRET_ACCESS_KEY", cloud.state.key().secret)
        patch.setattr(firewall, "caller_address", lambda _: "192.0.2.7")
        aws = Aws(Settings.from_context({}, name="roles", region="us-east-1"))
        list(provision.converge(aws))
        children = Role(
            pool.child_role(aws),
            policies.trust_policy("ecs-tasks.amazonaws.com"),
            policies.child_policy(bucket=aws.bucket),
        )
        for make in roles.look(aws, children).missing:
            make()
        yield World(aws, cloud)


def refused(call: Callable[..., Any], **arguments: Any) -> None:
    with pytest.raises(ClientError) as error:
        call(**arguments)
    assert error.value.response["Error"]["Code"] in REFUSED, error.value


def test_a_job_keeps_its_own_objects(world: World) -> None:
    s3, bucket, key = world.job.s3, world.aws.bucket, f"jobs/{world.me}/output/model"
    s3.put_object(Bucket=bucket, Key=key, Body=b"mine")
    assert s3.get_object(Bucket=bucket, Key=key)["Body"].read() == b"mine"
    assert s3.head_object(Bucket=bucket, Key=key)["ContentLength"] == 4
    listed = s3.list_objects_v2(Bucket=bucket, Prefix=f"jobs/{world.me}/output/")["Contents"]
    assert [one["Key"] for one in listed] == [key]
    upload = s3.create_multipart_upload(Bucket=bucket, Key=key)["UploadId"]
    part = s3.upload_part(Bucket=bucket, Key=key, UploadId=upload, PartNumber=1, Body=b"whole")
    s3.complete_multipart_upload(
        Bucket=bucket, Key=key, UploadId=upload, MultipartUpload={"Parts": [{"ETag": part["ETag"], "PartNumber": 1}]}
    )
    s3.abort_multipart_upload(
        Bucket=bucket, Key=key, UploadId=s3.create_multipart_upload(Bucket=bucket, Key=key)["UploadId"]
    )
    s3.delete_object(Bucket=bucket, Key=key)
    kept = world.aws.s3.list_object_versions(Bucket=bucket, Prefix=key)
    assert [one["Size"] for one in kept["Versions"]] == [5, 4]  # what a job deletes can be had back


def test_a_job_reads_its_configuration_and_what_it_goes_on_from(world: World) -> None:
    s3, bucket = world.job.s3, world.aws.bucket
    for key in ("configs/sha/x.yaml", f"jobs/{OTHER}/output/model"):
        assert s3.get_object(Bucket=bucket, Key=key)["Body"].read() == b"theirs"
    assert s3.list_objects_v2(Bucket=bucket, Prefix=f"jobs/{OTHER}/output/")["KeyCount"] == 1


@pytest.mark.parametrize("key", [*OTHERS, "sweeps/a/0/job.json"])
def test_a_job_cannot_read_what_is_of_others(world: World, key: str) -> None:
    refused(world.job.s3.get_object, Bucket=world.aws.bucket, Key=key)
    refused(world.job.s3.head_object, Bucket=world.aws.bucket, Key=key)


@pytest.mark.parametrize("key", [*OTHERS, f"jobs/{OTHER}/output/model", "configs/sha/x.yaml", "sweeps/a/0/job.json"])
def test_a_job_cannot_write_or_delete_what_is_of_others(world: World, key: str) -> None:
    s3, bucket = world.job.s3, world.aws.bucket
    refused(s3.put_object, Bucket=bucket, Key=key, Body=b"forged")
    refused(s3.create_multipart_upload, Bucket=bucket, Key=key)
    refused(s3.delete_object, Bucket=bucket, Key=key)
    refused(s3.delete_objects, Bucket=bucket, Delete={"Objects": [{"Key": f"jobs/{world.me}/x"}, {"Key": key}]})
    refused(s3.put_object, Bucket=bucket, Key=f"{key}/below", Body=b"forged")
    assert world.aws.s3.get_object(Bucket=bucket, Key=key)["Body"].read() == b"theirs"


def test_a_job_cannot_copy_from_what_it_may_not_read(world: World) -> None:
    bucket = world.aws.bucket
    for key in OTHERS:
        source = {"Bucket": bucket, "Key": key}
        refused(world.job.s3.copy_object, Bucket=bucket, Key=f"jobs/{world.me}/output/x", CopySource=source)


def test_a_job_cannot_list_what_is_of_others(world: World) -> None:
    s3, bucket = world.job.s3, world.aws.bucket
    for prefix in ("", "jobs/", f"jobs/{OTHER}/", "jobs/*/", f"jobs/{world.me}", "asked/", "configs/", "sweeps/"):
        refused(s3.list_objects_v2, Bucket=bucket, Prefix=prefix)
    refused(s3.list_objects_v2, Bucket=bucket)
    refused(s3.list_objects_v2, Bucket=bucket, Prefix=f"jobs/{OTHER}/ssh")
    refused(s3.list_multipart_uploads, Bucket=bucket)
    refused(s3.list_buckets)


def test_nobody_learns_whether_an_object_is_there(world: World) -> None:
    """https://docs.aws.amazon.com/AmazonS3/latest/API/API_HeadObject.html"""
    refused(world.job.s3.head_object, Bucket=world.aws.bucket, Key=f"jobs/{world.me}/missing")


def test_a_job_reaches_no_older_version(world: World) -> None:
    """So what it overwrites or deletes can be had back."""
    s3, bucket, key = world.job.s3, world.aws.bucket, f"jobs/{world.me}/job.json"
    first = s3.put_object(Bucket=bucket, Key=key, Body=b"first")["VersionId"]
    s3.put_object(Bucket=bucket, Key=key, Body=b"second")
    refused(s3.delete_object, Bucket=bucket, Key=key, VersionId=first)
    refused(s3.delete_objects, Bucket=bucket, Delete={"Objects": [{"Key": key, "VersionId": first}]})
    refused(s3.get_object, Bucket=bucket, Key=key, VersionId=first)
    refused(s3.list_object_versions, Bucket=bucket, Prefix=f"jobs/{world.me}/")
    refused(s3.put_bucket_versioning, Bucket=bucket, VersioningConfiguration={"Status": "Suspended"})
    refused(s3.put_bucket_policy, Bucket=bucket, Policy="{}")
    refused(s3.delete_bucket_lifecycle, Bucket=bucket)
    assert world.aws.s3.get_object(Bucket=bucket, Key=key, VersionId=first)["Body"].read() == b"first"


@pytest.mark.parametrize(
    "tags",
    [
        {"job": OTHER},
        {"job": ""},
        {},
        {"job": "i-"},
        {"job": "I-0CCCC"},
        {"Job": "ME"},
        {"job": "ME", "origin": OTHER},
        {"job": "ME/../" + OTHER},
    ],
)
def test_the_jobs_role_is_not_to_be_had_for_another_job(world: World, tags: dict[str, str]) -> None:
    given = [{"Key": key, "Value": value.replace("ME", world.me)} for key, value in tags.items()]
    role = provision.role_arn(world.aws, provision.job_role(world.aws))
    for name in (world.me, OTHER):
        refused(world.instance.sts.assume_role, RoleArn=role, RoleSessionName=name, Tags=given)


def test_a_tag_has_no_wildcards(world: World) -> None:
    """https://docs.aws.amazon.com/STS/latest/APIReference/API_Tag.html"""
    role = provision.role_arn(world.aws, provision.job_role(world.aws))
    tags: Any = [{"Key": "job", "Value": "i-*"}]
    with pytest.raises(ClientError, match="ValidationError"):
        world.aws.sts.assume_role(RoleArn=role, RoleSessionName=world.me, Tags=tags)


def test_other_roles_are_not_to_be_had(world: World) -> None:
    names = (provision.role_name(world.aws), pool.child_role(world.aws), pool.machine_role(world.aws))
    for name in names:
        for session in (world.instance, world.job):
            refused(
                session.sts.assume_role,
                RoleArn=provision.role_arn(world.aws, name),
                RoleSessionName=OTHER,
            )
    job = [{"Key": "job", "Value": world.me}]
    own = provision.role_arn(world.aws, provision.job_role(world.aws))
    refused(world.job.sts.assume_role, RoleArn=own, RoleSessionName=world.me, Tags=job)


def test_a_role_that_was_taken_by_a_role_lasts_an_hour(world: World) -> None:
    """https://docs.aws.amazon.com/IAM/latest/UserGuide/id_roles.html#iam-term-role-chaining"""
    role = provision.role_arn(world.aws, provision.job_role(world.aws))
    tags = [{"Key": "job", "Value": world.me}]
    with pytest.raises(ClientError, match="1 hour session limit"):
        world.instance.sts.assume_role(RoleArn=role, RoleSessionName=world.me, Tags=tags, DurationSeconds=3601)


def test_an_instance_itself_has_nothing_of_s3(world: World) -> None:
    s3, bucket = world.instance.s3, world.aws.bucket
    refused(s3.get_object, Bucket=bucket, Key="configs/sha/x.yaml")
    refused(s3.put_object, Bucket=bucket, Key=f"jobs/{world.me}/job.json", Body=b"x")
    refused(s3.list_objects_v2, Bucket=bucket, Prefix=f"jobs/{world.me}/")


def test_an_instance_tags_itself_and_nothing_else(world: World) -> None:
    ec2, good = world.instance.ec2, [{"Key": "solver:status", "Value": "running"}]
    ec2.create_tags(Resources=[world.me], Tags=good)
    refused(ec2.create_tags, Resources=[world.neighbour], Tags=good)
    refused(ec2.create_tags, Resources=[world.me, world.neighbour], Tags=good)
    for key in ("solver:launch", OURS, "Name", "solver:output"):
        refused(ec2.create_tags, Resources=[world.me], Tags=[*good, {"Key": key, "Value": "x"}])
    refused(ec2.delete_tags, Resources=[world.me], Tags=[{"Key": "solver:launch"}])


def test_an_instance_ends_itself_and_no_other(world: World) -> None:
    short = world.launch()
    itself = world.metadata(short)
    refused(itself.ec2.terminate_instances, InstanceIds=[world.neighbour])
    refused(itself.ec2.terminate_instances, InstanceIds=[short, world.neighbour])
    refused(itself.ec2.stop_instances, InstanceIds=[short])
    itself.ec2.terminate_instances(InstanceIds=[short])
    in_state(world.aws.ec2, short, "terminated")
    in_state(world.aws.ec2, world.neighbour, "running")


def test_an_instance_starts_nothing(world: World) -> None:
    image = world.aws.ssm.get_parameter(Name=IMAGE)["Parameter"]["Value"]
    for session in (world.instance, world.job):
        refused(session.ec2.run_instances, ImageId=image, MinCount=1, MaxCount=1, InstanceType="c7i.large")
        refused(session.iam.list_roles)
        refused(session.ssm.get_parameter, Name=f"/{world.aws.settings.name}/ssh", WithDecryption=True)
        refused(session.batch.describe_job_queues)
    refused(world.job.ec2.describe_instances)


def test_an_instance_sees_what_it_asks_for(world: World) -> None:
    ec2 = world.instance.ec2
    assert ec2.describe_instances(InstanceIds=[world.me])["Reservations"]
    ec2.describe_spot_price_history(InstanceTypes=["c7i.large"])
    world.instance.ecr.get_authorization_token()
    refused(world.instance.ecr.describe_repositories)
    refused(world.instance.ecr.delete_repository, repositoryName=world.aws.settings.repository)


def test_a_spot_request_of_others_is_not_to_be_cancelled(world: World) -> None:
    """Of ours any is: its tags do not say whose it is (docs/security.md)."""
    image = world.aws.ssm.get_parameter(Name=IMAGE)["Parameter"]["Value"]
    spot = {"SpotInstanceType": "persistent", "InstanceInterruptionBehavior": "stop"}
    options: Any = {"MarketType": "spot", "SpotOptions": spot}
    made = world.aws.ec2.run_instances(
        ImageId=image, MinCount=1, MaxCount=1, InstanceType="c7i.large", InstanceMarketOptions=options
    )
    request = made["Instances"][0]["SpotInstanceRequestId"]
    refused(world.instance.ec2.cancel_spot_instance_requests, SpotInstanceRequestIds=[request])
    world.aws.ec2.create_tags(Resources=[request], Tags=[{"Key": OURS, "Value": world.aws.settings.name}])
    world.instance.ec2.cancel_spot_instance_requests(SpotInstanceRequestIds=[request])
    world.aws.ec2.terminate_instances(InstanceIds=[made["Instances"][0]["InstanceId"]])


def test_a_child_keeps_to_sweeps(world: World) -> None:
    child = world.child()
    s3, bucket = child.s3, world.aws.bucket
    s3.put_object(Bucket=bucket, Key="sweeps/b/0/output/x", Body=b"mine")
    s3.list_objects_v2(Bucket=bucket, Prefix="sweeps/b/0/")
    s3.delete_object(Bucket=bucket, Key="sweeps/b/0/output/x")
    for key in ("configs/sha/x.yaml", "runners/sha"):
        assert s3.get_object(Bucket=bucket, Key=key)["Body"].read() == b"theirs"
        refused(s3.put_object, Bucket=bucket, Key=key, Body=b"forged")
    for key in (f"jobs/{OTHER}/job.json", f"jobs/{OTHER}/output/model", "asked/jobs/x.json", "claims/x"):
        refused(s3.get_object, Bucket=bucket, Key=key)
        refused(s3.put_object, Bucket=bucket, Key=key, Body=b"forged")
    for prefix in ("", "jobs/", "asked/"):
        refused(s3.list_objects_v2, Bucket=bucket, Prefix=prefix)
    refused(child.ec2.describe_instances)
    refused(child.sts.assume_role, RoleArn=provision.role_arn(world.aws, provision.job_role(world.aws)),
            RoleSessionName=OTHER, Tags=[{"Key": "job", "Value": OTHER}])  # fmt: skip
    child.ec2.describe_spot_price_history(InstanceTypes=["c7i.large"])


def test_a_refusal_is_told_in_the_words_of_aws(world: World) -> None:
    """https://docs.aws.amazon.com/IAM/latest/UserGuide/troubleshoot_access-denied.html"""
    with pytest.raises(ClientError) as error:
        world.job.s3.put_object(Bucket=world.aws.bucket, Key="claims/x", Body=b"")
    said = error.value.response["Error"]["Message"]
    assert re.search(
        r"assumed-role/roles-us-east-1-job/\S+ is not authorized to perform: s3:PutObject on resource", said
    )
    with pytest.raises(ClientError) as error:
        world.instance.ec2.terminate_instances(InstanceIds=[world.neighbour])
    assert "Encoded authorization failure message" in error.value.response["Error"]["Message"]

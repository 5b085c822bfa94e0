"""What `gc` finds and ends, and above all what it leaves alone."""

from __future__ import annotations

import json
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from invoke import Config, Context

import tasks
from cloud import asked, cleanup, jobs, leftovers, records
from cloud.aws import Aws
from cloud.defaults import DEFAULTS
from cloud.errors import CloudError
from cloud.leftovers import Leftover

from . import conftest
from .localcloud.conftest import eventually, in_state
from .test_jobs import start
from .test_launch import changes

SPOT = {"SpotInstanceType": "persistent", "InstanceInterruptionBehavior": "stop"}
FOREIGN = [{"Key": "solver:cloud", "Value": "somebody-else"}]


@pytest.fixture
def account(store: Aws) -> Aws:
    """As much of an account that is set up as `gc` looks at."""
    store.ecr.create_repository(repositoryName=store.settings.repository)
    return store


def after(**span: float) -> datetime:
    return datetime.now(UTC) + timedelta(**span)


def remember(aws: Aws, job: str, status: str, **changes: Any) -> None:
    """What S3 has of a job launched now, for 24 hours unless it asked for others."""
    asked = {"max_hours": 24.0, **changes.pop("asked", {})}
    conftest.remember(aws, job, **{"launched_at": records.iso(after()), "status": status, "asked": asked, **changes})


def found(aws: Aws, **span: float) -> list[tuple[str, str]]:
    """What is left so much later: kind and id."""
    return [(one.kind, one.id) for one in leftovers.find(aws, after(**span))]


def state(aws: Aws, instance: str) -> str:
    return aws.ec2.describe_instances(InstanceIds=[instance])["Reservations"][0]["Instances"][0]["State"]["Name"]


def end_all(aws: Aws, **span: float) -> None:
    for one in leftovers.find(aws, after(**span)):
        cleanup.end(aws, one)


def volume(aws: Aws, name: str) -> str:
    tags = [{"ResourceType": "volume", "Tags": [{"Key": "solver:cloud", "Value": name}]}]
    made = aws.ec2.create_volume(AvailabilityZone="us-east-1a", Size=50, VolumeType="gp3", TagSpecifications=tags)  # type: ignore[arg-type]
    return made["VolumeId"]


def push(aws: Aws, tag: str | None, **content: Any) -> str:
    """A manifest into our repository; returns its digest."""
    kind = "application/vnd.oci.image." + ("index" if "manifests" in content else "manifest") + ".v1+json"
    named = {"imageTag": tag} if tag else {}
    manifest = json.dumps({"schemaVersion": 2, "mediaType": kind, **content})
    made = aws.ecr.put_image(repositoryName=aws.settings.repository, imageManifest=manifest, **named)
    return made["image"]["imageId"]["imageDigest"]


def test_nothing_is_left_in_an_account_without_jobs(account: Aws) -> None:
    assert found(account) == []


def test_a_job_under_way_is_never_left_over(account: Aws) -> None:
    ids = [start(account) for _ in range(4)]
    for id, status in zip(ids, ("starting", "running", "uploading", "interrupted"), strict=True):
        remember(account, id, status)
    for _ in ("running", "stopped"):
        assert found(account) == []
        assert found(account, hours=24, minutes=19) == []
        assert {id for _, id in found(account, hours=24, minutes=21)} == set(ids)
        account.ec2.stop_instances(InstanceIds=ids)


def test_a_job_has_the_hours_that_were_asked_for_it(account: Aws) -> None:
    id = start(account)
    remember(account, id, "running", asked={"max_hours": 72.0})
    assert found(account, hours=72) == []
    assert found(account, hours=73) == [("instance", id)]


def test_an_instance_without_a_record_may_be_booting_until_its_deadline(account: Aws) -> None:
    id = start(account)
    assert found(account, hours=24) == []
    assert found(account, hours=25) == [("instance", id)]


def test_an_instance_that_was_started_again_after_the_deadline_has_time_to_save(account: Aws) -> None:
    id = start(account)
    remember(account, id, "interrupted", launched_at=records.iso(after(hours=-30)))
    assert found(account, minutes=15) == []
    assert found(account, minutes=25) == [("instance", id)]


def test_an_instance_whose_job_has_ended_is_ended(account: Aws) -> None:
    whys = {"complete": "its job is complete", "failed": "its job failed", "terminated": "its job was terminated"}
    ids = {start(account): why for why in whys.values()}
    for id, status in zip(ids, whys, strict=True):
        remember(account, id, status)
    left = {one.id: one for one in leftovers.find(account, after())}
    assert left == {id: Leftover("instance", id, why, "its hourly price") for id, why in ids.items()}
    end_all(account)
    assert {state(account, id) for id in ids} <= {"shutting-down", "terminated"}
    assert found(account) == []


def test_an_instance_kept_for_a_look_stays_as_long_as_was_asked(account: Aws) -> None:
    id = start(account, {"solver:kept-until": records.iso(after(hours=1))})
    remember(account, id, "failed")
    assert found(account, minutes=59) == []
    assert found(account, minutes=61) == [("instance", id)]


def test_a_job_of_before_the_registry_has_the_hours_that_its_record_says(account: Aws) -> None:
    """Its tags do not tell them, and `setup` may not have been run since."""
    id = start(account)
    told = conftest.record(id, status="running", launched_at=records.iso(after()), asked={"max_hours": 72.0})
    account.s3.put_object(Bucket=account.bucket, Key=records.key(id), Body=json.dumps(told).encode())
    assert found(account, hours=72) == []
    assert found(account, hours=73) == [("instance", id)]


def test_no_instance_stays_for_a_look_past_its_deadline(account: Aws) -> None:
    """Its role may write that tag."""
    id = start(account, {"solver:kept-until": "2199-01-01T00:00:00Z"})
    remember(account, id, "failed")
    assert found(account, hours=24) == []
    assert found(account, hours=25) == [("instance", id)]


def test_an_instance_that_only_says_in_its_tag_that_it_has_ended_is_ended(account: Aws) -> None:
    id = start(account, {"solver:status": "complete"})
    remember(account, id, "running", asked={"max_hours": 1000.0})
    assert found(account) == [("instance", id)]


def test_gc_ends_the_rest_when_one_cannot_be_ended(
    account: Aws, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ids = sorted(start(account) for _ in range(2))
    for id in ids:
        remember(account, id, "complete")
    close = asked.close

    def fails_once(aws: Aws, job: str, **how: Any) -> bool:
        if job == ids[0]:
            raise CloudError("S3 is gone")
        return close(aws, job, **how)

    monkeypatch.setattr(asked, "close", fails_once)
    with pytest.raises(CloudError, match="1 of 2 could not be ended"):
        tasks.gc(Context(Config(defaults={"solver": DEFAULTS})), yes=True)
    assert f"instance {ids[0]} stays: S3 is gone" in capsys.readouterr().err
    assert {state(account, id) for id in ids} <= {"shutting-down", "terminated"}


def test_a_job_past_its_deadline_gets_its_last_word(account: Aws) -> None:
    id = start(account)
    remember(account, id, "running", ended_at=None)
    end_all(account, hours=27)
    last = jobs.find(account, id)
    assert (last.status, last.reason[:42]) == ("terminated", "ended by `gc`: past its deadline for 3h 00")


def test_a_stopped_instance_costs_its_disk(account: Aws) -> None:
    id = start(account)
    remember(account, id, "failed")
    account.ec2.stop_instances(InstanceIds=[id])
    assert leftovers.find(account, after())[0].costs == "its disk's price"
    (disk,) = account.ec2.describe_volumes(Filters=[{"Name": "attachment.instance-id", "Values": [id]}])["Volumes"]
    account.ec2.create_tags(Resources=[disk["VolumeId"]], Tags=[{"Key": "solver:cloud", "Value": "solver-cloud"}])
    assert leftovers.find(account, after())[0].costs == f"${disk['Size'] * 0.08:.2f} a month"


def test_a_volume_that_no_instance_has_is_deleted(account: Aws) -> None:
    ours, theirs = volume(account, "solver-cloud"), volume(account, "somebody-else")
    (left,) = leftovers.find(account, after())
    assert left == Leftover("volume", ours, "no instance has it", "$4.00 a month")
    cleanup.end(account, left)
    cleanup.end(account, left)  # gone meanwhile
    assert [one["VolumeId"] for one in account.ec2.describe_volumes()["Volumes"]] == [theirs]


def test_what_belongs_to_others_is_neither_found_nor_ended(account: Aws) -> None:
    theirs = start(account, {"solver:cloud": "somebody-else"}, ours=False)
    remember(account, theirs, "complete")
    asked = account.ec2.request_spot_instances(
        LaunchSpecification={"ImageId": "ami-0123456789abcdef0"}, Type="persistent"
    )
    request = asked["SpotInstanceRequests"][0]["SpotInstanceRequestId"]
    assert found(account, days=400) == []
    kinds: list[Any] = ["instance", "spot request", "volume", "image", "upload", "builder"]
    ids = (theirs, request, volume(account, "x"), "latest", "data/x?uploadId=1", theirs)
    for kind, id in zip(kinds, ids, strict=True):
        with pytest.raises(CloudError) as refused:
            cleanup.end(account, Leftover(kind, id, "", ""))
        assert refused.value.problem == f"{id} does not belong to solver-cloud"
        assert refused.value.fix == "what others have made is left alone"
    assert state(account, theirs) == "running"
    assert account.ec2.describe_spot_instance_requests()["SpotInstanceRequests"][0]["State"] == "active"
    assert len(account.ec2.describe_volumes(Filters=[{"Name": "status", "Values": ["available"]}])["Volumes"]) == 1


def test_what_aws_refuses_is_an_error(account: Aws) -> None:
    id = volume(account, "solver-cloud")
    account.ec2.attach_volume(VolumeId=id, InstanceId=start(account), Device="/dev/sdf")
    with pytest.raises(CloudError, match=f"cannot end the volume {id}: .*VolumeInUse"):
        cleanup.end(account, Leftover("volume", id, "", ""))


def test_old_images_go_but_for_the_newest_and_those_of_jobs(account: Aws, monkeypatch: pytest.MonkeyPatch) -> None:
    from moto.ecr.models import ecr_backends

    tags = [f"{number:020x}" for number in range(6)]
    for tag in (*tags, "latest"):
        push(account, tag, config={"size": 1}, layers=[{"size": 10 * 2**30, "digest": tag}])
    for age, image in enumerate(ecr_backends["123456789012"]["us-east-1"].repositories["solver-cloud"].images):
        image.image_pushed_at -= age
    by_tag, by_record = start(account, {"solver:image": f"registry/solver-cloud:{tags[3]}"}), start(account)
    remember(account, by_tag, "running", asked={"max_hours": 10000})
    remember(account, by_record, "running", asked={"max_hours": 10000, "image": f"registry/solver-cloud:{tags[4]}"})
    assert found(account, days=29) == []
    (left,) = leftovers.find(account, after(days=31))
    assert (left.kind, left.id, left.why) == ("image", tags[5], "unused, pushed 31 days ago")
    cleanup.end(account, left)
    cleanup.end(account, left)
    listed = account.ecr.describe_images(repositoryName="solver-cloud")["imageDetails"]
    assert {one["imageTags"][0] for one in listed} == {*tags[:5], "latest"}


def test_an_index_takes_its_manifests_along(account: Aws) -> None:
    contents = [{"config": {"size": 1}, "layers": [{"size": 1, "digest": name}]} for name in ("other", "own", "named")]
    other, own = (push(account, None, **content) for content in contents[:2])
    named = push(account, "0" * 20, **contents[2])
    push(account, "1" * 20, manifests=[{"digest": digest, "size": 1} for digest in (own, named)])
    cleanup.end(account, Leftover("image", "1" * 20, "", ""))
    listed = account.ecr.describe_images(repositoryName="solver-cloud")["imageDetails"]
    assert {one["imageDigest"] for one in listed} == {other, named}


@pytest.mark.parametrize(
    ("part", "code", "fine"),
    [
        (False, "ImageNotFound", True),
        (False, "ImageReferencedByManifestList", False),
        (True, "ImageNotFound", True),
        (True, "ImageReferencedByManifestList", True),
        (True, "KmsError", False),
    ],
)
def test_what_ecr_keeps_is_an_error_unless_another_index_needs_it(
    account: Aws, monkeypatch: pytest.MonkeyPatch, part: bool, code: str, fine: bool
) -> None:
    """https://docs.aws.amazon.com/AmazonECR/latest/APIReference/API_ImageFailure.html"""
    own = push(account, None, config={"size": 1}, layers=[{"size": 1, "digest": "own"}])
    index = push(account, "1" * 20, manifests=[{"digest": own, "size": 1}])
    delete, asked = account.ecr.batch_delete_image, []

    def refuse(**wanted: Any) -> Any:
        (one,) = wanted["imageIds"]
        asked.append(one["imageDigest"])
        if one["imageDigest"] != (own if part else index):
            return delete(**wanted)
        return {"failures": [{"imageId": one, "failureCode": code, "failureReason": "It stays."}]}

    monkeypatch.setattr(account.ecr, "batch_delete_image", refuse)
    if fine:
        cleanup.end(account, Leftover("image", "1" * 20, "", ""))
        assert asked == [index, own]
    else:
        with pytest.raises(CloudError, match=f"cannot delete the image {'1' * 20}: It stays"):
            cleanup.end(account, Leftover("image", "1" * 20, "", ""))


def test_an_upload_whose_file_has_a_strange_name_is_aborted(account: Aws) -> None:
    key = "jobs/i-0aaaaaaa/output/page?uploadId=1"
    account.s3.create_multipart_upload(Bucket=account.bucket, Key=key)
    end_all(account)
    assert found(account) == []


def test_an_upload_of_no_living_job_is_aborted(account: Aws) -> None:
    """moto says of every upload that it was begun in 2010."""
    living = start(account)
    remember(account, living, "uploading")
    keys = [f"jobs/{living}/bundle/model", "jobs/i-0aaaaaaa/bundle/model", "data/of-others"]
    ids = [account.s3.create_multipart_upload(Bucket=account.bucket, Key=key)["UploadId"] for key in keys]
    (left,) = leftovers.find(account, after())
    assert left.id == f"{keys[1]}?uploadId={ids[1]}"
    assert (left.why, left.costs) == ("not completed since 2010-11-10", "less than $0.01 a month")
    cleanup.end(account, left)
    cleanup.end(account, left)
    going_on = account.s3.list_multipart_uploads(Bucket=account.bucket)["Uploads"]
    assert {one["Key"] for one in going_on} == {keys[0], keys[2]}


def launch(aws: Aws) -> tuple[str, str]:
    """A running spot instance as `launch` starts it, and its request; returns both ids."""
    from .localcloud.conftest import IMAGE

    token = uuid.uuid4().hex
    tags = [{"Key": "solver:cloud", "Value": aws.settings.name}, {"Key": "solver:launch", "Value": token}]
    made: dict[str, Any] = {
        "ImageId": aws.ssm.get_parameter(Name=IMAGE)["Parameter"]["Value"],
        "InstanceMarketOptions": {"MarketType": "spot", "SpotOptions": SPOT},
        "TagSpecifications": [
            {"ResourceType": kind, "Tags": tags} for kind in ("instance", "volume", "spot-instances-request")
        ],
    }
    one = aws.ec2.run_instances(MinCount=1, MaxCount=1, InstanceType="c7i.large", ClientToken=token, **made)[
        "Instances"
    ][0]
    request = in_state(aws.ec2, one["InstanceId"], "running")["SpotInstanceRequestId"]
    return one["InstanceId"], request


def relaunched(aws: Aws, request: str, first: str) -> str:
    """What the request starts when its first instance is terminated by hand."""

    def other() -> str | None:
        (found,) = aws.ec2.describe_spot_instance_requests(SpotInstanceRequestIds=[request])["SpotInstanceRequests"]
        return found.get("InstanceId") if found.get("InstanceId") != first else None

    aws.ec2.terminate_instances(InstanceIds=[first])
    id: str = eventually(other)
    in_state(aws.ec2, id, "running")
    return id


def requests(aws: Aws, id: str) -> str:
    return aws.ec2.describe_spot_instance_requests(SpotInstanceRequestIds=[id])["SpotInstanceRequests"][0]["State"]


def test_a_spot_job_is_left_alone_while_it_runs_and_while_it_waits(spot: Aws) -> None:
    id, _ = launch(spot)
    remember(spot, id, "running")
    assert found(spot, hours=24) == []
    spot.ec2.stop_instances(InstanceIds=[id])
    in_state(spot.ec2, id, "stopped")
    assert found(spot, hours=24) == []


def test_a_spot_job_that_has_ended_leaves_request_and_instance(spot: Aws) -> None:
    id, request = launch(spot)
    remember(spot, id, "complete")
    left = leftovers.find(spot, after())
    assert [(one.kind, one.id, one.why) for one in left] == [
        ("spot request", request, "its job is complete"),
        ("instance", id, "its job is complete"),
    ]
    cleanup.end(spot, left[1])  # the request goes first even so
    in_state(spot.ec2, id, "terminated")
    assert requests(spot, request) == "cancelled"
    cleanup.end(spot, left[0])
    assert found(spot) == []


def test_a_stopped_spot_instance_whose_job_has_ended_leaves_its_request_too(spot: Aws) -> None:
    """Its request is `disabled`, and open again once the instance has gone:
    https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/using-spot-instances-cancel.html"""
    id, request = launch(spot)
    spot.ec2.stop_instances(InstanceIds=[id])
    in_state(spot.ec2, id, "stopped")
    assert requests(spot, request) == "disabled"
    remember(spot, id, "failed")
    left = leftovers.find(spot, after())
    assert [(one.kind, one.id) for one in left] == [("spot request", request), ("instance", id)]
    asked = changes(spot)
    cleanup.end(spot, left[1])
    assert asked == ["CancelSpotInstanceRequests", "TerminateInstances"]
    assert requests(spot, request) == "cancelled"


def test_an_instance_launched_anew_for_a_job_that_was_another_s_is_ended(spot: Aws) -> None:
    first, request = launch(spot)
    remember(spot, first, "running")
    second = relaunched(spot, request, first)
    left = leftovers.find(spot, after())
    assert [(one.kind, one.id) for one in left] == [("spot request", request), ("instance", second)]
    assert left[1].why == "launched in place of another, whose job it was"
    cleanup.end(spot, left[1])
    in_state(spot.ec2, second, "terminated")
    assert found(spot, hours=1) == []


def test_a_request_whose_instance_is_not_visible_yet_is_left_alone(spot: Aws, monkeypatch: pytest.MonkeyPatch) -> None:
    _, request = launch(spot)
    monkeypatch.setattr(leftovers, "_instances", lambda *_: {})
    assert found(spot, minutes=14) == []
    assert found(spot, minutes=16) == [("spot request", request)]

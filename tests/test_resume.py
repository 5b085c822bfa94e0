"""A job goes on as one other job, whatever is repeated, interrupted or already there."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from cloud import asked, jobs, launch, records, registry, request, resume, watch
from cloud.aws import Aws
from cloud.errors import CloudError
from cloud.jobs import Job
from cloud.plan import Resumed

from . import conftest
from .localcloud.conftest import in_state

OLD = "i-0aaaaaaaaaaaaaaaa"
MANIFEST_TYPE = "application/vnd.docker.distribution.manifest.v2+json"
MANIFEST = json.dumps({"schemaVersion": 2, "mediaType": MANIFEST_TYPE, "layers": []})


def remember(aws: Aws, job: str = OLD, **changes: Any) -> Job:
    """A job that EC2 has forgotten, with its record, its config and some output in S3."""
    key = "configs/abc/fast.yaml"
    asked = {
        "instance_type": "c7i.4xlarge",
        "market": "on-demand",
        "config": f"s3://{aws.bucket}/{key}",
        "config_name": "fast.yaml",
        "output": "~/models/run-001",
        "image": image(aws),
        "trainer": "solve --config {config} --output {output}",
        "disk_price": 0.005,
        **changes.pop("asked", {}),
    }
    told = {"status": "failed", "reason": "it broke", "exit_code": 1, "asked": asked, **changes}
    conftest.remember(aws, job, **told)
    aws.s3.put_object(Bucket=aws.bucket, Key=key, Body=b"seed: 1\n")
    return jobs.find(aws, job)


def image(aws: Aws) -> str:
    return registry.repository_uri(aws, aws.settings.repository) + ":abc"


def wrote(aws: Aws, job: str = OLD) -> None:
    aws.s3.put_object(Bucket=aws.bucket, Key=f"jobs/{job}/output/checkpoint.bin", Body=b"1")


@pytest.fixture
def ready(ready: Aws) -> Aws:
    """An account that is set up and has the image of the job."""
    ready.ecr.put_image(repositoryName=ready.settings.repository, imageManifest=MANIFEST, imageTag="abc")
    return ready


def test_the_plan_is_that_of_the_job_with_its_image_and_config(ready: Aws) -> None:
    old = remember(ready)
    wrote(ready)
    plan = resume.plan(ready, old, ("c7i.8xlarge",))
    offer = plan.market.offers[0]
    assert (offer.type.name, offer.market, plan.image, plan.output) == (
        "c7i.8xlarge",
        "on-demand",
        old.image,
        old.output,
    )
    assert plan.resumes == Resumed(OLD, OLD, 0.255, 1)
    assert plan.asked["resumes"] == OLD
    assert plan.trainer == ("solve", "--config", "/solver/config/fast.yaml", "--output", "/solver/output")
    shown = request.shown(ready, plan)
    assert {"Key": "solver:resumes", "Value": OLD} in shown["TagSpecifications"][0]["Tags"]
    assert f"JOB_ORIGIN={OLD}\n" in shown["UserData"]


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"status": "complete"}, "is complete"),
        ({"asked": {"image": None}}, "does not tell all"),
    ],
)
def test_what_cannot_be_resumed_says_why(ready: Aws, changes: dict[str, Any], problem: str) -> None:
    with pytest.raises(CloudError, match=problem):
        resume.plan(ready, remember(ready, **changes), ("c7i.4xlarge",))


@pytest.mark.parametrize(
    ("where", "problem"),
    [
        ("{own}:gone", "is no longer in ECR"),
        ("evil.example/solver-cloud:abc", "is not an image of"),
        ("{own}-other:abc", "is not an image of"),
        ("abc", "is not an image of"),
    ],
)
def test_only_an_image_of_our_own_repository_is_resumed(ready: Aws, where: str, problem: str) -> None:
    """Docker would be sent ECR's password, wherever the image is said to be."""
    named = where.format(own=image(ready).rpartition(":")[0])
    with pytest.raises(CloudError, match=problem):
        resume.plan(ready, remember(ready, asked={"image": named}), ("c7i.4xlarge",))


def test_an_image_that_does_not_fit_onto_the_disk_is_told_before_anything_starts(
    ready: Aws, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = remember(ready)
    monkeypatch.setattr(registry, "pushed", lambda *_: registry.Pushed("sha256:abc", 40_000_000_000))
    with pytest.raises(CloudError, match="disk"):
        resume.plan(ready, old, ("c7i.8xlarge",))


def test_a_job_at_work_is_left_alone(ready: Aws) -> None:
    old = remember(ready, status="running", launched_at=records.iso(datetime.now(UTC)), ended_at=None)
    with pytest.raises(CloudError, match="is at work") as refused:
        resume.plan(ready, old, ("c7i.4xlarge",))
    assert refused.value.fix == f"to go on elsewhere, end it first: inv terminate {OLD}"


def test_a_type_with_another_processor_is_refused(ready: Aws) -> None:
    with pytest.raises(CloudError, match=r"is for another processor than c7g\.4xlarge has"):
        resume.plan(ready, remember(ready), ("c7g.4xlarge",))


def test_a_resume_that_was_killed_is_taken_up_with_the_same_token(ready: Aws) -> None:
    old = remember(ready)
    assert resume.claim(ready, old) == resume.claim(ready, old)


def test_a_claim_that_was_left_long_ago_is_begun_anew(ready: Aws) -> None:
    old, long_ago = remember(ready), datetime.now(UTC) - timedelta(hours=1)
    body = json.dumps({"token": "0" * 32, "launched_at": records.iso(long_ago)}).encode()
    ready.s3.put_object(Bucket=ready.bucket, Key=asked.resume_key(OLD), Body=body)
    claim = resume.claim(ready, old)
    assert claim.token != "0" * 32
    assert datetime.now(UTC) - claim.launched_at < timedelta(minutes=1)


@pytest.mark.parametrize("ended", [False, True])
def test_a_second_resume_says_what_the_first_started(ready: Aws, ended: bool) -> None:
    old = remember(ready)
    new = launch.run(ready, resume.plan(ready, old, ("c7i.4xlarge",)), resume.claim(ready, old), print).id
    if ended:
        ready.ec2.terminate_instances(InstanceIds=[new])
    with pytest.raises(CloudError, match=f"{OLD} has been resumed already, as {new}"):
        resume.claim(ready, old)
    assert jobs.find(ready, OLD).resumed_by == new  # though the first died before it could say so


def test_links_are_followed_to_the_end_and_said(ready: Aws) -> None:
    chain = [f"i-0{letter * 16}" for letter in "abc"]
    for job, successor in zip(chain, [*chain[1:], ""], strict=True):
        remember(ready, job, resumed_by=successor)
    said: list[str] = []
    assert watch.successor(ready, jobs.find(ready, chain[0]), said.append).id == chain[2]
    assert said == [f"{chain[0]} goes on as {chain[1]}", f"{chain[1]} goes on as {chain[2]}"]


def test_a_job_that_wrote_nothing_is_resumed_from_the_one_before(ready: Aws) -> None:
    remember(ready)
    wrote(ready)
    new = remember(ready, "i-0bbbbbbbbbbbbbbbb", asked={"resumes": OLD})
    plan = resume.plan(ready, new, ("c7i.4xlarge",))
    assert plan.resumes == Resumed(new.id, OLD, 0.255, 1)


@pytest.fixture
def waiting(ready: Aws) -> Job:
    """A spot job that EC2 has stopped."""
    old = remember(ready, asked={"market": "spot"})
    plan = resume.plan(ready, old, ("c7i.4xlarge",))
    id = launch.run(ready, plan, resume.claim(ready, old), print).id
    remember(ready, id, status="running", ended_at=None, asked={"market": "spot"})
    in_state(ready.ec2, id, "running")
    ready.ec2.stop_instances(InstanceIds=[id])
    in_state(ready.ec2, id, "stopped")
    return jobs.find(ready, id)


def test_a_job_that_waits_for_capacity_says_so_and_ends_when_it_is_resumed(ready: Aws, waiting: Job) -> None:
    assert (waiting.state, waiting.status, waiting.phase) == ("stopped", "interrupted", "waiting for capacity")
    plan = resume.plan(ready, waiting, ("c7i.8xlarge",))
    assert plan.asked["resumes"] == waiting.id
    resume.claim(ready, waiting)
    assert jobs.find(ready, waiting.id).status == "terminated"

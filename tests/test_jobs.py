from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from botocore.exceptions import ClientError

from cloud import asked, job_view, jobs
from cloud.aws import Aws
from cloud.errors import CloudError
from cloud.history import History
from cloud.jobs import Job
from cloud.records import Record
from cloud.watch import Details

from .conftest import record, remember


def start(aws: Aws, tags: dict[str, str] | None = None, *, ours: bool = True) -> str:
    """An instance, with the tags of a job unless it is someone else's."""
    every = {"solver:status": "running", "solver:phase": "training", "solver:job-config": "fast.yaml", **(tags or {})}
    if ours:
        every["solver:cloud"] = "solver-cloud"
    found = aws.ec2.run_instances(
        ImageId="ami-0123456789abcdef0",
        MinCount=1,
        MaxCount=1,
        InstanceType="c7i.large",
        TagSpecifications=[
            {"ResourceType": "instance", "Tags": [{"Key": key, "Value": value} for key, value in every.items()]}
        ],
    )
    return found["Instances"][0]["InstanceId"]


def test_a_running_job_is_what_its_tags_say(store: Aws) -> None:
    job = jobs.find(store, start(store, {"solver:output": "~/run", "solver:image": "r/i:t"}))
    assert (job.status, job.phase, job.config, job.output, job.image) == (
        "running",
        "training",
        "fast.yaml",
        "~/run",
        "r/i:t",
    )
    assert (job.type, job.market, job.state, job.ended) == ("c7i.large", "on-demand", "running", False)
    assert job.s3_path == f"s3://{store.bucket}/jobs/{job.id}/"


def test_a_job_that_ec2_has_forgotten_is_what_its_record_says(store: Aws) -> None:
    remember(store, "i-0123456789abcdef0")
    job = jobs.find(store, "i-0123456789abcdef0")
    assert (job.state, job.status, job.exit_code, job.type, job.market) == (
        "gone",
        "complete",
        0,
        "c7i.4xlarge",
        "spot",
    )
    assert job.uptime.total_seconds() == 3600


def test_the_record_has_the_last_word(store: Aws) -> None:
    id = start(store)
    remember(store, id, status="failed", reason="trainer exited with 1", exit_code=1)
    job = jobs.find(store, id)
    assert (job.status, job.reason, job.exit_code, job.ended) == ("failed", "trainer exited with 1", 1, True)


def test_an_instance_that_ended_without_a_last_word_is_not_shown_as_running(store: Aws) -> None:
    id = start(store)
    remember(store, id, status="running", ended_at=None)
    store.ec2.terminate_instances(InstanceIds=[id])
    job = jobs.find(store, id)
    assert (job.status, job.ended) == ("terminated", True)
    assert "User initiated" in job.reason


def test_a_job_whose_instance_ec2_does_not_show_yet_is_pending(store: Aws) -> None:
    asked.register(store, "i-0123456789abcdef0", asked={}, launched_at=datetime.now(UTC))
    job = jobs.find(store, "i-0123456789abcdef0")
    assert (job.state, job.status, job.ended) == ("pending", "starting", False)


def test_all_jobs_are_listed_newest_first(store: Aws) -> None:
    remember(store, "i-00000001", launched_at="2026-11-01T00:00:00Z")
    remember(store, "i-00000002", launched_at="2026-11-02T00:00:00Z")
    live = start(store)
    start(store, ours=False)
    assert [job.id for job in jobs.list_jobs(store)] == [live, "i-00000002", "i-00000001"]
    assert jobs.find(store, "latest").id == live


def test_a_unique_beginning_is_enough(store: Aws) -> None:
    for id in ("i-0aaa0001", "i-0aaa0002", "i-0bbb0001"):
        remember(store, id)
    assert jobs.find(store, "i-0b").id == "i-0bbb0001"
    with pytest.raises(CloudError, match=r"'i-0a' could be 2 jobs: i-0aaa000\d, i-0aaa000\d"):
        jobs.find(store, "i-0a")


@pytest.mark.parametrize("reference", ["i-0123456789abcdef0", "nonsense", "latest", "i-"])
def test_a_job_that_there_is_not_is_one_clear_line(store: Aws, reference: str) -> None:
    with pytest.raises(CloudError, match=f"no job '{reference}'"):
        jobs.find(store, reference)


@pytest.mark.parametrize("reference", ["i-0123456789abcdef0", "i-0123456789"])
def test_what_ec2_calls_unknown_or_malformed_is_no_job(spot: Aws, reference: str) -> None:
    """InvalidInstanceID.NotFound and InvalidInstanceID.Malformed:
    https://docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html"""
    with pytest.raises(CloudError, match=f"no job '{reference}'"):
        jobs.find(spot, reference)


def test_an_instance_of_someone_else_is_left_alone(store: Aws) -> None:
    theirs = start(store, ours=False)
    with pytest.raises(CloudError, match="not a job of solver-cloud"):
        jobs.find(store, theirs)


def test_terminate_ends_the_instance_and_says_so_in_tag_and_record(store: Aws) -> None:
    id = start(store)
    remember(store, id, status="running", ended_at=None)
    job = jobs.terminate(store, jobs.find(store, id))
    assert (job.status, job.reason) == ("terminated", "ended by `terminate`")
    assert job.state in jobs.GONE
    (tag,) = (
        tag["Value"]
        for tag in store.ec2.describe_tags(Filters=[{"Name": "resource-id", "Values": [id]}])["Tags"]
        if tag["Key"] == "solver:status"
    )
    assert tag == "terminated"


def test_the_spot_request_goes_before_the_instance(store: Aws, monkeypatch: pytest.MonkeyPatch) -> None:
    """Or the request would start another instance: AWS relaunches what a persistent request has lost."""
    from dataclasses import replace

    calls: list[str] = []
    job = replace(jobs.find(store, start(store)), spot_request="sir-1")
    monkeypatch.setattr(store.ec2, "cancel_spot_instance_requests", lambda **_: calls.append("cancel"))
    monkeypatch.setattr(store.ec2, "terminate_instances", lambda **_: calls.append("terminate"))
    jobs.terminate(store, job)
    assert calls == ["cancel", "terminate"]


def remembered(status: str) -> Job:
    """A job of that status which only its record tells of."""
    told = Record.of(record("i-0aaaaaaa", status=status, reason="why"))
    return Job.joined("i-0aaaaaaa", None, History(record=told), "bucket")


def test_only_a_complete_job_is_complete() -> None:
    jobs.check_complete(remembered("complete"))
    with pytest.raises(CloudError, match=r"i-0aaaaaaa failed: why\n.*inv logs"):
        jobs.check_complete(remembered("failed"))


@pytest.mark.parametrize("tag", ["solver:kept-until", "solver:launched-at", "solver:status", "solver:max-hours"])
def test_a_tag_that_makes_no_sense_is_left_out_and_said(store: Aws, tag: str) -> None:
    id = start(store, {tag: "garbage"})
    (listed,) = jobs.list_jobs(store)
    assert f"the tag {tag} is 'garbage'" in listed.unreadable
    facts = job_view.job_facts(jobs.find(store, id), Details())
    assert facts["unreadable"] == f"the tag {tag} is 'garbage'"
    assert jobs.terminate(store, listed).state in jobs.GONE


def test_a_complete_job_whose_record_is_unreadable_is_no_empty_model(store: Aws) -> None:
    id = start(store, {"solver:status": "complete"})
    store.s3.put_object(Bucket=store.bucket, Key=f"jobs/{id}/job.json", Body=b"[" * 100_000)
    with pytest.raises(CloudError, match="record unreadable: nested too deep") as refused:
        jobs.check_complete(jobs.find(store, id))
    assert refused.value.fix == f"what there is of it: aws s3 sync s3://{store.bucket}/jobs/{id}/bundle/ DIRECTORY"


def test_a_tag_that_cannot_be_written_keeps_no_instance(store: Aws, monkeypatch: pytest.MonkeyPatch) -> None:
    id = start(store)
    job = jobs.find(store, id)

    def refuse(**_: Any) -> None:
        raise ClientError({"Error": {"Code": "UnauthorizedOperation", "Message": "no"}}, "CreateTags")

    monkeypatch.setattr(store.ec2, "create_tags", refuse)
    assert jobs.terminate(store, job).state in jobs.GONE

"""Sweeps on the local cloud's AWS Batch, whose machines exist in name only: children end when a test says so."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from bench import demands
from cloud import (
    batch,
    batch_logs,
    child,
    children,
    grid,
    image,
    logs,
    pool,
    results,
    signatures,
    sweep,
    sweep_end,
    sweep_plan,
    sweep_record,
    sweeps,
    teardown,
)
from cloud.aws import Aws
from cloud.errors import CloudError, UsageError
from cloud.sweep_plan import Plan, Wishes
from cloud.sweep_record import Sweep

from .conftest import record
from .localcloud.conftest import FakeCloud, eventually
from .test_claims import overtaken

TYPES = "c7i.2xlarge,c6i.2xlarge"


@pytest.fixture
def account(ready: Aws, home: Path) -> Iterator[Aws]:
    """An account that is set up for sweeps of two types; none is left when later tests share the cloud."""
    source = home / "trainer"
    source.mkdir()
    (source / "Cargo.toml").write_text("[workspace]\n")
    aws = Aws(replace(ready.settings, source=source, sweep_instance=TYPES, sweep_max_vcpus=16))
    list(sweep_plan.set_up(aws, dry_run=False))
    yield aws
    for id in sweeps.ids(aws):
        with contextlib.suppress(CloudError):  # there was nothing to end
            sweep_end.all_jobs(aws, id)


def planned(aws: Aws, *axes: str, config: bytes = b"iterations: 1\nseed: 1\n") -> Plan:
    trainings = grid.children({"leduc.yaml": config}, [grid.axis(axis) for axis in axes])
    with image.snapshot(aws.settings.source, aws.settings.dockerfile) as snapshot:
        return sweep_plan.look(aws, snapshot, trainings, "~/models")


def submitted(aws: Aws, *axes: str) -> Sweep:
    plan = planned(aws, *axes)
    return sweep.submit(aws, plan, sweep.claim(aws, plan), print)


def finish(cloud: FakeCloud, there: Sweep, which: str = "", **how: Any) -> None:
    job = there.runs[-1].job + (f":{which}" if which else "")
    cloud.post(f"batch-finish?job={job}" + "".join(f"&{name}={value}" for name, value in how.items()))


def states(aws: Aws, there: Sweep) -> list[str]:
    return [child.state for child in children.look(aws, there)]


def settled(aws: Aws, there: Sweep, *expected: str) -> None:
    eventually(lambda: states(aws, there) == list(expected))


def put(aws: Aws, key: str, body: bytes = b"") -> None:
    aws.s3.put_object(Bucket=aws.bucket, Key=key, Body=body)


def noted(aws: Aws, there: Sweep, index: int, micro: int, key: str = "") -> None:
    """A child notes its cost, in micro-dollars."""
    signed = signatures.signature(key or there.key, f"cost {there.id}/{index} {micro}")
    put(aws, f"sweeps/{there.id}/costs/{index}/{micro}-{signed[:16]}")


def told(aws: Aws, there: Sweep, index: int, key: str = "", **changes: Any) -> None:
    """A child writes its record."""
    told = record(f"{there.id}/{index}", **changes)
    told["signature"] = signatures.signature(key or there.key, signatures.canonical(told))
    put(aws, f"sweeps/{there.id}/{index}/job.json", json.dumps(told).encode())


def left(aws: Aws, there: Sweep, index: int, metrics: bytes, **changes: Any) -> None:
    """A child has ended well and left metrics."""
    put(aws, f"sweeps/{there.id}/{index}/bundle/metrics.json", metrics)
    file = {"path": "metrics.json", "size": len(metrics), "sha256": hashlib.sha256(metrics).hexdigest()}
    told(aws, there, index, bundle=[file], **changes)


def counted_calls(aws: Aws) -> list[str]:
    """The calls that are made from now on, as they are made."""
    made: list[str] = []
    for client in (aws.batch, aws.batch_once, aws.s3):
        client.meta.events.register("before-call", lambda model, **_: made.append(model.name))
    return made


def test_everything_the_children_need_is_in_s3_before_they_run(account: Aws) -> None:
    there = submitted(account, "iterations=10,20", "seed=1..3")
    assert there == sweeps.find(account, there.id)
    assert [one.parameters for one in there.children][:2] == [
        {"iterations": 10, "seed": 1},
        {"iterations": 10, "seed": 2},
    ]
    config = account.s3.get_object(Bucket=account.bucket, Key=f"configs/{there.id}/4/config.yaml")["Body"]
    assert config.read() == b"iterations: 20\nseed: 2\n"
    (job,) = account.batch.describe_jobs(jobs=[there.runs[0].job])["jobs"]
    assert job["arrayProperties"]["size"] == 6
    assert job["jobName"] == f"{there.id}-0"
    assert job["retryStrategy"]["evaluateOnExit"][0] == {"onStatusReason": "Host EC2*", "action": "RETRY"}
    (variable,) = [one for one in job["container"]["environment"] if one["name"] == "SOLVER_RUNNER"]
    bucket, _, key = variable["value"].removeprefix("s3://").partition("/")
    assert (
        account.s3.head_object(Bucket=bucket, Key=key)["ContentLength"] < 131072
    )  # what one word of a command may have


def test_machines_belong_to_batch_and_are_no_jobs(account: Aws) -> None:
    there = submitted(account, "seed=1..4")
    settled(account, there, *["running"] * 4)
    ours: Any = [{"Name": "tag:solver:batch", "Values": [account.settings.name]}]
    (machine,) = [
        one for group in account.ec2.describe_instances(Filters=ours)["Reservations"] for one in group["Instances"]
    ]
    assert machine["InstanceLifecycle"] == "spot"
    assert machine["MetadataOptions"]["HttpTokens"] == "required"
    assert {tag["Key"] for tag in machine["Tags"]}.isdisjoint({"solver:cloud", "solver:status"})
    sweep_end.all_jobs(account, there.id)
    settled(account, there, *["terminated"] * 4)


def test_children_are_told_by_how_they_ended(account: Aws, cloud: FakeCloud) -> None:
    there = submitted(account, "seed=1..4")
    settled(account, there, *["running"] * 4)
    finish(cloud, there, "0")
    finish(cloud, there, "1", exit=3)
    settled(account, there, "complete", "failed", "running", "running")
    noted(account, there, 0, 9_500)
    noted(account, there, 0, 20_500)  # S3 lists it before the other
    first, second, third, _ = children.look(account, there)
    assert (first.dollars, first.exact, first.exit_code) == (0.0205, True, 0)
    assert (second.reason, second.exit_code, second.attempts) == ("exit code 3", 3, 1)
    assert (third.exact, third.attempts) == (False, 1)
    assert third.dollars is not None
    assert children.look_at(account, there, 1).reason == "exit code 3"
    with pytest.raises(CloudError, match="has no child 4"):
        children.look_at(account, there, 4)


def test_retry_runs_only_what_has_failed_under_the_numbers_it_had(account: Aws, cloud: FakeCloud) -> None:
    there = submitted(account, "seed=1..3")
    settled(account, there, *["running"] * 3)
    finish(cloud, there, "1-2", exit=1)
    settled(account, there, "running", "failed", "failed")
    again = sweep.retry(account, there, None, print)
    assert again.runs[1].children == (1, 2)
    finish(cloud, again, "0")
    settled(account, again, "running", "complete", "running")
    finish(cloud, replace(again, runs=again.runs[:1]), "0")
    finish(cloud, again, "1")
    settled(account, again, *["complete"] * 3)
    with pytest.raises(CloudError, match=f"no child of {there.id} has failed: 3 complete"):
        sweep.retry(account, again, None, print)


def test_a_sweep_of_one_is_a_plain_job(account: Aws, cloud: FakeCloud) -> None:
    there = submitted(account)
    settled(account, there, "running")
    finish(cloud, there)
    settled(account, there, "complete")


def test_the_same_sweep_is_not_submitted_twice_while_it_runs(account: Aws, cloud: FakeCloud) -> None:
    there = submitted(account, "seed=1,2")
    claimed = sweep.claim(account, planned(account, "seed=1,2"))
    assert (claimed.sweep, claimed.running) == (there.id, True)
    settled(account, there, "running", "running")
    finish(cloud, there)
    settled(account, there, "complete", "complete")
    anew = sweep.claim(account, planned(account, "seed=1,2"))
    assert not anew.running
    assert anew.sweep != there.id


def test_of_two_who_submit_the_same_again_at_once_one_may(
    account: Aws, cloud: FakeCloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = submitted(account, "seed=1,2")
    settled(account, there, "running", "running")
    finish(cloud, there)
    settled(account, there, "complete", "complete")
    with monkeypatch.context() as patch:
        rival = overtaken(patch)
        with pytest.raises(CloudError, match="somebody else submits this very sweep right now"):
            sweep.claim(account, planned(account, "seed=1,2"))
    assert sweep.claim(account, planned(account, "seed=1,2")).sweep == sweep.sweep_id(rival.token)


def test_a_launcher_that_died_before_it_submitted_is_taken_up(account: Aws) -> None:
    plan = planned(account, "seed=1,2")
    killed = sweep.claim(account, plan)
    again = sweep.claim(account, planned(account, "seed=1,2"))
    assert again == killed
    assert sweep.submit(account, plan, again, print).runs[0].job


def test_a_launcher_that_died_after_it_submitted_is_found_by_name(account: Aws) -> None:
    there = submitted(account, "seed=1,2")
    forgotten = sweeps.write(account, there.with_run(replace(there.runs[0], job="")))
    claimed = sweep.claim(account, planned(account, "seed=1,2"))
    assert (claimed.sweep, claimed.running) == (there.id, True)
    assert sweep.submit_run(account, forgotten, print).runs == there.runs
    jobs = account.batch.list_jobs(jobQueue=there.queue, filters=[{"name": "JOB_NAME", "values": [f"{there.id}-0"]}])
    assert len(jobs["jobSummaryList"]) == 1


def test_a_launcher_that_may_be_submitting_is_waited_for(account: Aws, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its script is in S3, its job is not in Batch, or not seen there yet."""
    plan = planned(account, "seed=1,2")
    claimed = sweep.claim(account, plan)
    killed_before_it_submits(account, plan, claimed, monkeypatch)
    with pytest.raises(CloudError, match="was about to be submitted"):
        sweep.submit(account, plan, claimed, print)
    monkeypatch.setattr(sweep, "SETTLING", children.SETTLING * 0)
    assert sweep.submit(account, plan, claimed, print).runs[0].job


def test_a_thousand_children_are_listed_in_twelve_calls(account: Aws, cloud: FakeCloud) -> None:
    plan = planned(account, "seed=1..1000")
    claimed = sweep.claim(account, plan)
    sweep.ensure_definition(account, batch.Definition(plan.image, pool.child_role_arn(account), 2, 3))
    fresh = Aws(account.settings)
    made = counted_calls(fresh)
    there = sweep.submit(fresh, plan, claimed, print)
    assert Counter(made) == demanded(demands.SWEEPS["sweep"](1000), claim=1)
    settled_few = eventually(lambda: states(account, there).count("running") >= 8)
    assert settled_few
    noted(account, there, 7, 1500)
    fresh = Aws(account.settings)
    made = counted_calls(fresh)
    found = child.with_latest(fresh, there, children.look(fresh, sweeps.find(fresh, there.id)))
    assert len(found) == 1000
    assert [child.index for child in found] == list(range(1000))
    assert len(made) <= 12, made
    assert Counter(made) == demanded(demands.SWEEPS["status SWEEP"](1000))


def demanded(calls: dict[str, int], *, claim: int = 0) -> Counter[str]:
    """The calls of docs/scale.md by operation. claim: how many of them were made before, to claim the sweep."""
    found = Counter({action.partition(" ")[2]: times for action, times in calls.items()})
    found["PutObject"] -= claim
    return +found


def test_the_results_are_what_the_trainers_left(account: Aws, cloud: FakeCloud, tmp_path: Path) -> None:
    there = submitted(account, "iterations=10,20", "seed=1,2")
    settled(account, there, *["running"] * 4)
    finish(cloud, there, "0-2")
    settled(account, there, "complete", "complete", "complete", "running")
    for index in (0, 2):
        left(account, there, index, json.dumps({"exploitability": 0.5 / (index + 1), "seed": 9, "nested": {}}).encode())
    told(account, there, 1)
    table = results.look(account, there, children.look(account, there))
    assert table.headings == ("child", "iterations", "seed", "exploitability", "metrics.seed")
    assert table.rows == [(0, 10, 1, 0.5, 9), (1, 10, 2, None, None), (2, 20, 1, 0.5 / 3, 9)]
    results.plot(table, tmp_path / "plot.png", None, None)
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(UsageError, match="there is no such number"):
        results.plot(table, tmp_path / "plot.png", "loss", None)


def test_all_sweeps_are_listed_newest_first(account: Aws, cloud: FakeCloud) -> None:
    first = submitted(account, "seed=1,2")
    second = submitted(account)
    settled(account, first, "running", "running")
    settled(account, second, "running")
    finish(cloud, first, "0", exit=1)
    settled(account, first, "failed", "running")
    found, unreadable = sweeps.every(account)
    assert unreadable == {}
    assert {sweep.id for sweep in found} == {first.id, second.id}
    told = children.summaries(account, found)
    assert told == {first.id: "1 running, 1 failed", second.id: "1 running"}


def test_what_batch_has_forgotten_the_records_tell(account: Aws, monkeypatch: pytest.MonkeyPatch) -> None:
    """Batch keeps jobs for a week: https://docs.aws.amazon.com/batch/latest/userguide/job_states.html"""
    there = submitted(account, "seed=1..3")
    for index, status in enumerate(("complete", "failed")):
        told(account, there, index, status=status, reason="trainer exited with 3" if index else "")
    forgotten = there.with_run(replace(there.runs[0], job="00000000-0000-0000-0000-000000000000"))
    assert states(account, forgotten) == ["queued"] * 3
    monkeypatch.setattr(children, "SETTLED", children.SETTLED * 0)
    first, second, third = children.look(account, forgotten)
    assert (first.state, first.dollars, first.seconds) == ("complete", 0.25, 3570)
    assert (second.state, second.reason) == ("failed", "trainer exited with 3")
    assert (third.state, third.attempts) == ("failed", 0)
    assert children.look_at(account, forgotten, 1) == second


def test_no_results_without_a_complete_child(account: Aws) -> None:
    there = submitted(account, "seed=1,2")
    with pytest.raises(CloudError, match="is complete"):
        results.look(account, there, children.look(account, there))


def test_a_definition_is_registered_once_for_each_image(account: Aws) -> None:
    first = sweep.ensure_definition(account, batch.Definition("registry/a:1", "arn:aws:iam::1:role/r", 2, 3))
    assert sweep.ensure_definition(account, batch.Definition("registry/a:1", "arn:aws:iam::1:role/r", 2, 3)) == first
    assert sweep.ensure_definition(account, batch.Definition("registry/a:2", "arn:aws:iam::1:role/r", 2, 3)) != first


def test_other_wishes_get_a_pool_of_their_own(account: Aws) -> None:
    other = Aws(Wishes(instance="c7a.2xlarge", max_vcpus=8).settings(account.settings))
    plan = planned(other, "seed=1,2")
    made = [piece.kind for piece in pool.ensure(other, plan.pool)]
    assert made == ["launch template", "environment", "environment", "queue", "queue", "queue"]
    assert list(pool.ensure(other, plan.pool)) == []


def test_a_sweep_wants_what_setup_makes(account: Aws) -> None:
    account.iam.delete_role_policy(RoleName=pool.child_role(account), PolicyName=pool.child_role(account))
    account.iam.delete_role(RoleName=pool.child_role(account))
    with pytest.raises(CloudError, match="is not set up for sweeps") as error:
        list(pool.ensure(account, planned(account, "seed=1,2").pool))
    assert error.value.fix == "run `inv setup --batch`"


def test_setup_is_done_once_and_undone_by_teardown(account: Aws) -> None:
    assert {piece.outcome for piece in sweep_plan.set_up(account, dry_run=True)} == {"there"}
    there = submitted(account, "seed=1,2")
    with pytest.raises(CloudError, match=f"not while a sweep lives: {there.id}"):
        teardown.look(account, bucket_too=False)
    sweep_end.all_jobs(account, there.id)
    settled(account, there, "terminated", "terminated")
    eventually(lambda: not _machines(account), 20)
    for one in teardown.look(account, bucket_too=True):
        teardown.remove(one)
    left = {piece.outcome for piece in sweep_plan.set_up(account, dry_run=True) if piece.kind != "batch role"}
    assert left == {"would make"}
    account.s3.create_bucket(Bucket=account.bucket)  # the clean-up looks into it


def _machines(aws: Aws) -> list[Any]:
    filters: Any = [
        {"Name": "tag:solver:batch", "Values": [aws.settings.name]},
        {"Name": "instance-state-name", "Values": ["pending", "running", "shutting-down"]},
    ]
    return aws.ec2.describe_instances(Filters=filters)["Reservations"]


@pytest.mark.parametrize(
    ("wishes", "why"),
    [
        (Wishes(vcpus=16, memory_gib=4), "no type has room for a child of 16 vCPUs and 4 GiB"),
        (Wishes(memory_gib=64), "no type has room for a child of 2 vCPUs and 64 GiB"),
        (Wishes(vcpus=4, max_vcpus=2), "--max-vcpus 2 has no room for a child of 4 vCPUs"),
        (Wishes(instance="g5.xlarge"), "cannot share GPUs"),
        (Wishes(attempts=11), "AWS Batch makes at most 10"),
        (Wishes(instance="c7i.nosuch"), "is not an instance type"),
    ],
)
def test_what_could_never_run_is_refused(account: Aws, wishes: Wishes, why: str) -> None:
    with pytest.raises(UsageError, match=why):
        planned(Aws(wishes.settings(account.settings)), "seed=1,2")


def test_on_demand_is_used_only_when_asked_for(account: Aws) -> None:
    def markets(**settings: Any) -> list[str]:
        plan = planned(Aws(replace(account.settings, **settings)), "seed=1,2")
        (queue,) = account.batch.describe_job_queues(jobQueues=[plan.queue])["jobQueues"]
        order = sorted(queue["computeEnvironmentOrder"], key=lambda one: one["order"])
        assert {share.market for share in plan.shares} == set(plan.asked["markets"])
        return [one["computeEnvironment"].partition(plan.pool.name(account.settings))[2] for one in order]

    assert markets() == ["-spot"]
    assert markets(fallback="on-demand") == ["-spot", "-on-demand"]
    assert markets(on_demand=True) == ["-on-demand"]


def test_a_child_may_run_as_long_as_was_asked(account: Aws) -> None:
    """In seconds, by its own clock; by Batch's an hour longer, so that the child has the last word."""
    there = submitted(Aws(replace(account.settings, max_hours=1.5)), "seed=1,2")
    (job,) = account.batch.describe_jobs(jobs=[there.runs[0].job])["jobs"]
    assert job["timeout"]["attemptDurationSeconds"] == 5400 + 3600
    (variable,) = [one for one in job["container"]["environment"] if one["name"] == "SOLVER_RUNNER"]
    key = variable["value"].removeprefix(f"s3://{account.bucket}/")
    body = account.s3.get_object(Bucket=account.bucket, Key=key)["Body"].read()
    assert b"\nJOB_MAX_SECONDS=5400\n" in body
    assert key == f"runners/{hashlib.sha256(body).hexdigest()}"


def test_what_was_asked_is_where_no_child_may_write(account: Aws) -> None:
    """The key is Batch's and the launchers' only."""
    there = submitted(account, "seed=1,2")
    listed = account.s3.list_objects_v2(Bucket=account.bucket)["Contents"]
    assert {one["Key"].split("/")[0] for one in listed} == {"asked", "claims", "configs", "runners"}
    (job,) = account.batch.describe_jobs(jobs=[there.runs[0].job])["jobs"]
    assert {"name": "SOLVER_KEY", "value": there.key} in job["container"]["environment"]
    assert len(there.key) == 64
    assert there.key not in repr(there)
    put(account, f"sweeps/{there.id}/sweep.json", json.dumps({"sweep": there.id, "asked": {"output": "~"}}).encode())
    assert sweeps.find(account, there.id) == there


def test_only_what_a_sweep_has_signed_counts(account: Aws, cloud: FakeCloud, monkeypatch: pytest.MonkeyPatch) -> None:
    """Children of other sweeps may write to the same places."""
    there = submitted(account, "seed=1..3")
    settled(account, there, *["running"] * 3)
    finish(cloud, there)
    settled(account, there, *["complete"] * 3)
    noted(account, there, 0, 5_000)
    noted(account, there, 0, 900_000_000, key="another's")
    put(account, f"sweeps/{there.id}/costs/1/900000000")
    first, second, _ = children.look(account, there)
    assert (first.dollars, first.exact, second.exact) == (0.005, True, False)
    file = {"path": "model", "size": 1, "sha256": "0" * 64}
    told(account, there, 0, bundle=[file])
    told(account, there, 1, key="another's", bundle=[file])
    found, problems = child.bundles(account, there, children.look(account, there))
    assert found.keys == {"leduc,seed=1/model": "0/bundle/model"}
    assert problems == (
        f"{there.id}/1: record unreadable: it is not signed by its sweep",
        f"{there.id}/2: it has no record in S3",
    )
    forgotten = there.with_run(replace(there.runs[0], job="00000000-0000-0000-0000-000000000000"))
    monkeypatch.setattr(children, "SETTLED", children.SETTLED * 0)
    assert [(one.state, "is not signed by its sweep" in one.reason) for one in children.look(account, forgotten)] == [
        ("complete", False),
        ("failed", True),
        ("failed", False),
    ]


def test_a_failed_childs_own_reason_is_shown(account: Aws, cloud: FakeCloud) -> None:
    there = submitted(account, "seed=1,2")
    settled(account, there, "running", "running")
    finish(cloud, there, exit=75)
    for _ in range(9):
        eventually(lambda: "running" in states(account, there) or states(account, there) == ["failed", "failed"])
        finish(cloud, there, exit=75)
    settled(account, there, "failed", "failed")
    told(account, there, 0, status="failed", reason="uploading the bundle: no space")
    found = child.with_latest(account, there, children.look(account, there))
    assert [one.reason for one in found] == ["uploading the bundle: no space", "exit code 75"]


def test_a_sweep_that_was_never_submitted_is_called_that(account: Aws, monkeypatch: pytest.MonkeyPatch) -> None:
    there = never_submitted(account, monkeypatch)
    assert states(account, there) == ["queued", "queued"]  # its launcher may be at it
    assert children.summaries(account, [there]) == {there.id: "2 queued"}
    monkeypatch.setattr(children, "SETTLING", children.SETTLING * 0)
    found = children.look(account, there)
    assert [one.state for one in found] == ["unsubmitted", "unsubmitted"]
    assert f"`inv retry {there.id}` goes on" in found[0].reason
    assert children.summaries(account, [there]) == {there.id: "2 unsubmitted"}
    with pytest.raises(CloudError, match="was never submitted"):
        sweep_end.all_jobs(account, there.id)
    monkeypatch.setattr(sweep, "SETTLING", children.SETTLING * 0)
    again = sweep.retry(account, sweeps.find(account, there.id), None, print)
    assert [run.name for run in again.runs] == [f"{there.id}-0"]
    assert again.key == there.key
    settled(account, again, "running", "running")


def killed_before_it_submits(
    account: Aws, plan: sweep_plan.Plan, claimed: sweep.Claimed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its script is in S3, its job is not in Batch."""
    with monkeypatch.context() as patch:
        patch.setattr(sweep, "_submit_once", lambda *_: pytest.fail("killed"))
        with pytest.raises(pytest.fail.Exception):
            sweep.submit(account, plan, claimed, print)


def never_submitted(account: Aws, monkeypatch: pytest.MonkeyPatch) -> Sweep:
    plan = planned(account, "seed=1,2")
    claimed = sweep.claim(account, plan)
    killed_before_it_submits(account, plan, claimed, monkeypatch)
    return sweeps.find(account, claimed.sweep)


def test_a_job_that_its_launcher_did_not_live_to_write_down_is_shown(account: Aws) -> None:
    there = submitted(account, "seed=1,2")
    forgotten = sweeps.write(account, there.with_run(replace(there.runs[0], job="")))
    settled(account, forgotten, "running", "running")
    assert children.look_at(account, forgotten, 1).state == "running"
    assert children.summaries(account, [forgotten]) == {there.id: "2 running"}
    assert sweep_end.child(account, forgotten, 1)
    settled(account, forgotten, "running", "terminated")


def test_terminate_ends_the_jobs_of_a_sweeps_names_and_no_others(account: Aws) -> None:
    """Whatever its record says: here, that another sweep's job is its own."""
    other, there = submitted(account, "seed=1,2"), submitted(account, "seed=3,4")
    settled(account, other, "running", "running")
    settled(account, there, "running", "running")
    forged = sweeps.write(account, there.with_run(replace(there.runs[0], job=other.runs[0].job)))
    with pytest.raises(CloudError, match=f"AWS Batch does not know {there.id}/0 yet"):
        sweep_end.child(account, forged, 0)
    assert sweep_end.all_jobs(account, there.id)
    settled(account, there, "terminated", "terminated")
    assert states(account, other) == ["running", "running"]
    assert not sweep_end.all_jobs(account, there.id)


def test_a_sweep_whose_record_is_unreadable_is_ended_all_the_same(account: Aws) -> None:
    """And keeps no other from being listed."""
    there, other = submitted(account, "seed=1,2"), submitted(account, "seed=3,4")
    settled(account, there, "running", "running")
    put(account, f"{there.registry}sweep.json", b'{"sweep": 3')
    found, unreadable = sweeps.every(account)
    assert [one.id for one in found] == [other.id]
    assert unreadable[there.id].problem.startswith(f"{there.id}: record unreadable: no JSON")
    assert sweep_end.all_jobs(account, there.id)
    settled(account, there, "terminated", "terminated")
    with pytest.raises(CloudError, match="record unreadable"):
        sweep_end.all_jobs(account, there.id)
    with pytest.raises(CloudError, match="there is no sweep"):
        sweep_end.all_jobs(account, "sweep-ffffffffffff")


def test_a_sweep_whose_queue_is_gone_has_ended(account: Aws, monkeypatch: pytest.MonkeyPatch) -> None:
    there = submitted(account, "seed=1,2")
    assert sweep_end.all_jobs(account, there.id)
    moved = replace(there.with_run(replace(there.runs[0], job="00000000-0000-0000-0000-000000000000")), queue="gone")
    put(account, f"{there.registry}sweep.json", json.dumps(sweep_record.to_json(moved)).encode())
    monkeypatch.setattr(children, "SETTLED", children.SETTLED * 0)
    settled(account, there, "terminated", "terminated")
    assert not sweep_end.all_jobs(account, there.id)


def test_a_sweep_from_before_the_registry_is_tried_again(account: Aws, cloud: FakeCloud) -> None:
    """`setup` has registered it; its configurations are where its children could write, and they sign nothing."""
    there = submitted(account, "seed=1,2")
    settled(account, there, "running", "running")
    finish(cloud, there, exit=3)
    settled(account, there, "failed", "failed")
    data = json.loads(json.dumps(sweep_record.to_json(there)))
    del data["key"], data["runs"][0]["since"]
    put(account, f"{there.registry}sweep.json", json.dumps(data).encode())
    for index in range(2):
        account.s3.delete_object(Bucket=account.bucket, Key=f"configs/{there.id}/{index}/config.yaml")
        put(account, f"sweeps/{there.id}/{index}/config/config.yaml", b"seed: %d\n" % index)
    put(account, f"sweeps/{there.id}/0/job.json", json.dumps(record(f"{there.id}/0")).encode())
    put(account, f"sweeps/{there.id}/costs/0/20500")
    old = sweeps.find(account, there.id)
    assert child.read_record(account, old, 0)
    assert children.look(account, old)[0].dollars == 0.0205
    again = sweep.retry(account, old, None, print)
    settled(account, again, "running", "running")
    config = account.s3.get_object(Bucket=account.bucket, Key=f"configs/{there.id}/1/config.yaml")["Body"].read()
    assert config == b"seed: 1\n"


def test_where_a_child_has_left_no_log_batchs_last_words_are_shown(
    account: Aws, cloud: FakeCloud, capsys: pytest.CaptureFixture[str]
) -> None:
    """https://docs.aws.amazon.com/batch/latest/userguide/using_cloudwatch_logs.html"""
    there = submitted(account, "seed=1,2")
    settled(account, there, "running", "running")
    finish(cloud, there, exit=1)
    settled(account, there, "failed", "failed")
    failed = children.look_at(account, there, 0)
    assert failed.log_stream
    with pytest.raises(CloudError, match=rf"{there.id}/0 has no log \(failed: exit code 1\)"):
        logs.print_child_log(account, there, 0, follow=False)
    group, stream = batch_logs.GROUP, failed.log_stream
    with contextlib.suppress(account.logs.exceptions.ResourceAlreadyExistsException):
        account.logs.create_log_group(logGroupName=group)
    with contextlib.suppress(account.logs.exceptions.ResourceAlreadyExistsException):
        account.logs.create_log_stream(logGroupName=group, logStreamName=stream)
    event = {"timestamp": int(datetime.now(UTC).timestamp() * 1000), "message": "the image has no aws"}
    account.logs.put_log_events(logGroupName=group, logStreamName=stream, logEvents=[event])
    logs.print_child_log(account, there, 0, follow=False)
    printed = capsys.readouterr()
    assert printed.out.endswith("the image has no aws\n")
    assert "failed: exit code 1" in printed.err


def test_a_configuration_whose_name_is_no_directorys_is_refused() -> None:
    trainings = grid.children({"..yaml": b"seed: 1\n"}, [])
    with pytest.raises(UsageError, match="no name of a directory") as error:
        sweep_plan.check_names(trainings)
    assert error.value.fix == "rename the configuration ..yaml"

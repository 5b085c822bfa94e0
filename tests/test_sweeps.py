"""Sweeps on the local cloud's AWS Batch, whose machines exist in name only: children end when a test says so."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bench import demands
from cloud import batch, child, children, grid, image, pool, results, sweep, sweep_plan, sweeps, teardown
from cloud.aws import Aws
from cloud.errors import CloudError, UsageError
from cloud.sweep_plan import Plan, Wishes
from cloud.sweeps import Run, Sweep

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
        if there := sweeps.read(aws, id):
            sweep.terminate(aws, there, None)


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
    config = account.s3.get_object(Bucket=account.bucket, Key=f"sweeps/{there.id}/4/config/config.yaml")["Body"]
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
    sweep.terminate(account, there, None)
    settled(account, there, *["terminated"] * 4)


def test_children_are_told_by_how_they_ended(account: Aws, cloud: FakeCloud) -> None:
    there = submitted(account, "seed=1..4")
    settled(account, there, *["running"] * 4)
    finish(cloud, there, "0")
    finish(cloud, there, "1", exit=3)
    settled(account, there, "complete", "failed", "running", "running")
    for micro in (1500, 20500, 9500):  # S3 lists 1500, 20500, 9500
        account.s3.put_object(Bucket=account.bucket, Key=f"sweeps/{there.id}/costs/0/{micro}", Body=b"")
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
    forgotten = sweeps.write(account, there.with_run(Run(there.runs[0].name, (), "")))
    claimed = sweep.claim(account, planned(account, "seed=1,2"))
    assert (claimed.sweep, claimed.running) == (there.id, True)
    assert sweep.submit_run(account, forgotten, print).runs == there.runs
    jobs = account.batch.list_jobs(jobQueue=there.queue, filters=[{"name": "JOB_NAME", "values": [f"{there.id}-0"]}])
    assert len(jobs["jobSummaryList"]) == 1


def test_a_launcher_that_may_be_submitting_is_waited_for(account: Aws, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its script is in S3, its job is not in Batch, or not seen there yet."""
    plan = planned(account, "seed=1,2")
    claimed = sweep.claim(account, plan)
    with monkeypatch.context() as patch:
        patch.setattr(sweep, "_submit_once", lambda *_: pytest.fail("killed"))
        with pytest.raises(pytest.fail.Exception):
            sweep.submit(account, plan, claimed, print)
    with pytest.raises(CloudError, match="was about to be submitted"):
        sweep.submit(account, plan, claimed, print)
    monkeypatch.setattr(sweep, "SETTLING", sweep.SETTLING * 0)
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
    account.s3.put_object(Bucket=account.bucket, Key=f"sweeps/{there.id}/costs/7/1500", Body=b"")
    fresh = Aws(account.settings)
    made = counted_calls(fresh)
    found = child.with_latest(fresh, children.look(fresh, sweeps.find(fresh, there.id)))
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
        body = json.dumps({"exploitability": 0.5 / (index + 1), "seed": 9, "nested": {"a": 1}}).encode()
        key = f"sweeps/{there.id}/{index}/bundle/metrics.json"
        account.s3.put_object(Bucket=account.bucket, Key=key, Body=body)
    table = results.look(account, children.look(account, there))
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
    found = sweeps.every(account)
    assert {sweep.id for sweep in found} == {first.id, second.id}
    told = children.summaries(account, found)
    assert told == {first.id: "1 running, 1 failed", second.id: "1 running"}


def test_what_batch_has_forgotten_the_records_tell(account: Aws, monkeypatch: pytest.MonkeyPatch) -> None:
    """Batch keeps jobs for a week: https://docs.aws.amazon.com/batch/latest/userguide/job_states.html"""
    there = submitted(account, "seed=1..3")
    for index, status in enumerate(("complete", "failed")):
        told = record(f"{there.id}/{index}", status=status, reason="trainer exited with 3" if index else "")
        key = f"sweeps/{there.id}/{index}/job.json"
        account.s3.put_object(Bucket=account.bucket, Key=key, Body=json.dumps(told).encode())
    forgotten = there.with_run(Run(there.runs[0].name, (), "00000000-0000-0000-0000-000000000000"))
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
        results.look(account, children.look(account, there))


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
    sweep.terminate(account, there, None)
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

"""sweep: submit an array job to AWS Batch once, whatever happens on the way.

All that the children need is in S3 before Batch is asked: their configurations, the script they run, and the record of
the sweep. SubmitJob has no client token, so whoever comes after a launcher that died finds the job by its name.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from . import batch, children, claims, pool, runner, storage, sweeps
from .aws import Aws, aws_errors, error_code, pages
from .batch import Definition
from .children import SETTLING
from .config import trainer_arguments
from .errors import CloudError
from .runner import CONFIG, OUTPUT, Runner
from .sweep_plan import Plan
from .sweep_record import Asked, Run, Sweep, run_name

Say = Callable[[str], None]
MICRO = 1_000_000


@dataclass(frozen=True)
class Claimed:
    """A sweep that is this launcher's to submit, or that runs already."""

    sweep: str
    submitted_at: datetime
    running: bool = False


def claim(aws: Aws, plan: Plan) -> Claimed:
    """Claim a sweep in S3, so that the same command, repeated or at the same time, submits it once."""
    mine = claims.new()
    if claims.put(aws, plan.claim_key, mine, IfNoneMatch="*"):
        return _claimed(mine)
    there, version = claims.read(aws, plan.claim_key)
    before = sweeps.read(aws, sweep_id(there.token))
    if before is None or not (run := children.located(aws, before).runs[-1]).job:
        return _claimed(there)
    if not children.over(aws, before, run):
        return Claimed(before.id, before.submitted_at, running=True)
    if not claims.put(aws, plan.claim_key, mine, IfMatch=version):
        raise CloudError("somebody else submits this very sweep right now", fix="run the command again to find it")
    return _claimed(mine)


def _claimed(claim: claims.Claim) -> Claimed:
    return Claimed(sweep_id(claim.token), claim.launched_at)


def sweep_id(token: str) -> str:
    """The id of the sweep that was claimed with this token."""
    return f"sweep-{token[:12]}"


def submit(aws: Aws, plan: Plan, claimed: Claimed, say: Say) -> Sweep:
    """Put all into S3 and submit the job. Again, with the same claim, it goes on where it was."""
    sweep = sweeps.read(aws, claimed.sweep) or _register(aws, plan, claimed)
    say(f"putting {len(plan.children)} configurations into S3")
    put_configs(aws, sweep, ((child.index, child.config) for child in plan.children))
    return submit_run(aws, sweep, say)


def _register(aws: Aws, plan: Plan, claimed: Claimed) -> Sweep:
    """Write the sweep's record. Of two that do so at once, one is refused: there is one key."""
    definition = Definition(plan.image, pool.child_role_arn(aws), plan.vcpus, plan.memory_gib)
    return sweeps.write(
        aws,
        Sweep(
            id=claimed.sweep,
            submitted_at=claimed.submitted_at,
            queue=plan.queue,
            definition=ensure_definition(aws, definition),
            asked=plan.asked,
            shares=tuple((one.type, one.market, one.zone, one.dollars) for one in plan.shares),
            vcpus={kind.name: kind.vcpus for kind in plan.types},
            children=tuple(Asked(child.name, child.config_name, child.parameters) for child in plan.children),
            runs=(Run(run_name(claimed.sweep, 0), (), "", claimed.submitted_at),),
            key=secrets.token_hex(32),
        ),
    )


def put_configs(aws: Aws, sweep: Sweep, configs: Iterable[tuple[int, bytes]]) -> None:
    """Put children's configurations where they look for them, each with the child's number."""
    _ = aws.s3, aws.bucket

    def put(index: int, config: bytes) -> None:
        key = runner.config_key(sweep.id, index)
        aws.s3.put_object(Bucket=aws.bucket, Key=key, Body=config, ContentType="application/yaml")

    with aws_errors("put the configurations into S3"), ThreadPoolExecutor(32) as threads:
        for done in [threads.submit(put, *one) for one in configs]:
            done.result()


def submit_run(aws: Aws, sweep: Sweep, say: Say) -> Sweep:
    """Submit the last run of a sweep, whose record is in S3; returns the sweep with its job, as S3 has it then.

    Of two launchers, or of one before and one after a crash, the one submits that claims the run.
    """
    run = sweep.runs[-1]
    claim = f"{sweep.registry}runs/{run.name}"
    with aws_errors("claim the submission of the sweep"):
        first = storage.put_if(aws, claim, uuid4().hex.encode(), IfNoneMatch="*")
    if not first:
        run = children.located(aws, sweep).runs[-1]
    if not run.job:
        if not first:
            _take_over(aws, run, claim)
        size = len(sweep.numbers(run))
        say(f"submitting {size} {'child' if size == 1 else 'children'} to AWS Batch")
        wanted = batch.submission(
            name=run.name,
            queue=sweep.queue,
            definition=sweep.definition,
            size=size,
            runner=f"s3://{aws.bucket}/{_put_script(aws, sweep, run)}",
            key=sweep.key,
            attempts=sweep.asked["attempts"],
            max_seconds=round(sweep.asked["max_hours"] * 3600),
        )
        run = replace(run, job=_submit_once(aws, wanted))
    return sweep if run == sweep.runs[-1] else sweeps.write(aws, sweep.with_run(run))


def _put_script(aws: Aws, sweep: Sweep, run: Run) -> str:
    """Put the script of a run's children into S3; returns its key."""
    script = runner.script(_runner(aws, sweep, run)).encode()
    key = runner.script_key(script)
    with aws_errors("put the script of the sweep into S3"):
        aws.s3.put_object(Bucket=aws.bucket, Key=key, Body=script)
    return key


def _take_over(aws: Aws, run: Run, key: str) -> None:
    """Be the one that submits a run, instead of a launcher of which nothing was heard since it claimed it.

    Raises CloudError while that may be about to submit it, or may have done so unseen.
    """
    with aws_errors(f"look at {key}"):
        there = aws.s3.head_object(Bucket=aws.bucket, Key=key)
        since = datetime.now(UTC) - there["LastModified"]
        if since > SETTLING and storage.put_if(aws, key, uuid4().hex.encode(), IfMatch=there["ETag"]):
            return
    raise CloudError(
        f"{run.name} was about to be submitted {since.seconds} s ago, by a launcher that is at it or was killed",
        fix=f"run the command again {SETTLING.seconds} s after that to find its job or to submit it",
    )


def _submit_once(aws: Aws, wanted: dict[str, Any]) -> str:
    """Send SubmitJob once. Whether it was heard when no answer comes, the job's name will tell."""
    with aws_errors("submit the sweep"):
        try:
            return str(aws.batch_once.submit_job(**wanted)["jobId"])
        except aws.batch_once.exceptions.ClientError as error:
            if error_code(error) in ("TooManyRequestsException", "ThrottlingException"):
                raise CloudError(
                    "AWS Batch is throttling this account", fix="run the command again in a minute to continue"
                ) from None
            raise


def ensure_definition(aws: Aws, definition: Definition) -> str:
    """The ARN of a job definition with just this content: one that is there, or one registered now."""
    wanted = batch.job_definition(aws.settings, definition)
    properties = wanted["containerProperties"]
    for one in pool.definitions(aws):
        known: Any = one.get("containerProperties", {})
        if {key: known.get(key) for key in properties} == properties:
            return one["jobDefinitionArn"]
    with aws_errors("register the job definition"):
        return aws.batch.register_job_definition(**wanted)["jobDefinitionArn"]


def _runner(aws: Aws, sweep: Sweep, run: Run) -> Runner:
    asked = sweep.asked
    machine_price = {
        (type, market, zone): round(dollars * sweep.vcpus[type] / asked["vcpus"] * MICRO)
        for type, market, zone, dollars in sweep.shares
    }
    return Runner(
        sweep=sweep.id,
        bucket=aws.bucket,
        region=aws.settings.region,
        children=run.children,
        trainer=tuple(trainer_arguments(asked["trainer"], config=CONFIG, output=OUTPUT)),
        asked={**asked, "sweep": sweep.id},
        submitted_at=int(sweep.submitted_at.timestamp()),
        max_seconds=round(asked["max_hours"] * 3600),
        sync_seconds=asked["sync_seconds"],
        vcpus=asked["vcpus"],
        types=tuple((name, cpus, machine_price.get((name, "on-demand", ""), 0)) for name, cpus in sweep.vcpus.items()),
        spot=tuple((type, zone, price) for (type, market, zone), price in machine_price.items() if market == "spot"),
        budget=round((asked["max_cost"] or 0) * MICRO),
    )


def retry(aws: Aws, sweep: Sweep, max_hours: float | None, say: Say) -> Sweep:
    """Submit the failed children of a sweep once more, or what a launcher that was killed has not submitted.

    max_hours: that each may run, with what it ran before; None for as many as it was.
    Raises CloudError if no child has failed.
    """
    sweep = children.located(aws, sweep)
    if sweep.runs[-1].job:
        found = children.look(aws, sweep)
        failed = tuple(child.index for child in found if child.state in ("failed", "unsubmitted"))
        if not failed:
            raise CloudError(f"no child of {sweep.id} has failed: {children.counted(found)}")
        now = datetime.now(UTC).replace(microsecond=0)
        sweep = replace(sweep, runs=(*sweep.runs, sweep.next_run(failed, now)))
    if max_hours:
        sweep = replace(sweep, asked={**sweep.asked, "max_hours": max_hours})
    asked = sweep.asked
    definition = Definition(asked["image"], pool.child_role_arn(aws), asked["vcpus"], asked["memory_gib"])
    sweep = sweeps.write(aws, replace(sweep, definition=ensure_definition(aws, definition)))
    _bring_configs(aws, sweep)
    return submit_run(aws, sweep, say)


def _bring_configs(aws: Aws, sweep: Sweep) -> None:
    """Bring the configurations of a sweep from before they had a place where no child may write to that place."""
    with aws_errors("look for the configurations"):
        found = pages(aws.s3, "list_objects_v2", "Contents", Bucket=aws.bucket, Prefix=f"configs/{sweep.id}/")
        there = {one["Key"] for one in found}
        missing = [one for one in sweep.numbers(sweep.runs[-1]) if runner.config_key(sweep.id, one) not in there]
        with ThreadPoolExecutor(32) as threads:
            old = [f"{sweep.prefix}{index}/config/config.yaml" for index in missing]
            bodies = list(threads.map(lambda key: storage.read(aws, key)[0], old))
    put_configs(aws, sweep, zip(missing, bodies, strict=True))

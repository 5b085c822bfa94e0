"""sweep: submit an array job to AWS Batch once, whatever happens on the way.

All that the children need is in S3 before Batch is asked: their configurations, the script they run, and the record of
the sweep. SubmitJob has no client token, so whoever comes after a launcher that died finds the job by its name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from . import batch, children, claims, pool, runner, storage, sweeps
from .aws import Aws, aws_errors, error_code, pages
from .batch import Definition
from .config import trainer_arguments
from .errors import CloudError
from .grid import Training
from .runner import CONFIG, CONFIG_KEY, OUTPUT, Runner
from .sweep_plan import Plan
from .sweeps import Asked, Run, Sweep

Say = Callable[[str], None]
MICRO = 1_000_000

SETTLING = timedelta(minutes=2)
"""How long a job that was submitted may be unknown to ListJobs, and longer than SubmitJob is waited for."""


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
    if before is None or not (run := submitted(aws, before, before.runs[-1])).job:
        return _claimed(there)
    if not children.over(aws, run):
        return Claimed(before.id, before.submitted_at, running=True)
    if not claims.put(aws, plan.claim_key, mine, IfMatch=version):
        raise CloudError("somebody else submits this very sweep right now", fix="the same again finds it")
    return _claimed(mine)


def _claimed(claim: claims.Claim) -> Claimed:
    return Claimed(sweep_id(claim.token), claim.launched_at)


def sweep_id(token: str) -> str:
    """The id of the sweep that was claimed with this token."""
    return f"sweep-{token[:12]}"


def submit(aws: Aws, plan: Plan, claimed: Claimed, say: Say) -> Sweep:
    """Put all into S3 and submit the job. Again, with the same claim, it goes on where it was."""
    definition = ensure_definition(aws, Definition(plan.image, pool.child_role_arn(aws), plan.vcpus, plan.memory_gib))
    sweep = Sweep(
        id=claimed.sweep,
        submitted_at=claimed.submitted_at,
        queue=plan.queue,
        definition=definition,
        asked=plan.asked,
        shares=tuple((one.type, one.market, one.zone, one.dollars) for one in plan.shares),
        vcpus={kind.name: kind.vcpus for kind in plan.types},
        children=tuple(Asked(child.name, child.config_name, child.parameters) for child in plan.children),
        runs=(Run(f"{claimed.sweep}-0", (), ""),),
    )
    say(f"putting {len(plan.children)} configurations into S3")
    put_configs(aws, sweep, plan.children)
    return submit_run(aws, sweep, say)


def put_configs(aws: Aws, sweep: Sweep, wanted: Iterable[Training]) -> None:
    """Put each child's configuration where it looks for it."""
    _ = aws.s3, aws.bucket

    def put(child: Training) -> None:
        aws.s3.put_object(
            Bucket=aws.bucket,
            Key=f"{sweep.prefix}{child.index}/{CONFIG_KEY}",
            Body=child.config,
            ContentType="application/yaml",
        )

    with aws_errors("put the configurations into S3"), ThreadPoolExecutor(32) as threads:
        for done in [threads.submit(put, child) for child in wanted]:
            done.result()


def submit_run(aws: Aws, sweep: Sweep, say: Say) -> Sweep:
    """Submit the last run of a sweep; returns the sweep with its job, as S3 has it then.

    Of two launchers, or of one before and one after a crash, the one submits that puts the script of the run into S3.
    """
    sweep = sweeps.write(aws, sweep)
    run = sweep.runs[-1]
    key = f"{sweep.prefix}runs/{run.name}"
    script = runner.script(_runner(aws, sweep, run)).encode()
    with aws_errors("put the script of the sweep into S3"):
        first = storage.put_if(aws, key, script, IfNoneMatch="*")
    if not first:
        run = submitted(aws, sweep, run)
    if not run.job:
        if not first:
            _take_over(aws, run, key, script)
        size = len(run.children) or len(sweep.children)
        say(f"submitting {size} {'child' if size == 1 else 'children'} to AWS Batch")
        wanted = batch.submission(
            name=run.name,
            queue=sweep.queue,
            definition=sweep.definition,
            size=size,
            runner=f"s3://{aws.bucket}/{key}",
            attempts=sweep.asked["attempts"],
            max_seconds=round(sweep.asked["max_hours"] * 3600),
        )
        run = Run(run.name, run.children, _submit_once(aws, wanted))
    return sweeps.write(aws, sweep.with_run(run))


def _take_over(aws: Aws, run: Run, key: str, script: bytes) -> None:
    """Be the one that submits a run, instead of a launcher of which nothing was heard since it put the script there.

    Raises CloudError while that may be about to submit it, or may have done so unseen.
    """
    with aws_errors(f"look at {key}"):
        there = aws.s3.head_object(Bucket=aws.bucket, Key=key)
        since = datetime.now(UTC) - there["LastModified"]
        if since > SETTLING and storage.put_if(aws, key, script, IfMatch=there["ETag"]):
            return
    raise CloudError(
        f"{run.name} was about to be submitted {since.seconds} s ago, by a launcher that is at it or was killed",
        fix=f"the same again, {SETTLING.seconds} s after that, finds its job or submits it",
    )


def _submit_once(aws: Aws, wanted: dict[str, Any]) -> str:
    """Send SubmitJob once. Whether it was heard when no answer comes, the job's name will tell."""
    with aws_errors("submit the sweep"):
        try:
            return str(aws.batch_once.submit_job(**wanted)["jobId"])
        except aws.batch_once.exceptions.ClientError as error:
            if error_code(error) in ("TooManyRequestsException", "ThrottlingException"):
                raise CloudError("AWS Batch is throttling this account", fix="the same again in a minute") from None
            raise


def submitted(aws: Aws, sweep: Sweep, run: Run) -> Run:
    """A run with its job, if Batch has it though the sweep's record does not say so: its launcher was killed."""
    if run.job:
        return run
    with aws_errors(f"look for the job {run.name}"):
        found = pages(
            aws.batch,
            "list_jobs",
            "jobSummaryList",
            jobQueue=sweep.queue,
            filters=[{"name": "JOB_NAME", "values": [run.name]}],
        )
    return Run(run.name, run.children, found[0]["jobId"] if found else "")


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
    last = submitted(aws, sweep, sweep.runs[-1])
    if last.job:
        sweep = sweep.with_run(last)
        found = children.look(aws, sweep)
        failed = tuple(child.index for child in found if child.state == "failed")
        if not failed:
            raise CloudError(f"no child of {sweep.id} has failed: {children.counted(found)}")
        asked = {**sweep.asked, **({"max_hours": max_hours} if max_hours else {})}
        run = Run(f"{sweep.id}-{len(sweep.runs)}", failed, "")
        sweep = replace(sweep, asked=asked, runs=(*sweep.runs, run))
    return submit_run(aws, sweep, say)


def terminate(aws: Aws, sweep: Sweep, index: int | None) -> bool:
    """End all children of a sweep, or one; returns whether there was any to end.

    An array job's end is that of all its children: https://docs.aws.amazon.com/batch/latest/userguide/array_jobs.html
    """
    if index is None:
        jobs = [job for run in sweep.runs if (job := submitted(aws, sweep, run).job)]
    else:
        children.look_at(aws, sweep, index)
        jobs = [children.jobs_of(sweep)[index]]
    living = [one["jobId"] for one in children.describe(aws, jobs) if one["status"] not in children.OVER]
    with aws_errors(f"terminate {sweep.id}"):
        for job in living:
            aws.batch.terminate_job(jobId=job, reason=children.TERMINATED)
    return bool(living)

"""solver-cloud's commands: settings, a call, what to print. `inv --list` shows them."""

from __future__ import annotations

import os
import shlex
import sys
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from invoke import Collection, Context, Program, task

if TYPE_CHECKING:
    import cloud
    from localcloud import tasks as local
else:
    # Installed, this is solver_cloud.tasks: the host project may well have a `cloud` of its own.
    here = f"{__package__}." if __package__ else ""
    cloud = import_module(f"{here}cloud")
    local = import_module(f"{here}localcloud.tasks")

ACCOUNT = {
    "profile": "AWS profile, as `aws configure list-profiles` lists them",
    "region": "AWS region; the profile's own if not given",
}
JOB = {"job": "instance id, a unique beginning of one, or `latest`"}


def connect(c: Context, **typed: Any) -> cloud.aws.Aws:
    """The settings of this command and its AWS account."""
    return cloud.aws.Aws(cloud.config.Settings.from_context(c, **typed))


@task(help=ACCOUNT)
def setup(c: Context, profile: str | None = None, region: str | None = None) -> None:
    """Make what the account needs: bucket, repository, role, …"""
    aws = connect(c, profile=profile, region=region)
    cloud.display.say(f"account {aws.account}, region {aws.settings.region}")
    with cloud.errors.interruptible("the same again finishes what is half-made"):
        for piece in cloud.provision.converge(aws):
            print(f"{piece.outcome:<10} {piece.kind:<17} {piece.name}", flush=True)


@task(
    help={
        "instance": "EC2 instance type, such as c7i.4xlarge",
        "config": "the trainer's YAML config file",
        "output": "directory on this machine that `download` puts the model into",
        "on-demand": "pay the full price and never be interrupted; spot otherwise",
        "source": "the trainer's Cargo workspace",
        "max-hours": "when to stop it at the latest, counted from now, interruptions included",
        "keep-on-failure": "minutes for which its instance stays for a look if it fails",
        **ACCOUNT,
    },
)
def launch(
    c: Context,
    instance: str | None = None,
    config: str | None = None,
    output: str | None = None,
    on_demand: bool = False,
    source: str | None = None,
    max_hours: str | None = None,
    keep_on_failure: str | None = None,
    profile: str | None = None,
    region: str | None = None,
) -> None:
    """Build and push what changed, start a job on EC2."""
    limits = {"max_hours": max_hours, "keep_on_failure": keep_on_failure}
    machine = {"instance": instance, "on_demand": on_demand or None}
    aws = connect(c, **machine, **limits, source=source, profile=profile, region=region)
    job = start_job(aws, config, output)
    print(job)
    say_next(job, output)


def say_next(job: str, output: str | None) -> None:
    """The commands that one may want after a launch."""
    cloud.display.say(
        f"next:  inv status {job}     how it goes\n"
        f"       inv attach {job}     its terminal\n"
        f"       inv wait {job} && inv download {job}     the model, into {output}\n"
        f"       inv terminate {job}     end it now"
    )


def latest(aws: cloud.aws.Aws, reference: str) -> cloud.jobs.Job:
    """The job that a user means or, if that was resumed, the one as which it goes on."""
    return cloud.resume.successor(aws, cloud.jobs.find(aws, reference), cloud.display.say)


def start_job(aws: cloud.aws.Aws, config: str | None, output: str | None) -> str:
    """One launch, from what was typed to the job's id. Everything is checked before anything is built."""
    say, settings = cloud.display.say, aws.settings
    with cloud.errors.interruptible("no instance was started"):
        instance_type = cloud.config.check_instance_type(settings.instance)
        trainer_config = cloud.config.read_trainer_config(config)
        target = cloud.config.check_output(output)
        machine = cloud.machine.look(aws, instance_type)
        snapshot = cloud.image.snapshot(settings.source, settings.dockerfile)
        image = cloud.registry.ensure_image(aws, settings, snapshot, machine.platform, say)
        plan = cloud.plan.decide(settings, machine, image.uri, trainer_config, target, bucket=aws.bucket)
        cloud.launch.put_config(aws, plan, trainer_config)
    return run_plan(aws, plan)


def run_plan(aws: cloud.aws.Aws, plan: cloud.plan.Plan) -> str:
    """Start what was decided; returns the job's id."""
    cloud.display.say(f"starting one {plan.machine.type} ({plan.asked['market']})")
    job = cloud.launch.run(aws, plan)
    with cloud.errors.interruptible(f"the job runs: inv status {job}, inv terminate {job}"):
        cloud.launch.open_record(aws, plan, job)
    return job


@task(
    help={
        **JOB,
        "instance": "EC2 instance type; the job's own if not given",
        "on-demand": "pay the full price and never be interrupted; the job's own market otherwise",
        "max-hours": "when to stop it at the latest, counted from now",
        **ACCOUNT,
    },
    positional=["job"],
)
def resume(
    c: Context,
    job: str,
    instance: str | None = None,
    on_demand: bool = False,
    max_hours: str | None = None,
    profile: str | None = None,
    region: str | None = None,
) -> None:
    """Go on with an ended or waiting job on a new instance."""
    aws = connect(c, on_demand=on_demand or None, max_hours=max_hours, profile=profile, region=region)
    found = cloud.resume.successor(aws, cloud.jobs.find(aws, job), cloud.display.say)
    with cloud.errors.interruptible(f"no instance was started; the same again goes on with {found.id}"):
        plan = cloud.resume.plan(aws, found, cloud.config.check_instance_type(instance or found.type))
    new = run_plan(aws, plan)
    with cloud.errors.interruptible(f"the job runs: inv status {new}, inv terminate {new}"):
        cloud.resume.link(aws, found, new)
    print(new)
    say_next(new, found.output)


@task(help={**JOB, **ACCOUNT}, positional=["job"])
def attach(c: Context, job: str, profile: str | None = None, region: str | None = None) -> None:
    """Open the trainer's terminal; Ctrl-B d leaves it running."""
    aws = connect(c, profile=profile, region=region)
    found = latest(aws, job)
    cloud.session.attach(aws, found)
    now = cloud.jobs.find(aws, found.id)
    cloud.display.say(f"{now.id}: {now.status}" + ("" if now.ended else f"; come back with: inv attach {now.id}"))


@task(
    klass=cloud.arguments.OptionalJobTask,
    positional=["job"],
    help={"job": f"{JOB['job']}; all jobs if left out", "json_": "JSON on stdout", **ACCOUNT},
)
def status(
    c: Context, job: str | None = None, json_: bool = False, profile: str | None = None, region: str | None = None
) -> None:
    """All jobs in a table, or one in full; finished ones too."""
    aws = connect(c, profile=profile, region=region)
    if job:
        found = latest(aws, job)
        details = cloud.watch.details(aws, found)
        if json_:
            cloud.display.print_json(cloud.display.job_json(found, details))
        else:
            for key, value in cloud.display.job_facts(found, details).items():
                print(f"{key:<10} {value}")
        return
    jobs = cloud.jobs.list_jobs(aws)
    if json_:
        cloud.display.print_json([cloud.display.job_json(found) for found in jobs])
    elif jobs:
        rows = [cloud.display.job_row(found) for found in jobs]
        cloud.display.table(cloud.display.HEADINGS, rows, spare=cloud.display.SPARE)
    else:
        cloud.display.say("no jobs yet; `inv launch` starts one")


@task(
    help={**JOB, "output": "directory to put the model into; the one `launch` named if not given", **ACCOUNT},
    positional=["job"],
)
def download(
    c: Context, job: str, output: str | None = None, profile: str | None = None, region: str | None = None
) -> None:
    """Bring the model here: what is missing or different."""
    aws = connect(c, profile=profile, region=region)
    found = latest(aws, job)
    print(fetch_bundle(aws, found, output))


def fetch_bundle(aws: cloud.aws.Aws, job: cloud.jobs.Job, output: str | None = None) -> Path:
    """Download a complete job's bundle; returns the directory it is in."""
    cloud.jobs.check_complete(job)
    directory = Path(cloud.config.check_output(output or job.output)).expanduser()
    total = sum(file.size for file in job.bundle)
    left = "what is there is whole, and the same again fetches the rest"
    with cloud.errors.interruptible(left), cloud.display.byte_progress(job.id, total) as progress:
        done = cloud.storage.download(aws, f"jobs/{job.id}/bundle/", job.bundle, directory, progress)
    cloud.display.say(f"{done.fetched} files fetched ({done.bytes:,} bytes), {done.kept} were there already")
    return directory


@task(help={**JOB, **ACCOUNT}, positional=["job"])
def terminate(c: Context, job: str, profile: str | None = None, region: str | None = None) -> None:
    """End a running job now; what it has written stays in S3."""
    aws = connect(c, profile=profile, region=region)
    found = cloud.jobs.find(aws, job)
    if found.ended and found.state in cloud.jobs.GONE:
        cloud.display.say(f"{found.id} has ended already ({found.status})")
        return
    ended = cloud.jobs.terminate(aws, found)
    print(f"{ended.id} {ended.status}; its output so far: {ended.s3_path}output/")


@task(help={**JOB, **ACCOUNT}, positional=["job"])
def wait(c: Context, job: str, profile: str | None = None, region: str | None = None) -> None:
    """Block until a job has ended; exit code 0 if it is complete."""
    aws = connect(c, profile=profile, region=region)
    cloud.jobs.check_complete(follow(aws, latest(aws, job)))


def follow(aws: cloud.aws.Aws, job: cloud.jobs.Job, **how: Any) -> cloud.jobs.Job:
    """Say each change of a job until it has ended; returns the ended job."""
    with cloud.errors.interruptible(f"the job goes on: inv status {job.id}"):
        for sight in cloud.watch.until_ended(aws, job, **how):
            cloud.display.say(f"{job.id}  {sight.line}")
            job = sight.job
    return job


@task(help={**JOB, "follow": "go on printing until the job has ended", **ACCOUNT}, positional=["job"])
def logs(c: Context, job: str, follow: bool = False, profile: str | None = None, region: str | None = None) -> None:
    """Print the trainer's output: live, or from S3 afterwards."""
    aws = connect(c, profile=profile, region=region)
    found = latest(aws, job)
    with cloud.errors.interruptible(f"the job is not: inv status {found.id}"):
        cloud.logs.print_log(aws, found, follow=follow)


@task(help={"yes": "do not ask", **ACCOUNT})
def gc(c: Context, yes: bool = False, profile: str | None = None, region: str | None = None) -> None:
    """End what is left over and costs money; jobs go on."""
    aws = connect(c, profile=profile, region=region)
    left = cloud.leftovers.find(aws, datetime.now(UTC))
    if not left:
        cloud.display.say("nothing is left over")
        return
    cloud.display.table(("KIND", "ID", "WHY", "COSTS"), [(one.kind, one.id, one.why, one.costs) for one in left])
    if not yes and not cloud.display.agreed(f"end these {len(left)}?", otherwise="inv gc --yes"):
        raise cloud.errors.CloudError("nothing was ended")
    with cloud.errors.interruptible("the same again ends the rest"):
        for one in left:
            cloud.cleanup.end(aws, one)
            cloud.display.say(f"ended {one.kind} {one.id}")


@task(help={"output": "directory for the model"})
def demo(c: Context, output: str = "~/models/demo") -> None:
    """The whole story on this machine, from setup to download."""
    local.up(c)
    profile = local.profile_name()
    example = cloud.config.PACKAGE / "examples" / "trainer"
    config = example / "sample_configurations" / "fast_buckets.yaml"
    aws = connect(c, profile=profile, source=example, instance="c7i.4xlarge", sync_seconds=2)
    setup(c, profile=profile)
    job = start_job(aws, str(config), output)
    ended = follow(aws, cloud.jobs.find(aws, job), poll=1)
    cloud.jobs.check_complete(ended)
    print(fetch_bundle(aws, ended))


@task(
    help={
        "all_": "the long versions too",
        "only": "what pytest's -k takes: run the tests that match",
    }
)
def test(c: Context, all_: bool = False, only: str | None = None) -> None:
    """All the tests, real commands on the local cloud included."""
    os.chdir(cloud.config.PACKAGE)
    local.prepare()
    if not only:
        for check in ("ruff check .", "ruff format --check .", "mypy ."):
            c.run(f"{sys.executable} -m {check}", echo=True, in_stream=False)
    words = [sys.executable, "-m", "pytest", "--numprocesses", "2", "--dist", "loadfile"]
    words += [*(["--all"] if all_ else []), *(["-k", only] if only else [])]
    c.run(shlex.join(words), echo=True, in_stream=False, pty=sys.stdout.isatty())


ns = Collection(setup, launch, attach, status, download, terminate, wait, logs, resume, gc, demo)
ns.add_collection(local.ns, name="local")
if not __package__:
    ns.add_task(test)
ns.configure({"solver": cloud.config.DEFAULTS})


def main() -> None:
    """The console command `solver-cloud`: the same tasks without a tasks.py."""
    from importlib.metadata import version

    Program(name="solver-cloud", binary="solver-cloud", namespace=ns, version=version("solver-cloud")).run()

"""solver-cloud's commands: settings, a call, what to print. `inv --list` shows them."""

from __future__ import annotations

import os
import shlex
import sys
from dataclasses import asdict
from datetime import UTC, datetime
from gc import freeze as freeze_objects
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from invoke import Collection, Context, Program, task

# invoke keeps no compiled modules, and so none of those below would be: a twentieth of each command's time.
sys.dont_write_bytecode = bool(sys.flags.dont_write_bytecode)

if TYPE_CHECKING:
    import cloud
    from cloud import sweep_tasks
    from cloud.commands import JOB, LIMITS, MARKET, command, connect
    from localcloud import tasks as local
else:
    # Installed, this is solver_cloud.tasks: the host project may well have a `cloud` of its own.
    here = f"{__package__}." if __package__ else ""
    cloud = import_module(f"{here}cloud")
    local = import_module(f"{here}localcloud.tasks")
    sweep_tasks = cloud.sweep_tasks
    JOB, LIMITS, MARKET = cloud.commands.JOB, cloud.commands.LIMITS, cloud.commands.MARKET
    command, connect = cloud.commands.command, cloud.commands.connect

NEEDS = {
    "instance": "EC2 instance types, such as c7i.4xlarge,c6i.4xlarge; the cheapest that is to be had",
    "cpus": "instead of --instance: vCPUs that the machine has at least",
    "memory": "GiB of memory that it has at least",
    "gpus": "GPUs that it has at least",
    "arm": "ARM processors (Graviton) instead of x86_64",
}


@command(help={"batch": "what sweeps need, too: AWS Batch", "dry_run": "say what would be made; make nothing"})
def setup(aws: cloud.aws.Aws, batch: bool = False, dry_run: bool = False) -> None:
    """Make what the account needs: bucket, repository, role, …"""
    cloud.display.say(f"account {aws.account}, region {aws.settings.region}")
    with cloud.errors.interruptible("the same again finishes what is half-made"):
        for piece in cloud.provision.converge(aws, dry_run=dry_run):
            print(f"{piece.outcome:<14} {piece.kind:<17} {piece.name}", flush=True)
        for piece in cloud.sweep_plan.set_up(aws, dry_run=dry_run) if batch else ():
            print(f"{piece.outcome:<14} {piece.kind:<17} {piece.name}", flush=True)


@command(help={"bucket_too": "the bucket as well, with every job's output and model", "yes": "do not ask"})
def teardown(aws: cloud.aws.Aws, bucket_too: bool = False, yes: bool = False) -> None:
    """Undo setup; refused while a job lives."""
    found = cloud.teardown.look(aws, bucket_too=bucket_too)
    going = [one for one in found if not one.stays]
    for one in found:
        if one.stays:
            cloud.display.say(f"the {one.kind} {one.name} stays ({one.holds or 'empty'}): {one.stays}")
    if not going:
        cloud.display.say("nothing of setup is left to remove")
        return
    cloud.display.table(("KIND", "NAME", "WHAT IS LOST"), [(one.kind, one.name, one.holds or "-") for one in going])
    again = "inv teardown --bucket-too --yes" if bucket_too else "inv teardown --yes"
    if not yes and not cloud.display.agreed(f"remove these {len(going)}?", otherwise=again):
        raise cloud.errors.CloudError("nothing was removed")
    with cloud.errors.interruptible("the same again removes the rest"):
        for one in going:
            cloud.teardown.remove(one)
            cloud.display.say(f"removed {one.kind} {one.name}")


@command(
    settings={
        "source": "the trainer's Cargo workspace",
        **MARKET,
        **LIMITS,
        "keep_on_failure": "minutes for which its instance stays for a look if it fails",
    },
    help={
        **NEEDS,
        "config": "the trainer's YAML config file",
        "output": "directory on this machine that `download` puts the model into",
        "yes": "do not ask, whatever it can cost",
        "dry_run": "say what would be built, pushed and asked of EC2; make nothing",
    },
    regions=True,
    auto_shortflags=False,  # there are more options than letters to guess
)
def launch(
    aws: cloud.aws.Aws,
    instance: str | None = None,
    config: str | None = None,
    output: str | None = None,
    cpus: str | None = None,
    memory: str | None = None,
    gpus: str | None = None,
    arm: bool = False,
    yes: bool = False,
    dry_run: bool = False,
) -> None:
    """Build and push what changed, start a job on EC2."""
    wanted = cloud.instance_types.wanted(instance, aws.settings, cpus=cpus, memory=memory, gpus=gpus, arm=arm)
    if dry_run:
        preview(aws.regions[0], wanted, config, output)
        return
    job = start_job(aws, wanted, config, output, yes=yes)
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


def start_job(
    aws: cloud.aws.Aws, wanted: cloud.instance_types.Wanted, config: str | None, output: str | None, *, yes: bool = True
) -> str:
    """One launch, from what was typed to the job's id, in the first region that has a machine."""
    with cloud.errors.interruptible("no instance was started"):
        trainer_config = cloud.trainer_config.read_trainer_config(config)
        target = cloud.config.check_output(output)
        regions = aws.regions
        for there in regions[1:]:
            cloud.firewall.required(there)
    refused: list[cloud.offers.Refusal] = []
    for there in regions:
        elsewhere = [other for other in regions if other is not there]
        try:
            return start_there(there, elsewhere, wanted, trainer_config, target, yes)
        except cloud.offers.NoMachine as error:
            refused += error.refusals
    raise cloud.offers.NoMachine(refused)


def start_there(
    aws: cloud.aws.Aws,
    elsewhere: list[cloud.aws.Aws],
    wanted: cloud.instance_types.Wanted,
    config: cloud.trainer_config.TrainerConfig,
    output: str,
    yes: bool,
) -> str:
    """One launch in one region. Everything is checked before anything is built.

    elsewhere: the other regions that this launch may have begun in.
    """
    with cloud.errors.interruptible("no instance was started"):
        with cloud.image.snapshot(aws.settings.source, aws.settings.dockerfile) as snapshot:
            plan = cloud.plan.look(aws, wanted, snapshot, config, output)
            # With nothing on offer, it may be this very job that has used up the quota.
            for place in elsewhere if plan.market.offers else [aws, *elsewhere]:
                if job := cloud.claims.running(place, plan.claim_key):
                    cloud.display.say(f"this very job runs already, in {place.settings.region}")
                    return job
            plan.market.check()
            agree(aws, plan, yes=yes)
            if plan.pushed:
                cloud.display.say(f"image {plan.image.rpartition(':')[2]} is in ECR")
            else:
                cloud.registry.ensure_image(aws, snapshot, plan.image, plan.machine.platform, cloud.display.say)
                cloud.plan.check_room(aws.settings, plan.machine, image_bytes=cloud.registry.size(aws, plan.image))
        claim = cloud.launch.prepare(aws, plan, config)
        if claim.instance:
            cloud.display.say(f"this very job runs already, since {claim.launched_at:%Y-%m-%d %H:%M} UTC")
            return claim.instance
    return run_plan(aws, plan, claim)


def agree(aws: cloud.aws.Aws, plan: cloud.plan.Plan, *, yes: bool) -> None:
    """Say what a launch costs, and ask if that can be more than the settings let pass."""
    cloud.display.say(cloud.offer_view.price_line(plan))
    most = plan.dearest
    if most is not None and most > aws.settings.ask_above and not yes:
        question = f"it can cost {cloud.display.dollars(most)}, more than solver.ask_above; launch it?"
        if not cloud.display.agreed(question, otherwise="inv launch … --yes"):
            raise cloud.errors.CloudError("nothing was built or started")


def run_plan(aws: cloud.aws.Aws, plan: cloud.plan.Plan, claim: cloud.claims.Claim) -> str:
    """Start what was decided; returns the job's id."""
    started = cloud.launch.run(aws, plan, claim, cloud.display.say)
    with cloud.errors.interruptible(f"the job runs: inv status {started.id}, inv terminate {started.id}"):
        cloud.launch.open_record(aws, plan, claim, started)
    return started.id


def preview(aws: cloud.aws.Aws, wanted: cloud.instance_types.Wanted, config: str | None, output: str | None) -> None:
    """What a launch would do, on stderr, and the request that it would send first, on stdout."""
    trainer_config = cloud.trainer_config.read_trainer_config(config)
    target = cloud.config.check_output(output)
    with cloud.image.snapshot(aws.settings.source, aws.settings.dockerfile) as snapshot:
        plan = cloud.plan.look(aws, wanted, snapshot, trainer_config, target)
    plan.market.check()
    for line in cloud.offer_view.preview(plan, bucket=aws.bucket):
        cloud.display.say(line)
    cloud.display.say(cloud.launch.dry_run(aws, plan))
    cloud.display.print_json(cloud.request.shown(aws, plan))


@command(
    help={**NEEDS, "json_": "JSON on stdout"},
    settings={"max_price": MARKET["max_price"]},
    reads=True,
)
def offers(
    aws: cloud.aws.Aws,
    instance: str | None = None,
    cpus: str | None = None,
    memory: str | None = None,
    gpus: str | None = None,
    arm: bool = False,
    json_: bool = False,
) -> None:
    """Machines for a job and their prices, cheapest first."""
    wanted = cloud.instance_types.wanted(instance, aws.settings, cpus=cpus, memory=memory, gpus=gpus, arm=arm)
    found = cloud.listing.look(aws, cloud.instance_types.look(aws, wanted))
    if json_:
        cloud.display.print_json([asdict(one) for one in found])
    else:
        view = cloud.offer_view
        cloud.display.table(view.HEADINGS, [view.row(one) for one in found], spare=view.SPARE)


@command(
    settings={**MARKET, **LIMITS},
    help={**JOB, "instance": "EC2 instance types, separated by commas; the job's own if not given"},
    positional=["job"],
)
def resume(aws: cloud.aws.Aws, job: str, instance: str | None = None) -> None:
    """Go on with an ended or waiting job on a new instance."""
    found = latest(aws, job)
    with cloud.errors.interruptible(f"no instance was started; the same again goes on with {found.id}"):
        plan = cloud.resume.plan(aws, found, cloud.config.check_instance_types(instance or found.type))
        cloud.display.say(cloud.offer_view.price_line(plan))
        claim = cloud.resume.claim(aws, found)
    new = run_plan(aws, plan, claim)
    with cloud.errors.interruptible(f"the job runs: inv status {new}, inv terminate {new}"):
        cloud.resume.link(aws, found, new)
    print(new)
    say_next(new, found.output)


def latest(aws: cloud.aws.Aws, reference: str) -> cloud.jobs.Job:
    """The job that a user means or, if that was resumed, the one as which it goes on. Raises UsageError for a sweep."""
    if cloud.sweeps.means(reference):
        raise cloud.errors.UsageError(
            f"{reference} is a sweep, whose children have no terminal, and are not resumed one by one",
            fix="inv status SWEEP, inv logs SWEEP/INDEX, inv retry SWEEP",
        )
    return cloud.watch.successor(aws, cloud.jobs.find(aws, reference), cloud.display.say)


@command(help=JOB, positional=["job"], reads=True)
def attach(aws: cloud.aws.Aws, job: str) -> None:
    """Open the trainer's terminal; Ctrl-B d leaves it running."""
    found = latest(aws, job)
    cloud.session.attach(aws, found)
    now = cloud.jobs.find(aws, found.id)
    cloud.display.say(f"{now.id}: {now.status}" + ("" if now.ended else f"; come back with: inv attach {now.id}"))


@command(
    klass=cloud.arguments.OptionalJobTask,
    positional=["job"],
    help={"job": f"{JOB['job']}; all jobs if left out; `sweeps`, or one", "json_": "JSON on stdout"},
    reads=True,
)
def status(aws: cloud.aws.Aws, job: str | None = None, json_: bool = False) -> None:
    """All jobs in a table, or one in full; finished ones too."""
    if job and cloud.sweeps.means(job):
        sweep_tasks.status(aws, job, json=json_)
        return
    if job:
        found, details = cloud.watch.look(aws, job, cloud.display.say)
        if json_:
            cloud.display.print_json(cloud.job_view.job_json(found, details))
        else:
            cloud.display.facts(cloud.job_view.job_facts(found, details))
        return
    jobs = cloud.jobs.list_jobs(aws)
    if json_:
        cloud.display.print_json(cloud.job_view.job_json(found) for found in jobs)
    elif jobs:
        rows = [cloud.job_view.job_row(found) for found in jobs]
        cloud.display.table(cloud.job_view.HEADINGS, rows, spare=cloud.job_view.SPARE)
        for found in jobs:
            if found.unreadable:
                cloud.display.say(f"{found.id}: {found.unreadable}")
    else:
        cloud.display.say("no jobs yet; `inv launch` starts one")


@command(
    help={"since": "of jobs launched on that day or later, such as 2026-11-01", "json_": "JSON on stdout"}, reads=True
)
def costs(aws: cloud.aws.Aws, since: str | None = None, json_: bool = False) -> None:
    """What jobs have cost, and what keeping their results costs."""
    first = cloud.config.check_day("--since", since)
    jobs = [job for job in cloud.jobs.list_jobs(aws, whole=True) if first is None or job.launched_at >= first]
    kept = cloud.costs.kept(aws, jobs)
    if json_:
        cloud.display.print_json([{**cloud.job_view.cost_json(job), "s3": asdict(kept[job.id])} for job in jobs])
        return
    cloud.display.table(cloud.job_view.COST_HEADINGS, [cloud.job_view.cost_row(job) for job in jobs])
    cloud.display.say(cloud.job_view.cost_total(jobs))
    cloud.display.say(f"kept in S3: {cloud.costs.in_all(kept.values())}")


@command(
    help={
        **JOB,
        "output": "directory to put the model into; the one `launch` named if not given",
        "yes": "do not ask before files are overwritten that no download has put there",
    },
    positional=["job"],
)
def download(aws: cloud.aws.Aws, job: str, output: str | None = None, yes: bool = False) -> None:
    """Bring the model here: what is missing or different."""
    if cloud.sweeps.means(job):
        cloud.display.show(sweep_tasks.download(aws, job, output, yes=yes))
        return
    found = latest(aws, job)
    cloud.display.show(fetch_bundle(aws, found, output, yes=yes))


def fetch_bundle(aws: cloud.aws.Aws, job: cloud.jobs.Job, output: str | None = None, *, yes: bool = False) -> Path:
    """Download a complete job's bundle; returns the directory it is in."""
    cloud.jobs.check_complete(job)
    return cloud.fetch.fetch(aws, job.id, cloud.bundle.of_job(job), output or job.output, yes=yes)


@command(help=JOB, positional=["job"])
def terminate(aws: cloud.aws.Aws, job: str) -> None:
    """End a running job now; what it has written stays in S3."""
    if cloud.sweeps.means(job):
        sweep_tasks.terminate(aws, job)
        return
    found = cloud.jobs.find(aws, job)
    if found.ended and found.state in cloud.jobs.GONE:
        cloud.display.say(f"{found.id} has ended already ({found.status})")
        return
    ended = cloud.jobs.terminate(aws, found)
    cloud.display.show(f"{ended.id} {ended.status}; its output so far: {ended.s3_path}output/")


@command(help=JOB, positional=["job"], reads=True)
def wait(aws: cloud.aws.Aws, job: str) -> None:
    """Block until a job has ended; exit code 0 if complete."""
    if cloud.sweeps.means(job):
        sweep_tasks.wait(aws, job)
        return
    cloud.jobs.check_complete(follow(aws, latest(aws, job)))


def follow(aws: cloud.aws.Aws, job: cloud.jobs.Job, **how: Any) -> cloud.jobs.Job:
    """Say each change of a job until it has ended; returns the ended job."""
    with cloud.errors.interruptible(f"the job goes on: inv status {job.id}"):
        for sight in cloud.watch.until_ended(aws, job, **how):
            cloud.display.say(f"{job.id}  {sight.line}")
            job = sight.job
    return job


@command(help={**JOB, "follow": "go on printing until the job has ended"}, positional=["job"], reads=True)
def logs(aws: cloud.aws.Aws, job: str, follow: bool = False) -> None:
    """Print the trainer's output: live, or from S3 afterwards."""
    if cloud.sweeps.means(job):
        sweep_tasks.logs(aws, job, follow=follow)
        return
    found = latest(aws, job)
    with cloud.errors.interruptible(f"the job is not: inv status {found.id}"):
        cloud.logs.print_log(aws, found, follow=follow)


@command(
    settings={"source": "the trainer's Cargo workspace"},
    help={"instance": "EC2 instance type that jobs will have; the machine image fits all of its kind"},
)
def bake(aws: cloud.aws.Aws, instance: str | None = None) -> None:
    """Make a machine image that has the trainer's image already."""
    wanted = cloud.config.check_instance_types(instance or aws.settings.instance)
    with cloud.errors.interruptible("no builder was started"):
        machine = cloud.machine.look(aws, wanted)
        with cloud.image.snapshot(aws.settings.source, aws.settings.dockerfile) as snapshot:
            image = cloud.registry.image_name(aws, snapshot, machine.platform)
            cloud.registry.ensure_image(aws, snapshot, image, machine.platform, cloud.display.say)
    baked = cloud.bake.bake(aws, machine, image, cloud.display.say)
    if not baked.made:
        cloud.display.say("already baked")
    print(baked.ami)


@command(help={"yes": "do not ask"})
def gc(aws: cloud.aws.Aws, yes: bool = False) -> None:
    """End what is left over and costs money; jobs go on."""
    left = cloud.leftovers.find(aws, datetime.now(UTC))
    if not left:
        cloud.display.say("nothing is left over")
        return
    cloud.display.table(("KIND", "ID", "WHY", "COSTS"), [(one.kind, one.id, one.why, one.costs) for one in left])
    if not yes and not cloud.display.agreed(f"end these {len(left)}?", otherwise="inv gc --yes"):
        raise cloud.errors.CloudError("nothing was ended")
    stay = 0
    with cloud.errors.interruptible("the same again ends the rest"):
        for one in left:
            try:
                cloud.cleanup.end(aws, one)
                cloud.display.say(f"ended {one.kind} {one.id}")
            except cloud.errors.CloudError as error:
                cloud.display.say(f"{one.kind} {one.id} stays: {error}")
                stay += 1
    if stay:
        raise cloud.errors.CloudError(f"{stay} of {len(left)} could not be ended", fix="the same again tries once more")


@task(help={"output": "directory for the model"})
def demo(c: Context, output: str = "~/models/demo") -> None:
    """The whole story on this machine, from setup to download."""
    local.up(c)
    profile = local.profile_name()
    example = cloud.config.PACKAGE / "examples" / "trainer"
    config = example / "sample_configurations" / "fast_buckets.yaml"
    aws = connect(c, profile=profile, source=example, sync_seconds=2)
    setup(c, profile=profile)
    job = start_job(aws, ("c7i.4xlarge",), str(config), output)
    ended = follow(aws, cloud.jobs.find(aws, job), poll=1)
    cloud.jobs.check_complete(ended)
    print(fetch_bundle(aws, ended))


@task(
    help={
        "all_": "the long versions too",
        "only": "what pytest's -k takes: run the tests that match",
        "mutate": "instead: change this file, or each in this directory, and say what no test notices",
    }
)
def test(c: Context, all_: bool = False, only: str | None = None, mutate: str | None = None) -> None:
    """All the tests, real commands on the local cloud included."""
    os.chdir(cloud.config.PACKAGE)
    local.prepare()
    if mutate is not None:
        run_module(c, "tests.mutation", *mutate.split(","))
        return
    if not only:
        for check in ("ruff check .", "ruff format --check .", "mypy ."):
            c.run(f"{sys.executable} -m {check}", echo=True, in_stream=False)
    # In their order: the long ones, tests/e2e, come first, and none of them is left to one alone at the end. Three at a
    # time on two processors, because half of the time is waiting for machines.
    words = ["--numprocesses", "3", "--dist", "loadfile", "--no-loadscope-reorder"]
    run_module(c, "pytest", *words, *(["--all"] if all_ else []), *(["-k", only] if only else []))


@task(
    help={
        "only": "rows, separated by commas; all if left out",
        "write": "write docs/performance.md from the figures kept so far",
    }
)
def bench(c: Context, only: str | None = None, write: bool = False) -> None:
    """Measure anew what docs/performance.md says."""
    os.chdir(cloud.config.PACKAGE)
    run_module(c, "bench", *([] if only is None else ["--only", only]), *(["--write"] if write else []))


def run_module(c: Context, *words: str) -> None:
    """Run `python -m WORDS` where its colours and progress are seen, if they can be."""
    c.run(shlex.join([sys.executable, "-m", *words]), echo=True, in_stream=False, pty=sys.stdout.isatty())


@task(help={"output": "directory for the models"}, name="sweep")
def demo_sweep(c: Context, output: str = "~/models/demo-sweep") -> None:
    """Twelve configurations at once, from setup to results."""
    local.up(c)
    profile = local.profile_name()
    example = cloud.config.PACKAGE / "examples" / "trainer"
    config = example / "sample_configurations" / "fast_buckets.yaml"
    aws = connect(c, profile=profile, source=example, sync_seconds=2)
    setup(c, batch=True, profile=profile)
    grid = ["algorithm=cfr+,dcfr,mccfr", "iterations=2000,20000", "report_every=1000", "seed=1,2"]
    trainings = cloud.sweep_plan.read_configs([str(config)], grid)
    started = sweep_tasks.start(aws, trainings, cloud.config.check_output(output))
    there = cloud.sweeps.find(aws, started)
    children = sweep_tasks.follow(aws, there, poll=1)
    sweep_tasks.check(started, children)
    print(sweep_tasks.download(aws, started, None))
    sweep_tasks.show(cloud.results.look(aws, there, children))


demos = Collection("demo", demo_sweep)
demos.add_task(demo, default=True)

ns = Collection(
    *(setup, teardown, launch, attach, status, download, terminate, wait, logs, resume, offers, costs, bake, gc),
    *(sweep_tasks.sweep, sweep_tasks.retry, sweep_tasks.results),
    demos,
)
ns.add_collection(local.ns, name="local")
if not __package__:
    ns.add_task(test)
    ns.add_task(bench)
    cloud.mishaps.take_over()
freeze_objects()  # All that there is stays; Python's search for garbage in it was an eighth of `inv --list`.


def main() -> None:
    """The console command `solver-cloud`: the same tasks without a tasks.py."""
    from importlib.metadata import version

    cloud.mishaps.take_over()
    Program(name="solver-cloud", binary="solver-cloud", namespace=ns, version=version("solver-cloud")).run()

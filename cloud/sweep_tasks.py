"""The commands of sweeps, and what those of jobs do when a sweep is meant: settings, calls, what to print."""

from __future__ import annotations

import sys
import time
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from .commands import MARKET, command

if TYPE_CHECKING:
    import cloud
else:
    cloud = import_module(__package__)  # whose rooms open when they are needed

SWEEP = {"sweep": "its id, such as sweep-0123456789ab"}


@command(
    settings={
        "source": "the trainer's Cargo workspace",
        "on_demand": MARKET["on_demand"],
        "fallback": "`on-demand`: pay the full price if spot has no capacity, or all of --max-vcpus",
        "max_hours": "how long a child may run, all its attempts together",
        "max_cost": "dollars that a child may cost; then it is stopped",
    },
    help={
        "config": "the trainer's YAML config files, or a pattern in quotes: 'configs/*.yaml'; as often as you like",
        "grid": "a key of the config and its values, such as iterations=1000,10000 or seed=1..5; all are combined",
        "output": "directory on this machine that `download` puts the models into",
        "instance": "EC2 instance types, separated by commas; as many as will do, for Batch to choose from",
        "max_vcpus": "vCPUs that may run at the same time",
        "vcpus": "of each child",
        "memory": "GiB of each child; 1.5 for each vCPU if not given",
        "attempts": "how often a child may be begun, reclaimed machines included; at most 10",
        "yes": "do not ask, whatever it can cost",
        "dry_run": "list the children and what they cost; make nothing",
    },
    iterable=["config", "grid"],
    auto_shortflags=False,
)
def sweep(
    aws: cloud.aws.Aws,
    config: list[str],
    grid: list[str],
    output: str | None = None,
    instance: str | None = None,
    max_vcpus: str | None = None,
    vcpus: str | None = None,
    memory: str | None = None,
    attempts: str | None = None,
    yes: bool = False,
    dry_run: bool = False,
) -> None:
    """Train many configurations at once, on AWS Batch."""
    number = cloud.config.check_number
    wishes = cloud.sweep_plan.Wishes(
        instance=instance,
        max_vcpus=number("--max-vcpus", max_vcpus, least=1),
        vcpus=number("--vcpus", vcpus, least=1),
        memory_gib=number("--memory", memory, least=0.01),
        attempts=number("--attempts", attempts, least=1),
    )
    aws = cloud.aws.Aws(wishes.settings(aws.settings))
    wanted = cloud.sweep_plan.read_configs(config, grid)
    target = cloud.config.check_output(output)
    started = start(aws, wanted, target, yes=yes, dry_run=dry_run)
    if started:
        print(started)
        cloud.display.say(
            f"next:  inv status {started}     how its children are\n"
            f"       inv wait {started} && inv download {started}     the models, into {target}\n"
            f"       inv results {started}     what they have found\n"
            f"       inv terminate {started}     end it now"
        )


def start(
    aws: cloud.aws.Aws, wanted: list[cloud.grid.Training], output: str, *, yes: bool = True, dry_run: bool = False
) -> str:
    """One sweep, from its children to its id; "" for a dry run. Everything is checked before anything is built."""
    with cloud.errors.interruptible("nothing was submitted"):
        with cloud.image.snapshot(aws.settings.source, aws.settings.dockerfile) as snapshot:
            plan = cloud.sweep_plan.look(aws, snapshot, wanted, output)
            if dry_run:
                cloud.display.table(cloud.sweep_view.PLANNED, cloud.sweep_view.planned(plan))
                for line in cloud.sweep_view.preview(plan, aws.bucket):
                    cloud.display.say(line)
                return ""
            agree(aws, plan, yes=yes)
            if plan.pushed:
                cloud.display.say(f"image {plan.image.rpartition(':')[2]} is in ECR")
            else:
                cloud.registry.ensure_image(aws, snapshot, plan.image, plan.platform, cloud.display.say)
        cloud.image_check.check(plan.image)
        for piece in cloud.pool.ensure(aws, plan.pool):
            cloud.display.say(f"{piece.outcome} {piece.kind} {piece.name}")
        claimed = cloud.sweep.claim(aws, plan)
    if claimed.running:
        cloud.display.say(f"this very sweep runs already, since {claimed.submitted_at:%Y-%m-%d %H:%M} UTC")
        return claimed.sweep
    with cloud.errors.interruptible(f"the same again goes on with {claimed.sweep}; inv terminate {claimed.sweep}"):
        return cloud.sweep.submit(aws, plan, claimed, cloud.display.say).id


def agree(aws: cloud.aws.Aws, plan: cloud.sweep_plan.Plan, *, yes: bool) -> None:
    """Say what a sweep costs, and ask if that can be more than the settings let pass."""
    cloud.display.say(cloud.sweep_view.price_line(plan))
    if plan.most is not None and plan.most > aws.settings.ask_above and not yes:
        question = f"it can cost {cloud.display.dollars(plan.most)}, more than solver.ask_above; submit it?"
        if not cloud.display.agreed(question, otherwise="inv sweep … --yes"):
            raise cloud.errors.CloudError("nothing was built or submitted")


def found(aws: cloud.aws.Aws, reference: str) -> cloud.sweep_record.Sweep:
    """The sweep that is meant, and not one of its children."""
    id, child = cloud.sweeps.parse(reference)
    if child is not None:
        raise cloud.errors.UsageError(f"{reference} is one child", fix=f"the whole sweep is {id}")
    return cloud.sweeps.find(aws, id)


def status(aws: cloud.aws.Aws, reference: str, *, json: bool) -> None:
    """A row for each child, or one child in full; of `sweeps`, a row for each sweep."""
    if reference == "sweeps":
        every(aws, json=json)
        return
    id, index = cloud.sweeps.parse(reference)
    sweep = cloud.sweeps.find(aws, id)
    if index is not None:
        child = cloud.child.with_latest(aws, sweep, [cloud.children.look_at(aws, sweep, index)])[0]
        if json:
            cloud.display.print_json(cloud.sweep_view.child_json(child))
            return
        if child.state == "failed" and not child.latest:
            child = replace(child, latest="\n           ".join(cloud.batch_logs.last_words(aws, child)[-5:]))
        cloud.display.facts(cloud.sweep_view.facts(sweep, child, aws.bucket))
        return
    children = cloud.child.with_latest(aws, sweep, cloud.children.look(aws, sweep))
    if json:
        cloud.display.print_json(cloud.sweep_view.sweep_json(sweep, children))
        return
    view = cloud.sweep_view
    cloud.display.table(view.HEADINGS, [view.row(child) for child in children], spare=view.SPARE)
    cloud.display.say(view.total(sweep, children))


def every(aws: cloud.aws.Aws, *, json: bool) -> None:
    """A row for each sweep, newest first."""
    (sweeps, unreadable), view = cloud.sweeps.every(aws), cloud.sweep_view
    summaries = cloud.children.summaries(aws, sweeps)
    rows = [view.listed(sweep, summaries.get(sweep.id, "")) for sweep in sweeps]
    if json:
        cloud.display.print_json(
            [dict(zip(("id", "submitted_at", "children", "last_run"), row, strict=True)) for row in rows]
        )
    elif rows:
        cloud.display.table(view.LISTED, rows)
    elif not unreadable:
        cloud.display.say("no sweeps yet; `inv sweep` starts one")
    for error in unreadable.values():
        cloud.display.say(error.problem)


def logs(aws: cloud.aws.Aws, reference: str, *, follow: bool) -> None:
    """What one child's trainer has printed, as of the last sync."""
    id, index = cloud.sweeps.parse(reference)
    if index is None:
        raise cloud.errors.UsageError(f"{id} has a log for each child", fix=f"for example: inv logs {id}/0")
    sweep = cloud.sweeps.find(aws, id)
    with cloud.errors.interruptible(f"the child is not: inv status {reference}"):
        cloud.logs.print_child_log(aws, sweep, index, follow=follow)


def download(aws: cloud.aws.Aws, reference: str, output: str | None, *, yes: bool = False) -> Path:
    """Bring the models of all complete children here, or of one; returns the directory they are in."""
    id, index = cloud.sweeps.parse(reference)
    sweep = cloud.sweeps.find(aws, id)
    children = cloud.children.look(aws, sweep) if index is None else [cloud.children.look_at(aws, sweep, index)]
    complete = [child for child in children if child.state == "complete"]
    if not complete:
        raise cloud.errors.CloudError(f"no model of {reference} is complete", fix=f"inv status {reference}")
    bundle, problems = cloud.child.bundles(aws, sweep, complete)
    directory = cloud.fetch.fetch(aws, reference, bundle, output or sweep.asked["output"], yes=yes)
    if len(complete) < len(children):
        cloud.display.say(f"{len(complete)} of {len(children)} are complete: {cloud.children.counted(children)}")
    if problems:
        for problem in problems:
            cloud.display.say(problem)
        raise cloud.errors.CloudError(
            f"{len(problems)} of {len(complete)} models could not be fetched; the others are in {directory}"
        )
    return directory


def terminate(aws: cloud.aws.Aws, reference: str) -> None:
    """End all children now; what they have written stays in S3."""
    id, index = cloud.sweeps.parse(reference)
    end = cloud.sweep_end
    if end.all_jobs(aws, id) if index is None else end.child(aws, cloud.sweeps.find(aws, id), index):
        cloud.display.show(f"{reference} is being terminated; its output so far: s3://{aws.bucket}/sweeps/{reference}/")
    else:
        cloud.display.say(f"{reference} has ended already")


def wait(aws: cloud.aws.Aws, reference: str) -> None:
    """Block until all children have ended; exit code 0 if all are complete."""
    sweep = found(aws, reference)
    check(sweep.id, follow(aws, sweep))


def check(sweep: str, children: list[cloud.child.Child]) -> None:
    """Raises CloudError unless all children are complete."""
    if any(child.state != "complete" for child in children):
        raise cloud.errors.CloudError(
            f"{sweep}: {cloud.children.counted(children)}",
            fix=f"which: inv status {sweep}; once more: inv retry {sweep}",
        )


def follow(
    aws: cloud.aws.Aws, sweep: cloud.sweep_record.Sweep, *, poll: float | None = None
) -> list[cloud.child.Child]:
    """Say each change of the children's counts until all have ended."""
    before = None
    with cloud.errors.interruptible(f"the sweep goes on: inv status {sweep.id}"):
        while True:
            children = cloud.children.look(aws, sweep)
            now = cloud.children.counted(children)
            if now != before:
                before = now
                cloud.display.say(f"{sweep.id}  {now}")
            if all(child.state in cloud.children.ENDED for child in children):
                return children
            time.sleep(poll or max(cloud.watch.POLL_SECONDS, len(children) / 50))


@command(
    help={**SWEEP, "max_hours": "how long a child may run, with what it ran before; as it was if not given"},
    positional=["sweep"],
)
def retry(aws: cloud.aws.Aws, sweep: str, max_hours: str | None = None) -> None:
    """Try the failed children of a sweep once more."""
    there = found(aws, sweep)
    hours = cloud.config.check_number("--max-hours", max_hours, least=0.01, most=cloud.given.MOST["max_hours"])
    with cloud.errors.interruptible("the same again goes on with it"):
        print(cloud.sweep.retry(aws, there, hours, cloud.display.say).id)


@command(
    help={
        **SWEEP,
        "csv": "CSV on stdout",
        "plot": "PNG file to draw a metric against a parameter in",
        "metric": "which metric; the first if not given",
        "against": "which parameter; the first if not given",
    },
    positional=["sweep"],
)
def results(
    aws: cloud.aws.Aws,
    sweep: str,
    csv: bool = False,
    plot: str | None = None,
    metric: str | None = None,
    against: str | None = None,
) -> None:
    """What a sweep has found: parameters and metrics."""
    there = found(aws, sweep)
    children = cloud.children.look(aws, there)
    table = cloud.results.look(aws, there, children)
    if plot:
        cloud.results.plot(table, Path(plot).expanduser(), metric, against)
        cloud.display.say(f"drawn in {plot}")
    if csv:
        cloud.results.write_csv(table, sys.stdout)
    elif not plot:
        show(table)
    if len(table.results) < len(children):
        cloud.display.say(f"{there.id}: {cloud.children.counted(children)}")


def show(table: cloud.results.Table) -> None:
    """Results as a table."""
    rows = [["" if value is None else str(value) for value in row] for row in table.rows]
    constant = [name.upper() for name in table.constant]
    cloud.display.table([name.upper() for name in table.headings], rows, spare=constant)

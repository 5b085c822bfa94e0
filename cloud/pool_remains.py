"""What is left of the pools of AWS Batch, and what removes it: queues before environments, those before templates.

Batch deletes only what is disabled, and an environment only when no queue has it any more:
https://docs.aws.amazon.com/batch/latest/APIReference/API_DeleteComputeEnvironment.html
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

from . import pool, roles
from .aws import Aws, aws_errors, pages
from .errors import CloudError
from .policies import OURS

Remains = tuple[str, str, Sequence[Callable[[], object]]]
"""A kind of piece, its name, and what removes it, step by step."""

LIVING = ("SUBMITTED", "PENDING", "RUNNABLE", "STARTING", "RUNNING")


def look(aws: Aws) -> Iterator[Remains]:
    """All that sweeps have made, in the order in which it has to go. Batch's own role is the account's, and stays."""
    for queue in pool.queues(aws):
        name = queue["jobQueueName"]
        yield (
            "queue",
            name,
            _steps(
                f"the queue {name}",
                partial(pool.look_at_queue, aws, name),
                disable=partial(aws.batch.update_job_queue, jobQueue=name, state="DISABLED"),
                delete=partial(aws.batch.delete_job_queue, jobQueue=name),
            ),
        )
    for environment in pool.environments(aws):
        name = environment["computeEnvironmentName"]
        yield (
            "environment",
            name,
            _steps(
                f"the environment {name}",
                partial(pool.look_at_environment, aws, name),
                disable=partial(aws.batch.update_compute_environment, computeEnvironment=name, state="DISABLED"),
                delete=partial(aws.batch.delete_compute_environment, computeEnvironment=name),
            ),
        )
    for template in _templates(aws):
        yield "launch template", template, [partial(_delete_template, aws, template)]
    if definitions := _definitions(aws):
        steps = [partial(_deregister, aws, arn) for arn in definitions]
        yield "job definition", f"{aws.settings.name} ({len(definitions)} revisions)", steps
    machines, children = pool.machine_role(aws), pool.child_role(aws)
    for kind, name, remains in (
        ("machines' profile", machines, roles.profile_remains),
        ("machines' role", machines, roles.remains),
        ("children's role", children, roles.remains),
    ):
        if found := remains(aws, name):
            yield kind, name, found


def check_no_sweep_lives(aws: Aws) -> None:
    """Raises CloudError while a queue of ours has a job that has not ended."""
    with aws_errors("look for sweeps"):
        living = [
            job["jobName"].rpartition("-")[0]
            for queue in pool.queues(aws)
            for status in LIVING
            for job in pages(aws.batch, "list_jobs", "jobSummaryList", jobQueue=queue["jobQueueName"], jobStatus=status)
        ]
    if living:
        sweeps = list(dict.fromkeys(living))
        end = " && ".join(f"inv terminate {sweep}" for sweep in sweeps)
        raise CloudError(f"not while a sweep lives: {', '.join(sweeps)}", fix=f"{end}, then the same again")


def _steps(
    what: str, look: Callable[[], Any], *, disable: Callable[[], object], delete: Callable[[], object]
) -> Sequence[Callable[[], object]]:
    """What removes a queue or an environment, whose last machines end with it."""
    return [
        partial(_until, f"disable {what}", disable, look, _settled),
        partial(_until, f"delete {what}", delete, look, _gone),
    ]


def _until(doing: str, call: Callable[[], object], look: Callable[[], Any], good: Callable[[Any], bool]) -> None:
    with aws_errors(doing):
        call()
    pool.await_(look, good)


def _settled(found: Any) -> bool:
    return found is None or found["status"] in ("VALID", "INVALID")


def _gone(found: Any) -> bool:
    return found is None or found["status"] == "DELETED"


def _templates(aws: Aws) -> list[str]:
    ours = [{"Name": f"tag:{OURS}", "Values": [aws.settings.name]}]
    with aws_errors("look for launch templates"):
        found = pages(aws.ec2, "describe_launch_templates", "LaunchTemplates", Filters=ours)
    return [one["LaunchTemplateName"] for one in found]


def _delete_template(aws: Aws, name: str) -> None:
    with aws_errors(f"delete the launch template {name}"):
        aws.ec2.delete_launch_template(LaunchTemplateName=name)


def _definitions(aws: Aws) -> list[str]:
    return [one["jobDefinitionArn"] for one in pool.definitions(aws)]


def _deregister(aws: Aws, arn: str) -> None:
    with aws_errors("deregister the job definition"):
        aws.batch.deregister_job_definition(jobDefinition=arn)

"""What sweeps need of the account besides what jobs do: roles, and pools of machines that AWS Batch starts and ends.

No machine runs while no child does: the environments' least is 0 vCPUs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from . import batch, policies, provision, request, roles
from .aws import Aws, aws_errors, error_code, pages
from .batch import MARKETS, Pool
from .errors import CloudError
from .instance_types import InstanceType
from .offers import Facts
from .pieces import Found
from .policies import OURS
from .provision import Look, Piece
from .roles import Role

if TYPE_CHECKING:
    from mypy_boto3_batch.type_defs import ComputeEnvironmentDetailTypeDef, JobDefinitionTypeDef, JobQueueDetailTypeDef

BATCH_ROLE = "AWSServiceRoleForBatch"
"""By which Batch starts and ends machines:
https://docs.aws.amazon.com/batch/latest/userguide/using-service-linked-roles.html"""

ECS_POLICY = "arn:aws:iam::aws:policy/service-role/AmazonEC2ContainerServiceforEC2Role"
"""What a machine of Batch may do: https://docs.aws.amazon.com/batch/latest/userguide/instance_IAM_role.html"""

PATIENCE = 120
"""Seconds for an environment or a queue to become valid, or to be gone."""


def machine_role(aws: Aws) -> str:
    """Role and instance profile of the machines."""
    return f"{provision.role_name(aws)}-machines"


def child_role(aws: Aws) -> str:
    """The role of the children's containers."""
    return f"{provision.role_name(aws)}-sweeps"


def child_role_arn(aws: Aws) -> str:
    """Its ARN."""
    return f"arn:aws:iam::{aws.account}:role/{child_role(aws)}"


def of(aws: Aws, types: list[InstanceType], facts: Facts, security_group: str) -> Pool:
    """The pool for machines of these types, in every zone that sells one of them."""
    zones = {zone for _, zone in facts.sold}
    return Pool(
        types=tuple(sorted(kind.name for kind in types)),
        max_vcpus=aws.settings.sweep_max_vcpus,
        disk=request.disk(aws.settings),
        subnets=tuple(subnet for zone, subnet in sorted(facts.subnets.items()) if zone in zones),
        security_group=security_group,
        instance_profile=f"arn:aws:iam::{aws.account}:instance-profile/{machine_role(aws)}",
    )


def converge(aws: Aws, pool: Pool, *, dry_run: bool = False) -> Iterator[Piece]:
    """Bring the account to what a sweep on this pool needs, as `provision.converge` does."""
    return provision.made(aws, [*_roles(aws), *_machines(aws, pool)], dry_run=dry_run)


def ensure(aws: Aws, pool: Pool) -> Iterator[Piece]:
    """Make a pool, if it is not there. Raises CloudError where the roles are missing, which only `setup` makes."""
    if not roles.exists(aws, child_role(aws)):
        raise CloudError(
            f"account {aws.account} is not set up for sweeps in {aws.settings.region}", fix="run `inv setup --batch`"
        )
    return (piece for piece in provision.made(aws, _machines(aws, pool), dry_run=False) if piece.outcome != "there")


def _roles(aws: Aws) -> list[Look]:
    machines = Role(machine_role(aws), policies.trust_policy("ec2.amazonaws.com"), managed=ECS_POLICY)
    children = Role(
        child_role(aws), policies.trust_policy("ecs-tasks.amazonaws.com"), policies.child_policy(bucket=aws.bucket)
    )
    return [
        ("batch role", BATCH_ROLE, lambda aws: roles.look_at_linked(aws, BATCH_ROLE, "batch.amazonaws.com")),
        ("machines' role", machines.name, lambda aws: roles.look(aws, machines)),
        ("machines' profile", machines.name, lambda aws: roles.look_at_profile(aws, machines.name)),
        ("children's role", children.name, lambda aws: roles.look(aws, children)),
    ]


def _machines(aws: Aws, pool: Pool) -> list[Look]:
    name = pool.name(aws.settings)
    return [
        ("launch template", name, lambda aws: _template(aws, pool)),
        *(
            ("environment", f"{name}-{market}", lambda aws, market=market: _environment(aws, pool, market))
            for market in MARKETS
        ),
        *(
            (
                "queue",
                batch.queue_name(aws.settings, pool, markets),
                lambda aws, markets=markets: _queue(aws, pool, markets),
            )
            for markets in batch.QUEUES
        ),
    ]


def _template(aws: Aws, pool: Pool) -> Found:
    name = pool.name(aws.settings)
    with aws_errors("look for the launch template"):
        try:
            aws.ec2.describe_launch_templates(LaunchTemplateNames=[name])
        except aws.ec2.exceptions.ClientError as error:
            if error_code(error) != "InvalidLaunchTemplateName.NotFoundException":
                raise
            return Found(False, [partial(_make_template, aws, pool)])
    return Found(True)


def _make_template(aws: Aws, pool: Pool) -> None:
    with aws_errors("make the launch template"):
        aws.ec2.create_launch_template(**batch.launch_template(aws.settings, pool))


def _environment(aws: Aws, pool: Pool, market: str) -> Found:
    wanted = batch.compute_environment(aws.settings, pool, market)
    name = wanted["computeEnvironmentName"]
    create = partial(aws.batch.create_compute_environment, **wanted)
    return _piece("environment", name, partial(look_at_environment, aws, name), create)


def _queue(aws: Aws, pool: Pool, markets: Sequence[str]) -> Found:
    wanted = batch.job_queue(aws.settings, pool, markets)
    name = wanted["jobQueueName"]
    return _piece("queue", name, partial(look_at_queue, aws, name), partial(aws.batch.create_job_queue, **wanted))


def _piece(what: str, name: str, look: Callable[[], Any], create: Callable[[], object]) -> Found:
    """What there is of an environment or a queue. Raises CloudError for one that starts no machine."""
    found = look()
    if found is None:
        return Found(False, [partial(_make, what, name, look, create)])
    _check(what, name, found)
    return Found(True)


def _make(what: str, name: str, look: Callable[[], Any], create: Callable[[], object]) -> None:
    with aws_errors(f"make the {what} {name}"):
        create()
    _await_valid(what, name, look)


def look_at_environment(aws: Aws, name: str) -> ComputeEnvironmentDetailTypeDef | None:
    """A compute environment as Batch describes it; None when there is none."""
    with aws_errors(f"look at the environment {name}"):
        found = aws.batch.describe_compute_environments(computeEnvironments=[name])["computeEnvironments"]
    return found[0] if found else None


def look_at_queue(aws: Aws, name: str) -> JobQueueDetailTypeDef | None:
    """A queue as Batch describes it; None when there is none."""
    with aws_errors(f"look at the queue {name}"):
        found = aws.batch.describe_job_queues(jobQueues=[name])["jobQueues"]
    return found[0] if found else None


def _check(what: str, name: str, found: Any) -> None:
    """Raises CloudError for one that starts no machine."""
    if found["status"] in ("INVALID", "DELETING") or found["state"] == "DISABLED":
        state = "disabled" if found["state"] == "DISABLED" else found["status"].lower()
        raise CloudError(
            f"the {what} {name} of AWS Batch is {state}: {found.get('statusReason') or 'no reason is given'}",
            fix="`inv teardown` removes it, and `inv setup --batch` makes it anew",
        )


def _await_valid(what: str, name: str, look: Callable[[], Any]) -> None:
    """Batch takes some seconds, and has no waiter for it."""
    found = await_(look, lambda one: one is not None and one["status"] not in ("CREATING", "UPDATING"))
    if found is None or found["status"] in ("CREATING", "UPDATING"):
        raise CloudError(f"the {what} {name} is still not there after {PATIENCE} s", fix="the same again goes on")
    _check(what, name, found)


def await_(look: Callable[[], Any], good: Callable[[Any], bool]) -> Any:
    """Look until it is good, or for as long as PATIENCE says; returns what was seen last."""
    import tenacity

    return tenacity.retry(
        retry=tenacity.retry_if_not_result(good),
        wait=tenacity.wait_exponential(multiplier=0.25, max=3),
        stop=tenacity.stop_after_delay(PATIENCE),
        retry_error_callback=lambda state: state.outcome and state.outcome.result(),
    )(look)()


def queues(aws: Aws) -> list[JobQueueDetailTypeDef]:
    """The queues of all our pools."""
    with aws_errors("look for the queues of AWS Batch"):
        found = pages(aws.batch, "describe_job_queues", "jobQueues")
    return [one for one in found if one.get("tags", {}).get(OURS) == aws.settings.name]


def environments(aws: Aws) -> list[ComputeEnvironmentDetailTypeDef]:
    """The compute environments of all our pools."""
    with aws_errors("look for the compute environments of AWS Batch"):
        found = pages(aws.batch, "describe_compute_environments", "computeEnvironments")
    return [one for one in found if one.get("tags", {}).get(OURS) == aws.settings.name]


def definitions(aws: Aws) -> list[JobDefinitionTypeDef]:
    """The revisions of our job definition that are active."""
    with aws_errors("look for the job definitions of AWS Batch"):
        return pages(
            aws.batch,
            "describe_job_definitions",
            "jobDefinitions",
            jobDefinitionName=aws.settings.name,
            status="ACTIVE",
        )

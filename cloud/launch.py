"""launch: ask EC2 for one offer after the other until it grants one, and leave nothing behind if that fails."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from . import asked, claims, jobs, older, refusals, request, userdata
from .aws import Aws, aws_errors, error_code
from .claims import Claim
from .errors import CloudError
from .offers import NoMachine, Offer
from .plan import Plan
from .trainer_config import TrainerConfig

Say = Callable[[str], None]
ATTEMPTS = 8
"""How often one request is sent while AWS throttles or fails for no reason of ours."""


@dataclass(frozen=True)
class Started:
    """An instance, whose id is the job's, and the offer that EC2 granted."""

    id: str
    offer: Offer


def prepare(aws: Aws, plan: Plan, config: TrainerConfig) -> Claim:
    """Put the config into S3 and claim the launch, both at once: the last that is to be done before EC2 is asked."""
    _ = aws.ec2_once, aws.s3, aws.bucket  # clients are made before the threads that use them
    with ThreadPoolExecutor(1) as pool:
        putting = pool.submit(put_config, aws, plan, config)
        claim = claims.claim(aws, plan.claim_key)
        putting.result()
    if claim.instance:
        _register_what_runs(aws, plan, claim)
    return claim


def _register_what_runs(aws: Aws, plan: Plan, claim: Claim) -> None:
    """Register the job that this launch has started already: its launcher may have died before it could."""
    job = jobs.by_id(aws, claim.instance)
    if job is not None:
        prices = [one.price for one in plan.market.offers if (one.type.name, one.market) == (job.type, job.market)]
        known = {**plan.asked, **jobs.what_is_known(job), **({"price": prices[0]} if prices else {})}
        asked.register(aws, job.id, asked=known, launched_at=job.launched_at)


def put_config(aws: Aws, plan: Plan, config: TrainerConfig) -> None:
    """Put the config where the instance fetches it. The key is its content's hash: putting it twice changes nothing."""
    with aws_errors("put the config into S3"):
        aws.s3.put_object(Bucket=aws.bucket, Key=plan.config_key, Body=config.data, ContentType="application/yaml")


def put_programs(aws: Aws) -> None:
    """Put the programs that have no room in the user data where the instance fetches them, likewise."""
    with aws_errors("put the instance's programs into S3"):
        aws.s3.put_object(Bucket=aws.bucket, Key=userdata.fetched_key(), Body=userdata.fetched())


def run(aws: Aws, plan: Plan, claim: Claim, say: Say) -> Started:
    """Start one instance: the first of the plan's offers that EC2 grants.

    claim: of this launch; the same claim starts no second instance. say: told of each offer and each refusal.
    A Ctrl-C while EC2 is being asked ends whatever that call may have started.
    Raises CloudError with every refusal when EC2 grants none.
    """
    left, refused = list(plan.market.offers), list(plan.market.refusals)
    with ThreadPoolExecutor(1) as pool:
        putting = pool.submit(put_programs, aws)
        older.required(aws)
        putting.result()
    try:
        while left:
            offer = left.pop(0)
            say(f"asking for one {offer}{_price(offer)}")
            answer = _ask(aws, plan, offer, left, claim)
            if isinstance(answer, Started):
                return answer
            say(f"refused: {answer.refusal.why}")
            refused.append(answer.refusal)
            left = [other for other in left if other not in answer.others]
    except KeyboardInterrupt:
        ended = end_launch(aws, claim.token)
        left_behind = f"{ended} was terminated; nothing is left running" if ended else "no instance was started"
        raise CloudError(f"interrupted; {left_behind}", code=130) from None
    raise NoMachine(refused)


def _price(offer: Offer) -> str:
    return f", ${offer.price:.4f} an hour" if offer.price is not None else ", price unknown"


def _ask(aws: Aws, plan: Plan, offer: Offer, others: list[Offer], claim: Claim) -> Started | refusals.Refused:
    """Ask EC2 for one offer. Raises CloudError for a refusal that no other offer could mend."""
    from botocore.exceptions import ClientError

    doing = f"start a {offer.type.name}"
    with aws_errors(doing):
        try:
            instance = _run_instances(aws, request.run_instances(aws, plan, offer, claim))
        except ClientError as error:
            if taken_up := _taken_up(aws, claim, offer, error):
                return taken_up
            if refused := refusals.read(aws, error, offer, others):
                return refused
            if denied := refusals.denied(aws, error, doing):
                raise denied from None
            raise
    return Started(instance, offer)


def _taken_up(aws: Aws, claim: Claim, offer: Offer, error: Exception) -> Started | None:
    """What the launch that this one takes up had started, from facts that have changed: a price, the machine image."""
    if error_code(error) != "IdempotentParameterMismatch":
        return None
    found = claims.started(aws, claim.token, patience=claims.VISIBLE_SECONDS)
    return Started(found["InstanceId"], offer) if found else None


def _run_instances(aws: Aws, wanted: dict[str, Any]) -> str:
    import tenacity

    sent = tenacity.retry(
        retry=tenacity.retry_if_exception(refusals.transient),
        wait=tenacity.wait_random_exponential(max=20),
        stop=tenacity.stop_after_attempt(ATTEMPTS),
        reraise=True,
    )(aws.ec2_once.run_instances)
    return str(sent(**wanted)["Instances"][0]["InstanceId"])


def end_launch(aws: Aws, token: str, *, patience: float = claims.VISIBLE_SECONDS) -> str | None:
    """Terminate the instance that a claimed launch has started, and cancel its spot request.

    token: of the claim. patience: seconds to wait for it to become visible.
    Returns the instance's id, or None when there is none.
    """
    instance = claims.started(aws, token, patience=patience)
    if instance is None:
        return None
    with aws_errors(f"terminate {instance['InstanceId']}"):
        if instance.get("SpotInstanceRequestId"):
            aws.ec2.cancel_spot_instance_requests(SpotInstanceRequestIds=[instance["SpotInstanceRequestId"]])
        aws.ec2.terminate_instances(InstanceIds=[instance["InstanceId"]])
    return instance["InstanceId"]


def open_record(aws: Aws, plan: Plan, claim: Claim, started: Started) -> None:
    """Register the job, so that it can be found even if its instance never boots."""
    asked.register(aws, started.id, asked=plan.asked_of(started.offer), launched_at=claim.launched_at)


def dry_run(aws: Aws, plan: Plan) -> str:
    """Have EC2 check, without starting anything, that this profile may send the request of the first offer.

    https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_RunInstances.html (DryRun)
    Returns what EC2 says; raises CloudError when it would refuse.
    """
    from botocore.exceptions import ClientError

    offer = plan.market.offers[0]
    doing = f"start a {offer.type.name}"
    with aws_errors(doing):
        try:
            aws.ec2.run_instances(**request.first(aws, plan), DryRun=True)
        except ClientError as error:
            if error_code(error) == "DryRunOperation":
                return str(error.response.get("Error", {}).get("Message", ""))
            if denied := refusals.denied(aws, error, doing):
                raise denied from None
            raise
    return ""

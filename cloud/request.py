"""The RunInstances request of a plan: pure functions, dict out."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta
from typing import Any

from . import provision, records, userdata
from .aws import Aws
from .claims import Claim
from .config import Settings
from .offers import Offer
from .plan import TAG_VALUE_LIMIT, Plan
from .policies import OURS
from .tags import specification

REQUEST_GRACE = timedelta(hours=1)
"""How long a spot request outlives the job's deadline, so that the instance, not EC2, has the last word."""
MICRO = 1_000_000


def run_instances(aws: Aws, plan: Plan, offer: Offer, claim: Claim) -> dict[str, Any]:
    """The call that takes an offer, as keyword arguments for boto3."""
    settings, machine = aws.settings, plan.machine
    tags = {
        "Name": f"{settings.name} {plan.config_name}"[:TAG_VALUE_LIMIT],
        OURS: settings.name,
        "solver:launch": claim.token,
        "solver:launched-at": records.iso(claim.launched_at),
        "solver:max-hours": f"{plan.max_hours:g}",
        "solver:status": "starting",
        "solver:phase": "booting",
        "solver:job-config": plan.config_name,
        "solver:output": plan.output,
        "solver:image": plan.image,
        **({"solver:resumes": plan.resumes.job} if plan.resumes else {}),
    }
    owner, spot = {OURS: settings.name}, offer.market == "spot"
    return {
        "ClientToken": client_token(claim, offer),
        "MinCount": 1,
        "MaxCount": 1,
        "InstanceType": offer.type.name,
        "ImageId": machine.ami,
        "KeyName": settings.name,
        "SubnetId": offer.subnet,
        "SecurityGroupIds": [machine.security_group],
        "IamInstanceProfile": {"Name": provision.role_name(aws)},
        "MetadataOptions": {"HttpTokens": "required", "HttpPutResponseHopLimit": 1},
        "BlockDeviceMappings": [{"DeviceName": machine.root_device, "Ebs": disk(settings)}],
        "UserData": userdata.render(_userdata(aws, plan, offer, claim)),
        "TagSpecifications": [
            specification("instance", tags),
            specification("volume", owner),
            *([specification("spot-instances-request", {**owner, "solver:launch": claim.token})] if spot else []),
        ],
        # EC2 refuses `terminate` here (InvalidParameterCombination) for an instance that an interruption is to stop:
        # a spot instance ends by calling TerminateInstances on itself, and its shutdown only stops it.
        **(
            {"InstanceMarketOptions": _spot_options(settings, plan, claim)}
            if spot
            else {"InstanceInitiatedShutdownBehavior": "terminate"}
        ),
    }


def first(aws: Aws, plan: Plan) -> dict[str, Any]:
    """The call that takes the first offer, if the launch were now; its tokens are those of no launch."""
    return run_instances(aws, plan, plan.market.offers[0], _no_launch())


def _no_launch() -> Claim:
    return Claim("0" * 32, datetime.now(UTC).replace(microsecond=0))


def shown(aws: Aws, plan: Plan) -> dict[str, Any]:
    """The first call as a user may read it: with the script where the request has compressed bytes."""
    request = first(aws, plan)
    script = userdata.script(_userdata(aws, plan, plan.market.offers[0], _no_launch()))
    return {**request, "UserData": script}


def client_token(claim: Claim, offer: Offer) -> str:
    """One token for each offer of a launch: EC2 refuses one token with two types or zones.

    https://docs.aws.amazon.com/ec2/latest/devguide/ec2-api-idempotency.html
    """
    asked = f"{claim.token} {offer.type.name} {offer.market} {offer.zone}"
    return hashlib.sha256(asked.encode()).hexdigest()


def disk(settings: Settings) -> dict[str, Any]:
    """The root volume that the settings want, as BlockDeviceMappings has it."""
    speed = {"Iops": settings.disk_iops, "Throughput": settings.disk_throughput}
    return {
        "VolumeSize": settings.disk_gb,
        "VolumeType": settings.disk_type,
        **{key: value for key, value in speed.items() if value},
        "Encrypted": True,
        "DeleteOnTermination": True,
    }


def _spot_options(settings: Settings, plan: Plan, claim: Claim) -> dict[str, Any]:
    """A request that outlives interruptions: EC2 stops the instance and starts it again when it has capacity.

    `stop` has to be named: a persistent request with the default, `terminate`, is refused.
    https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/interruption-behavior.html
    """
    return {
        "MarketType": "spot",
        "SpotOptions": {
            "SpotInstanceType": "persistent",
            "InstanceInterruptionBehavior": "stop",
            "ValidUntil": plan.deadline(claim) + REQUEST_GRACE,
            **({"MaxPrice": f"{settings.max_price:g}"} if settings.max_price else {}),
        },
    }


def _userdata(aws: Aws, plan: Plan, offer: Offer, claim: Claim) -> userdata.UserData:
    return userdata.UserData(
        token=claim.token,
        bucket=aws.bucket,
        role=provision.role_arn(aws, provision.job_role(aws)),
        region=aws.settings.region,
        image=plan.image,
        registry=plan.image.split("/")[0],
        config_key=plan.config_key,
        config_name=plan.config_name,
        config_sha256=plan.config_sha256,
        trainer=list(plan.trainer),
        asked=plan.asked_of(offer),
        launched_at=int(claim.launched_at.timestamp()),
        deadline=int(plan.deadline(claim).timestamp()),
        sync_seconds=aws.settings.sync_seconds,
        login_user=aws.settings.login_user,
        keep_seconds=int(60 * (aws.settings.keep_on_failure or 0)),
        gpu=plan.machine.gpu,
        origin=plan.resumes.origin if plan.resumes else "",
        budget=_micro(plan.budget),
        price=_micro(offer.price),
        disk_price=_micro(plan.disk_price),
    )


def _micro(dollars: float | None) -> int:
    """Millionths of a dollar; 0 for what is not known."""
    return round((dollars or 0) * MICRO)

"""launch: make the RunInstances request of a plan, send it, and leave nothing behind if that fails."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from . import provision, records, userdata
from .aws import Aws, aws_errors
from .config import TrainerConfig
from .errors import CloudError
from .plan import TAG_VALUE_LIMIT, Plan
from .policies import OURS

if TYPE_CHECKING:
    from mypy_boto3_ec2.type_defs import InstanceTypeDef

REQUEST_GRACE = 3600
"""Seconds that a spot request outlives the job's deadline, so that the instance, not EC2, has the last word."""


def request(aws: Aws, plan: Plan) -> dict[str, Any]:
    """The RunInstances call of a plan, as keyword arguments for boto3."""
    settings, machine = aws.settings, plan.machine
    tags = [
        {"Key": key, "Value": value}
        for key, value in {
            "Name": f"{settings.name} {plan.config_name}"[:TAG_VALUE_LIMIT],
            OURS: settings.name,
            "solver:status": "starting",
            "solver:phase": "booting",
            "solver:job-config": plan.config_name,
            "solver:output": plan.output,
            "solver:image": plan.image,
            **({"solver:resumes": plan.asked["resumes"]} if plan.origin else {}),
        }.items()
    ]
    owner = [{"Key": OURS, "Value": settings.name}]
    spot = plan.asked["market"] == "spot"
    return {
        "ClientToken": plan.token,
        "MinCount": 1,
        "MaxCount": 1,
        "InstanceType": machine.type,
        "ImageId": machine.ami,
        "KeyName": settings.name,
        "SecurityGroupIds": [machine.security_group],
        "IamInstanceProfile": {"Name": provision.role_name(aws)},
        "MetadataOptions": {"HttpTokens": "required", "HttpPutResponseHopLimit": 1},
        "BlockDeviceMappings": [
            {
                "DeviceName": machine.root_device,
                "Ebs": {
                    "VolumeSize": settings.disk_gb,
                    "VolumeType": "gp3",
                    "Encrypted": True,
                    "DeleteOnTermination": True,
                },
            }
        ],
        "UserData": _userdata(aws, plan),
        "TagSpecifications": [
            {"ResourceType": "instance", "Tags": tags},
            {"ResourceType": "volume", "Tags": owner},
            *([{"ResourceType": "spot-instances-request", "Tags": owner}] if spot else []),
        ],
        # EC2 refuses `terminate` here (InvalidParameterCombination) for an instance that an interruption is to stop:
        # a spot instance ends by calling TerminateInstances on itself, and its shutdown only stops it.
        **(
            {"InstanceMarketOptions": _spot_options(plan)}
            if spot
            else {"InstanceInitiatedShutdownBehavior": "terminate"}
        ),
    }


def _spot_options(plan: Plan) -> dict[str, Any]:
    """A request that outlives interruptions: EC2 stops the instance and starts it again when it has capacity.

    `stop` has to be named: a persistent request with the default, `terminate`, is refused.
    https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/interruption-behavior.html
    """
    until = datetime.fromtimestamp(plan.deadline.timestamp() + REQUEST_GRACE, UTC)
    return {
        "MarketType": "spot",
        "SpotOptions": {
            "SpotInstanceType": "persistent",
            "InstanceInterruptionBehavior": "stop",
            "ValidUntil": until,
        },
    }


def _userdata(aws: Aws, plan: Plan) -> bytes:
    return userdata.render(
        userdata.UserData(
            token=plan.token,
            bucket=aws.bucket,
            region=aws.settings.region,
            image=plan.image,
            registry=plan.image.split("/")[0],
            config_key=plan.config_key,
            config_name=plan.config_name,
            config_sha256=plan.config_sha256,
            trainer=list(plan.trainer),
            asked=plan.asked,
            launched_at=int(plan.launched_at.timestamp()),
            deadline=int(plan.deadline.timestamp()),
            sync_seconds=aws.settings.sync_seconds,
            login_user=aws.settings.login_user,
            keep_seconds=int(60 * (aws.settings.keep_on_failure or 0)),
            origin=plan.origin,
        )
    )


def put_config(aws: Aws, plan: Plan, config: TrainerConfig) -> None:
    """Put the config where the instance fetches it. The key is its content's hash: putting it twice changes nothing."""
    with aws_errors("put the config into S3"):
        aws.s3.put_object(Bucket=aws.bucket, Key=plan.config_key, Body=config.data, ContentType="application/yaml")


def run(aws: Aws, plan: Plan) -> str:
    """Start the instance; returns its id, which is the job's.

    A Ctrl-C while EC2 is being asked ends whatever that call may have started. Raises CloudError when EC2 refuses.
    """
    import tenacity

    @tenacity.retry(
        # A new instance profile is known to IAM some seconds before EC2 knows it.
        retry=tenacity.retry_if_exception(lambda e: "Invalid IAM Instance Profile" in str(e)),
        wait=tenacity.wait_fixed(2),
        stop=tenacity.stop_after_delay(60),
        reraise=True,
    )
    def run_instances() -> str:
        return aws.ec2.run_instances(**request(aws, plan))["Instances"][0]["InstanceId"]

    try:
        with aws_errors(f"start a {plan.machine.type}"):
            return run_instances()
    except KeyboardInterrupt:
        ended = end_launch(aws, plan.token)
        left = f"{ended} was terminated; nothing is left running" if ended else "no instance was started"
        raise CloudError(f"interrupted; {left}", code=130) from None


def started(aws: Aws, token: str) -> InstanceTypeDef | None:
    """The instance that a RunInstances call with this client token has started; None while EC2 shows none."""
    with aws_errors("look for what was started"):
        found = aws.ec2.describe_instances(Filters=[{"Name": "client-token", "Values": [token]}])["Reservations"]
    return found[0]["Instances"][0] if found else None


def end_launch(aws: Aws, token: str, *, patience: float = 8) -> str | None:
    """Terminate the instance that a RunInstances call with this client token started, and cancel its spot request.

    patience: seconds to wait for it to become visible; EC2's answers are only eventually consistent.
    Returns the instance's id, or None when there is none.
    """
    until = time.monotonic() + patience
    while True:
        if instance := started(aws, token):
            with aws_errors(f"terminate {instance['InstanceId']}"):
                if instance.get("SpotInstanceRequestId"):
                    aws.ec2.cancel_spot_instance_requests(SpotInstanceRequestIds=[instance["SpotInstanceRequestId"]])
                aws.ec2.terminate_instances(InstanceIds=[instance["InstanceId"]])
            return instance["InstanceId"]
        if time.monotonic() > until:
            return None
        time.sleep(1)


def open_record(aws: Aws, plan: Plan, job: str) -> None:
    """Write the job's first record, so that it can be found even if its instance never boots."""
    records.open_(aws, job, asked=plan.asked, launched_at=plan.launched_at)

"""launch: decide, make the RunInstances request, send it, and leave nothing behind if that fails."""

from __future__ import annotations

import hashlib
import time
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from . import provision, records, userdata
from .aws import Aws, aws_errors
from .config import Settings, TrainerConfig, trainer_arguments
from .errors import CloudError, UsageError
from .policies import OURS

if TYPE_CHECKING:
    from .machine import Machine
    from .registry import Image

REQUEST_GRACE = 3600
"""Seconds that a spot request outlives the job's deadline, so that the instance, not EC2, has the last word."""

TAG_VALUE_LIMIT = 256


@dataclass(frozen=True)
class Plan:
    """One launch, all decided: what goes into the request and what stays with the record."""

    token: str
    """Client token: 32 hex digits; RunInstances with it makes one instance, however often it is sent."""
    machine: Machine
    image: str
    config_key: str
    config_name: str
    config_sha256: str
    output: str
    launched_at: datetime
    deadline: datetime
    trainer: tuple[str, ...]
    asked: dict[str, Any]


def plan(
    settings: Settings, machine: Machine, image: Image, config: TrainerConfig, output: str, *, bucket: str
) -> Plan:
    """Decide one launch. Pure but for the clock and the token.

    Raises UsageError for what does not fit into a tag or onto the disk.
    """
    for what, value in (("config file's name", config.name), ("output directory", output)):
        if len(value) > TAG_VALUE_LIMIT:
            raise UsageError(f"the {what} has {len(value)} characters; a tag holds {TAG_VALUE_LIMIT}")
    if settings.disk_gb < machine.root_gb:
        raise UsageError(
            f"solver.disk_gb is {settings.disk_gb}, but the machine image alone has {machine.root_gb} GB",
            fix=f"set it to {machine.root_gb + 20} or more",
        )
    now = int(time.time())
    sha256 = hashlib.sha256(config.data).hexdigest()
    key = f"configs/{sha256}/{config.name}"
    return Plan(
        token=uuid.uuid4().hex,
        machine=machine,
        image=image.uri,
        config_key=key,
        config_name=config.name,
        config_sha256=sha256,
        output=output,
        launched_at=datetime.fromtimestamp(now, UTC),
        deadline=datetime.fromtimestamp(now + settings.max_hours * 3600, UTC),
        trainer=tuple(
            trainer_arguments(settings.trainer, config=f"/solver/config/{config.name}", output="/solver/output")
        ),
        asked={
            "instance_type": machine.type,
            "market": "on-demand" if settings.on_demand else "spot",
            "region": settings.region,
            "config": f"s3://{bucket}/{key}",
            "config_name": config.name,
            "config_sha256": sha256,
            "output": output,
            "image": image.uri,
            "trainer": settings.trainer,
            "max_hours": settings.max_hours,
            "sync_seconds": settings.sync_seconds,
        },
    )


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


def end_launch(aws: Aws, token: str, *, patience: float = 8) -> str | None:
    """Terminate the instance that a RunInstances call with this client token started, and cancel its spot request.

    patience: seconds to wait for it to become visible; EC2's answers are only eventually consistent.
    Returns the instance's id, or None when there is none.
    """
    until = time.monotonic() + patience
    while True:
        with aws_errors("look for what was started"):
            found = aws.ec2.describe_instances(Filters=[{"Name": "client-token", "Values": [token]}])["Reservations"]
        if found:
            instance = found[0]["Instances"][0]
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

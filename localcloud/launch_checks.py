"""What EC2 refuses of a RunInstances request that moto would take, with EC2's own codes and messages.

Codes: https://docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html
"""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

from moto.ec2.exceptions import EC2ClientError

from .catalog import architectures, instance_types

if TYPE_CHECKING:
    from .lifecycle import LifecycleBackend

USER_DATA_LIMIT = 16384
"""Bytes, before base64: https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/instancedata-add-user-data.html"""


def complete(parameters: dict[str, Any], backend: LifecycleBackend) -> None:
    """Check a request and fill in what EC2 chooses by itself; parameters are changed in place.

    Raises EC2ClientError.
    """
    parameters["MinCount"] = parameters.get("MaxCount") or parameters.get("MinCount") or 1
    parameters["ImageId"] = _image(parameters.get("ImageId"), backend)
    _check_user_data(parameters.get("UserData"))
    _check_key(parameters.get("KeyName"), backend)
    _check_profile(parameters.get("IamInstanceProfile") or {}, backend)
    if instance_type := parameters.get("InstanceType"):
        _check_architecture(instance_type, parameters["ImageId"], backend)
        _check_market(instance_type, parameters.get("InstanceMarketOptions") or {})


def _image(image_id: str | None, backend: LifecycleBackend) -> str | None:
    """An image id; `resolve:ssm:NAME` is what the SSM parameter says.

    https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/using-systems-manager-parameter-to-find-AMI.html
    """
    prefix = "resolve:ssm:"
    if not image_id or not image_id.startswith(prefix):
        return image_id
    from moto.ssm.models import ssm_backends

    name = image_id.removeprefix(prefix)
    found = ssm_backends[backend.account_id][backend.region_name].get_parameters([name])
    if name not in found:
        raise EC2ClientError("InvalidParameterValue", f"Invalid value '{image_id}' for ImageId.")
    return str(found[name].value)


def _check_user_data(encoded: str | None) -> None:
    if encoded and len(base64.b64decode(encoded)) > USER_DATA_LIMIT:
        raise EC2ClientError("InvalidParameterValue", f"User data is limited to {USER_DATA_LIMIT} bytes")


def _check_key(name: str | None, backend: LifecycleBackend) -> None:
    if name and name not in backend.key_pairs:
        raise EC2ClientError("InvalidKeyPair.NotFound", f"The key pair '{name}' does not exist")


def _check_profile(profile: dict[str, str], backend: LifecycleBackend) -> None:
    from moto.iam.models import iam_backends

    known = iam_backends[backend.account_id][backend.partition].get_instance_profiles()
    for field, value, what in (("Name", "name", "name"), ("Arn", "arn", "ARN")):
        wanted = profile.get(field)
        if wanted and wanted not in [getattr(one, value) for one in known]:
            raise EC2ClientError(
                "InvalidParameterValue",
                f"Value ({wanted}) for parameter iamInstanceProfile.{value} is invalid. "
                f"Invalid IAM Instance Profile {what}",
            )


def _check_architecture(instance_type: str, image_id: str | None, backend: LifecycleBackend) -> None:
    runs = architectures(instance_type)
    if runs is None:
        raise EC2ClientError("InvalidParameterValue", f"Invalid value '{instance_type}' for InstanceType.")
    image = backend.amis.get(image_id or "")
    if image and image.architecture and image.architecture not in runs:
        raise EC2ClientError(
            "InvalidParameterValue",
            f"The architecture '{','.join(runs)}' of the specified instance type does not match the architecture "
            f"'{image.architecture}' of the specified AMI. Specify an instance type and an AMI that have matching "
            "architectures, and try again.",
        )


def _check_market(instance_type: str, options: dict[str, Any]) -> None:
    """Whether EC2 sells the type on spot, which DescribeInstanceTypes tells as SupportedUsageClasses.

    The answer is not in the documentation. It is what RequestSpotInstances, the older way to ask for the same, has
    said: https://github.com/jtriley/StarCluster/issues/588
    """
    if options.get("MarketType") == "spot" and "spot" not in instance_types()[instance_type]["SupportedUsageClasses"]:
        raise EC2ClientError(
            "InvalidParameterValue",
            f"Value ({instance_type}) for parameter instanceType is invalid. "
            f"'{instance_type}' is an unsupported instance type",
        )


def zones(parameters: dict[str, Any], instance_type: str, backend: LifecycleBackend) -> tuple[str, ...]:
    """Where EC2 may launch it: the zone of the request, or else those that sell the type.

    Raises EC2ClientError when the zone of the request, or the whole region, does not sell it.
    """
    sold = backend.cloud.market.zones(backend.region_name, instance_type)
    if not sold:
        raise EC2ClientError(
            "Unsupported",
            "The requested configuration is currently not supported. Please check the documentation for supported "
            "configurations.",
        )
    zone = _zone(parameters, backend)
    if zone and zone not in sold:
        raise EC2ClientError(
            "Unsupported",
            f"Your requested instance type ({instance_type}) is not supported in your requested Availability Zone "
            f"({zone}). Please retry your request by not specifying an Availability Zone or choosing "
            f"{', '.join(sold)}.",
        )
    return (zone,) if zone else tuple(sold)


def _zone(parameters: dict[str, Any], backend: LifecycleBackend) -> str | None:
    """The zone that a request asks for: its subnet's, or by name."""
    interface: dict[str, Any] = next(iter(parameters.get("NetworkInterfaces") or []), {})
    if subnet := parameters.get("SubnetId") or interface.get("SubnetId"):
        return str(backend.get_subnet(subnet).availability_zone)
    if existing := interface.get("NetworkInterfaceId"):
        return str(backend.get_network_interface(existing).subnet.availability_zone)
    zone: str | None = (parameters.get("Placement") or {}).get("AvailabilityZone")
    return zone

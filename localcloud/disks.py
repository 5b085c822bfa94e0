"""The volumes of an instance: what its image asks for, what the launch asks for, and what moto drops of that.

https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/block-device-mapping-concepts.html
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from moto.ec2.exceptions import EC2ClientError

if TYPE_CHECKING:
    from .instances import LocalInstance
    from .lifecycle import LifecycleBackend

GP3 = {"Iops": 3000, "Throughput": 125}
"""What a gp3 volume has if nothing else is asked: https://docs.aws.amazon.com/ebs/latest/userguide/general-purpose.html"""

KEPT = ("VolumeSize", "VolumeType", "SnapshotId", "DeleteOnTermination", "Encrypted", "KmsKeyId", "Iops", "Throughput")


def whole_mapping(backend: LifecycleBackend, image_id: str, asked: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The image's volumes with what the launch asked for on top, in moto's form.

    Raises EC2ClientError for a volume that is smaller than the snapshot it is made from.
    """
    images = backend.describe_images(ami_ids=[image_id]) if image_id else []
    mapping = {disk["DeviceName"]: dict(disk["Ebs"]) for image in images for disk in image.block_device_mappings}
    for disk in asked:
        device = disk["DeviceName"]
        if disk.get("NoDevice") == "":
            mapping.pop(device, None)
            continue
        given = {key: value for key, value in disk.get("Ebs", {}).items() if value is not None}
        least = mapping.get(device, {}).get("VolumeSize", 0)
        if given.get("VolumeSize", least) < least:
            raise EC2ClientError(
                "InvalidBlockDeviceMapping",
                f"Volume of size {given['VolumeSize']}GB is smaller than snapshot "
                f"'{mapping[device]['SnapshotId']}', expect size >= {least}GB",
            )
        mapping[device] = {"DeleteOnTermination": True, **mapping.get(device, {}), **given}
    return [{"DeviceName": device, "Ebs": dict.fromkeys(KEPT) | ebs} for device, ebs in mapping.items()]


def attach_settings(backend: LifecycleBackend, instance: LocalInstance, mapping: list[dict[str, Any]]) -> None:
    """Give the volumes of a new instance the settings that moto drops on the way."""
    for disk in mapping:
        device, ebs = disk["DeviceName"], disk["Ebs"]
        volume = backend.volumes[instance.block_device_mapping[device].volume_id]
        defaults = GP3 if ebs["VolumeType"] == "gp3" else {}
        volume.iops = ebs["Iops"] or defaults.get("Iops")
        volume.throughput = ebs["Throughput"] or defaults.get("Throughput")
        volume.encrypted = bool(ebs["Encrypted"])

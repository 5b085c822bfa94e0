"""Machine images of one's own: CreateImage, DeregisterImage and what they do to snapshots.

https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_CreateImage.html
"""

# mypy: allow-subclassing-any
from __future__ import annotations

import logging
from typing import Any

from moto.ec2.exceptions import EC2ClientError, InvalidTaggableResourceType, UnvailableAMIIdError
from moto.ec2.models.amis import Ami
from moto.ec2.models.instances import Reservation

from .instances import LocalInstance, background
from .spot import SpotBackend

log = logging.getLogger(__name__)


class ImageBackend(SpotBackend):
    """EC2 in one region, with images of the disks of its instances."""

    def run_instances(self, image_id: str, *args: Any, **kwargs: Any) -> Reservation:
        if image_id in self.deleted_amis:  # which moto would launch from
            raise UnvailableAMIIdError(image_id)
        return super().run_instances(image_id, *args, **kwargs)

    def create_image(
        self, instance_id: str, name: str, description: str, tag_specifications: list[dict[str, Any]]
    ) -> Ami:
        """Begin to make an image of a stopped instance; a running one, which EC2 would reboot for it, is refused."""
        tags = _tags(tag_specifications)
        with self.lock:
            instance: LocalInstance = self.get_instance(instance_id)
            if instance.state != "stopped":
                raise EC2ClientError(
                    "IncorrectInstanceState",
                    f"'{instance_id}' is '{instance.state}': the local cloud makes images of stopped instances only.",
                )
            if holder := next((one for one in self._own() if one.name == name), None):
                raise EC2ClientError(
                    "InvalidAMIName.Duplicate", f"AMI name {name} is already in use by AMI {holder.id}"
                )
            ami: Ami = super().create_image(instance_id, name, description, [])
            self._describe(ami, instance)
            ami.add_tags(tags["image"])
            ami.ebs_snapshot.add_tags(tags["snapshot"])
            ami.state = "pending"
        background(self._save, ami)
        return ami

    def _own(self) -> list[Ami]:
        return [ami for ami in self.amis.values() if ami.owner_id == self.account_id]

    def _describe(self, ami: Ami, instance: LocalInstance) -> None:
        """Give an image what moto does not: the root disk of its instance, and whose it is."""
        source = self.amis[instance.image_id]
        ami.root_device_name, ami.root_device_type = source.root_device_name, source.root_device_type
        volume = self.volumes[instance.block_device_mapping[source.root_device_name].volume_id]
        ami.ebs_snapshot.volume, ami.ebs_snapshot.encrypted = volume, volume.encrypted
        ami.root_disk = {"VolumeSize": volume.size, "VolumeType": volume.volume_type, "Encrypted": volume.encrypted}

    def _save(self, ami: Ami) -> None:
        try:
            self.cloud.machines.save(ami.instance_id, ami.id)
        except Exception:
            log.exception("there is no image %s", ami.id)
            ami.state = "failed"
        else:
            ami.state = "available"

    def deregister_image(self, ami_id: str, *, delete_snapshots: bool = False) -> None:
        """Its snapshot stays, unless that is asked for as well; and so does what was launched from it.

        https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DeregisterImage.html
        """
        ami = self.amis.get(ami_id)
        super().deregister_image(ami_id)
        self.cloud.machines.discard(ami_id)
        if ami and delete_snapshots:
            self.delete_snapshot(ami.ebs_snapshot.id)


def _tags(specifications: list[dict[str, Any]]) -> dict[str, dict[str, str]]:
    """The tags of the image and of its snapshots."""
    tags: dict[str, dict[str, str]] = {"image": {}, "snapshot": {}}
    for one in specifications:
        if one["ResourceType"] not in tags:
            raise InvalidTaggableResourceType(one["ResourceType"])
        tags[one["ResourceType"]] |= {tag["Key"]: tag["Value"] for tag in one["Tags"]}
    return tags

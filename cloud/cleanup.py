"""gc: end what is left over, after one more look whether it is ours."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from . import asked, machine_images
from .aws import Aws, aws_errors, gone_is_fine
from .errors import CloudError
from .leftovers import CONTENT_HASH, JOBS, UPLOAD_ID, Leftover, images
from .parsing import decode, listed, mapping, text
from .tags import is_ours

if TYPE_CHECKING:
    from mypy_boto3_ec2.type_defs import FilterTypeDef


def end(aws: Aws, leftover: Leftover) -> None:
    """End a leftover for good; nothing happens if it has gone meanwhile.

    Looks once more whether it is ours. Raises CloudError if it is not, or if AWS refuses.
    """
    ends = {
        "instance": _end_instance,
        "spot request": _end_request,
        "volume": _end_volume,
        "image": _end_image,
        "upload": _end_upload,
        "builder": _end_builder,
        "machine image": machine_images.delete,
    }
    with aws_errors(f"end the {leftover.kind} {leftover.id}"), gone_is_fine():
        ends[leftover.kind](aws, leftover.id)
    if leftover.kind == "instance":
        asked.close(aws, leftover.id, reason=f"ended by `gc`: {leftover.why}", stopped=leftover.stopped)


def _check(ours: bool, aws: Aws, id: str) -> None:
    if not ours:
        raise CloudError(f"{id} does not belong to {aws.settings.name}", fix="what others have made is left alone")


def _end_instance(aws: Aws, id: str) -> None:
    """Its request first: one that is open when its instance ends launches another.

    https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/spot-request-status.html
    """
    found = [
        one for group in aws.ec2.describe_instances(InstanceIds=[id])["Reservations"] for one in group["Instances"]
    ]
    if not found:
        return
    instance = found[0]
    request = instance.get("SpotInstanceRequestId")
    by_id: list[FilterTypeDef] = [{"Name": "spot-instance-request-id", "Values": [request or "none"]}]
    requests = aws.ec2.describe_spot_instance_requests(Filters=by_id)["SpotInstanceRequests"] if request else []
    _check(any(is_ours(one, aws.settings) for one in (instance, *requests)), aws, id)
    for one in requests:
        aws.ec2.cancel_spot_instance_requests(SpotInstanceRequestIds=[one["SpotInstanceRequestId"]])
    aws.ec2.terminate_instances(InstanceIds=[id])


def _end_request(aws: Aws, id: str) -> None:
    """A stopped instance ends with it: https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/interruption-behavior.html"""
    found = aws.ec2.describe_spot_instance_requests(SpotInstanceRequestIds=[id])["SpotInstanceRequests"]
    _check(all(is_ours(one, aws.settings) for one in found), aws, id)
    aws.ec2.cancel_spot_instance_requests(SpotInstanceRequestIds=[id])


def _end_volume(aws: Aws, id: str) -> None:
    """EC2 refuses if it is attached: https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DeleteVolume.html"""
    found = aws.ec2.describe_volumes(VolumeIds=[id])["Volumes"]
    _check(all(is_ours(one, aws.settings) for one in found), aws, id)
    aws.ec2.delete_volume(VolumeId=id)


def _end_image(aws: Aws, tag: str) -> None:
    """Of an index, the manifests too, which have the layers and no tag; ECR keeps one that another index needs.

    https://docs.aws.amazon.com/AmazonECR/latest/APIReference/API_BatchDeleteImage.html
    """
    _check(CONTENT_HASH.fullmatch(tag) is not None, aws, tag)
    of: dict[str, Any] = {"repositoryName": aws.settings.repository}
    digest = aws.ecr.describe_images(**of, imageIds=[{"imageTag": tag}])["imageDetails"][0]["imageDigest"]
    manifests = aws.ecr.batch_get_image(**of, imageIds=[{"imageDigest": digest}])["images"]
    parts = {part for one in manifests for part in parts_of(one["imageManifest"])}
    untagged = {image["imageDigest"] for image in images(aws) if not image.get("imageTags")}
    for one in (digest, *sorted(parts & untagged)):
        fine = ("ImageNotFound",) if one == digest else ("ImageNotFound", "ImageReferencedByManifestList")
        for failure in aws.ecr.batch_delete_image(**of, imageIds=[{"imageDigest": one}])["failures"]:
            if failure["failureCode"] not in fine:
                raise CloudError(f"cannot delete the image {tag}: {failure['failureReason']}")


def parts_of(manifest: str) -> list[str]:
    """The digests of the manifests that an index names; none of what is no index."""
    try:
        parts = listed(mapping(decode(manifest), "a manifest").get("manifests"), "manifests")
        return [text(mapping(part, "a part").get("digest"), "a digest") for part in parts]
    except ValueError:
        return []


def _end_upload(aws: Aws, id: str) -> None:
    key, _, upload = id.rpartition(UPLOAD_ID)
    _check(key.startswith(JOBS), aws, id)
    aws.s3.abort_multipart_upload(Bucket=aws.bucket, Key=key, UploadId=upload)


def _end_builder(aws: Aws, id: str) -> None:
    _check(id in (one["InstanceId"] for one in machine_images.builders(aws)), aws, id)
    aws.ec2.terminate_instances(InstanceIds=[id])

"""The trainer's image in ECR: is it there, and if not, build it and push it."""

from __future__ import annotations

import base64
import re
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from . import engine
from .aws import Aws, aws_errors, error_code
from .engine import Say
from .errors import CloudError
from .image import Snapshot

if TYPE_CHECKING:
    import docker

PROGRESS_SECONDS = 2
"""How often a push says how far it is."""

VISIBLE_SECONDS = 20
"""How long a pushed image may take to be listed by ECR."""

PUSH_FIXES = {
    "denied|not authorized to perform": "allow this profile's user or role to push to the repository: "
    "ecr:BatchCheckLayerAvailability, InitiateLayerUpload, UploadLayerPart, CompleteLayerUpload, PutImage",
    "no basic auth credentials|authentication required|unauthorized": "the registry refuses ECR's token: log in to AWS "
    "again; profile and region have to be the repository's",
    "name unknown|does not exist in the registry": "run `inv setup` first",
    "connection refused|no such host|i/o timeout|dial tcp|EOF|connection reset": "the Docker engine does not reach the "
    "registry: check its network and proxy; `inv local.status` if the profile is the local cloud's",
    "server gave HTTP response to HTTPS client": "the Docker engine wants HTTPS: list the registry under "
    "insecure-registries in its daemon.json",
}
"""What to do about each cause that a push can fail of."""


@dataclass(frozen=True)
class Image:
    """The trainer's image, as ECR has it."""

    uri: str
    """Repository URI and tag, as `docker pull` takes it."""
    tag: str
    digest: str
    built: bool
    pushed: bool


def image_name(aws: Aws, snapshot: Snapshot, platform: str) -> str:
    """Repository URI and tag of a snapshot's image, whether ECR has it or not.

    platform: as Docker writes it, like 'linux/amd64'.
    """
    settings = aws.settings
    tag = snapshot.tag(settings.builder_image, settings.runtime_image, platform)
    return f"{repository_uri(aws, settings.repository)}:{tag}"


def ensure_image(aws: Aws, snapshot: Snapshot, name: str, platform: str, say: Say) -> Image:
    """The image of a snapshot in ECR: the one that is there, or else one built and pushed now.

    name: as `image_name` says. platform: as Docker writes it, like 'linux/amd64'. say: gets lines of progress.
    Raises CloudError when it cannot be built or pushed; ECR then has no image of that tag.
    """
    settings, repository = aws.settings, aws.settings.repository
    uri, _, tag = name.rpartition(":")
    if digest := tag_exists(aws, repository, tag):
        say(f"image {tag} is in ECR")
        return Image(name, tag, digest, built=False, pushed=False)
    for warning in snapshot.warnings:
        say(warning)
    client = engine.connect()
    built = not engine.has_image(client, name)
    if built:
        engine.check_platform(client, platform)
        say(f"building image {tag}")
        engine.build(
            snapshot,
            name,
            builder_image=settings.builder_image,
            runtime_image=settings.runtime_image,
            platform=platform,
            say=say,
        )
    say(f"pushing image {tag}")
    try:
        push(client, uri, tag, login(aws), say)
    except CloudError:
        # Another launch of the same source may have been faster; tags in ECR cannot be written twice.
        if not (digest := tag_exists(aws, repository, tag)):
            raise
        return Image(name, tag, digest, built, pushed=False)
    return Image(name, tag, _pushed_digest(aws, repository, tag), built, pushed=True)


def repository_uri(aws: Aws, repository: str) -> str:
    """The repository's URI, without a tag. Raises CloudError when setup has not made it."""
    with aws_errors(f"find the ECR repository {repository}"):
        return aws.ecr.describe_repositories(repositoryNames=[repository])["repositories"][0]["repositoryUri"]


def tag_exists(aws: Aws, repository: str, tag: str) -> str | None:
    """The digest of the image with that tag, or None where ECR has none. Raises CloudError as `pushed` does."""
    found = pushed(aws, repository, tag)
    return found.digest if found else None


@dataclass(frozen=True)
class Pushed:
    """An image that ECR has: its digest, and the bytes of its compressed layers."""

    digest: str
    bytes: int


def pushed(aws: Aws, repository: str, tag: str) -> Pushed | None:
    """The image with that tag, or None where ECR has none.

    Raises CloudError for any other answer, such as that there is no such repository.
    """
    from botocore.exceptions import ClientError

    with aws_errors(f"look for the image in ECR repository {repository}"):
        try:
            found = aws.ecr.describe_images(repositoryName=repository, imageIds=[{"imageTag": tag}])
        except ClientError as error:
            if error_code(error) != "ImageNotFoundException":
                raise
            return None
    details = found["imageDetails"][0]
    return Pushed(details["imageDigest"], details.get("imageSizeInBytes", 0))


def size(aws: Aws, name: str) -> int:
    """The bytes of an image's compressed layers. name: repository URI and tag, which ECR has."""
    found = pushed(aws, aws.settings.repository, name.rpartition(":")[2])
    return found.bytes if found else 0


def login(aws: Aws) -> dict[str, str]:
    """User name and password for the registry, from ECR's token, as the Docker SDK takes them.

    They go along with the push, and not into the user's ~/.docker/config.json. The token holds for twelve hours:
    https://docs.aws.amazon.com/AmazonECR/latest/APIReference/API_GetAuthorizationToken.html
    """
    with aws_errors("get ECR's login"):
        token = aws.ecr.get_authorization_token()["authorizationData"][0]["authorizationToken"]
    username, _, password = base64.b64decode(token).decode().partition(":")
    return {"username": username, "password": password}


def push(client: docker.DockerClient, uri: str, tag: str, auth_config: dict[str, str], say: Say) -> str:
    """Push an image that the engine has; returns its digest.

    say: gets a line with megabytes done and to do, now and then.
    Raises CloudError with the registry's or the engine's reason.
    """
    with engine.engine_errors(f"push {uri}:{tag}"):
        lines = client.api.push(uri, tag=tag, stream=True, decode=True, auth_config=auth_config)
        return _follow(lines, f"{uri}:{tag}", say)


def _follow(lines: Iterable[dict[str, Any]], name: str, say: Say) -> str:
    """Read a push's stream to its end: the engine reports failures as lines in it, not as errors of the request."""
    layers: dict[str, tuple[int, int]] = {}
    digest, said = "", time.monotonic()
    for line in lines:
        if "error" in line:
            reason = str(line["error"]).strip()
            fix = next((fix for cause, fix in PUSH_FIXES.items() if re.search(cause, reason, re.IGNORECASE)), None)
            raise CloudError(f"cannot push {name}: {reason}", fix=fix)
        digest = (line.get("aux") or {}).get("Digest", digest)
        detail = line.get("progressDetail") or {}
        if "current" in detail:
            # An engine that compresses a layer sends other sizes than it announced, so done may outgrow the total.
            current = int(detail["current"])
            layers[line.get("id", "")] = (current, max(current, int(detail.get("total", 0))))
        if layers and time.monotonic() - said >= PROGRESS_SECONDS:
            said = time.monotonic()
            done, total = (sum(sizes) / 1e6 for sizes in zip(*layers.values(), strict=True))
            say(f"pushed {done:.0f} of {total:.0f} MB")
    if not digest:
        raise CloudError(f"cannot push {name}: the engine ended the push without saying that it was done")
    return digest


def _pushed_digest(aws: Aws, repository: str, tag: str) -> str:
    """The digest of an image that was pushed just now, as soon as ECR lists it."""
    import tenacity

    listed = tenacity.retry(
        retry=tenacity.retry_if_result(lambda digest: digest is None),
        wait=tenacity.wait_fixed(0.5),
        stop=tenacity.stop_after_delay(VISIBLE_SECONDS),
        retry_error_callback=lambda _: None,
    )(tag_exists)
    digest = listed(aws, repository, tag)
    if digest is None:
        raise CloudError(f"ECR does not list {tag} in {repository}, though it was pushed", fix="the same again")
    return digest

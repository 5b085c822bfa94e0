"""ECR's answers: moto's repositories, their images those that were pushed to the registry behind them."""

# mypy: allow-subclassing-any
from __future__ import annotations

import base64
import hashlib
import json
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar, Protocol

from moto.core.responses import ActionResult
from moto.ecr import urls
from moto.ecr.models import ECRBackend, Image, Repository, ecr_backends
from moto.ecr.responses import ECRResponse

from .routes import routed

TOKEN_LIFE = timedelta(hours=12)
"""https://docs.aws.amazon.com/AmazonECR/latest/APIReference/API_GetAuthorizationToken.html"""


class Storage(Protocol):
    """The registry, as seen from ECR."""

    address: str
    """host:port"""
    password: str

    def delete(self, repository: str, digest: str) -> None:
        """Delete a manifest; nothing happens if it is not there."""


class PushedImage(Image):
    """An image as it came in with a push."""

    @property
    def image_size_in_bytes(self) -> int | None:
        """Compressed layers and configuration; of an index, the sum of what it says of its manifests."""
        manifest = json.loads(self.image_manifest)
        parts = [*manifest.get("layers", []), *manifest.get("manifests", []), manifest.get("config") or {}]
        return sum(int(part.get("size", 0)) for part in parts)


class LocalECRBackend(ECRBackend):
    storage: ClassVar[Storage]

    @property
    def _url_module(self) -> Any:
        return routed(urls, LocalECRResponse)

    def create_repository(self, repository_name: str, *args: Any, **kwargs: Any) -> Repository:
        repository = super().create_repository(repository_name, *args, **kwargs)
        repository.uri = f"{self.storage.address}/{repository_name}"
        return repository

    def delete_repository(
        self, repository_name: str, registry_id: str | None = None, force: bool = False
    ) -> Repository:
        repository = super().delete_repository(repository_name, registry_id, force)
        for image in repository.images:
            self.storage.delete(repository_name, image.image_digest)
        return repository

    def batch_delete_image(
        self, repository_name: str, registry_id: str | None = None, image_ids: Any = None
    ) -> dict[str, Any]:
        before = {image.image_digest for image in self._get_repository(repository_name, registry_id).images}
        answer: dict[str, Any] = super().batch_delete_image(repository_name, registry_id, image_ids)
        after = {image.image_digest for image in self._get_repository(repository_name, registry_id).images}
        for digest in before - after:
            self.storage.delete(repository_name, digest)
        return answer


class LocalECRResponse(ECRResponse):
    def get_authorization_token(self) -> ActionResult:
        storage = LocalECRBackend.storage
        token = base64.b64encode(f"AWS:{storage.password}".encode()).decode()
        endpoint = f"http://{storage.address}"
        expires = datetime.now(UTC) + TOKEN_LIFE
        data = {"authorizationToken": token, "expiresAt": expires, "proxyEndpoint": endpoint}
        return ActionResult({"authorizationData": [data]})


def install(storage: Storage) -> None:
    """Make moto's ECR this cloud's; before the first request."""
    LocalECRBackend.storage = storage
    ecr_backends.backend = LocalECRBackend


def repository(name: str) -> Repository | None:
    """The repository of that name, in whatever account and region it was made."""
    for _, _, backend in list(ecr_backends.iter_backends()):
        if name in backend.repositories:
            return backend.repositories[name]
    return None


def image_tagged(found: Repository, tag: str) -> Image | None:
    return next((image for image in found.images if tag in image.image_tags), None)


def record_push(found: Repository, reference: str, manifest: bytes, media_type: str) -> None:
    """Take note of a manifest that was pushed. reference: a tag, or a digest for one without tag."""
    digest = "sha256:" + hashlib.sha256(manifest).hexdigest()
    tag = None if reference.startswith("sha256:") else reference
    image = next((image for image in found.images if image.image_digest == digest), None)
    if tag and (holder := image_tagged(found, tag)) and holder is not image:
        holder.remove_tag(tag)
    if image is None:
        found.images.append(
            PushedImage(found.registry_id, tag, manifest.decode(), found.name, media_type, digest, found.registry_id)
        )
    elif tag:
        image.update_tag(tag)

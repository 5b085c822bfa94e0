"""The disk of a machine, kept as what another machine boots from: a machine image (AMI) of one's own."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from .engine_rules import VAR_LIB

if TYPE_CHECKING:
    import docker
    from docker.models.containers import Container

REPOSITORY = "solver-local/saved"


@dataclass(frozen=True)
class Disk:
    """What a machine is made from.

    image: Docker image. archive: a tar of /var/lib, which is a volume and not in the image; None to have the image's.
    pulled: names of the Docker images on it.
    """

    image: str
    archive: Path | None = None
    pulled: frozenset[str] = frozenset()


def save(container: Container, archive: Path, pulled: frozenset[str]) -> Disk:
    """Keep the disk of a machine that does not run.

    archive: the file to be written; its stem becomes the image's tag.
    """
    with archive.open("wb") as file:
        for chunk in container.get_archive(VAR_LIB)[0]:
            file.write(chunk)
    # The image gets the container's labels, and so is known to be this cloud's.
    container.commit(repository=REPOSITORY, tag=archive.stem)
    return Disk(f"{REPOSITORY}:{archive.stem}", archive, pulled)


def fill(container: Container, disk: Disk) -> None:
    """Put a kept /var/lib into a new container that has not been started."""
    if disk.archive:
        with disk.archive.open("rb") as file:
            container.put_archive(str(Path(VAR_LIB).parent), file)


def forget(engine: docker.DockerClient, disk: Disk) -> None:
    """Remove a kept disk; nothing happens to one that is gone."""
    import docker.errors

    if disk.archive:
        disk.archive.unlink(missing_ok=True)
    with suppress(docker.errors.ImageNotFound):
        engine.images.remove(disk.image, force=True)

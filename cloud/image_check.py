"""Whether an image is fit for a sweep, found out by doing with it here what Batch will do with it on its machines.

Batch cannot replace an ENTRYPOINT, as its container properties know none, and a child's script wants some tools:
https://docs.aws.amazon.com/batch/latest/APIReference/API_ContainerProperties.html
"""

from __future__ import annotations

import re
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from . import engine
from .batch import USER
from .errors import CloudError
from .runner import FIND_TOOLS

if TYPE_CHECKING:
    from docker.models.containers import Container

SECONDS = 60
TRY, FIT = f"{FIND_TOOLS}echo fit: $((6 * 7))", "fit: 42"
"""A command and what it prints, which is not in the command itself: an ENTRYPOINT may print what it is given."""

ELSEWHERE = "exec format error"
"""What Linux says of another architecture's programs."""


def check(image: str) -> None:
    """Raise CloudError if this machine's engine has the image and finds it unfit; of others nothing is known.

    image: repository URI with tag.
    """
    import docker.errors

    try:
        client = engine.connect()
        if not engine.has_image(client, image):
            return
    except CloudError:
        return
    with engine.engine_errors("try the image"):
        container = client.containers.create(image, ["bash", "-c", TRY], user=USER, network_mode="none")
        try:
            said = _said(container)
        except docker.errors.APIError as error:  # there is no bash
            said = str(error.explanation or error)
        finally:
            with suppress(docker.errors.APIError):
                container.remove(force=True)
        if FIT not in said and ELSEWHERE not in said:
            raise _unfit(client.images.get(image).attrs, said)


def _said(container: Container) -> str:
    """What the container prints until it ends, or until it has had time enough."""
    import requests.exceptions

    container.start()
    with suppress(requests.exceptions.RequestException):
        container.wait(timeout=SECONDS)
    printed: bytes = container.logs()
    return printed.decode(errors="replace")


def _unfit(image: dict[str, Any], said: str) -> CloudError:
    entrypoint = (image.get("Config") or {}).get("Entrypoint")
    if entrypoint and not re.search(r"^the image has no \w", said, re.MULTILINE):
        return CloudError(
            f"this image is not fit for a sweep: its ENTRYPOINT {' '.join(entrypoint)} does not run what it is given",
            fix="remove ENTRYPOINT from the Dockerfile; the setting solver.trainer is the whole command line",
        )
    last = (said.strip().splitlines() or ["it says nothing"])[-1]
    return CloudError(
        f"this image is not fit for a sweep: {last}",
        fix="a sweep's image has bash, coreutils, aws, curl and python3, as the Dockerfile of ours has",
    )

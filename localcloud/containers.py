"""Ending containers, whatever state they are in."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from docker.models.containers import Container

CONFLICT = 409
"""The engine's answer when a container is not in a state for what is asked, or on its way there already."""


def kill(container: Container) -> None:
    """Kill a container; nothing happens to one that does not run."""
    import docker.errors

    try:
        container.kill()
    except docker.errors.NotFound:
        pass
    except docker.errors.APIError as error:
        if error.status_code != CONFLICT:
            raise


def remove(container: Container) -> None:
    """Kill and remove a container with its unnamed volumes; nothing happens to one that is gone or about to be."""
    import docker.errors

    try:
        container.remove(force=True, v=True)
    except docker.errors.NotFound:
        pass
    except docker.errors.APIError as error:
        if error.status_code != CONFLICT:
            raise

"""GPUs of an instance: in name only. What asks for them finds a driver that answers, as on the GPU machine image."""

from __future__ import annotations

import io
import shlex
import tarfile
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from docker.models.containers import Container

DRIVER = "usr/bin/nvidia-smi"


def of_type(instance_type: str) -> tuple[str, ...]:
    """The names of a type's NVIDIA GPUs, one for each."""
    from moto.ec2.models.instance_types import INSTANCE_TYPES

    gpus = INSTANCE_TYPES.get(instance_type, {}).get("GpuInfo", {}).get("Gpus", [])
    return tuple(
        f"NVIDIA {gpu['Name']}" for gpu in gpus if gpu["Manufacturer"] == "NVIDIA" for _ in range(gpu["Count"])
    )


def install_driver(container: Container, gpus: tuple[str, ...]) -> None:
    """Put nvidia-smi into a container that has not been started; it prints the GPUs' names."""
    script = "#!/bin/sh\n" + "".join(f"echo {shlex.quote(gpu)}\n" for gpu in gpus)
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        entry = tarfile.TarInfo(DRIVER)
        entry.size, entry.mode = len(script), 0o755
        tar.addfile(entry, io.BytesIO(script.encode()))
    container.put_archive("/", archive.getvalue())


def granted(asked: dict[str, Any], host: dict[str, Any]) -> dict[str, Any]:
    """The body of a container's creation without the GPUs that it asks for, which the host's engine may not have.

    The container is told of them as NVIDIA's runtime does:
    https://docs.nvidia.com/datacenter/cloud-native/container-toolkit/latest/docker-specialized.html
    """
    if not host.pop("DeviceRequests", None):
        return asked
    return {**asked, "Env": [*(asked.get("Env") or []), "NVIDIA_VISIBLE_DEVICES=all"]}

"""What an instance may ask of the host's engine, by name: what is not on these lists is refused.

The engine reads JSON as Go does, which takes `privileged` for `Privileged`. So no other spelling of a key passes, and
no key that this does not know, whatever its value. Keys: https://docs.docker.com/reference/api/engine/version/v1.41/
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from http import HTTPStatus
from typing import Any

Json = dict[str, Any]
Check = Callable[[Any], bool]


class Refused(Exception):
    """The engine's answer to what an instance must not, or cannot, do. status: of HTTP."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


REQUESTS = re.compile(r"(GET|HEAD) /_ping|GET /(version|info|images/json|distribution/[^?]+/json)|POST /auth")
"""Requests about nobody's containers. No build, import, load, tag or export: the images are the host's."""


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


CONTAINER = _words(
    "Hostname Domainname User AttachStdin AttachStdout AttachStderr ExposedPorts Tty OpenStdin StdinOnce Env Cmd "
    "Healthcheck ArgsEscaped Image Volumes WorkingDir Entrypoint NetworkDisabled MacAddress OnBuild Labels StopSignal "
    "StopTimeout Shell HostConfig NetworkingConfig"
)
"""Of a container: all of it happens inside."""

EXECUTION = _words("User Tty AttachStdin AttachStdout AttachStderr Detach DetachKeys Env WorkingDir Cmd")


def _unset(value: Any) -> bool:
    return not value


def _any(value: Any) -> bool:
    return True


def _one_of(*words: str) -> Check:
    return lambda value: value is None or value in words


LOG_DRIVERS = (None, "", "json-file", "local", "none")
"""Those that send nothing elsewhere."""

HARMLESS = _words(
    "Memory MemoryReservation MemorySwap MemorySwappiness KernelMemory KernelMemoryTCP NanoCpus CpuShares CpuPeriod "
    "CpuQuota CpuRealtimePeriod CpuRealtimeRuntime CpusetCpus CpusetMems CpuCount CpuPercent IOMaximumIOps "
    "IOMaximumBandwidth BlkioWeight PidsLimit Ulimits OomKillDisable Init ShmSize Tmpfs ReadonlyRootfs AutoRemove "
    "ConsoleSize RestartPolicy CapDrop Dns DnsOptions DnsSearch ExtraHosts GroupAdd PortBindings PublishAllPorts "
    "ContainerIDFile Binds Mounts DeviceRequests"
)
THE_HOSTS = _words(
    "Privileged CapAdd SecurityOpt Devices DeviceCgroupRules VolumesFrom Links Sysctls StorageOpt CgroupParent Cgroup "
    "BlkioWeightDevice BlkioDeviceReadBps BlkioDeviceWriteBps BlkioDeviceReadIOps BlkioDeviceWriteIOps Capabilities"
)

HOST: Mapping[str, Check] = {
    **dict.fromkeys(HARMLESS, _any),
    **dict.fromkeys(THE_HOSTS, _unset),
    # An empty list is not the same as none: it would unmask what the engine hides of the host.
    **dict.fromkeys(("MaskedPaths", "ReadonlyPaths"), lambda value: value is None),
    **dict.fromkeys(("PidMode", "UTSMode", "UsernsMode"), _one_of("")),
    "CgroupnsMode": _one_of("", "private"),
    "IpcMode": _one_of("", "private", "none"),
    "NetworkMode": _one_of("", "default", "bridge", "none"),
    "VolumeDriver": _one_of("", "local"),
    "Runtime": _one_of("", "runc"),
    "Isolation": _one_of("", "default"),
    "OomScoreAdj": lambda value: not value or (isinstance(value, int) and value > 0),
    "LogConfig": lambda value: not value or (value.keys() <= {"Type", "Config"} and value.get("Type") in LOG_DRIVERS),
}
"""Of what a container may have of its host: each key, and what it may be."""

MOUNT = frozenset(
    {"Type", "Source", "Target", "ReadOnly", "Consistency", "BindOptions", "VolumeOptions", "TmpfsOptions"}
)
MOUNT_TYPES = ("bind", "volume", "tmpfs")
OPTIONS = {
    "BindOptions": {"NonRecursive"},
    "VolumeOptions": {"NoCopy", "Labels"},
    "TmpfsOptions": {"SizeBytes", "Mode"},
}
BIND_OPTIONS = {"ro", "rw", "nocopy", "z", "Z"}


def container(asked: Json) -> None:
    """Raise Refused for the body of a container's creation that asks for more than an instance may have."""
    known(asked, CONTAINER, "a container")
    host = asked.get("HostConfig") or {}
    known(host, HOST, "HostConfig")
    for key, value in host.items():
        if not HOST[key](value):
            raise _refused(f"{key} {value}" if isinstance(value, str) else key)
    for bind in host.get("Binds") or []:
        if set(",".join(str(bind).split(":")[2:]).split(",")) - BIND_OPTIONS - {""}:
            raise _refused(f"{bind} as a mount")
    for mount in host.get("Mounts") or []:
        _mount(mount)


def execution(asked: Json) -> None:
    """Raise Refused for a `docker exec` that asks for more than an instance may have."""
    known({key: value for key, value in asked.items() if (key, value) != ("Privileged", False)}, EXECUTION, "an exec")


def _mount(mount: Json) -> None:
    known(mount, MOUNT, "a mount")
    if mount.get("Type") not in MOUNT_TYPES:
        raise _refused(f"a mount of type {mount.get('Type')}")
    for name, keys in OPTIONS.items():
        known(mount.get(name) or {}, keys, name)


def known(asked: Any, keys: Collection[str], what: str) -> None:
    """Raise Refused for what is not an object of these keys, spelt as the engine documents them."""
    if not isinstance(asked, dict):
        raise Refused(HTTPStatus.BAD_REQUEST, f"{what} is a JSON object")
    if others := sorted(asked.keys() - set(keys)):
        raise _refused(f"{others[0]} of {what}")


def _refused(what: str) -> Refused:
    return Refused(HTTPStatus.FORBIDDEN, f"{what} does not work on the local cloud's instances")

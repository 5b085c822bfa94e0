"""What an instance may do with the host's Docker engine: whose containers it sees, and what its paths mean there."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from . import engine_allowed
from .engine_allowed import Refused
from .gpu import granted
from .labels import INSTANCE, labels

if TYPE_CHECKING:
    import docker

VAR_LIB = "/var/lib"
"""The instance's directory that is a volume of its own."""
NOT_ON_DISK = re.compile(r"/(var/)?(run|proc|sys|dev)(/|$)")

CPU_SHARES = 64
"""Of a job's container, where its instance has 1024: a sixteenth, when both want the host's CPUs. EC2's instances
have some of their own; here a training job would hold up the syncs and the other machines."""

Json = dict[str, Any]


class Scope:
    """One instance as the engine has it.

    network: the one its containers are put into. container: the one the instance is. volume: its /var/lib.
    images: names of those it has of a registry, which this adds to. gpus: whether it has some to grant.
    """

    def __init__(
        self,
        engine: docker.DockerClient,
        *,
        cloud: str,
        instance_id: str,
        network: str,
        container: str,
        volume: str,
        images: set[str] | None = None,
        gpus: bool = False,
    ) -> None:
        self._engine = engine
        self._gpus = gpus
        self._images = set() if images is None else images
        self._network = network
        self._container = container
        self._volume = volume
        self._prefix = f"{instance_id}-"
        self._labels = labels(cloud, INSTANCE, instance_id)
        self._label = f"{INSTANCE}={instance_id}"

    def name(self, own: str) -> str:
        """The name that a container or volume of the instance has on the host."""
        return self._prefix + own.removeprefix("/")

    def with_own_names(self, body: bytes) -> bytes:
        """The engine's JSON about containers with the names their owner knows."""
        return body.replace(f'"/{self._prefix}'.encode(), b'"/')

    def filters(self, asked: str | None) -> str:
        """A `filters` parameter that lets through the instance's containers only."""
        filters: dict[str, dict[str, bool]] = {
            key: dict.fromkeys(values, True) for key, values in json.loads(asked or "{}").items()
        }
        filters.setdefault("label", {})[self._label] = True
        if "name" in filters:
            filters["name"] = {re.sub(r"^\^/?", f"^/?{self._prefix}", name): True for name in filters["name"]}
        return json.dumps(filters)

    def container(self, name: str) -> str:
        """The id of the instance's container with that name, id, or beginning of an id; Refused if there is none."""
        import docker.errors

        for candidate in filter(None, (self.name(name), name)):  # the engine names those whose owner does not
            try:
                found = self._engine.api.inspect_container(candidate)
            except docker.errors.NotFound:
                continue
            if (found["Config"]["Labels"] or {}).items() >= self._labels.items():
                return str(found["Id"])
        raise Refused(404, f"No such container: {name}")

    def execution(self, id: str) -> None:
        """Raises Refused unless that `docker exec` is in a container of the instance."""
        import docker.errors

        try:
            self.container(self._engine.api.exec_inspect(id)["ContainerID"])
        except docker.errors.NotFound:
            raise Refused(404, f"No such exec instance: {id}") from None

    def pulls(self, repository: str | None, tag: str | None) -> None:
        """Take note of an image that the instance gets from a registry."""
        self._images.add(f"{repository}:{tag}")

    def image(self, name: str) -> None:
        """Raises Refused for an image of a registry that the host has, and the instance has not pulled."""
        host, slash, _ = name.partition("/")
        if slash and ":" in host and name not in self._images:
            raise Refused(404, f"No such image: {name}")

    def creation(self, asked: Json) -> Json:
        """The body of a container's creation as the host's engine gets it; Refused for what has no equal there."""
        engine_allowed.container(asked)
        host: Json = dict(asked.get("HostConfig") or {})
        network = host.get("NetworkMode")
        # As on an instance with a hop limit of 1, a container does not reach the metadata service. Nor can it be
        # reached: a published port would be one of the host's.
        host["NetworkMode"] = "none" if network == "none" else self._network
        host["PortBindings"], host["PublishAllPorts"] = {}, False
        host["CpuShares"] = CPU_SHARES
        host["Binds"] = [self._bind(bind) for bind in host.get("Binds") or []]
        host["Mounts"] = [self._mount(mount) for mount in host.get("Mounts") or []]
        if self._gpus:
            asked = granted(asked, host)
        return {
            **asked,
            "HostConfig": host,
            "NetworkingConfig": {},
            "Labels": {**(asked.get("Labels") or {}), **self._labels},
        }

    def _bind(self, bind: str) -> str:
        source, colon, rest = bind.partition(":")
        return f"{self._host_path(source) if source.startswith('/') else self._own_volume(source)}{colon}{rest}"

    def _mount(self, mount: Json) -> Json:
        match mount.get("Type"), mount.get("Source"):
            case "bind", str(source):
                return {**mount, "Source": self._host_path(source)}
            case "volume", str(source) if source:
                return {**mount, "Source": self._own_volume(source)}
        return mount

    def _own_volume(self, name: str) -> str:
        """A named volume of the instance, marked so that it goes with the instance."""
        self._engine.volumes.create(self.name(name), labels=self._labels)
        return self.name(name)

    def unmoved(self, container: str) -> None:
        """Raises Refused if a directory that a container is to have has become a link since it was created.

        container: its id. The engine looks for the directories when a container starts, and follows links on the host.
        """
        host = self._engine.api.inspect_container(container)["HostConfig"]
        binds = [str(bind).split(":")[0] for bind in host.get("Binds") or []]
        mounts = [str(mount["Source"]) for mount in host.get("Mounts") or [] if mount.get("Type") == "bind"]
        own = [self._own_path(path) for path in (*binds, *mounts) if path.startswith("/")]
        for path, real in zip(own, self._real_paths(own) if own else [], strict=True):
            if path != real:
                raise Refused(403, f"{path} leads to {real} now")

    def _own_path(self, path: str) -> str:
        """Where on the instance a path of the host is, which `_host_path` has made."""
        for root, own in ((self._mountpoint(), VAR_LIB), (self._merged(), "")):
            if root and (path == root or path.startswith(f"{root}/")):
                return own + path.removeprefix(root)
        raise Refused(403, f"{path} is not on the disk of the instance")

    def _host_path(self, source: str) -> str:
        """Where on the host a path of the instance is; Refused where it is nowhere."""
        path = self._real_paths([source])[0]
        if path == VAR_LIB or path.startswith(f"{VAR_LIB}/"):
            return self._mountpoint() + path.removeprefix(VAR_LIB)
        merged = self._merged()
        if NOT_ON_DISK.match(path) or not merged:
            raise Refused(400, f"the local cloud cannot mount {source} into a container; use a path below {VAR_LIB}")
        return merged + path

    def _mountpoint(self) -> str:
        return str(self._engine.api.inspect_volume(self._volume)["Mountpoint"])

    def _merged(self) -> str:
        """The instance's own files on the host; "" where the engine does not say."""
        data = self._engine.api.inspect_container(self._container)["GraphDriver"]["Data"] or {}
        return str(data.get("MergedDir") or "")

    def _real_paths(self, sources: list[str]) -> list[str]:
        """Where paths lead on the instance: the engine would follow their symbolic links on the host."""
        api = self._engine.api
        command = ["realpath", "--canonicalize-missing", "--zero", "--", *sources]
        execution = api.exec_create(self._container, command, stderr=False)["Id"]
        paths = bytes(api.exec_start(execution)).decode().split("\0")[:-1]
        if len(paths) != len(sources):
            raise Refused(400, f"{' '.join(sources)} leads nowhere")
        return paths

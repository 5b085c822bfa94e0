"""What the local cloud needs on this machine: found, or installed as root on Debian, or named in one line."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from .errors import LocalCloudError

if TYPE_CHECKING:
    import docker

Say = Callable[[str], None]

PACKAGES = {
    "dockerd": "docker.io",
    "git": "git",
    "ssh": "openssh-client",
    "tmux": "tmux",
    "mmdebstrap": "mmdebstrap",
    "docker-registry": "docker-registry",
}
"""Programs and the Debian packages they come in."""

ALWAYS = ("git", "ssh", "tmux")


@dataclass(frozen=True)
class Found:
    """All that was found or made."""

    ami: str
    """Docker image of the instances."""
    registry: str | None
    """The program docker-registry; None where the image registry:2 serves."""
    builder_image: str
    runtime_image: str
    stand_ins: bool
    """Whether these two had to be made here, because Docker Hub cannot be reached."""


def ensure(state: Path, say: Say) -> Found:
    """Find everything, and see to what is missing.

    state: directory for the log of what is installed or started. say: gets one line for each of these.
    Raises LocalCloudError that names all that is missing when it may not install it.
    """
    from . import images

    client = engine(state, say)
    programs(ALWAYS, state, say)
    if not images.ready(client) and not which("debootstrap"):
        programs(("mmdebstrap",), state, say)
    base = images.base_images(client, say)
    return Found(
        ami=images.instance_image(client, say),
        registry=registry(client, state, say),
        builder_image=base.builder,
        runtime_image=base.runtime,
        stand_ins=base.stand_in,
    )


def programs(names: tuple[str, ...], state: Path, say: Say) -> None:
    """See to it that these programs are there."""
    missing = [name for name in names if not which(name)]
    if not missing:
        return
    packages = [PACKAGES[name] for name in missing]
    if not _may_install():
        raise LocalCloudError(
            f"the local cloud needs {', '.join(missing)}", fix=f"install: apt-get install {' '.join(packages)}"
        )
    for package in packages:
        say(f"installing {package}")
    _apt(["update"], state)
    _apt(["install", "--yes", "--no-install-recommends", *packages], state)


def registry(client: docker.DockerClient, state: Path, say: Say) -> str | None:
    """The program docker-registry, or None when the image registry:2 is there to be used instead.

    Debian's package would start a service on every interface, so the program is only unpacked.
    """
    import docker

    from .registry import IMAGE

    unpacked = state / "tools"
    program = which("docker-registry") or shutil.which("docker-registry", path=str(unpacked / "usr/bin"))
    if program:
        return program
    try:
        client.images.get(IMAGE)
        return None
    except docker.errors.ImageNotFound:
        pass
    if shutil.which("apt-get"):
        say("unpacking docker-registry")
        if os.geteuid() == 0:
            _apt(["update"], state)
        unpacked.mkdir(exist_ok=True)
        _logged(["apt-get", "download", "docker-registry"], state, cwd=unpacked)
        for package in unpacked.glob("docker-registry_*.deb"):
            _logged(["dpkg-deb", "--extract", str(package), str(unpacked)], state)
            package.unlink()
        return str(unpacked / "usr/bin/docker-registry")
    try:
        say(f"pulling {IMAGE}")
        client.images.pull(IMAGE)
    except docker.errors.APIError as error:
        raise LocalCloudError(
            f"the local cloud needs an image registry, and {IMAGE} cannot be pulled: {error.explanation}",
            fix=f"install docker-registry, or docker load an image {IMAGE}",
        ) from None
    return None


def engine(state: Path, say: Say) -> docker.DockerClient:
    """A Docker engine that answers; started, or installed and started, when there is none and that is allowed."""
    client = _answering()
    if client:
        return client
    if os.environ.get("DOCKER_HOST"):
        raise LocalCloudError(
            f"no Docker engine answers at {os.environ['DOCKER_HOST']}", fix="unset DOCKER_HOST, or start that engine"
        )
    if os.geteuid() != 0:
        fix = "start it, and let this user into the group docker" if which("dockerd") else "apt-get install docker.io"
        raise LocalCloudError("no Docker engine answers", fix=fix)
    programs(("dockerd",), state, say)
    client = _answering() or _start_engine(state, say)
    if client is None:
        log = state / "dockerd.log"
        raise LocalCloudError(f"the Docker engine does not start: {_last_line(log)}", fix=f"see {log}")
    return client


def _answering() -> docker.DockerClient | None:
    import docker

    try:
        client = docker.from_env()
        client.ping()
    except docker.errors.DockerException:
        return None
    return client


def _start_engine(state: Path, say: Say) -> docker.DockerClient | None:
    """Start the engine, through systemd where that runs, and wait until it answers or ends."""
    say("starting the Docker engine")
    if Path("/run/systemd/system").exists():
        _logged(["systemctl", "start", "docker"], state)
        return _answering()
    with (state / "dockerd.log").open("a") as log:
        process = subprocess.Popen(
            [which("dockerd") or "dockerd"], stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
        )
    while not (client := _answering()) and process.poll() is None:
        with suppress(subprocess.TimeoutExpired):
            process.wait(0.1)  # the pause between two looks
    return client


def which(name: str) -> str | None:
    """The path of a program; the places for the administrator's are looked into as well."""
    return shutil.which(name) or shutil.which(name, path="/usr/sbin:/sbin:/usr/local/sbin")


def _may_install() -> bool:
    return os.geteuid() == 0 and shutil.which("apt-get") is not None


def _apt(arguments: list[str], state: Path) -> None:
    """Run apt-get, one at a time. It waits for the lock of dpkg if told to, but never for that of its own lists."""
    with Path("/run/lock/solver-cloud-apt").open("w") as ours:
        fcntl.flock(ours, fcntl.LOCK_EX)
        with Path("/var/lib/apt/lists/lock").open("a") as lists:
            fcntl.lockf(lists, fcntl.LOCK_EX)
        _logged(["apt-get", "--quiet", "--option", "DPkg::Lock::Timeout=600", *arguments], state)


def _logged(command: list[str], state: Path, cwd: Path | None = None) -> None:
    """Run a command with its output in install.log; raises LocalCloudError with its last line when it fails."""
    log = state / "install.log"
    with log.open("ab") as file:
        environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        ended = subprocess.run(
            command, stdin=subprocess.DEVNULL, stdout=file, stderr=file, env=environment, cwd=cwd, check=False
        )
    if ended.returncode:
        raise LocalCloudError(f"`{' '.join(command)}` failed: {_last_line(log)}", fix=f"see {log}")


def _last_line(log: Path) -> str:
    return log.read_text(errors="replace").strip().rpartition("\n")[2] if log.exists() else "it left no log"

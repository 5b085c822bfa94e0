"""The Docker engine on this machine, or where DOCKER_HOST or the Docker context points: is it there, and builds by it.

Builds go through the docker command, because only that speaks BuildKit; the rest through the SDK. Both find the engine
in the same way: DOCKER_HOST, else the current context, else the default socket.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from .errors import CloudError
from .image import DOCKERFILE, Snapshot

if TYPE_CHECKING:
    import docker

Say = Callable[[str], None]

SHOWN_LINES = 15
"""How much of a failed build's output its error repeats."""

LINE_LIMIT = 300

STEP_DIGEST = re.compile(r"#\d+ sha256:[0-9a-f]{64}")
"""What docker 20.10 prints after the name of every step: of no use to a reader."""

MISSING = re.compile(r'failed to (?:compute cache key|calculate checksum).*"(/[^"\n]+)":? not found')
"""What BuildKit says of a COPY of something that was not sent."""

SILENCE_SECONDS = 600
"""How long a push may show no progress: registries take their time with large layers."""

QEMU = {"amd64": "qemu-x86_64", "arm64": "qemu-aarch64"}
"""The kernel's names of emulators: https://docs.kernel.org/admin-guide/binfmt-misc.html"""

BUILD_FIXES = {
    "error getting credentials": "docker asks a credential helper that is not there or fails: install the one that "
    "credsStore or credHelpers in ~/.docker/config.json names, or take that line out",
    "permission denied while trying to connect": "sudo usermod -aG docker $USER, then log in again",
    "[Cc]annot connect to the Docker daemon": "start the Docker engine: sudo systemctl start docker",
    "exec format error": "this engine cannot run that architecture's programs: choose an --instance of this machine's, "
    "or add the other: docker run --privileged --rm tonistiigi/binfmt --install all",
    "failed to resolve source metadata|pull access denied|failed to do request": "a base image cannot be pulled: check "
    "the network, or name others: settings solver.builder_image and solver.runtime_image",
    "no space left on device": "make room for the engine: docker system prune",
    "package ID specification .* did not match": "the workspace has no package poker-solver-trainer: say where it is "
    "with --source, or name a Dockerfile of your own: setting solver.dockerfile",
}
"""What to do about each cause that the output of a failed build can show."""


def connect() -> docker.DockerClient:
    """The engine, through the SDK. Raises CloudError when there is none that answers."""
    import docker.errors
    import requests.exceptions

    with engine_errors("reach the Docker engine"):
        try:
            _check_context()
            client = docker.from_env(use_ssh_client=True)
            client.ping()
        except (CloudError, docker.errors.DockerException, requests.exceptions.RequestException):
            raise
        except Exception as error:  # the SDK has errors of any kind for settings that it does not expect
            raise CloudError(
                f"Docker's settings here cannot be read: {' '.join(str(error).split())}",
                fix="see DOCKER_HOST, DOCKER_CONTEXT, and ~/.docker/config.json with the contexts beside it",
            ) from None
    client.api.timeout = SILENCE_SECONDS
    return client


def _check_context() -> None:
    """Raise CloudError for a Docker context that does not exist: the SDK would take the default one in its place.

    DOCKER_HOST goes before any: https://docs.docker.com/engine/manage-resources/contexts/
    """
    from docker.context import Context
    from docker.context.config import get_current_context_name

    if os.environ.get("DOCKER_HOST"):
        return
    typed = os.environ.get("DOCKER_CONTEXT")
    name = typed or get_current_context_name()
    if name not in ("", "default") and Context.load_context(name) is None:
        raise CloudError(
            f"there is no Docker context {name}, which "
            + ("DOCKER_CONTEXT names" if typed else "is the current one in ~/.docker/config.json"),
            fix=f"{'unset DOCKER_CONTEXT' if typed else 'docker context use default'}; docker context ls lists them",
        )


@contextmanager
def engine_errors(doing: str) -> Iterator[None]:
    """Translate the Docker SDK's errors into CloudError. doing: as it follows "cannot ": 'push the image'."""
    import docker.errors
    import requests.exceptions

    try:
        yield
    except docker.errors.APIError as error:
        raise CloudError(f"cannot {doing}: {error.explanation or error}") from None
    except (docker.errors.DockerException, requests.exceptions.RequestException) as error:
        where = os.environ.get("DOCKER_HOST", "")
        if "Permission denied" in str(error) and not where.startswith("ssh:"):
            raise CloudError(
                f"cannot {doing}: this user may not use Docker", fix="sudo usermod -aG docker $USER, then log in again"
            ) from None
        if where:
            raise CloudError(
                f"cannot {doing}: no Docker engine answers at DOCKER_HOST={where}",
                fix="start the engine there, or unset DOCKER_HOST for this machine's own",
            ) from None
        raise CloudError(
            f"cannot {doing}: no Docker engine answers",
            fix="install Docker Engine (https://docs.docker.com/engine/install/) and start it: "
            "sudo systemctl start docker",
        ) from None


def check_platform(client: docker.DockerClient, platform: str) -> None:
    """Raise CloudError unless images of that platform ('linux/arm64') can be built here, before a build is tried.

    An engine builds for its own machine, and for others if the kernel has an emulator of their processor.
    """
    with engine_errors("ask the Docker engine what it is"):
        own = client.version()["Arch"]
    architecture = platform.rpartition("/")[2]
    command = build_command()
    if architecture == own or architecture in _emulated(command):
        return
    raise CloudError(
        f"no image for {platform} can be built here: this engine's machine is {own}",
        fix=f"{'choose types without --arm' if own == 'amd64' else 'launch with --arm'}, or add the other: "
        f"docker run --privileged --rm tonistiigi/binfmt --install {architecture}",
    )


def _emulated(command: list[str]) -> set[str]:
    """Architectures that the engine's kernel emulates, as buildx or this machine's kernel says."""
    if command[1] == "buildx":
        platforms = re.search(r"^Platforms:(.*)$", _output(command[0], "buildx", "inspect"), re.MULTILINE)
        return set(re.findall(r"linux/(\w+)", platforms[1])) if platforms else set()
    return {docker for docker, qemu in QEMU.items() if Path("/proc/sys/fs/binfmt_misc", qemu).exists()}


def has_image(client: docker.DockerClient, name: str) -> bool:
    """Whether the engine has an image of that name (repository:tag)."""
    import docker.errors

    with engine_errors(f"look for {name}"):
        try:
            client.images.get(name)
        except docker.errors.ImageNotFound:
            return False
        return True


def build(snapshot: Snapshot, name: str, *, builder_image: str, runtime_image: str, platform: str, say: Say) -> None:
    """Build a snapshot into an image of that name (repository:tag), with BuildKit.

    say: gets each line of the build's output as it comes.
    Raises CloudError, with the last lines of the output, when the build fails; there is no image of that name then.
    """
    command = [
        *build_command(),
        *("--progress=plain", "--platform", platform, "--tag", name, "--file", DOCKERFILE),
        *("--build-arg", f"BUILDER_IMAGE={builder_image}", "--build-arg", f"RUNTIME_IMAGE={runtime_image}"),
        "-",
    ]
    # Attestations would make the image an index, of which `docker push` and ECR show two parts.
    environment = {**os.environ, "DOCKER_BUILDKIT": "1", "BUILDX_NO_DEFAULT_ATTESTATIONS": "1"}
    last: deque[str] = deque(maxlen=SHOWN_LINES)
    with (
        snapshot.context() as context,
        _ended(
            subprocess.Popen(
                command,
                stdin=context,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                env=environment,
                encoding="utf-8",
                errors="replace",
            )
        ) as process,
    ):
        assert process.stdout
        for line in process.stdout:
            text = line.rstrip()
            if text and not STEP_DIGEST.fullmatch(text):
                say(text)
                last.append(text[:LINE_LIMIT])
        code = process.wait()
    if code:
        output = "\n".join(last)
        causes = [snapshot.why_missing(path) for path in MISSING.findall(output)]
        causes += [fix for cause, fix in BUILD_FIXES.items() if re.search(cause, output)]
        fix = next(filter(None, causes), None)
        raise CloudError(f"the image cannot be built; the build's last lines:\n{output}", fix=fix)


@contextmanager
def _ended(process: subprocess.Popen[str]) -> Iterator[subprocess.Popen[str]]:
    """The process, which has ended when the block has, by Ctrl-C too; the engine then ends the build that it watched.

    Killed, because docker 20.10 when asked to end goes on waiting for that build.
    """
    with process:
        try:
            yield process
        finally:
            process.kill()  # does nothing to one that has ended
            process.wait()


def build_command() -> list[str]:
    """The command line that builds with BuildKit, up to its options, by the first docker on PATH that can.

    One with the buildx plugin can; without it, only those before version 23 have BuildKit themselves.
    Raises CloudError when none can.
    """
    commands = _docker_commands()
    for docker in commands:
        if _output(docker, "buildx", "version").startswith("github.com/docker/buildx"):
            # --load: a buildx builder of one's own (docker buildx use) would keep the image to itself.
            return [docker, "buildx", "build", "--load"]
        version = re.match(r"Docker version (\d+)\.", _output(docker, "--version"))
        if version and int(version[1]) < 23:
            return [docker, "build"]
    if not commands:
        raise CloudError(
            "there is no docker command on PATH",
            fix="install Docker Engine: https://docs.docker.com/engine/install/",
        )
    raise CloudError(
        f"{commands[0]} cannot build with BuildKit",
        fix="install its plugin buildx: the package docker-buildx-plugin, or docker-buildx",
    )


def _docker_commands() -> list[str]:
    """Every docker command on PATH, in its order."""
    found = (
        shutil.which("docker", path=directory) for directory in os.get_exec_path() if Path(directory).is_absolute()
    )
    return list(dict.fromkeys(path for path in found if path))


def _output(*command: str) -> str:
    """What a command prints; nothing if it cannot be run."""
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    except OSError:
        return ""
    return done.stdout.decode(errors="replace")

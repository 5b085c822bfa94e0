"""The images machines and builds start from: real ones where they can be had, else stand-ins from Debian's packages."""

from __future__ import annotations

import hashlib
import io
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .errors import LocalCloudError

if TYPE_CHECKING:
    import docker

Say = Callable[[str], None]

INSTANCE = Path(__file__).resolve().parent.parent / "docker" / "instance"
INSTANCE_REPOSITORY = "solver-local/instance"
SUITE = "bookworm"
PROBE_SECONDS = 10
"""How long Docker Hub may take to say that it has an image."""

BUILDER = """\
FROM {runtime}
RUN apt-get update \\
 && (apt-get install --yes --no-install-recommends cargo-web || apt-get install --yes --no-install-recommends cargo) \\
 && rm -rf /var/lib/apt/lists/* /var/cache/apt/*.bin
"""
"""Debian keeps the compiler that its browsers need up to date as cargo-web; plain cargo is as old as the release."""


@dataclass(frozen=True)
class BaseImages:
    """What the trainer's image is built from: the compiler's image and the one it runs in."""

    builder: str
    runtime: str
    stand_in: bool


HUB = BaseImages("rust:1.85", "debian:bookworm-slim", stand_in=False)
STAND_INS = BaseImages("solver-local/rust:bookworm", "solver-local/debian:bookworm", stand_in=True)


def ready(engine: docker.DockerClient) -> bool:
    """Whether base images are here or can be pulled, so that none has to be made."""
    return _local(engine) is not None or _on_hub(engine)


def base_images(engine: docker.DockerClient, say: Say) -> BaseImages:
    """The base images, present in the engine: those of Docker Hub if it can be reached, else stand-ins, made once.

    say: gets one line for each image that is pulled or made.
    Raises LocalCloudError when Docker Hub cannot be reached and there is nothing to make them with.
    """
    present = _local(engine)
    if present:
        return present
    if _on_hub(engine):
        for name in (HUB.builder, HUB.runtime):
            with _timed(say, f"pulling {name}"):
                engine.images.pull(name)
        return HUB
    say("Docker Hub cannot be reached: making stand-ins for its images from Debian's packages, once")
    with _timed(say, f"making {STAND_INS.runtime}"):
        _import_debian(engine, STAND_INS.runtime)
    with _timed(say, f"making {STAND_INS.builder}"):
        dockerfile = io.BytesIO(BUILDER.format(runtime=STAND_INS.runtime).encode())
        _build(engine, STAND_INS.builder, fileobj=dockerfile)
    return STAND_INS


def instance_image(engine: docker.DockerClient, say: Say) -> str:
    """The image instances are made from, built from docker/instance when that, or the base image, has changed.

    Returns its name. Raises LocalCloudError when it cannot be built.
    """
    runtime = base_images(engine, say).runtime
    name = f"{INSTANCE_REPOSITORY}:{_content_hash(INSTANCE, engine.images.get(runtime).id or '')}"
    if not _has(engine, name):
        with _timed(say, f"making {name}"):
            _build(engine, name, path=str(INSTANCE), buildargs={"BASE": runtime})
    return name


def _local(engine: docker.DockerClient) -> BaseImages | None:
    """Base images that are here; both of a kind, since what one compiles runs in the other."""
    kinds = (kind for kind in (HUB, STAND_INS) if _has(engine, kind.builder) and _has(engine, kind.runtime))
    return next(kinds, None)


def _has(engine: docker.DockerClient, name: str) -> bool:
    import docker.errors

    try:
        engine.images.get(name)
    except docker.errors.ImageNotFound:
        return False
    return True


def _on_hub(engine: docker.DockerClient) -> bool:
    """Whether the engine reaches Docker Hub: it is asked about an image first, since a pull has no time limit."""
    import docker.errors
    import requests

    patience = engine.api.timeout
    engine.api.timeout = PROBE_SECONDS
    try:
        engine.api.inspect_distribution(HUB.runtime)  # type: ignore[no-untyped-call]  # missing in types-docker
    except (docker.errors.APIError, requests.exceptions.Timeout):
        return False
    finally:
        engine.api.timeout = patience
    return True


def _import_debian(engine: docker.DockerClient, name: str) -> None:
    """Make an image of Debian's minimal system, without manuals, like the -slim images of Docker Hub."""
    repository, _, tag = name.partition(":")
    with tempfile.TemporaryDirectory() as directory:
        archive = Path(directory) / "debian.tar"
        _bootstrap(archive)
        answer = engine.api.import_image_from_file(
            str(archive), repository=repository, tag=tag, changes=['CMD ["bash"]']
        )
    if '"error"' in answer:
        raise LocalCloudError(f"{name} cannot be imported: {answer.strip()}")


def _bootstrap(archive: Path) -> None:
    """Write a tar archive of Debian's minimal system, with the apt sources of this machine."""
    mirrors = _mirrors()
    if shutil.which("mmdebstrap"):
        unwanted = [f"--dpkgopt=path-exclude=/usr/share/{part}/*" for part in ("man", "locale", "doc")]
        _run(["mmdebstrap", "--quiet", "--variant=minbase", *unwanted, SUITE, str(archive), *mirrors])
    elif shutil.which("debootstrap"):
        tree = archive.with_suffix("")
        uri = [line.split()[1] for line in mirrors[:1]]
        _run(["debootstrap", "--variant=minbase", SUITE, str(tree), *uri])
        if mirrors:
            (tree / "etc/apt/sources.list").write_text("\n".join(mirrors) + "\n")
        shutil.rmtree(tree / "var/cache/apt/archives", ignore_errors=True)
        _run(["tar", "--create", "--numeric-owner", "--file", str(archive), "--directory", str(tree), "."])
    else:
        raise LocalCloudError(
            f"{HUB.builder} and {HUB.runtime} cannot be pulled, and there is nothing to make stand-ins with",
            fix="install mmdebstrap, or docker load these two images",
        )


def _mirrors() -> list[str]:
    """This machine's own sources of Debian's packages, as lines of a sources.list.

    None where it is no Debian of that release: the bootstrapping program then knows Debian's own.
    """
    if not shutil.which("apt-get"):
        return []
    parts = "$(ORIGIN) $(REPO_URI) $(CODENAME) $(RELEASE) $(COMPONENT)"
    found = _run(["apt-get", "indextargets", "Created-By: Packages", "--format", parts]).split("\n")
    sources = [line.split() for line in found if line.startswith("Debian ") and len(line.split()) == 5]
    return list(
        dict.fromkeys(
            f"deb {uri} {release} {component}"
            for _, uri, codename, release, component in sources
            if codename.startswith(SUITE)
        )
    )


def _build(engine: docker.DockerClient, name: str, **what: Any) -> None:
    """Build an image; raises LocalCloudError with the last lines of what the build printed when it fails."""
    import docker.errors

    try:
        engine.images.build(tag=name, rm=True, forcerm=True, **what)
    except docker.errors.BuildError as error:
        printed = "".join(str(line.get("stream", "")) for line in error.build_log).strip().splitlines()
        raise LocalCloudError("\n  ".join([f"{name} cannot be built: {error.msg}", *printed[-10:]])) from None


def _content_hash(directory: Path, *more: str) -> str:
    """12 hexadecimal digits that change with any file's name, mode or content below the directory."""
    digest = hashlib.sha256("\0".join(more).encode())
    for path in sorted(path for path in directory.rglob("*") if path.is_file()):
        executable = bool(path.stat().st_mode & 0o100)
        content = hashlib.sha256(path.read_bytes()).hexdigest()
        digest.update(f"{path.relative_to(directory)}\0{executable}\0{content}\0".encode())
    return digest.hexdigest()[:12]


def _run(command: list[str]) -> str:
    """What a command prints; raises LocalCloudError with its last line of complaint when it fails."""
    ended = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if ended.returncode:
        last = (ended.stderr.strip() or ended.stdout.strip()).rpartition("\n")[2]
        raise LocalCloudError(f"`{command[0]}` failed while making an image: {last}")
    return ended.stdout


@contextmanager
def _timed(say: Say, what: str) -> Iterator[None]:
    """Say what is being done, and afterwards how long it took."""
    say(f"{what} …")
    began = time.monotonic()
    yield
    say(f"{what}: done in {time.monotonic() - began:.0f} s")

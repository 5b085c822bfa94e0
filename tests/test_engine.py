"""Builds by the real engine: the right binary whatever was built before, and clear errors."""

from __future__ import annotations

import contextlib
import io
import os
import re
import shutil
import signal
import subprocess
import sys
import tarfile
import textwrap
import threading
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import docker
import pytest

from cloud import engine
from cloud.config import PACKAGE
from cloud.errors import CloudError
from cloud.image import snapshot
from localcloud.images import BaseImages, base_images

from .localcloud.conftest import eventually

TRAINER = PACKAGE / "docker" / "Dockerfile"


@pytest.fixture(scope="session")
def client() -> docker.DockerClient:
    return engine.connect()


@pytest.fixture(scope="session")
def bases(client: docker.DockerClient) -> BaseImages:
    return base_images(client, print)


@pytest.fixture
def name(client: docker.DockerClient) -> Iterator[str]:
    """An image's name, of which nothing is left after the test."""
    repository = f"test-engine-{uuid.uuid4().hex[:8]}"
    yield f"{repository}:1"
    for image in client.images.list(name=repository):
        client.images.remove(str(image.id), force=True)


@pytest.fixture
def source(tmp_path: Path, home: Path) -> Path:
    return workspace(tmp_path / "trainer", "one")


def workspace(directory: Path, says: str) -> Path:
    """A Cargo workspace whose trainer prints `says`, its arguments, and what its library says."""
    files = {
        "Cargo.toml": '[workspace]\nmembers = ["trainer", "library"]\nresolver = "2"\n',
        "trainer/Cargo.toml": """
            [package]
            name = "poker-solver-trainer"
            version = "0.1.0"
            edition = "2021"
            [dependencies]
            library = { path = "../library" }
        """,
        "trainer/src/main.rs": f"""
            fn main() {{
                let arguments: Vec<String> = std::env::args().skip(1).collect();
                println!("{says} {{}} {{}}", library::says(), arguments.join(","));
            }}
        """,
        "library/Cargo.toml": '[package]\nname = "library"\nversion = "0.1.0"\nedition = "2021"\n',
        "library/src/lib.rs": 'pub fn says() -> &\'static str { include_str!("words.txt") }\n',
        "library/src/words.txt": "first",
    }
    for path, text in files.items():
        (directory / path).parent.mkdir(parents=True, exist_ok=True)
        (directory / path).write_text(textwrap.dedent(text))
    return directory


def build(
    source: Path,
    name: str,
    *,
    dockerfile: Path = TRAINER,
    bases: BaseImages | None = None,
    say: engine.Say = lambda _: None,
) -> list[str]:
    """Build a source for this machine; returns the lines that were said."""
    said: list[str] = []

    def say_and_keep(line: str) -> None:
        said.append(line)
        say(line)

    client = engine.connect()
    if engine.has_image(client, name):
        client.images.remove(name, force=True)
    with snapshot(source, dockerfile) as taken:
        engine.build(
            taken,
            name,
            builder_image=bases.builder if bases else "unused",
            runtime_image=bases.runtime if bases else "unused",
            platform="linux/amd64" if os.uname().machine == "x86_64" else "linux/arm64",
            say=say_and_keep,
        )
    return said


@pytest.fixture
def trainer_says(client: docker.DockerClient, bases: BaseImages, name: str, tmp_path: Path) -> Callable[[Path], str]:
    """Build a source, compiling it even if the engine has the result already, and run it."""

    def trainer_says(source: Path) -> str:
        dockerfile = tmp_path / "Dockerfile"
        dockerfile.write_text(f"{TRAINER.read_text()}# {uuid.uuid4()}\n")
        assert any(
            "Compiling poker-solver-trainer" in line for line in build(source, name, dockerfile=dockerfile, bases=bases)
        )
        return client.containers.run(name, ["poker-solver-trainer", "a", "b"], remove=True).decode().strip()

    return trainer_says


def test_the_binary_is_that_of_the_source_after_edits_and_back_again(
    source: Path, trainer_says: Callable[[Path], str]
) -> None:
    assert trainer_says(source) == "one first a,b"
    words = source / "library/src/words.txt"
    for edit in ("second", "first"):
        words.write_text(edit)
        assert trainer_says(source) == f"one {edit} a,b"


@pytest.mark.long
def test_another_project_gets_its_own_binary(source: Path, tmp_path: Path, trainer_says: Callable[[Path], str]) -> None:
    other = workspace(tmp_path / "other", "two")
    assert [trainer_says(directory)[:3] for directory in (source, other, source)] == ["one", "two", "one"]


def test_sources_built_at_once_get_their_own_binaries(
    tmp_path: Path, home: Path, client: docker.DockerClient, bases: BaseImages, name: str
) -> None:
    sources = [workspace(tmp_path / says, f"{says} {uuid.uuid4()}") for says in ("one", "two", "three")]
    pause = "std::thread::sleep(std::time::Duration::from_secs(4));"
    (sources[0] / "trainer/build.rs").write_text(f"fn main() {{ {pause} }}\n")
    names = [name.replace(":1", f":{number}") for number in range(3)]
    compiling = threading.Event()

    def say(line: str) -> None:
        if "Compiling poker-solver-trainer" in line:
            compiling.set()

    with ThreadPoolExecutor() as pool:
        builds = [pool.submit(build, sources[0], names[0], bases=bases, say=say)]
        assert compiling.wait(60)
        # Both of the others are sent now, and wait. So of each the files are older than the binary of the other.
        builds += [pool.submit(build, *pair, bases=bases) for pair in zip(sources[1:], names[1:], strict=True)]
        for result in builds:
            result.result()
    outputs = [client.containers.run(image, "poker-solver-trainer", remove=True).decode().split()[0] for image in names]
    assert outputs == ["one", "two", "three"]


def test_a_build_that_fails_shows_its_last_lines_and_leaves_no_image(
    source: Path, client: docker.DockerClient, bases: BaseImages, name: str
) -> None:
    (source / "trainer/src/main.rs").write_text("fn main() { undefined_function() }\n")
    with pytest.raises(CloudError, match="the image cannot be built") as error:
        build(source, name, bases=bases)
    assert "cannot find function `undefined_function`" in error.value.problem
    assert len(error.value.problem.splitlines()) <= 1 + engine.SHOWN_LINES
    assert not engine.has_image(client, name)


def test_a_lock_file_that_does_not_fit_is_refused_not_rewritten(source: Path, bases: BaseImages, name: str) -> None:
    (source / "Cargo.lock").write_text("version = 3\n")
    with pytest.raises(CloudError, match="--locked"):
        build(source, name, bases=bases)


def test_a_workspace_without_the_trainer_says_what_to_do(source: Path, bases: BaseImages, name: str) -> None:
    shutil.rmtree(source / "trainer")
    (source / "Cargo.toml").write_text('[workspace]\nmembers = ["library"]\n')
    with pytest.raises(CloudError) as error:
        build(source, name, bases=bases)
    assert "--source" in str(error.value.fix)


def test_a_base_image_that_is_not_there_says_what_to_do(source: Path, name: str) -> None:
    missing = BaseImages(f"127.0.0.1:1/{uuid.uuid4().hex}", f"127.0.0.1:1/{uuid.uuid4().hex}", stand_in=False)
    with pytest.raises(CloudError) as error:
        build(source, name, bases=missing)
    assert "solver.builder_image" in str(error.value.fix)


DOCKERIGNORES = {
    "some": "# a comment\n\n  /README.md\n*.txt\n**/target\ntemp?\n*/temp*\ndocs\n!docs/keep.md\n!docs/in\n"
    "one/*/three\n./with space/\n.hidden/**\nsub/../x\n!trainer/../library\n[a-c]*\n",
    "byte order mark": "\ufeffREADME.md\n",
    "line ends": "README.md\r\n*.txt \r\n\r\n!notes.txt\t\r\n",
    "not git's": "  # x\n[!x]*\n../temp2\ndocs/**/keep.md\n",
    "between": "sub/**/notes.txt\ntemp[^1]\n/../x\n",
    "all but": "*\n!Cargo.*\n!trainer\n!library/src\nlibrary/src/*.txt\n!docs/in/*.md\n",
}


@pytest.mark.parametrize("patterns", DOCKERIGNORES.values(), ids=DOCKERIGNORES.keys())
def test_dockerignore_means_what_it_means_to_docker(
    source: Path, client: docker.DockerClient, name: str, tmp_path: Path, patterns: str
) -> None:
    paths = [
        *("README.md", "notes.txt", "sub/notes.txt", "sub/deep/notes.txt", "sub/deep/README.md"),
        *("target/a", "sub/target/b", "sub/target/deep/c", "temp1/x", "temp2", "tempting", "sub/temp3"),
        *("docs/a.md", "docs/keep.md", "docs/in/keep.md", "one/two/three", "[x]", "x", "with space", ".hidden/a"),
    ]
    for path in paths:
        (source / path).parent.mkdir(parents=True, exist_ok=True)
        (source / path).touch()
    (source / ".dockerignore").write_text(patterns)
    dockerfile = tmp_path / "Dockerfile"
    dockerfile.write_text("FROM scratch\nCOPY . /\n")
    command = [*engine.build_command(), "--file", str(dockerfile), "--tag", name, str(source)]
    subprocess.run(command, check=True, capture_output=True, env={**os.environ, "DOCKER_BUILDKIT": "1"})
    by_docker = files_of(client, name)
    build(source, name, dockerfile=dockerfile)
    by_us = files_of(client, name)
    assert by_us - {".solver-cloud.Dockerfile"} == by_docker
    assert "trainer/src/main.rs" in by_docker
    assert by_docker < {str(path.relative_to(source)) for path in source.rglob("*") if path.is_file()}


def test_a_dockerfiles_own_dockerignore_goes_before_the_sources(
    source: Path, client: docker.DockerClient, name: str, tmp_path: Path
) -> None:
    (source / ".dockerignore").write_text("library\n")
    dockerfile = tmp_path / "own.Dockerfile"
    dockerfile.write_text("FROM scratch\nCOPY . /\n")
    for content in ("trainer\n", ""):
        (tmp_path / "own.Dockerfile.dockerignore").write_text(content)
        command = [*engine.build_command(), "--file", str(dockerfile), "--tag", name, str(source)]
        subprocess.run(command, check=True, capture_output=True, env={**os.environ, "DOCKER_BUILDKIT": "1"})
        by_docker = files_of(client, name)
        build(source, name, dockerfile=dockerfile)
        assert files_of(client, name) - {".solver-cloud.Dockerfile"} == by_docker
        assert "library/src/lib.rs" in by_docker or not content


@pytest.mark.parametrize(
    ("file", "pattern", "fix"),
    [
        (".dockerignore", "library/src", r"library/src is left out by .*/trainer/\.dockerignore"),
        (".gitignore", "words.txt", r"library/src/words\.txt is empty, or git ignores it: git check-ignore --verbose"),
    ],
)
def test_a_copy_of_something_ignored_says_by_what(source: Path, name: str, file: str, pattern: str, fix: str) -> None:
    (source / file).write_text(f"{pattern}\n")
    dockerfile = source / "own"
    what = "library/src" if pattern == "library/src" else "library/src/words.txt"
    dockerfile.write_text(f"FROM scratch\nCOPY {what} /\n")
    with pytest.raises(CloudError, match="the image cannot be built") as error:
        build(source, name, dockerfile=dockerfile)
    assert re.match(fix, str(error.value.fix))


def files_of(client: docker.DockerClient, name: str) -> set[str]:
    """The files of an image, without those that a container always has."""
    container = client.containers.create(name, "none")
    try:
        archive = io.BytesIO(b"".join(container.export()))  # type: ignore[arg-type]  # types-docker says str
    finally:
        container.remove()
    with tarfile.open(fileobj=archive) as tar:
        files = {member.name for member in tar if not member.isdir()}
    return {file for file in files if not file.startswith(("etc/", "dev/", "proc/", "sys/", ".dockerenv"))}


def test_ctrl_c_ends_the_build(source: Path, bases: BaseImages, tmp_path: Path) -> None:
    marker = f"{uuid.uuid4().int % 10**9 + 10**6}"
    dockerfile = tmp_path / "Dockerfile"
    dockerfile.write_text(f"FROM {bases.runtime}\nRUN echo started; sleep {marker}\n")
    program = f"""
import signal
from pathlib import Path
from cloud import engine
from cloud.image import snapshot
signal.signal(signal.SIGINT, signal.default_int_handler)
with snapshot(Path({str(source)!r}), Path({str(dockerfile)!r})) as taken:
    engine.build(taken, "test-engine-never:1", builder_image="", runtime_image="", platform="linux/amd64", say=print)
"""
    process = subprocess.Popen(
        [sys.executable, "-u", "-c", program],
        cwd=PACKAGE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        assert process.stdout
        lines = iter(process.stdout.readline, "")
        assert any(line.rstrip().endswith("started") and "RUN" not in line for line in lines)
        eventually(lambda: running(marker), 20)  # the shell has said so before it starts the program
        process.send_signal(signal.SIGINT)
        _, complaint = process.communicate(timeout=30)
    finally:
        process.kill()
    assert process.returncode != 0
    assert "KeyboardInterrupt" in complaint
    eventually(lambda: not running(marker), 20)


def running(marker: str) -> bool:
    """Whether a program with that argument runs, in whatever container."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if marker.encode() in path.read_bytes().split(b"\0"):
                return True
        except (FileNotFoundError, ProcessLookupError):
            continue
    return False


def test_without_an_engine_one_line_says_so(
    source: Path, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/none.sock")
    with pytest.raises(CloudError, match="no Docker engine answers at DOCKER_HOST=") as error:
        engine.connect()
    assert "\n" not in error.value.problem
    assert "unset DOCKER_HOST" in str(error.value.fix)


def test_the_sdk_follows_the_docker_context_as_the_command_does(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DOCKER_HOST", raising=False)
    command = engine.build_command()[0]
    socket = tmp_path / "engine.sock"
    for arguments in (["create", "elsewhere", "--docker", f"host=unix://{socket}"], ["use", "elsewhere"]):
        subprocess.run([command, "context", *arguments], check=True, capture_output=True)
    with pytest.raises(CloudError, match="no Docker engine answers") as error:
        engine.connect()
    assert "install Docker Engine" in str(error.value.fix)
    socket.symlink_to("/var/run/docker.sock")
    assert engine.connect().ping()


def test_a_context_that_is_not_there_is_named(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The SDK takes the default context in its place; the command says that it cannot build."""
    monkeypatch.delenv("DOCKER_HOST", raising=False)
    (home / ".docker").mkdir()
    (home / ".docker/config.json").write_text('{"currentContext": "gone"}')
    with pytest.raises(
        CloudError, match=r"no Docker context gone, which is the current one in ~/\.docker/config\.json"
    ):
        engine.connect()
    monkeypatch.setenv("DOCKER_CONTEXT", "nope")
    with pytest.raises(CloudError, match="no Docker context nope, which DOCKER_CONTEXT names") as error:
        engine.connect()
    assert "unset DOCKER_CONTEXT" in str(error.value.fix)


@pytest.mark.parametrize(
    "variable", ["DOCKER_HOST=tcp://x:99999", "DOCKER_HOST=tcp://", "DOCKER_HOST=ssh://a@127.0.0.1:1"]
)
def test_a_docker_host_that_is_none_is_one_line(monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    monkeypatch.setenv(*variable.split("=", 1))
    with pytest.raises(CloudError, match="Docker") as error:
        engine.connect()
    assert "\n" not in error.value.problem
    assert "DOCKER_HOST" in str(error.value.fix)


@pytest.mark.parametrize("config", ["[]", "{", '{"proxies": 3}', '{"auths": [], "credsStore": 5}', "\xff"])
def test_a_strange_docker_config_is_no_traceback(home: Path, monkeypatch: pytest.MonkeyPatch, config: str) -> None:
    monkeypatch.delenv("DOCKER_HOST", raising=False)
    (home / ".docker").mkdir()
    (home / ".docker/config.json").write_text(config, encoding="latin-1")
    with contextlib.suppress(CloudError):
        engine.connect()


@pytest.mark.parametrize(
    ("output", "fix"),
    [
        # As docker 28 and BuildKit 0.21 word it.
        ('error getting credentials - err: exec: "docker-credential-desktop": executable file not found', "credsStore"),
        ("permission denied while trying to connect to the Docker daemon socket at unix:///x", "usermod"),
        ("ERROR: Cannot connect to the Docker daemon at unix:///x. Is the docker daemon running?", "systemctl"),
        ("failed to solve: write /var/lib/docker/tmp: no space left on device", "docker system prune"),
    ],
)
def test_what_docker_says_of_itself_gets_its_fix(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, output: str, fix: str
) -> None:
    fake_docker(tmp_path / "0", "20.10.24", buildx=False)
    script = tmp_path / "0/docker"
    script.write_text(
        f"#!/bin/sh\nif [ $1 != build ]; then echo Docker version 20.10.24; else echo '{output}'; exit 1; fi\n"
    )
    monkeypatch.setenv("PATH", f"{tmp_path / '0'}:{os.environ['PATH']}")
    dockerfile = tmp_path / "Dockerfile"
    dockerfile.write_text("FROM scratch\n")
    with snapshot(source, dockerfile) as taken, pytest.raises(CloudError) as error:
        engine.build(taken, "x:1", builder_image="", runtime_image="", platform="linux/amd64", say=print)
    assert fix in str(error.value.fix)


def fake_docker(directory: Path, version: str, *, buildx: bool) -> None:
    """A docker command of that version. It only says what it is."""
    directory.mkdir()
    answer = "echo github.com/docker/buildx v0.12.1 30feaa1" if buildx else "exit 1"
    script = f'#!/bin/sh\nif [ "$1" = buildx ]; then {answer}; else echo "Docker version {version}, build 0"; fi\n'
    (directory / "docker").write_text(script)
    (directory / "docker").chmod(0o755)


@pytest.mark.parametrize(
    ("dockers", "chosen"),
    [
        ([("28.2.2", True)], ["0/docker", "buildx", "build", "--load"]),
        ([("20.10.24+dfsg1", False)], ["0/docker", "build"]),
        ([("28.2.2", False), ("20.10.24", False), ("28.2.2", True)], ["1/docker", "build"]),
        ([("23.0.0", False), ("27.0.1", True)], ["1/docker", "buildx", "build", "--load"]),
    ],
)
def test_the_first_docker_that_has_buildkit_builds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dockers: list[tuple[str, bool]], chosen: list[str]
) -> None:
    for number, (version, buildx) in enumerate(dockers):
        fake_docker(tmp_path / str(number), version, buildx=buildx)
    monkeypatch.setenv("PATH", os.pathsep.join(str(tmp_path / str(number)) for number in range(len(dockers))))
    assert engine.build_command() == [str(tmp_path / chosen[0]), *chosen[1:]]


@pytest.mark.parametrize(
    ("platforms", "refused"), [("linux/amd64, linux/arm64", None), ("linux/amd64, linux/386", "machine is amd64")]
)
def test_another_processor_needs_an_emulator_and_is_refused_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, platforms: str, refused: str | None
) -> None:
    client = engine.connect()
    monkeypatch.setattr(client, "version", lambda: {"Arch": "amd64"})
    script = tmp_path / "docker"
    inspected = f"Name: default\nPlatforms: {platforms}"
    script.write_text(
        f'#!/bin/sh\nif [ "$2" = inspect ]; then echo "{inspected}"; else echo github.com/docker/buildx v0.12.1; fi\n'
    )
    script.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    engine.check_platform(client, "linux/amd64")
    if refused is None:
        engine.check_platform(client, "linux/arm64")
        return
    with pytest.raises(CloudError, match=refused) as error:
        engine.check_platform(client, "linux/arm64")
    assert "--install arm64" in str(error.value.fix)


def test_no_docker_and_no_buildkit_say_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path / "0"))
    with pytest.raises(CloudError, match="no docker command on PATH"):
        engine.build_command()
    fake_docker(tmp_path / "0", "28.2.2", buildx=False)
    with pytest.raises(CloudError, match="cannot build with BuildKit") as error:
        engine.build_command()
    assert "buildx" in str(error.value.fix)

"""How long a rebuild of the image takes after an edit of one line, beside the two-stage Dockerfile of a beginner.

The workspace has the example trainer, three crates under it, and dependencies of crates.io. Their sources are in the
builder's image, so that neither side downloads any; the peer would do so at each build. Both build with BuildKit.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

from cloud import engine
from cloud.config import PACKAGE
from cloud.image import snapshot
from localcloud import images

from .figures import Figure, Goal, Sample, alternate, check, run
from .hash import commit
from .peers import program_version
from .user import EXAMPLE

TRAINER, BINARY = "crates/trainer", "poker-solver-trainer"
DEPENDENCIES = {
    "game": ['serde = { version = "1", features = ["derive"] }', 'thiserror = "2"', 'smallvec = "1"'],
    "abstraction": ['rand = "0.8"', 'rayon = "1"', 'itertools = "0.13"', 'nalgebra = "0.33"'],
    "betting": ['ahash = "0.8"', 'indexmap = "2"', 'parking_lot = "0.12"', 'serde_json = "1"'],
    BINARY: ['clap = { version = "4", default-features = false, features = ["std", "derive"] }', 'regex = "1"'],
}
"""What each crate takes from crates.io; each depends on those before it as well."""
LEAST_DEPENDENCIES = 30
FUNCTIONS = 300
WORKSPACE = '[workspace]\nresolver = "3"\nmembers = ["crates/*"]\n'
VENDORED = '[source.crates-io]\nreplace-with = "vendored"\n\n[source.vendored]\ndirectory = "/vendor"\n'
BUILDER_RECIPE = """\
ARG BUILDER_IMAGE
FROM ${BUILDER_IMAGE}
COPY vendor /vendor
COPY vendored.toml /.cargo/config.toml
"""
VERSION_LINE = 'println!("{} {}", env!("CARGO_PKG_NAME"), env!("CARGO_PKG_VERSION"));'

REPOSITORY = "solver-cloud-bench"
NAIVE = "COPY . . and cargo build"
NAIVE_RECIPE = f"""\
ARG BUILDER_IMAGE
ARG RUNTIME_IMAGE
FROM ${{BUILDER_IMAGE}} AS build
WORKDIR /source
COPY . .
RUN cargo build --release
FROM ${{RUNTIME_IMAGE}}
COPY --from=build /source/target/release/{BINARY} /usr/local/bin/
"""
OURS_ID, BENCH_ID = "id=solver-cloud-", "id=solver-cloud-bench-"
"""Of the caches that outlive a build: the benchmark has its own, and leaves them empty."""
EMPTYING = f"""\
ARG BUILDER_IMAGE
FROM ${{BUILDER_IMAGE}}
RUN --mount=type=cache,{BENCH_ID}cargo,target=/cargo --mount=type=cache,{BENCH_ID}target,target=/target \\
    find /cargo /target -mindepth 1 -delete
"""


def own_caches(recipe: str) -> str:
    """Our Dockerfile with the benchmark's caches instead of those of the user's builds."""
    return recipe.replace(OURS_ID, BENCH_ID)


def make(source: Path, builder: Path) -> int:
    """A committed workspace, and what goes into the builder's image; returns how many dependencies it has."""
    shutil.copytree(EXAMPLE / TRAINER, source / TRAINER)
    (source / "Cargo.toml").write_text(WORKSPACE)
    (source / ".gitignore").write_text("/target\n")
    before: list[str] = []
    for name, dependencies in DEPENDENCIES.items():
        crate = source / (TRAINER if name == BINARY else f"crates/{name}")
        package = f'[package]\nname = "{name}"\nversion = "0.1.0"\nedition = "2021"\nrust-version = "1.85"\n'
        (crate / "src").mkdir(parents=True, exist_ok=True)
        (crate / "Cargo.toml").write_text("\n".join([package, "[dependencies]", *dependencies, *before, ""]))
        if name != BINARY:
            (crate / "src/lib.rs").write_text("".join(map(function, range(FUNCTIONS))))
            before.append(f'{name} = {{ path = "../{name}" }}')
    run(["cargo", "vendor", "--quiet", str(builder / "vendor")], cwd=source)
    (builder / "vendored.toml").write_text(VENDORED)
    commit(source)
    return (source / "Cargo.lock").read_text().count("checksum =")


def function(number: int) -> str:
    """A Rust function like no other."""
    return (
        f"pub fn step_{number}(values: &[u64]) -> u64 {{\n"
        f"    let mut sum = {number}u64;\n"
        f"    for value in values {{\n"
        f"        sum = sum.rotate_left(7) ^ value.wrapping_mul({number + 3});\n"
        f"    }}\n    sum\n}}\n"
    )


@dataclass
class Builds:
    """Builds of one workspace, each after an edit of one line, and the seconds they took."""

    source: Path
    recipes: Path
    builder_image: str
    runtime_image: str
    platform: str
    edits: count[int] = field(default_factory=lambda: count(time.time_ns()))
    """Numbers that no earlier benchmark has had: the engine would remember the result."""
    seconds: dict[str, list[float]] = field(default_factory=dict)

    def edited(self, name: str, build: Callable[[str], None]) -> Callable[[], float]:
        """Edit, build, and see that the image has the edit; returns the seconds of the build."""
        main, image = self.source / TRAINER / "src/main.rs", f"{REPOSITORY}:{name}"
        before = (EXAMPLE / TRAINER / "src/main.rs").read_text()

        def action() -> float:
            line = f"edit {next(self.edits)}"
            check(VERSION_LINE in before, "the example trainer does not print its version as it did")
            main.write_text(before.replace(VERSION_LINE, f'println!("{line}");'))
            began = time.perf_counter()
            build(image)
            self.seconds.setdefault(name, []).append(time.perf_counter() - began)
            said = run(["docker", "run", "--rm", image, BINARY, "--version"]).stdout.strip()
            check(said == line, f"the image after {line!r} says {said!r}")
            return self.seconds[name][-1]

        return action

    def ours(self, image: str) -> None:
        with snapshot(self.source, self.recipes / "ours") as taken:
            engine.build(
                taken,
                image,
                builder_image=self.builder_image,
                runtime_image=self.runtime_image,
                platform=self.platform,
                say=lambda _: None,
            )

    def plain(self, recipe: str, image: str, source: Path, *options: str) -> None:
        """`docker build` with a recipe of ours here."""
        bases = {"BUILDER_IMAGE": self.builder_image, "RUNTIME_IMAGE": self.runtime_image}
        arguments = [word for name, value in bases.items() for word in ("--build-arg", f"{name}={value}")]
        where = ["--file", str(self.recipes / recipe), "--tag", image, str(source)]
        environment = {**os.environ, "DOCKER_BUILDKIT": "1"}
        run([*engine.build_command(), *options, *arguments, *where], environment=environment)


def measure(runs: int = 3, scale: float = 1) -> list[Figure]:
    """Builds by turns, the first of each from nothing; `scale` changes nothing."""
    check(shutil.which("cargo") is not None, "there is no cargo on PATH, to vendor the dependencies with")
    client = engine.connect()
    base = images.base_images(client, lambda _: None)
    with tempfile.TemporaryDirectory(prefix="solver-cloud-bench-") as name:
        source, recipes = Path(name) / "source", Path(name) / "recipes"
        recipes.mkdir()
        (recipes / "ours").write_text(own_caches((PACKAGE / "docker/Dockerfile").read_text()))
        (recipes / "naive").write_text(NAIVE_RECIPE)
        (recipes / "emptying").write_text(EMPTYING)
        (recipes / "builder").write_text(BUILDER_RECIPE)
        dependencies = make(source, recipes)
        check(dependencies >= LEAST_DEPENDENCIES, f"{dependencies} dependencies are too few")
        builds = Builds(source, recipes, base.builder, base.runtime, f"linux/{client.version()['Arch']}")
        builds.plain("builder", f"{REPOSITORY}:builder", recipes)
        builds.builder_image = f"{REPOSITORY}:builder"
        naive = builds.edited("naive", lambda image: builds.plain("naive", image, source))
        try:
            found = alternate(runs, {"ours": builds.edited("ours", builds.ours), NAIVE: naive})
        finally:
            builds.plain("emptying", f"{REPOSITORY}:emptying", recipes, "--no-cache")
            run(["docker", "image", "rm", *(f"{REPOSITORY}:{one}" for one in (*builds.seconds, "emptying", "builder"))])
    firsts = {name: Sample(name, (all_[0],)) for name, all_ in builds.seconds.items()}
    what = f"{len(DEPENDENCIES)} crates, {dependencies} dependencies"
    versions = {"docker": program_version("docker", "--version"), "engine": str(client.version()["Version"])}
    versions |= {"rustc": program_version("docker", "run", "--rm", base.builder, "rustc", "--version")}
    peer, first = (found[NAIVE],), (Sample(NAIVE, firsts["naive"].values),)
    command = "cloud.engine.build(snapshot, …)"
    return [
        Figure(
            f"rebuild after an edit of one line, {what}", "s", found["ours"], peer, Goal(0.25, NAIVE), command, versions
        ),
        Figure(f"the first build of all, {what}", "s", firsts["ours"], first, None, command),
    ]

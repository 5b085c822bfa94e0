"""How fast output goes up: what an instance runs, beside s5cmd, `aws s3 sync` and rclone, to one server.

The instance takes its snapshot and syncs that, here with the AWS CLI of PyPI in place of Amazon Linux's. Its trainer
has ended, so that the snapshot links: that stands for the copies of a running trainer's output, which take no more on
Amazon Linux's XFS. What has come up is read back after every run, and must have the right sha256.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

from .figures import Figure, Goal, Sample, alternate
from .file_sets import FileSet, file_sets, same
from .seaweed import OURS, Store, store, timed
from .slow_aws import calls_of
from .syncing import Instance

Tool = Callable[[str], float]
"""Brings the set to BUCKET/PREFIX/output, and returns the seconds."""


def measure(runs: int = 3, scale: float = 1) -> Iterator[Figure]:
    """Each tool on each set of files; scale: of the bytes of the one, of the number of the other."""
    with store() as server:
        for files in file_sets(server.directory, scale):
            yield from figures(server, files, runs)


def figures(server: Store, files: FileSet, runs: int) -> Iterator[Figure]:
    """The set brought up for the first time, and again where nothing has changed."""
    instance = Instance(server.directory / "instance", server.environment)
    instance.forget()
    (instance.home / "output").symlink_to(files.directory)
    every = {OURS: first_sync(instance), **peers(server, files)}
    found = alternate(runs, {name: fresh(server, files, name, tool) for name, tool in every.items()}, warm=0)
    with server.bucket("again") as bucket:
        for name, tool in every.items():  # ours first: its links make the files younger
            tool(f"{bucket}/{name}")
        every[OURS] = lambda place: instance.run("sync_output running", place).seconds
        again = alternate(runs, {name: partial(tool, f"{bucket}/{name}") for name, tool in every.items()})
        calls = calls_of(
            server.address,
            lambda address: instance.run("sync_output running", f"{bucket}/{OURS}", AWS_ENDPOINT_URL=address),
            only=f"GET /{bucket}",
        )
    (instance.home / "output").unlink()
    what = f"upload, {files.title}, {files.gigabytes:.3g} GB"
    yield figure(what, found, files.goal, server)
    yield figure(f"{what}: again, nothing changed", again, None, server)
    yield Figure(f"{what}: again, nothing changed: calls, all of them S3's listing", "calls", Sample(OURS, (calls,)))


def figure(what: str, found: dict[str, Sample], goal: Goal | None, server: Store) -> Figure:
    """Ours beside the peers."""
    beside = tuple(sample for name, sample in found.items() if name != OURS)
    return Figure(what, "s", found[OURS], beside, goal, "sync_output (userdata/sync.sh)", server.versions)


def first_sync(instance: Instance) -> Tool:
    """The instance's, of all it has."""

    def sync(place: str) -> float:
        instance.forget()
        return instance.run("sync_output ended", place).seconds

    return sync


def peers(server: Store, files: FileSet) -> dict[str, Tool]:
    """What else does the same, removal of what is no longer there included."""
    source = str(files.directory)
    commands: dict[str, Callable[[str], list[str]]] = {
        "s5cmd": lambda to: [*server.s5cmd, "sync", "--delete", f"{source}/", f"s3://{to}/output/"],
        "aws": lambda to: ["aws", "s3", "sync", "--only-show-errors", "--delete", source, f"s3://{to}/output"],
        "rclone": lambda to: ["rclone", "sync", "--quiet", "--transfers=16", source, server.rclone(f"{to}/output")],
    }

    def run(name: str, place: str) -> float:
        return timed(commands[name](place), server.environment).seconds

    return {name: partial(run, name) for name in commands}


def fresh(server: Store, files: FileSet, name: str, tool: Tool) -> Callable[[], float]:
    """A tool's upload into a new bucket, looked at afterwards."""

    def upload() -> float:
        with server.bucket("fresh") as bucket:
            seconds = tool(f"{bucket}/{name}")
            same(server.stored(bucket, f"{name}/output/"), files.files, name)
        return seconds

    return upload

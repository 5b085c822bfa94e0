"""What syncing costs a trainer on a machine that it keeps busy: its speed while a sync runs, and just before.

A sync takes seconds of a minute, and whole minutes differ more among themselves. So what counts is the time that the
iterations done during a sync would have needed less, at the speed of the seconds before and after; that is held against
the interval. S3's server has its part in it, since it runs on the same processors here. In the other figure, the sync's
own seconds of processors, it has none.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cloud.config import DEFAULTS, PACKAGE
from cloud.records import File

from .figures import Figure, Goal, Sample, check, run
from .seaweed import BLOCK, Store, Taken, same, sha256
from .syncing import Instance

OURS = "solver-cloud"
GOAL = Goal(2)
INTERVAL = int(DEFAULTS["sync_seconds"])
CORES = len(os.sched_getaffinity(0))
QUIET_SECONDS = 4
CHECKPOINT = 200
"""MB."""
CONFIG = """\
game: leduc
algorithm: cfr+
iterations: 1000000000
seed: 7
report_every: 2000
checkpoint_every: 1000000000
"""
"""A report, which is a line on stdout, about every ten milliseconds."""


class Trainers:
    """One example trainer for each processor."""

    def __init__(self, program: Path, directory: Path) -> None:
        directory.mkdir()
        (directory / "config.yaml").write_text(CONFIG)
        self._reports = [0] * CORES
        self._processes = [
            subprocess.Popen(
                [program, "train", "--config", directory / "config.yaml", "--output", directory / f"model-{number}"],
                stdout=subprocess.PIPE,
            )
            for number in range(CORES)
        ]
        self._readers = [threading.Thread(target=self._count, args=(number,)) for number in range(CORES)]
        for reader in self._readers:
            reader.start()

    def _count(self, number: int) -> None:
        stdout = self._processes[number].stdout
        assert stdout
        for _ in stdout:
            self._reports[number] += 1

    @property
    def reports(self) -> int:
        """What all have come to so far."""
        check(all(process.poll() is None for process in self._processes), "a trainer has ended")
        return sum(self._reports)

    def end(self) -> None:
        for process in self._processes:
            process.kill()
            process.wait()
        for reader in self._readers:
            reader.join()


@contextmanager
def trainers(directory: Path) -> Iterator[Trainers | None]:
    """The trainers, which train while the block lasts; None where there is no cargo to compile them."""
    if not shutil.which("cargo"):
        yield None
        return
    target = directory / "target"
    build = ["cargo", "build", "--quiet", "-p", "poker-solver-trainer", "--release", "--target-dir", str(target)]
    run(build, cwd=PACKAGE / "examples" / "trainer")
    every = Trainers(target / "release" / "poker-solver-trainer", directory / "trainers")
    try:
        yield every
    finally:
        every.end()


def figures(server: Store, runs: int, scale: float) -> Iterator[Figure]:
    """With nothing changed since the last sync, and with a new checkpoint."""
    instance = Instance(server.directory / "instance", server.environment)
    instance.forget()
    (instance.home / "output").mkdir()
    checkpoint = instance.home / "output" / "checkpoint.bin"
    write(checkpoint, scale)
    cases = {"nothing changed": False, f"a new checkpoint of {CHECKPOINT * scale:.3g} MB": True}
    with server.bucket("loss") as bucket, trainers(server.directory) as training:
        instance.run("sync_everything running", bucket)
        for case, changed in cases.items():
            taken, lost = [], []
            for _ in range(runs):
                if changed:
                    write(checkpoint, scale)
                used, seconds = one(instance, bucket, training)
                written = File(checkpoint.name, checkpoint.stat().st_size, sha256(checkpoint))
                same(server.stored(bucket, "output/"), [written], OURS)
                taken.append(100 * used.cpu_seconds / (CORES * INTERVAL))
                lost += [] if seconds is None else [100 * seconds / INTERVAL]
            what = f"a sync every {INTERVAL} s on {CORES} busy processors, {case}"
            command = "sync_everything running (userdata/sync.sh)"
            yield Figure(f"{what}: its share of them", "%", Sample(OURS, tuple(taken)), (), GOAL, command)
            yield Figure(f"{what}: speed that the trainer loses", "%", Sample(OURS, tuple(lost)), (), GOAL, command)


def one(instance: Instance, place: str, training: Trainers | None) -> tuple[Taken, float | None]:
    """A sync: what it took, and how many seconds of training are lost by it; the latter is None without trainers."""
    if training is None:
        return instance.run("sync_everything running", place), None
    before = quiet_speed(training)
    began, done = time.perf_counter(), training.reports
    used = instance.run("sync_everything running", place)
    seconds, done = time.perf_counter() - began, training.reports - done
    speed = (before + quiet_speed(training)) / 2
    return used, seconds - done / speed


def quiet_speed(training: Trainers) -> float:
    """Reports a second while nothing is synced."""
    began, done = time.perf_counter(), training.reports
    time.sleep(QUIET_SECONDS)
    return (training.reports - done) / (time.perf_counter() - began)


def write(checkpoint: Path, scale: float) -> None:
    """Another checkpoint than before, written as the trainer does: another file that takes the name.

    It is a second old, because a snapshot leaves out what may still be being written.
    """
    partial = checkpoint.with_suffix(".tmp")
    with partial.open("wb") as out:
        for _ in range(max(1, int(CHECKPOINT * scale))):
            out.write(os.urandom(BLOCK))
    os.utime(partial, (time.time() - 1, time.time() - 1))
    partial.replace(checkpoint)

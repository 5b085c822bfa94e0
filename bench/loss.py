"""What syncing costs a trainer that keeps the machine busy: what a sync takes of the processors, and of its speed.

A sync takes seconds of a minute, and whole minutes differ more among themselves. So what counts is the time that the
iterations done during a sync would have needed less, at the speed of the seconds before and after. Trainer and sync
share one processor, and S3's server has the others, since on AWS it is elsewhere. What the trainer loses of the one, it
loses once on a machine of more, too; that is held against all that the machine's processors have in an interval.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from cloud.config import PACKAGE
from cloud.defaults import DEFAULTS
from cloud.records import File

from .figures import Figure, Goal, Sample, check, run
from .file_sets import BLOCK, same, sha256
from .seaweed import OURS, Taken, store
from .syncing import Instance

SYNC = "sync_everything running"
GOAL = Goal(2)
INTERVAL = int(DEFAULTS["sync_seconds"])
PROCESSORS = sorted(os.sched_getaffinity(0))
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
"""It reports, with a line on stdout, about every ten milliseconds."""


class Training:
    """The example trainer, counted by what it prints."""

    def __init__(self, program: Path, directory: Path) -> None:
        config = directory / "config.yaml"
        config.write_text(CONFIG)
        words = [str(program), "train", "--config", str(config), "--output", str(directory / "model")]
        self._reports = 0
        self._process = subprocess.Popen(words, stdout=subprocess.PIPE)
        self._reader = threading.Thread(target=self._count)
        self._reader.start()

    def _count(self) -> None:
        assert self._process.stdout
        for _ in self._process.stdout:
            self._reports += 1

    @property
    def reports(self) -> int:
        """What it has come to so far."""
        check(self._process.poll() is None, "the trainer has ended")
        return self._reports

    def end(self) -> None:
        self._process.kill()
        self._process.wait()
        self._reader.join()


@contextmanager
def on(processors: Iterable[int]) -> Iterator[None]:
    """What is started within the block, and this thread, run on these processors only."""
    os.sched_setaffinity(0, processors)
    try:
        yield
    finally:
        os.sched_setaffinity(0, PROCESSORS)


@contextmanager
def training(directory: Path) -> Iterator[Training | None]:
    """A trainer, which trains while the block lasts; None where there is no cargo to compile it."""
    if not shutil.which("cargo"):
        yield None
        return
    target = directory / "target"
    build = ["cargo", "build", "--quiet", "-p", "poker-solver-trainer", "--release", "--target-dir", str(target)]
    run(build, cwd=PACKAGE / "examples" / "trainer")
    trainer = Training(target / "release" / "poker-solver-trainer", directory)
    try:
        yield trainer
    finally:
        trainer.end()


def measure(runs: int = 5, scale: float = 1) -> Iterator[Figure]:
    """With nothing changed since the last sync, and with a new checkpoint; scale: of its bytes."""
    cases = {"nothing changed": False, f"a new checkpoint of {CHECKPOINT * scale:.3g} MB": True}
    first, *others = PROCESSORS
    with (
        on(others or [first]),
        store() as server,
        server.bucket("loss") as bucket,
        on([first]),
        training(server.directory) as trainer,
    ):
        instance = Instance(server.directory / "instance", server.environment)
        instance.forget()
        checkpoint = instance.home / "output" / "checkpoint.bin"
        checkpoint.parent.mkdir()
        write(checkpoint, scale)
        instance.run(SYNC, bucket)
        versions = {name: server.versions[name] for name in ("aws", "weed")}
        for case, changed in cases.items():
            taken, lost = [], []
            for _ in range(runs):
                if changed:
                    write(checkpoint, scale)
                used, seconds = one(instance, bucket, trainer)
                taken.append(share(used.cpu_seconds))
                lost += [] if seconds is None else [share(seconds)]
                written = File(checkpoint.name, checkpoint.stat().st_size, sha256(checkpoint))
                same(server.stored(bucket, "output/"), [written], OURS)
            what = f"a sync every {INTERVAL} s beside a trainer on {len(PROCESSORS)} processors, {case}"
            command = f"{SYNC} (userdata/sync.sh)"
            yield Figure(f"{what}: of the processors", "%", Sample(OURS, tuple(taken)), (), GOAL, command, versions)
            yield Figure(f"{what}: of its speed", "%", Sample(OURS, tuple(lost)), (), GOAL, command)


def share(seconds: float) -> float:
    """Seconds of one processor, in hundredths of what all have between two syncs."""
    return 100 * seconds / (len(PROCESSORS) * INTERVAL)


def one(instance: Instance, place: str, trainer: Training | None) -> tuple[Taken, float | None]:
    """A sync: what it took, and how many seconds of training are lost by it; the latter is None without a trainer."""
    if trainer is None:
        return instance.run(SYNC, place), None
    before = quiet_speed(trainer)
    began, done = time.perf_counter(), trainer.reports
    used = instance.run(SYNC, place)
    seconds, done = time.perf_counter() - began, trainer.reports - done
    speed = (before + quiet_speed(trainer)) / 2
    return used, seconds - done / speed


def quiet_speed(trainer: Training) -> float:
    """Reports a second while nothing is synced."""
    began, done = time.perf_counter(), trainer.reports
    time.sleep(QUIET_SECONDS)
    return (trainer.reports - done) / (time.perf_counter() - began)


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

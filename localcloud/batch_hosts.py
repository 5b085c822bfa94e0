"""The instances of Batch's compute environments: what room each has, and for how long it has had nothing to do."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from moto.batch.models import ComputeEnvironment

from .batch_jobs import Job
from .batch_launch import Room, room_of
from .instances import LocalInstance

IDLE_SECONDS = 3.0
"""How long an instance without a job is kept; AWS keeps it for some minutes."""


@dataclass(eq=False)
class Host:
    """One instance that jobs run on, which ECS calls a container instance."""

    instance: LocalInstance
    environment: ComputeEnvironment
    arn: str
    """As a container instance."""
    jobs: set[Job] = field(default_factory=set)
    idle_since: float = field(default_factory=time.time)
    lost: bool = False
    """Whether a container has ended because it went down: nothing more is placed on it."""
    was_running: bool = False

    @property
    def living(self) -> bool:
        return self.instance.state in ("pending", "running")

    @property
    def ready(self) -> bool:
        """Whether it is up, and not about to go down."""
        return self.instance.state == "running" and not self.lost

    @property
    def room(self) -> Room:
        """What it has left."""
        left = room_of(self.instance.instance_type)
        for job in self.jobs:
            left = left.without(1, job.request.vcpus, job.request.memory)
        return left

    @property
    def vcpus(self) -> float:
        return room_of(self.instance.instance_type).vcpus

    def note_state(self) -> None:
        """To be called now and then: what it waits for to do begins when it is up."""
        if self.instance.state == "running" and not self.was_running:
            self.was_running, self.idle_since = True, time.time()

    def place(self, job: Job) -> None:
        self.jobs.add(job)

    def release(self, job: Job) -> None:
        """A job has ended."""
        self.jobs.discard(job)
        if not self.jobs:
            self.idle_since = time.time()

    def ends_at(self) -> float | None:
        """When it has been idle for long enough; None while there is a job on it, or it boots."""
        if self.jobs or self.instance.state != "running":
            return None
        return 0.0 if self.lost else self.idle_since + IDLE_SECONDS

"""Batch's scheduler in one region: places jobs on instances, buys instances for those that wait, ends idle ones.

https://docs.aws.amazon.com/batch/latest/userguide/job_queues.html
https://docs.aws.amazon.com/batch/latest/userguide/compute_environments.html
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError
from moto.batch.models import ComputeEnvironment, JobQueue

from . import batch_launch
from .batch_attempts import Attempts
from .batch_hosts import Host
from .batch_jobs import Job
from .batch_launch import Offer

if TYPE_CHECKING:
    from .batch import LocalBatchBackend

log = logging.getLogger(__name__)

Key = tuple[str, str, str]
"""Environment, type and subnet."""

MOST_BOOTING = 4
"""So many instances boot at once: each is a machine on this one."""
EXPIRED = "Job attempt duration exceeded timeout"
"""https://docs.aws.amazon.com/batch/latest/userguide/job_timeouts.html"""


class Scheduler:
    """One account's scheduler in one region. A thread of its own looks at everything whenever something changes.

    What it keeps is guarded by the lock. EC2 is asked without it, as it takes its time.
    """

    def __init__(self, backend: LocalBatchBackend, client: Callable[[], Any]) -> None:
        self.lock = threading.RLock()
        self.waiting: dict[Job, None] = {}
        """Jobs that are RUNNABLE, in order."""
        self.hosts: list[Host] = []
        self.attempts = Attempts(backend, self)
        self._backend = backend
        self._client = client
        self._changed = threading.Event()
        self._refused: dict[Key, float] = {}
        """What EC2 has refused, and until when that is not asked again."""
        self._thread: threading.Thread | None = None

    def wake(self) -> None:
        """Have it look at everything, since something has changed."""
        self._changed.set()

    def market_changed(self) -> None:
        """There may be capacity again for what was refused."""
        self._refused = {}
        self.wake()

    def add(self, jobs: list[Job]) -> None:
        """Queue jobs."""
        with self.lock:
            self.waiting.update(dict.fromkeys(jobs))
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="batch", daemon=True)
                self._thread.start()
        self.wake()

    def _run(self) -> None:
        while True:
            self._changed.wait(self._patience())
            self._changed.clear()
            try:
                self.step()
            except Exception:
                log.exception("Batch's scheduler goes on with the next change")

    def _patience(self) -> float | None:
        """Seconds until there is something to do without a change."""
        with self.lock:
            moments = [host.ends_at() for host in self.hosts]
            moments += [job.overdue_at() for host in self.hosts for job in host.jobs]
            moments += self._refused.values() if self.waiting else ()
        until = min((moment for moment in moments if moment is not None), default=None)
        return None if until is None else min(max(until - time.time(), 0), threading.TIMEOUT_MAX)

    def step(self, now: float | None = None) -> None:
        """Do what is to be done at this moment."""
        now = time.time() if now is None else now
        with self.lock:
            self._drop_hosts()
            self._place()
            overdue = [job for host in self.hosts for job in host.jobs if (job.overdue_at() or now + 1) <= now]
            idle = [host for host in self.hosts if (ends := host.ends_at()) is not None and ends <= now]
            self.hosts = [host for host in self.hosts if host not in idle]
        for job in overdue:
            self.attempts.end(job, EXPIRED)
        for host in idle:
            self._terminate(host)
        self._refused = {key: until for key, until in self._refused.items() if until > now}
        self._buy()

    def _drop_hosts(self) -> None:
        """Forget the instances that are gone. One that never came up is as good as refused."""
        for host in self.hosts:
            host.note_state()
        gone = [host for host in self.hosts if not host.living]
        self.hosts = [host for host in self.hosts if host.living]
        for host in gone:
            if host.instance.state_reason.code == "Server.InternalError":
                self._refuse((host.environment.name, host.instance.instance_type, host.instance.subnet_id or ""))
            self._backend.deregister(host)

    def _refuse(self, key: Key) -> None:
        self._refused[key] = time.time() + self._backend.ec2.cloud.relaunch_seconds

    def _place(self) -> None:
        """Give jobs that wait the room that there is, in the queues' order; on the fullest instance of the first
        environment that has any."""
        full: set[Any] = set()
        for job in sorted(self.waiting, key=self._priority):
            shape = job.request.shape
            if shape in full:
                continue
            host = self._room_for(job)
            if host is None:
                full.add(shape)
                continue
            del self.waiting[job]
            host.place(job)
            self.attempts.begin(job, host)

    def _priority(self, job: Job) -> int:
        queue = self._backend.get_job_queue(job.request.queue)
        return -int(queue.priority) if queue else 0

    def _room_for(self, job: Job) -> Host | None:
        needs = job.request.vcpus, job.request.memory
        for environment in self._environments(job.request.queue):
            hosts = [host for host in self.hosts if host.environment is environment and self._is_open(host)]
            fitting = [host for host in hosts if host.room.slots(*needs)]
            if fitting:
                return min(fitting, key=lambda host: host.room.vcpus)
        return None

    def _is_open(self, host: Host) -> bool:
        """Whether jobs can be placed on an instance."""
        announced = host.instance.interruption is not None
        return host.ready and not (announced and self._backend.ec2.cloud.machines.drains(host.instance.id))

    def _environments(self, queue_arn: str) -> list[ComputeEnvironment]:
        """Those that a queue may use now, in its order."""
        queue: JobQueue | None = self._backend.get_job_queue(queue_arn)
        return [one for one in queue.environments if one.state == "ENABLED"] if queue else []

    def _buy(self) -> None:
        """Buy instances for the jobs that wait, and that those which boot will have no room for."""
        while (wanted := self._unprovided()) and self._booting() < MOST_BOOTING:
            if not any(self._buy_one(*one) for one in wanted):
                return

    def _booting(self) -> int:
        return sum(host.instance.state == "pending" for host in self.hosts)

    def _unprovided(self) -> list[tuple[str, float, int, int]]:
        """Queue, vCPUs, memory and number of the jobs that wait, and for which there is no room to come.

        An instance that has just come up has room too: the next step uses it.
        """
        with self.lock:
            shapes = Counter(job.request.shape for job in self.waiting)
            room = {host: host.room for host in self.hosts if host.instance.state == "pending" or self._is_open(host)}
        left = []
        for (queue, vcpus, memory), count in shapes.items():
            environments = self._environments(queue)
            for host in [host for host in room if host.environment in environments]:
                taken = min(count, room[host].slots(vcpus, memory))
                room[host] = room[host].without(taken, vcpus, memory)
                count -= taken
            if count and environments:
                left.append((queue, vcpus, memory, count))
        return left

    def _buy_one(self, queue: str, vcpus: float, memory: int, waiting: int) -> bool:
        """Buy one instance of the first environment of a queue that can have one; returns whether there was any."""
        for environment in self._environments(queue):
            left = int(environment.compute_resources["maxvCpus"]) - self.vcpus(environment)
            for offer in batch_launch.offers(self._backend.ec2, environment, vcpus, memory, waiting):
                key = environment.name, offer.instance_type, offer.subnet
                if offer.vcpus > left or key in self._refused:
                    continue
                if self._launch(environment, offer):
                    return True
                self._refuse(key)
        return False

    def vcpus(self, environment: ComputeEnvironment) -> int:
        """What the instances of an environment have in all."""
        with self.lock:
            return int(sum(host.vcpus for host in self.hosts if host.environment is environment and host.living))

    def _launch(self, environment: ComputeEnvironment, offer: Offer) -> bool:
        template = self._backend.template(environment)
        try:
            answer = self._client().run_instances(**batch_launch.request(environment, template, offer))
        except (ClientError, BotoCoreError) as error:
            log.info("%s gets no %s in %s: %s", environment.name, offer.instance_type, offer.subnet, error)
            return False
        instance = self._backend.ec2.get_instance_by_id(answer["Instances"][0]["InstanceId"])
        with self.lock:
            self.hosts.append(self._backend.register(environment, instance))
        self.wake()  # it may be running already
        return True

    def _terminate(self, host: Host) -> None:
        self._backend.deregister(host)
        try:
            self._client().terminate_instances(InstanceIds=[host.instance.id])
        except (ClientError, BotoCoreError):
            log.exception("%s stays", host.instance.id)
            with self.lock:
                host.idle_since = time.time()
                self.hosts.append(host)

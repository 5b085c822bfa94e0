"""The containers that Batch runs on one machine, as the ECS agent there runs them.

They are the host engine's, in the network of the machine, and end with it.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from .batch_task import LOG_LINES, TaskEnd, TaskSpec, drains, lines, stop_timeout
from .containers import CONFLICT, remove
from .engine_rules import CPU_SHARES
from .labels import INSTANCE, TASK, labels
from .task_credentials import TaskCredentials

if TYPE_CHECKING:
    from docker.models.containers import Container

    from .machine import Site

KILLED = 137
"""The exit code of what ended by SIGKILL."""
OOM_SECONDS = 3
"""How long after a container's end Docker may still say that it ran out of memory."""
ECS_CONFIG = "/etc/ecs/ecs.config"
CLI = """\
#!/bin/sh
# The image's AWS CLI, talking to the local cloud: Debian's is older than AWS_ENDPOINT_URL.
exec /usr/bin/aws --endpoint-url http://{}:{} "$@"
"""


class NotStarted(Exception):
    """Why a container could not be started, in the words of the ECS agent."""


@dataclass
class _Task:
    stopped: bool = False
    container: Container | None = None
    grants: list[str] = field(default_factory=list)


class Tasks:
    """Runs the containers of one machine. Its methods may be called from any thread.

    machine: the container that is the machine. directory: of the machine's sockets, which the engine can mount.
    """

    def __init__(
        self, site: Site, instance_id: str, machine: str, directory: Path, credentials: TaskCredentials
    ) -> None:
        self._site, self._instance_id, self._machine = site, instance_id, machine
        self._cli = directory / "task-aws"
        self._credentials = credentials
        self._tasks: dict[str, _Task] = {}
        self._lock = threading.Lock()
        self._booted = threading.Event()
        self._config = ""
        """The agent's, as it was when the agent started."""
        self._leaving = False

    def boot_is_over(self) -> None:
        """The user data has run. The agent starts after that, and reads the configuration which that has written.

        https://docs.aws.amazon.com/AmazonECS/latest/developerguide/bootstrap_container_instance.html
        """
        self._config = self._read_config()
        self._cli.write_text(CLI.format(*self._site.endpoint))
        self._cli.chmod(0o755)
        self._leaving = False
        self._booted.set()

    @property
    def drains(self) -> bool:
        """Whether it takes no more containers once a spot interruption is announced."""
        return drains(self._config)

    def machine_leaves(self) -> None:
        """The machine is about to go down: from now on no container starts, and each that ends, ends for that."""
        with self._lock:
            self._leaving = True
        self._booted.set()

    def run(self, spec: TaskSpec, started: Callable[[], None]) -> TaskEnd:
        """Run a container to its end. started: is called once it runs."""
        import docker.errors
        import requests

        task = self._tasks[spec.id] = _Task()
        try:
            self._booted.wait()
            container = self._create(spec, task)
            with self._lock:
                if self._leaving or task.stopped:
                    return TaskEnd(host_ended=self._leaving)
                container.start()
                task.container = container
            started()
            return self._watch(container)
        except NotStarted as error:
            return TaskEnd(reason=str(error), host_ended=self._leaving)
        except (docker.errors.APIError, requests.RequestException) as error:
            return TaskEnd(reason=f"CannotStartContainerError: {error}", host_ended=self._leaving or self._is_down())
        finally:
            del self._tasks[spec.id]
            self._clean_up(spec, task)

    def stop(self, task_id: str) -> None:
        """SIGTERM, and SIGKILL after the agent's patience; returns when the container has ended."""
        import docker.errors

        with self._lock:
            task = self._tasks.get(task_id)
            if task is None:
                return
            task.stopped = True
            container = task.container
        if container is None:
            return  # it will not start any more
        try:
            container.stop(timeout=round(stop_timeout(self._config)))
        except docker.errors.NotFound:
            pass
        except docker.errors.APIError as error:
            if error.status_code != CONFLICT:
                raise

    def _create(self, spec: TaskSpec, task: _Task) -> Container:
        environment = dict(spec.environment)
        if spec.role_arn:
            try:
                path = self._credentials.grant(spec.role_arn)
            except KeyError:
                raise NotStarted(
                    f"ECS was unable to assume the role '{spec.role_arn}' that was provided for this task. Please "
                    "verify that the role being passed has the proper trust relationship and permissions and that "
                    "your IAM user has permissions to pass this role."
                ) from None
            task.grants.append(path)
            environment["AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"] = path
        if self._leaving:
            raise NotStarted("")
        self._pull(spec.image)
        return self._site.engine.containers.create(
            spec.image,
            list(spec.command),
            name=self._name(spec),
            labels={**labels(self._site.cloud, INSTANCE, self._instance_id), TASK: spec.id},
            environment=environment,
            # https://docs.aws.amazon.com/batch/latest/userguide/networking-modes-jobs.html: the host's
            network_mode=f"container:{self._machine}",
            init=spec.init,
            user=spec.user,
            mem_limit=f"{spec.memory}m",
            memswap_limit=f"{spec.memory}m",
            # ECS gives 1024 for each vCPU. In proportion that is the same; the machines here share the host's.
            cpu_shares=max(2, round(spec.vcpus * CPU_SHARES)),
            volumes={str(self._cli): {"bind": "/usr/local/bin/aws", "mode": "ro"}},
        )

    def _name(self, spec: TaskSpec) -> str:
        return f"{self._instance_id}-ecs-{spec.id[:12]}"

    def _pull(self, image: str) -> None:
        """Have the host's engine pull an image, as the agent does before each container; raises NotStarted."""
        import docker.errors
        from docker.utils import parse_repository_tag

        repository, tag = parse_repository_tag(image)
        address, password = self._site.registry
        login = {"username": "AWS", "password": password} if repository.startswith(f"{address}/") else None
        try:
            steps = self._site.engine.api.pull(
                repository, tag=tag or "latest", stream=True, decode=True, auth_config=login
            )
            problem = next((str(line["error"]) for line in steps if "error" in line), None)
        except docker.errors.APIError as error:
            problem = str(error.explanation or error)
        if problem:
            raise NotStarted(f"CannotPullContainerError: Error response from daemon: {problem}")

    def _watch(self, container: Container) -> TaskEnd:
        """Follow what it prints until it ends: a container that is removed with its machine leaves nothing to read."""
        import docker.errors
        import requests

        printed: deque[bytes] = deque(maxlen=LOG_LINES)
        try:
            for chunk in container.logs(stream=True, follow=True, timestamps=True):
                printed.append(chunk)
            code = int(container.wait(timeout=None)["StatusCode"])
            # Who follows may miss the end; there is no more to come now.
            printed = deque([container.logs(tail=LOG_LINES, timestamps=True)])
            reason = ""
            if code == KILLED and not self._leaving and self._ran_out_of_memory(container):
                reason = "OutOfMemoryError: Container killed due to memory usage"
            return TaskEnd(code, reason, self._leaving, lines(printed))
        except (docker.errors.APIError, requests.RequestException) as error:  # it was removed with its machine
            return TaskEnd(None, str(error), self._leaving, lines(printed))

    def _ran_out_of_memory(self, container: Container) -> bool:
        """Docker hears it from containerd beside the end, and may hear it later."""
        container.reload()
        state = container.attrs["State"]
        if state["OOMKilled"]:
            return True
        began = int(datetime.fromisoformat(state["StartedAt"][:19] + "+00:00").timestamp())
        told = self._site.engine.events(
            since=began,
            until=int(time.time()) + OOM_SECONDS,
            filters={"container": container.id, "event": "oom"},
        )
        return any(True for _ in told)

    def _is_down(self) -> bool:
        """Whether the machine has gone, perhaps before anybody took note: nothing starts in its network then."""
        import docker.errors

        try:
            return bool(self._site.engine.containers.get(self._machine).status != "running")
        except docker.errors.APIError:
            return True

    def _clean_up(self, spec: TaskSpec, task: _Task) -> None:
        import docker.errors

        for path in task.grants:
            self._credentials.withdraw(path)
        with suppress(docker.errors.NotFound):
            remove(self._site.engine.containers.get(self._name(spec)))

    def _read_config(self) -> str:
        import docker.errors

        with suppress(docker.errors.APIError):  # the machine may be gone
            machine = self._site.engine.containers.get(self._machine)
            code, printed = machine.exec_run(["cat", ECS_CONFIG])
            if code == 0 and isinstance(printed, bytes):
                return printed.decode(errors="replace")
        return ""

"""The real daemon with machines that exist in name only: `python -m tests.localcloud.fake_daemon …`.

For tests of the API alone. The user data is an order: `fail` makes the boot fail, `slow` holds it up until a file
named like the instance appears below the state directory, `halt` shuts the machine down once it is up.
"""

from __future__ import annotations

import json
import logging
import queue
import threading
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

from localcloud import daemon
from localcloud.batch_task import TaskEnd, TaskSpec
from localcloud.errors import LocalCloudError
from localcloud.machines import MachineSpec


class FakeMachines:
    """The interface of Machines; what was asked of it is in `calls` below the state directory, one line each. What the
    metadata service of a machine would give is in `credentials-ID` there."""

    def __init__(self, *, state: Path, on_halt: Callable[[str], None], credentials: Any, **_: Any) -> None:
        self.state = state
        self.on_halt = on_halt
        self.credentials = credentials
        self.count = 0
        self.gone: set[str] = set()
        self.tasks: dict[str, tuple[str, queue.SimpleQueue[TaskEnd]]] = {}
        """Containers of Batch, in name only: instance, and how it ends. They run until somebody ends them."""
        state.mkdir(exist_ok=True)

    def _note(self, *words: object) -> None:
        with (self.state / "calls").open("a") as file:
            file.write(" ".join(map(str, words)) + "\n")

    def _address(self) -> str:
        self.count += 1
        return f"127.0.77.{self.count}"

    def boot(self, spec: MachineSpec) -> str:
        order = spec.user_data.decode(errors="replace")
        self._note("boot", spec.instance_id, spec.lifecycle, spec.role, spec.key_name, repr(order)[1:-1][:200])
        if spec.role:
            given = self.credentials(spec.role, spec.instance_id)
            (self.state / f"credentials-{spec.instance_id}").write_text(json.dumps(given))
        if order == "fail":
            raise LocalCloudError("no room on this machine")
        while order == "slow" and not (self.state / spec.instance_id).exists():
            time.sleep(0.02)
        if order == "halt":
            threading.Timer(0.5, self.on_halt, [spec.instance_id]).start()
        return self._address()

    def start(self, instance_id: str) -> str:
        self._note("start", instance_id)
        return self._address()

    def stop(self, instance_id: str, *, force: bool = False) -> None:
        self._note("stop", instance_id, force)

    def terminate(self, instance_id: str) -> None:
        self._note("terminate", instance_id)
        self.gone.add(instance_id)
        for on, end in list(self.tasks.values()):
            if on == instance_id:
                end.put(TaskEnd(host_ended=True))

    def run_task(self, instance_id: str, spec: TaskSpec, started: Callable[[], None]) -> TaskEnd:
        _, end = self.tasks[spec.id] = instance_id, queue.SimpleQueue()
        if instance_id in self.gone:
            end.put(TaskEnd(host_ended=True))
        started()
        try:
            return end.get()
        finally:
            del self.tasks[spec.id]

    def drains(self, instance_id: str) -> bool:
        return True

    def stop_task(self, instance_id: str, task_id: str) -> None:
        if task_id in self.tasks:
            self.tasks[task_id][1].put(TaskEnd(143))

    def reboot(self, instance_id: str) -> None:
        self._note("reboot", instance_id)

    def save(self, instance_id: str, image_id: str) -> None:
        self._note("save", instance_id, image_id)

    def discard(self, image_id: str) -> None:
        self._note("discard", image_id)

    def console(self, instance_id: str) -> str:
        return f"console of {instance_id}\n"

    def notice(self, instance_id: str, action: str | None, at: datetime | None) -> None:
        self._note("notice", instance_id, action)

    def rebalance(self, instance_id: str, at: datetime | None) -> None:
        self._note("rebalance", instance_id, at and "recommended")

    def close(self) -> None:
        self._note("close")


def main() -> None:
    logging.basicConfig(level=logging.INFO)
    options = daemon.parse(None)
    daemon.prepare_environment()
    daemon.serve(options, FakeMachines)  # type: ignore[arg-type]


if __name__ == "__main__":
    main()

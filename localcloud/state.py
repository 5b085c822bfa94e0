"""Where one local cloud keeps what it must remember: ports, its key, logs, and who is running."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import secrets
import shlex
import string
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

from .errors import LocalCloudError


@dataclass(frozen=True)
class Key:
    """An AWS access key."""

    id: str
    secret: str


@dataclass(frozen=True)
class Running:
    """A daemon that is ready: what `up` and `status` say about it."""

    endpoint: str
    """URL of the AWS API."""
    registry: str
    """host:port of the image registry."""
    key: str = field(default="", repr=False)
    """What its own controls want to see."""


@dataclass(frozen=True)
class State:
    """The state directory of one local cloud. Two directories are two clouds that know nothing of each other."""

    root: Path

    @classmethod
    def default(cls) -> State:
        """SOLVER_LOCAL_STATE, else solver-cloud/local below XDG_STATE_HOME."""
        base = os.environ.get("XDG_STATE_HOME") or "~/.local/state"
        root = Path(os.environ.get("SOLVER_LOCAL_STATE") or f"{base}/solver-cloud/local").expanduser().absolute()
        root.mkdir(parents=True, exist_ok=True, mode=0o700)
        return cls(root).own()

    def own(self) -> Self:
        """The same state; raises LocalCloudError if anybody else has a say in its directory, or can look into it."""
        there = self.root.stat()
        if there.st_uid != os.geteuid():
            raise LocalCloudError(
                f"the state directory {self.root} belongs to another user",
                fix="name one of your own: SOLVER_LOCAL_STATE",
            )
        if there.st_mode & 0o077:
            raise LocalCloudError(
                f"others can look into the state directory {self.root}", fix=f"chmod 700 {shlex.quote(str(self.root))}"
            )
        return self

    @property
    def cloud(self) -> str:
        """The short name that marks this cloud's containers; it stays the same when the cloud starts again."""
        return "solver-local-" + hashlib.sha256(str(self.root).encode()).hexdigest()[:8]

    @property
    def log(self) -> Path:
        return self.root / "daemon.log"

    @property
    def registry(self) -> Path:
        return self.root / "registry"

    @property
    def machines(self) -> Path:
        return self.root / "machines"

    @contextmanager
    def locked(self, name: str) -> Iterator[None]:
        """Hold the lock of that name, waiting for it; the kernel frees it when the holder dies."""
        with (self.root / f"{name}.lock").open("a+") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            file.truncate(0)
            file.write(str(os.getpid()))
            file.flush()
            yield

    def holder(self, name: str) -> int | None:
        """The process that holds that lock now."""
        with (self.root / f"{name}.lock").open("a+") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                file.seek(0)
                return int(file.read() or 0) or None
        return None

    def key(self) -> Key:
        """The access key of this cloud's owner, made on first use and kept."""
        if not self.read("key"):
            alphabet = string.ascii_uppercase + "234567"
            made = Key("AKIA" + "".join(secrets.choice(alphabet) for _ in range(16)), secrets.token_urlsafe(30))
            self.write("key", asdict(made))
        return Key(**self.read("key"))

    def port(self, name: str) -> int:
        """The port that `name` had the last time; 0 when there was no last time."""
        return int(self.read("ports").get(name, 0))

    def keep_ports(self, **ports: int) -> None:
        self.write("ports", ports)

    def running(self) -> Running | None:
        """The daemon that last got ready; the lock `daemon` tells whether it still is there."""
        kept = self.read("daemon")
        return Running(**kept) if kept else None

    def keep_running(self, running: Running) -> None:
        self.write("daemon", asdict(running))

    def forget_running(self) -> None:
        (self.root / "daemon.json").unlink(missing_ok=True)

    def read(self, name: str) -> dict[str, Any]:
        """What was kept under that name; empty when nothing was."""
        path = self.root / f"{name}.json"
        kept: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
        return kept

    def write(self, name: str, value: dict[str, Any]) -> None:
        """Keep something under a name, all of it or nothing, readable by its owner only."""
        path = self.root / f"{name}.json"
        new = path.with_suffix(f".{os.getpid()}.new")
        new.touch(mode=0o600)
        new.write_text(json.dumps(value))
        new.replace(path)

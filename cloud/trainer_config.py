"""The trainer's config file, as the user names it and as it is sent: its name and its bytes."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from pathlib import Path

from . import yaml_edit
from .config import typed_path
from .errors import UsageError

MAX_CONFIG_BYTES = 10_000_000


@dataclass(frozen=True)
class TrainerConfig:
    """The trainer's config file as read once: its name and its bytes."""

    path: Path
    data: bytes

    @property
    def name(self) -> str:
        return self.path.name


def read_trainer_config(path: Path | str | None) -> TrainerConfig:
    """Read the file given to `--config`.

    Raises UsageError when it is missing, unreadable, no regular file, over 10 MB or not YAML, or has a name that other
    programs take for an option or a path.
    """
    if not path:
        raise UsageError("no config", fix="say which: --config fast_buckets.yaml")
    path = typed_path("config", path)
    stem = path.name.rpartition(".")[0] or path.name
    if path.name.startswith("-") or "\\" in path.name or not stem.strip("."):
        raise UsageError(f"config {str(path)!r} is called like an option or a path", fix="rename the file")
    data = _read_regular(path)
    text = yaml_edit.decoded(f"config {path}", data)[-1]
    for _ in yaml_edit.parsed(f"config {path}", text):
        pass  # only its syntax is checked: what it means is the trainer's
    return TrainerConfig(path, data)


def _read_regular(path: Path) -> bytes:
    """A config's bytes; a pipe or device, which may have no end, is not even waited for."""
    try:
        with open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK)) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise UsageError(f"config {path} is no regular file", fix="--config wants the trainer's YAML file")
            data = file.read(MAX_CONFIG_BYTES + 1)
    except FileNotFoundError:
        raise UsageError(f"config {path} does not exist") from None
    except (OSError, ValueError) as error:
        raise UsageError(f"config {path} cannot be read: {getattr(error, 'strerror', None) or error}") from None
    if len(data) > MAX_CONFIG_BYTES:
        raise UsageError(f"config {path} is over 10 MB", fix="--config wants the trainer's YAML file")
    return data

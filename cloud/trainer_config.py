"""The trainer's config file, as the user names it and as it is sent: its name and its bytes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from . import files, yaml_tree
from .config import typed_path
from .errors import UsageError

MAX_CONFIG_BYTES = 10_000_000

FIX = "--config wants the trainer's YAML file"


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
    try:
        data = files.read_regular(path, MAX_CONFIG_BYTES)
    except FileNotFoundError:
        raise UsageError(f"config {path} does not exist") from None
    except OSError as error:
        raise UsageError(f"config {path} cannot be read: {error.strerror}", fix=FIX) from None
    text = yaml_tree.decoded(f"config {path}", data)[-1]
    for _ in yaml_tree.parsed(f"config {path}", text):
        pass  # only its syntax is checked: what it means is the trainer's
    return TrainerConfig(path, data)

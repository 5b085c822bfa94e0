"""Settings: where they come from, and the checks of what a user typed."""

from __future__ import annotations

import os
import re
import shlex
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

from .defaults import DEFAULTS
from .errors import UsageError

PACKAGE = Path(__file__).resolve().parent.parent
"""Where docker/ and userdata/ are: the top of the repository, or the installed package."""

FALLBACK_REGION = "us-east-1"
MAX_CONFIG_BYTES = 10_000_000
INSTANCE_TYPE = re.compile(r"[a-z][a-z0-9-]*\.(\d+x?large|metal(-\w+)?|nano|micro|small|medium|large|xlarge)")


@dataclass(frozen=True)
class Settings:
    """What a command works with. Fields are explained in docs/settings.yaml; `None` means "derive it".

    Strongest first: an option on the command line, `solver_…` keys of the AWS profile, invoke's config.
    """

    name: str
    profile: str | None
    region: str
    bucket: str | None
    repository: str
    source: Path
    dockerfile: Path
    builder_image: str
    runtime_image: str
    trainer: str
    instance: str | None
    on_demand: bool
    fallback: str | None
    disk_gb: int
    disk_type: str
    disk_iops: int | None
    disk_throughput: int | None
    sync_seconds: int
    max_hours: float
    max_cost: float | None
    max_price: float | None
    ask_above: float
    keep_on_failure: float | None
    sweep_instance: str
    sweep_max_vcpus: int
    sweep_vcpus: int
    sweep_memory: float | None
    sweep_attempts: int
    image_parameter: str
    login_user: str
    caller_address_url: str

    @classmethod
    def from_context(cls, context: Any, **typed: Any) -> Self:
        """The settings of one command.

        context: invoke's Context, or any mapping with a `solver` key.
        typed: options of the command line by setting name; `None` means "not given".
        Raises UsageError for a setting that does not exist or has a value of the wrong kind.
        """
        configured = {**DEFAULTS, **dict(context.get("solver") or {})}
        typed = {key: value for key, value in typed.items() if value is not None}
        profile = typed.get("profile") or configured["profile"] or os.environ.get("AWS_PROFILE")
        section = _profile_section(profile)
        of_profile = {key[len("solver_") :]: value for key, value in section.items() if key.startswith("solver_")}
        merged = {**configured, **of_profile, **typed, "profile": profile}
        merged["region"] = (
            merged["region"]
            or os.environ.get("AWS_REGION")
            or os.environ.get("AWS_DEFAULT_REGION")
            or section.get("region")
            or FALLBACK_REGION
        )
        merged["repository"] = merged["repository"] or merged["name"]
        merged["dockerfile"] = merged["dockerfile"] or PACKAGE / "docker" / "Dockerfile"
        if unknown := merged.keys() - {field.name for field in fields(cls)}:
            raise UsageError(
                f"unknown setting solver.{sorted(unknown)[0]}", fix=f"known are: {', '.join(sorted(DEFAULTS))}"
            )
        return cls(**{field.name: _converted(field.name, str(field.type), merged[field.name]) for field in fields(cls)})

    @property
    def markets(self) -> tuple[str, ...]:
        """Where to ask for a machine, in this order: `spot`, `on-demand`."""
        if self.fallback not in (None, "on-demand"):
            raise UsageError(f"--fallback is {self.fallback!r}", fix="there is one: --fallback on-demand")
        if self.on_demand:
            return ("on-demand",)
        return ("spot", "on-demand") if self.fallback else ("spot",)

    def with_(self, **changes: Any) -> Self:
        """The same settings with some replaced."""
        return replace(self, **changes)


def _profile_section(profile: str | None) -> dict[str, str]:
    """One profile's section of the AWS config file, as text; empty when there is none.

    Read here with configparser, not botocore, because importing botocore costs more than the rest of a short command.
    """
    import configparser

    parser = configparser.ConfigParser(interpolation=None, strict=False)
    parser.read(Path(os.environ.get("AWS_CONFIG_FILE", "~/.aws/config")).expanduser(), encoding="utf-8")
    section = f"profile {profile}" if profile and profile != "default" else "default"
    return dict(parser[section]) if parser.has_section(section) else {}


def _converted(name: str, kind: str, value: Any) -> Any:
    """`value` as the type that field `name` is annotated with; raises UsageError when that cannot be."""
    if value is None:
        return None
    try:
        match kind.removesuffix(" | None"):
            case "bool":
                return value if isinstance(value, bool) else {"true": True, "false": False}[str(value).lower()]
            case "int":
                number: float = int(value)
            case "float":
                number = float(value)
            case "Path":
                return Path(value).expanduser()
            case _:
                return str(value)
    except (ValueError, TypeError, KeyError):
        raise UsageError(f"solver.{name} is {value!r}, which is not a valid {kind}") from None
    if number <= 0:
        raise UsageError(f"solver.{name} is {value!r}, but must be above zero")
    return number


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

    Raises UsageError when it is missing, unreadable, over 10 MB or not YAML.
    """
    import yaml

    if path is None:
        raise UsageError("no config", fix="say which: --config fast_buckets.yaml")
    path = Path(path).expanduser()
    try:
        if path.stat().st_size > MAX_CONFIG_BYTES:
            raise UsageError(f"config {path} is over 10 MB", fix="--config wants the trainer's YAML file")
        data = path.read_bytes()
    except FileNotFoundError:
        raise UsageError(f"config {path} does not exist") from None
    except OSError as error:
        raise UsageError(f"config {path} cannot be read: {error.strerror}") from None
    try:
        # compose() checks the syntax without building a Python object of every number.
        yaml.compose(data, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or getattr(error, "reason", None) or str(error)
        raise UsageError(f"config {path} is not YAML{where}: {problem}") from None
    return TrainerConfig(path, data)


def check_output(path: Path | str | None) -> str:
    """Where `--output` will be downloaded to, as it is recorded: `~/…` when below the home directory, else absolute.

    Raises UsageError when it, or a directory above it, is a file, and for the home directory itself.
    """
    if path is None:
        raise UsageError("no output directory", fix="say where the model will go: --output ~/models/run-001")
    output = Path(os.path.abspath(Path(path).expanduser()))
    for part in (output, *output.parents):
        if part.exists() and not part.is_dir():
            raise UsageError(f"output {path}: {part} is a file, not a directory")
    check_target(output)
    home = Path.home()
    return f"~/{output.relative_to(home)}" if output.is_relative_to(home) and output != home else str(output)


def check_target(directory: Path) -> None:
    """Raise UsageError for a directory that no bundle is ever put into: the home directory, or one above it.

    There, a file of any name may be a setting of some program, or be run.
    """
    home, target = os.path.realpath(os.path.expanduser("~")), os.path.realpath(directory)
    if os.path.commonpath((home, target)) == target:
        raise UsageError(
            f"output {directory} is the home directory, or above it", fix="name one for the model: ~/models/run-001"
        )


def check_instance_types(names: str | None) -> tuple[str, ...]:
    """EC2 instance types as typed, separated by commas; raises UsageError when one cannot be any."""
    found = tuple(dict.fromkeys(name.strip() for name in (names or "").split(",") if name.strip()))
    if not found:
        raise UsageError(
            "no instance type", fix="say which: --instance c7i.4xlarge, or what it has to have: --cpus 16 --memory 32"
        )
    for name in found:
        if not INSTANCE_TYPE.fullmatch(name):
            raise UsageError(f"{name!r} is not an instance type", fix="a type looks like c7i.4xlarge")
    return found


def check_number(option: str, text: str | None, *, least: float = 0) -> float | None:
    """What was typed after an option, as a number; raises UsageError when it is none, or below `least`."""
    if text is None:
        return None
    try:
        number = float(text)
    except ValueError:
        raise UsageError(f"{option} is {text!r}, which is not a number") from None
    if not least <= number < float("inf"):
        raise UsageError(f"{option} is {text}, but must be at least {least:g}")
    return number


def check_day(option: str, text: str | None) -> datetime | None:
    """What was typed after an option, as the beginning of a day in UTC; raises UsageError when it is none."""
    if text is None:
        return None
    try:
        return datetime.fromisoformat(text).replace(tzinfo=UTC)
    except ValueError:
        raise UsageError(f"{option} is {text!r}, which is not a day", fix="a day looks like 2026-11-01") from None


def trainer_arguments(template: str, *, config: str, output: str) -> list[str]:
    """The trainer's arguments: the template of setting `trainer`, split as a shell would, with the paths filled in.

    Raises UsageError for a template that cannot be split, names neither path, or has other {fields}.
    """
    try:
        words = shlex.split(template)
        arguments = [word.format(config=config, output=output) for word in words]
    except (ValueError, KeyError, IndexError) as error:
        raise UsageError(
            f"setting solver.trainer cannot be read: {error}",
            fix="it is a command line with {config} and {output} in it",
        ) from None
    for field, path in (("{config}", config), ("{output}", output)):
        if not any(path in argument for argument in arguments):
            raise UsageError(f"setting solver.trainer lacks {field}", fix=f"it is: {template}")
    return arguments

"""Settings: where they come from, and the checks of what a user typed."""

from __future__ import annotations

import math
import os
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

from . import aws_files
from .defaults import DEFAULTS, of_environment
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
        typed: options of the command line by setting name; `None` means "not given", as it does everywhere.
        Raises UsageError for a setting that does not exist or has a value of the wrong kind, CloudError for a profile
        that does not exist or cannot be read.
        """
        given = {**_given("solver.", DEFAULTS), **_given("solver.", _configured(context))}
        options = _given("--", typed)
        profile, section = aws_files.section(_value("profile", "str", options.get("profile") or given.get("profile")))
        keys = {key.removeprefix("solver_"): value for key, value in section.items() if key.startswith("solver_")}
        given |= {**_given("solver_", keys), **options}
        regions = (os.environ.get("AWS_REGION"), os.environ.get("AWS_DEFAULT_REGION"), section.get("region"))
        kinds = {field.name: str(field.type) for field in fields(cls)}
        if unknown := given.keys() - kinds.keys():
            raise UsageError(
                f"unknown setting {given[min(unknown)].place}", fix=f"known are: {', '.join(sorted(DEFAULTS))}"
            )
        values = {name: _value(name, kind, given.get(name)) for name, kind in kinds.items()}
        values["profile"] = profile
        values["region"] = values["region"] or next(filter(None, regions), FALLBACK_REGION)
        values["repository"] = values["repository"] or values["name"]
        values["dockerfile"] = values["dockerfile"] or PACKAGE / "docker" / "Dockerfile"
        return cls(**values)

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


@dataclass(frozen=True)
class _Given:
    """A value that somebody gave a setting, and where: `solver.max_hours`, `solver_max_hours`, `--max-hours`."""

    place: str
    value: Any


def _given(prefix: str, values: Mapping[str, Any]) -> dict[str, _Given]:
    """By setting name, what is not None of `values`."""
    found = {}
    for name, value in values.items():
        variable = f"INVOKE_SOLVER_{name.upper()}"
        if prefix == "solver." and os.environ.get(variable) == value:
            place = variable
        else:
            place = prefix + (name.replace("_", "-") if prefix == "--" else name)
        if value is not None:
            found[name] = _Given(place, value)
    return found


def _configured(context: Any) -> dict[str, Any]:
    """The key `solver` of invoke's configuration; raises UsageError when that is no mapping."""
    configured = context.get("solver")
    if configured is None:
        return of_environment()  # which invoke cannot merge with `solver:` and nothing below it
    if not hasattr(configured, "keys"):
        raise UsageError(
            f"solver is {configured!r}", fix="its settings belong below it: docs/settings.yaml shows them all"
        )
    return {str(name): value for name, value in dict(configured).items()}


TRUTHS = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}


def _value(name: str, kind: str, given: _Given | None) -> Any:
    """What was given as the type that the setting's field is annotated with; raises UsageError when that cannot be."""
    if given is None:
        return None
    kind, value = kind.removesuffix(" | None"), given.value
    default = "" if DEFAULTS[name] is None else f"; the default is {DEFAULTS[name]}"
    wrong = UsageError(
        f"{given.place} is {_shown(value)}, which is not {KINDS[kind]}", fix=f"docs/settings.yaml explains it{default}"
    )
    if isinstance(value, str) and (not value.strip() or "\0" in value):
        raise wrong
    if kind == "bool":
        truth = value if isinstance(value, bool) else TRUTHS.get(str(value).lower())
        if truth is None:
            raise wrong
        return truth
    if kind in ("str", "Path"):
        if not isinstance(value, str | Path):
            raise wrong
        return str(value) if kind == "str" else _expanded(given.place, Path(value))
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise wrong
    try:
        number = float(value)
    except (ValueError, OverflowError):
        raise wrong from None
    if not math.isfinite(number) or (kind == "int" and not number.is_integer()):
        raise wrong
    if not 0 < number <= MOST:
        raise UsageError(f"{given.place} is {_shown(value)}, but must be above zero and at most {MOST:,}")
    return int(number) if kind == "int" else number


KINDS = {
    "bool": "true or false",
    "int": "a whole number",
    "float": "a number",
    "str": "text (numbers need quotes in YAML)",
    "Path": "a path",
}
MOST = 1_000_000
"""More than any of our numbers can mean: hours (a century), dollars, GB, seconds."""


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:60]}…"


def _expanded(place: str, path: Path) -> Path:
    try:
        return path.expanduser()
    except RuntimeError as error:  # no home directory, or no such user
        raise UsageError(f"{place} is {path}: {error}") from None


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

    Raises UsageError when it, or a directory above it, is a file.
    """
    if path is None:
        raise UsageError("no output directory", fix="say where the model will go: --output ~/models/run-001")
    output = Path(os.path.abspath(Path(path).expanduser()))
    for part in (output, *output.parents):
        if part.exists() and not part.is_dir():
            raise UsageError(f"output {path}: {part} is a file, not a directory")
    home = Path.home()
    return f"~/{output.relative_to(home)}" if output.is_relative_to(home) and output != home else str(output)


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

"""Settings: where they come from, and the checks of what a user typed."""

from __future__ import annotations

import math
import os
import re
import shlex
from dataclasses import dataclass, fields, replace
from datetime import UTC, date, datetime, time
from pathlib import Path
from typing import Any, Self

from . import aws_files
from .defaults import DEFAULTS
from .errors import UsageError
from .given import MOST_OF_ALL, configured, given, read

PACKAGE = Path(__file__).resolve().parent.parent
"""Where docker/ and userdata/ are: the top of the repository, or the installed package."""

FALLBACK_REGION = "us-east-1"
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
        known = {**given("solver.", DEFAULTS), **given("solver.", configured(context))}
        options = given("--", typed)
        profile, section = aws_files.section(read("profile", "str", options.get("profile") or known.get("profile")))
        keys = {key.removeprefix("solver_"): value for key, value in section.items() if key.startswith("solver_")}
        known |= {**given("solver_", keys), **options}
        regions = (os.environ.get("AWS_REGION"), os.environ.get("AWS_DEFAULT_REGION"), section.get("region"))
        kinds = {field.name: str(field.type) for field in fields(cls)}
        if unknown := known.keys() - kinds.keys():
            raise UsageError(
                f"unknown setting {known[min(unknown)].place}", fix=f"known are: {', '.join(sorted(DEFAULTS))}"
            )
        values = {name: read(name, kind, known.get(name)) for name, kind in kinds.items()}
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


def check_output(path: Path | str | None) -> str:
    """Where `--output` will be downloaded to, as it is recorded: `~/…` when below the home directory, else absolute.

    Raises UsageError when it, or a directory above it, is a file, and for the home directory itself.
    """
    if not path or not str(path).strip():
        raise UsageError("no output directory", fix="say where the model will go: --output ~/models/run-001")
    typed = typed_path("output", path)
    try:
        output = Path(os.path.abspath(typed))
        file = next((part for part in (output, *output.parents) if part.exists() and not part.is_dir()), None)
    except (OSError, ValueError) as error:
        raise UsageError(f"output {path} cannot be used: {getattr(error, 'strerror', None) or error}") from None
    if file:
        raise UsageError(f"output {path}: {file} is a file, not a directory")
    check_target(output)
    home = Path.home()
    return f"~/{output.relative_to(home)}" if output.is_relative_to(home) and output != home else str(output)


def check_target(directory: Path) -> None:
    """Raise UsageError for a directory that no bundle is ever put into: the home directory, or one above it.

    There, a file of any name may be a setting of some program, or be run.
    """
    # realpath: a pathlib.Path that resolves to itself raises RuntimeError.
    if Path(os.path.realpath(Path.home())).is_relative_to(os.path.realpath(directory)):
        raise UsageError(
            f"output {directory} is the home directory, or above it", fix="name one for the model: ~/models/run-001"
        )


def typed_path(what: str, text: Path | str) -> Path:
    """A path as typed, with `~` and `~user` expanded.

    what: how an error begins: 'config'. Raises UsageError where that user has no home, and for a path that has control
    characters or is no text: neither a record nor a terminal can show it.
    """
    if not str(text).isprintable():
        raise UsageError(f"{what} {str(text)!r} has characters that cannot be shown", fix="take another name")
    path = Path(os.path.expanduser(text))
    if str(path).startswith("~"):
        raise UsageError(f"{what} {text}: there is no home directory {path.parts[0]}", fix="or is it ./~?")
    return path


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


def number(
    what: str,
    value: object,
    *,
    least: float = 0,
    above: float = -math.inf,
    most: float = MOST_OF_ALL,
    whole: bool = False,
) -> float:
    """`value` as a finite number from `least` to `most` that is larger than `above`.

    what: how an error begins, like '--cpus' or 'solver.max_hours'. whole: no fractions.
    Raises UsageError for anything else.
    """
    try:
        found = float(value)  # type: ignore[arg-type]  # whatever it is, it is caught
    except (TypeError, ValueError, OverflowError):
        found = math.nan
    if math.isnan(found) or isinstance(value, bool):
        raise UsageError(f"{what} is {value!r}, which is not a number")
    if whole and not found.is_integer():
        raise UsageError(f"{what} is {value}, but must be a whole number")
    if found <= above:
        raise UsageError(f"{what} is {value}, but must be above {above:g}")
    if found < least:
        raise UsageError(f"{what} is {value}, but must be at least {least:g}")
    if found > most:
        raise UsageError(f"{what} is {value}, but must be at most {most:,.0f}")
    return found


def check_number(
    option: str, text: str | None, *, least: float = 0, most: float = MOST_OF_ALL, whole: bool = False
) -> float | None:
    """What was typed after an option, as `number` says."""
    return None if text is None else number(option, text, least=least, most=most, whole=whole)


def check_day(option: str, text: str | None) -> datetime | None:
    """What was typed after an option, as the beginning of a day in UTC; raises UsageError when it is none."""
    if text is None:
        return None
    try:
        return datetime.combine(date.fromisoformat(text), time(), UTC)
    except ValueError:
        raise UsageError(f"{option} is {text!r}, which is not a day", fix="a day looks like 2026-11-01") from None


def trainer_arguments(template: str, *, config: str, output: str) -> list[str]:
    """The trainer's arguments: the template of setting `trainer`, split as a shell would, with the paths filled in.

    Raises UsageError for a template that cannot be split, names neither path, or has other {fields}.
    """
    try:
        template.encode()
        words = shlex.split(template)
        arguments = [word.format(config=config, output=output) for word in words]
    except (ValueError, LookupError, AttributeError, TypeError) as error:
        raise UsageError(
            f"setting solver.trainer cannot be read: {error}",
            fix="it is a command line with {config} and {output} in it",
        ) from None
    for field, path in (("{config}", config), ("{output}", output)):
        if not any(path in argument for argument in arguments):
            raise UsageError(f"setting solver.trainer lacks {field}", fix=f"it is: {template}")
    return arguments

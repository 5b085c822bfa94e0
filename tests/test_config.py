from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from cloud.config import (
    Settings,
    check_day,
    check_instance_types,
    check_number,
    check_output,
    read_trainer_config,
    trainer_arguments,
)
from cloud.defaults import DEFAULTS
from cloud.errors import UsageError


def test_defaults_hold_where_nothing_is_configured(home: Path) -> None:
    settings = Settings.from_context({})
    assert (settings.name, settings.repository, settings.region) == ("solver-cloud", "solver-cloud", "us-east-1")
    assert settings.dockerfile.name == "Dockerfile"
    assert settings.max_hours == 24


def test_the_command_line_beats_the_profile_and_the_profile_beats_the_config_file(home: Path) -> None:
    (home / ".aws").mkdir()
    (home / ".aws" / "config").write_text(
        "[profile work]\nregion = eu-west-1\nsolver_bucket = theirs\nsolver_disk_gb = 70\n"
    )
    config = {"solver": {"bucket": "configured", "disk_gb": 60, "max_hours": 3}}
    settings = Settings.from_context(config, profile="work", disk_gb=80)
    assert (settings.bucket, settings.disk_gb, settings.max_hours, settings.region) == ("theirs", 80, 3, "eu-west-1")


def test_a_region_that_was_typed_beats_environment_and_profile(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_REGION", "eu-central-1")
    assert Settings.from_context({}).region == "eu-central-1"
    assert Settings.from_context({}, region="us-west-2").region == "us-west-2"


def test_an_unknown_setting_is_named(home: Path) -> None:
    with pytest.raises(UsageError, match=r"unknown setting solver\.max_hour\n.*max_hours"):
        Settings.from_context({"solver": {"max_hour": 3}})


@pytest.mark.parametrize(
    ("name", "value"), [("max_hours", "soon"), ("disk_gb", 0), ("sync_seconds", -1), ("on_demand", "x")]
)
def test_a_value_of_the_wrong_kind_is_named(home: Path, name: str, value: object) -> None:
    with pytest.raises(UsageError, match=rf"solver\.{name} is "):
        Settings.from_context({"solver": {name: value}})


def test_the_settings_are_documented_each_with_its_default() -> None:
    import yaml

    documented = yaml.safe_load((Path(__file__).parent.parent / "docs/settings.yaml").read_text())["solver"]
    assert documented == DEFAULTS


def test_a_config_is_read_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "fast.yaml"
    path.write_bytes(b"a: 1\r\n")
    config = read_trainer_config(path)
    assert (config.name, config.data) == ("fast.yaml", b"a: 1\r\n")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "does not exist"),
        (b"a: [1", "is not YAML"),
        (b"a: 1\nb: : 2", "is not YAML, line 2"),
        (b"\xff\xfe\x00", "is not YAML"),
        (b"a: " + b"x" * 10_000_000, "is over 10 MB"),
    ],
)
def test_a_config_that_cannot_be_one_is_refused_in_one_line(
    tmp_path: Path, content: bytes | None, message: str
) -> None:
    path = tmp_path / "fast.yaml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UsageError, match=message):
        read_trainer_config(path)


def test_a_directory_is_not_a_config(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read: Is a directory"):
        read_trainer_config(tmp_path)


def test_an_output_below_home_is_recorded_so_that_another_machine_understands_it(home: Path) -> None:
    assert check_output("~/models/run-001") == "~/models/run-001"
    assert check_output(home / "models") == "~/models"
    assert check_output("/srv/models/../run") == "/srv/run"


@pytest.mark.parametrize("output", ["~", "~/", "~/models/..", "/", "/.."])
def test_an_output_that_is_the_home_directory_is_refused(home: Path, output: str) -> None:
    with pytest.raises(UsageError, match="is the home directory, or above it"):
        check_output(output)
    with pytest.raises(UsageError, match="is the home directory, or above it"):
        check_output(home.parent)


def test_an_output_that_is_a_file_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    for path in (file, file / "below"):
        with pytest.raises(UsageError, match="is a file, not a directory"):
            check_output(path)


@pytest.mark.parametrize("name", ["c7i.4xlarge", "p3.2xlarge", "m7i.metal-24xl", "u-6tb1.112xlarge", "t3.nano"])
def test_instance_types_are_recognised(name: str) -> None:
    assert check_instance_types(name) == (name,)


def test_instance_types_are_taken_once_each_in_their_order() -> None:
    assert check_instance_types("m7i.large, c7i.large,m7i.large,") == ("m7i.large", "c7i.large")


def test_numbers_and_days_are_read_or_refused() -> None:
    assert check_number("--cpus", "16") == 16
    assert check_number("--cpus", None) is None
    for wrong in ("many", "0", "-1", "inf", "nan"):
        with pytest.raises(UsageError, match="--cpus is "):
            check_number("--cpus", wrong, least=1)
    assert check_day("--since", "2026-11-01") == datetime(2026, 11, 1, tzinfo=UTC)
    with pytest.raises(UsageError, match="--since is 'yesterday', which is not a day"):
        check_day("--since", "yesterday")


def test_spot_is_asked_first_and_on_demand_only_if_it_may_be() -> None:
    settings = Settings.from_context({})
    assert settings.markets == ("spot",)
    assert settings.with_(fallback="on-demand").markets == ("spot", "on-demand")
    assert settings.with_(on_demand=True, fallback="on-demand").markets == ("on-demand",)
    with pytest.raises(UsageError, match="--fallback is 'ondemand'"):
        _ = settings.with_(fallback="ondemand").markets


@pytest.mark.parametrize("name", [None, "", "c7i", "c7i.huge", "C7i.large", "c7i.4xlarge; rm"])
def test_what_cannot_be_an_instance_type_is_refused(name: str | None) -> None:
    with pytest.raises(UsageError, match="instance type"):
        check_instance_types(name)


def test_the_trainer_template_is_split_as_a_shell_would() -> None:
    words = trainer_arguments("solve --in={config} 'a b' --out {output}", config="/c/x y.yaml", output="/o")
    assert words == ["solve", "--in=/c/x y.yaml", "a b", "--out", "/o"]


@pytest.mark.parametrize(
    "template", ["train {config}", "train {output}", "train {config} {output} {other}", "'{config}{output}"]
)
def test_a_trainer_template_that_cannot_work_is_refused(template: str) -> None:
    with pytest.raises(UsageError, match=r"setting solver\.trainer"):
        trainer_arguments(template, config="/c", output="/o")

from __future__ import annotations

import re
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import hypothesis
import pytest
from hypothesis import strategies as st
from invoke import Collection, Program

from cloud.aws import Aws
from cloud.commands import command
from cloud.config import (
    Settings,
    check_day,
    check_instance_types,
    check_number,
    check_output,
    trainer_arguments,
)
from cloud.defaults import DEFAULTS
from cloud.errors import CloudError, UsageError


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
    ("name", "value"),
    [
        *(("max_hours", value) for value in ("soon", "nan", "inf", "-inf", 1e9, "9" * 400, True, [1], 0)),
        *(("disk_gb", value) for value in (0, "inf", 2.5, "2.5", "1e99")),
        *(("sync_seconds", -1), ("on_demand", "x"), ("max_cost", "nan"), ("keep_on_failure", 1e8)),
    ],
)
def test_a_value_of_the_wrong_kind_is_named(home: Path, name: str, value: object) -> None:
    with pytest.raises(UsageError, match=rf"solver\.{name} is "):
        Settings.from_context({"solver": {name: value}})


@pytest.mark.parametrize(
    ("name", "value", "taken"),
    [
        ("on_demand", "false", False),
        ("on_demand", "0", False),
        ("on_demand", "No", False),
        ("on_demand", "1", True),
        ("on_demand", True, True),
        ("max_hours", "0.5", 0.5),
        ("max_hours", 12, 12.0),
        ("disk_gb", "80", 80),
        ("disk_gb", 80.0, 80),
        ("max_cost", "1e3", 1000.0),
        ("sync_seconds", None, 60),
    ],
)
def test_a_value_is_taken_for_what_it_says(home: Path, name: str, value: object, taken: object) -> None:
    assert getattr(Settings.from_context({"solver": {name: value}}), name) == taken


WRONG: dict[str, tuple[object, ...]] = {
    "max_hours": ("nan", "inf", "1e9", 1e9, "-1", "", " ", True, [1], {"a": 1}, "9" * 400),
    "disk_gb": (50.5, "50.5", "nan", False, 0),
    "on_demand": ("", "maybe", 2, []),
    "name": ("", 12, True, ["a"], {"a": 1}, "a\0b"),
    "source": ("", 3, ["."], "a\0b", "~nobody-at-all/x"),
}


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in WRONG.items() for value in values])
def test_a_value_that_cannot_be_meant_is_refused_in_one_line(home: Path, name: str, value: object) -> None:
    with pytest.raises(UsageError, match=rf"^solver\.{name} is ") as refused:
        Settings.from_context({"solver": {name: value}})
    assert len(refused.value.problem.splitlines()) == 1
    assert len(refused.value.problem) < 200


@pytest.mark.parametrize("solver", [3, "text", [1], True])
def test_settings_that_are_none_are_refused(home: Path, solver: object) -> None:
    with pytest.raises(UsageError, match=r"^solver is "):
        Settings.from_context({"solver": solver})


def test_no_settings_below_the_key_are_the_defaults(home: Path) -> None:
    assert Settings.from_context({"solver": None}) == Settings.from_context({}) == Settings.from_context({"solver": {}})


def test_where_a_wrong_value_came_from_is_said(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (home / ".aws").mkdir()
    (home / ".aws" / "config").write_text(
        "[profile work]\nsolver_max_hours = soon\n[profile typo]\nsolver_max_hour = 3\n"
    )
    for typed, place in (
        ({"max_hours": "soon"}, "--max-hours is 'soon'"),
        ({"profile": "work"}, "solver_max_hours is 'soon'"),
        ({"profile": "typo"}, "unknown setting solver_max_hour\n"),
        ({"profile": ""}, "--profile is ''"),
    ):
        with pytest.raises(UsageError, match=f"^{place}"):
            Settings.from_context({}, **typed)
    monkeypatch.setenv("INVOKE_SOLVER_MAX_HOURS", "later")
    with pytest.raises(UsageError, match=r"^INVOKE_SOLVER_MAX_HOURS is 'later'"):
        Settings.from_context({"solver": {"max_hours": "later"}})


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.dates() | st.binary(max_size=3),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3) | st.integers(), inner, max_size=2),
    max_leaves=4,
)


@hypothesis.settings(deadline=None, suppress_health_check=list(hypothesis.HealthCheck))
@hypothesis.given(st.dictionaries(st.sampled_from(sorted(DEFAULTS)) | st.text(max_size=3) | st.integers(), JUNK) | JUNK)
def test_whatever_a_file_has_for_settings_makes_some_or_is_a_usage_error(home: Path, solver: object) -> None:
    with suppress(CloudError):
        settings = Settings.from_context({"solver": solver})
        assert 0 < settings.max_hours <= 1_000_000
        assert isinstance(settings.on_demand, bool)


def invoked(path: Path, content: str, monkeypatch: pytest.MonkeyPatch, **environment: str) -> Settings:
    """The settings as a command has them, for a file and an environment that invoke has read."""
    found = []

    @command()
    def one(aws: Aws) -> None:
        found.append(aws.settings)

    path.write_text(content)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    Program(namespace=Collection(one)).run(["inv", "-f", str(path), "one"], exit=False)
    return found[0]


@pytest.mark.parametrize("content", ["a: 1", "solver:\n", "solver: {}\n", "solver: {max_hours: 12, on_demand: true}\n"])
def test_the_environment_is_read_by_our_rules_whatever_files_have_in_its_place(
    content: str, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """invoke makes a variable what a file has in its place: bool('false'), int('0.5')."""
    (home / ".invoke.yaml").write_text(content)
    environment = {"INVOKE_SOLVER_ON_DEMAND": "false", "INVOKE_SOLVER_MAX_HOURS": "0.5", "INVOKE_SOLVER_DISK_GB": "70"}
    settings = invoked(home / "mine.yaml", "b: 2", monkeypatch, **environment)
    assert (settings.on_demand, settings.max_hours, settings.disk_gb) == (False, 0.5, 70)


def test_a_file_that_is_named_wins_over_the_environment_as_in_invoke(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = invoked(home / "mine.yaml", "solver: {max_hours: 12}\n", monkeypatch, INVOKE_SOLVER_MAX_HOURS="0.5")
    assert found.max_hours == 12


def test_the_settings_are_documented_each_with_its_default() -> None:
    import yaml

    documented = yaml.safe_load((Path(__file__).parent.parent / "docs/settings.yaml").read_text())["solver"]
    assert documented == DEFAULTS


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


@pytest.mark.parametrize("above", ["~", "~/", "~/models/..", "/", "..", "~/link"])
def test_the_home_directory_is_no_output(home: Path, monkeypatch: pytest.MonkeyPatch, above: str) -> None:
    (home / "below").mkdir()
    (home / "link").symlink_to(home.parent)
    monkeypatch.chdir(home / "below")
    with pytest.raises(UsageError, match="is the home directory, or above it"):
        check_output(above)


@pytest.mark.parametrize(
    ("path", "problem"),
    [
        ("", "no output directory"),
        (" ", "no output directory"),
        ("~nobody-at-all/x", "there is no home directory ~nobody-at-all"),
        ("a\nb", r"output 'a\\nb' has characters that cannot be shown"),
        ("a\x1b[2J", "has characters that cannot be shown"),
        ("caf\udce9", "has characters that cannot be shown"),
        ("x" * 300, "cannot be used: File name too long"),
        ("a\0b", "has characters that cannot be shown"),
    ],
)
def test_an_output_that_cannot_be_one_is_refused(home: Path, path: str, problem: str) -> None:
    with pytest.raises(UsageError, match=problem):
        check_output(path)


def test_a_loop_of_links_is_no_traceback(home: Path) -> None:
    (home / "loop").symlink_to("loop")
    assert check_output("~/loop/x") == "~/loop/x"


@pytest.mark.parametrize("name", ["c7i.4xlarge", "p3.2xlarge", "m7i.metal-24xl", "u-6tb1.112xlarge", "t3.nano"])
def test_instance_types_are_recognised(name: str) -> None:
    assert check_instance_types(name) == (name,)


def test_instance_types_are_taken_once_each_in_their_order() -> None:
    assert check_instance_types("m7i.large, c7i.large,m7i.large,") == ("m7i.large", "c7i.large")


def test_numbers_and_days_are_read_or_refused() -> None:
    assert check_number("--cpus", "16") == 16
    assert check_number("--cpus", None) is None
    for wrong in ("many", "0", "-1", "inf", "nan", "", "1e10", "9" * 5000):
        with pytest.raises(UsageError, match="--cpus is "):
            check_number("--cpus", wrong, least=1)
    assert check_day("--since", "2026-11-01") == datetime(2026, 11, 1, tzinfo=UTC)
    for wrong in ("yesterday", "", "2026-11-31", "2026-11-01T12:00+02:00", "0000-01-01"):
        with pytest.raises(UsageError, match=re.escape(f"--since is {wrong!r}, which is not a day")):
            check_day("--since", wrong)
    with pytest.raises(UsageError, match=r"--cpus is 1\.5, but must be a whole number"):
        check_number("--cpus", "1.5", whole=True)


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
    "template",
    [
        *("train {config}", "train {output}", "train {config} {output} {other}", "'{config}{output}"),
        *("{config} {output} {0}", "{config.x} {output}", "{config[x]} {output}", "{config:d} {output}"),
        "{config} {output} \udce9",
    ],
)
def test_a_trainer_template_that_cannot_work_is_refused(template: str) -> None:
    with pytest.raises(UsageError, match=r"setting solver\.trainer"):
        trainer_arguments(template, config="/c", output="/o")

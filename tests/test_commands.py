"""What every command has in common."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import Any

import invoke
import pytest
from invoke import Collection, Config, Context, Program

import tasks
from cloud import commands
from cloud.aws import Aws
from cloud.commands import command
from cloud.errors import CloudError, UsageError

READS = {"attach", "costs", "logs", "offers", "status", "wait"}
DRY_RUNS = {"launch", "setup", "sweep"}
LOCAL = {"local.status", "test", "bench"}


@pytest.mark.parametrize("fails", [False, True])
def test_the_search_for_garbage_is_seldom_during_a_command_and_as_before_after_it(fails: bool, home: Path) -> None:
    before = gc.get_threshold()
    during = []

    @command()
    def one(aws: Aws) -> None:
        during.append(gc.get_threshold()[0])
        if fails:
            raise ValueError

    try:
        one(invoke.Context())
    except CloudError:
        assert fails
    assert during[0] > before[0]
    assert gc.get_threshold() == before


@pytest.mark.parametrize("name", sorted(set(tasks.ns.task_names) - LOCAL))
def test_invokes_own_dry_is_a_dry_run_or_refused_before_anything_is_done(
    name: str, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Begun(Exception):
        pass

    def connected(c: Context, **_: Any) -> Aws:
        raise Begun

    monkeypatch.setattr(commands, "connect", connected)
    dry = Context(Config(overrides={"run": {"dry": True}}))
    task = tasks.ns[name]
    typed = {argument.attr_name or argument.name: argument.value for argument in task.get_arguments()}
    with pytest.raises(CloudError if name in READS | DRY_RUNS else invoke.Exit) as ended:
        task(dry, **typed)
    if name in READS | DRY_RUNS:
        assert "Begun" in str(ended.value)
    else:
        assert (
            ended.value.message
            == "this command would act, and has no dry run\n  nothing was done; to do it, leave out --dry"
        )
        assert ended.value.code == 2


def test_a_command_with_a_dry_run_is_told_of_invokes_own(home: Path) -> None:
    told = []

    @command()
    def one(aws: Aws, dry_run: bool = False) -> None:
        told.append(dry_run)

    program = Program(namespace=Collection("host", Collection("solver", one)))
    for words in (["solver.one", "--dry"], ["-R", "solver.one"], ["solver.one", "--dry-run"], ["solver.one"]):
        program.run(["inv", *words], exit=False)
    assert told == [True, True, True, False]


@pytest.mark.parametrize("words", [["--dry", "solver.end"], ["solver.end", "--dry"], ["solver.end", "-R"]])
def test_dry_is_refused_inside_other_collections_too(
    words: list[str], home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    @command()
    def end(aws: Aws) -> None:
        raise AssertionError

    with pytest.raises(SystemExit) as ended:
        Program(namespace=Collection("host", Collection("solver", end))).run(["inv", *words])
    assert ended.value.code == 2
    assert capsys.readouterr().err.startswith("this command would act, and has no dry run\n")


def test_a_file_of_settings_that_is_not_there_is_refused(home: Path) -> None:
    """invoke goes on without it, and so without the limits in it."""
    config = Config(runtime_path=home / "missing.yaml")
    config.load_runtime()
    with pytest.raises(UsageError, match=r"there is no file .*missing\.yaml to read settings from"):
        commands.connect(Context(config))

"""The benchmarks' own machinery, and one row for real."""

from __future__ import annotations

import os
from collections.abc import Iterable
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from bench import __main__ as bench
from bench import hash, many_jobs, report
from bench.figures import Figure, Goal, Sample, WrongResultError, alternate, check, run
from bench.file_sets import same
from bench.syncing import Instance
from cloud.records import File

PEER = Sample("peer", (2.0, 4.0, 9.0))


def figure(*ours: float, goal: Goal | None = None, peer: Sample = PEER) -> Figure:
    return Figure("a|b", "s", Sample("ours", ours), (peer,), goal, "inv thing", {"git": "2.1"})


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Results and document are in this directory."""
    monkeypatch.setattr(bench, "RESULTS", tmp_path / "results.json")
    monkeypatch.setattr(bench, "DOCUMENT", tmp_path / "performance.md")
    (tmp_path / "performance.md").write_text(f"before\n{report.BEGIN}\nold\n{report.END}\nafter\n")
    return tmp_path


def has_rows(monkeypatch: pytest.MonkeyPatch, **rows: Any) -> None:
    """The registry has these rows: name and `measure`."""
    monkeypatch.setattr(bench, "ROWS", {name: name for name in rows})
    monkeypatch.setattr(bench, "import_module", lambda name: SimpleNamespace(measure=rows[name]))


def test_the_ratio_is_that_of_the_medians() -> None:
    assert figure(1, 2, 100).ratio(PEER) == 0.5
    assert figure(1).ratio(Sample("peer")) is None


@pytest.mark.parametrize(
    ("ours", "goal", "met"),
    [
        (4.0, Goal(1, "peer"), True),
        (4.1, Goal(1, "peer"), False),
        (4.1, Goal(1, "peer", at_least=True), True),
        (3.9, Goal(1, "peer", at_least=True), False),
        (5.0, Goal(5), True),
        (5.1, Goal(5), False),
        (5.0, None, None),
    ],
)
def test_a_goal_is_met_or_missed(ours: float, goal: Goal | None, met: bool | None) -> None:
    assert figure(ours, goal=goal).met is met


def test_a_goal_against_a_peer_that_is_not_installed_is_neither(capsys: pytest.CaptureFixture[str]) -> None:
    without = figure(1, goal=Goal(1, "peer"), peer=Sample("peer"))
    assert without.met is None
    report.show([report.Row("row", "2026-01-01", "machine", (without,))])
    assert "peer: not installed" in capsys.readouterr().out


def test_a_goal_against_a_peer_that_is_not_listed_is_a_mistake() -> None:
    with pytest.raises(StopIteration):
        _ = figure(1, goal=Goal(1, "another")).met


def test_commands_take_turns_in_turning_order() -> None:
    order: list[str] = []

    def action(name: str) -> float:
        order.append(name)
        return len(order)

    found = alternate(2, {"a": lambda: action("a"), "b": lambda: action("b")})
    assert "".join(order) in ("abbaab", "baabba")
    assert sorted(found["a"].values + found["b"].values) == [3, 4, 5, 6], "the first round counts"


def test_an_action_without_a_value_is_timed() -> None:
    def action() -> None:
        run(["sleep", "0.05"])

    found = alternate(1, {"wait": action})
    assert 0.05 <= found["wait"].values[0] < 5


def test_rows_survive_their_file(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    first = report.Row.taken("first", lambda: [figure(1, 2, goal=Goal(1, "peer")), figure(3)])
    report.keep(path, [first, report.Row.taken("second", lambda: [figure(1)])])
    again = report.Row.taken("second", lambda: [figure(7)])
    report.keep(path, [again])
    assert report.load(path) == {"first": first, "second": again}
    assert "cores" in first.machine


def test_only_what_is_between_the_markers_is_written(places: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def measure(runs: int = 1, scale: float = 1) -> Iterable[Figure]:
        return [figure(runs, goal=Goal(1, "peer"))]

    has_rows(monkeypatch, one=measure, two=measure)
    document = places / "performance.md"
    assert bench.main(["--only", "two", "--runs", "1", "--write"]) == 0
    assert bench.main(["--only", "one", "--runs", "5", "--write"]) == 0
    text = document.read_text()
    assert text.startswith(f"before\n{report.BEGIN}\n")
    assert text.endswith(f"\n{report.END}\nafter\n")
    assert "old" not in text
    assert r"| a\|b | 5 s | peer: 4 s (2–9) = 1.25 × | ≤ 1 × peer | **no** |" in text
    assert r"| a\|b | 1 s | peer: 4 s (2–9) = 0.25 × | ≤ 1 × peer | yes |" in text
    assert text.index("--only one") < text.index("--only two"), "not in the registry's order"
    assert "`inv thing`" in text
    assert "git 2.1" in text


def test_a_document_without_markers_is_left_alone(tmp_path: Path) -> None:
    document = tmp_path / "performance.md"
    document.write_text("nothing here\n")
    with pytest.raises(WrongResultError, match="lacks"):
        report.write(document, {})
    assert document.read_text() == "nothing here\n"


def test_a_wrong_result_is_no_figure(
    places: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def wrong(**_: Any) -> Iterable[Figure]:
        check(False, "the sum is off")
        return []

    has_rows(monkeypatch, bad=wrong, good=lambda **_: [figure(1)])
    assert bench.main([]) == 1
    assert "bad: wrong result: the sum is off" in capsys.readouterr().err
    assert report.load(places / "results.json").keys() == {"good"}


def test_a_slow_result_is_a_figure(places: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    has_rows(monkeypatch, slow=lambda **_: [figure(1e9, goal=Goal(1, "peer"))])
    assert bench.main([]) == 0
    assert report.load(places / "results.json").keys() == {"slow"}


def test_figures_of_less_data_are_not_kept(places: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    has_rows(monkeypatch, small=lambda **_: [figure(1)])
    assert bench.main(["--scale", "0.5"]) == 0
    assert not (places / "results.json").exists()


def test_an_unknown_row_is_wrong_usage(places: Path) -> None:
    with pytest.raises(SystemExit) as ended:
        bench.main(["--only", "nothing"])
    assert ended.value.code == 2


def test_every_row_can_be_measured() -> None:
    for name in bench.ROWS.values():
        assert callable(import_module(name).measure)


def test_a_command_that_fails_is_a_wrong_result() -> None:
    with pytest.raises(WrongResultError, match="sh ended with 3:\nno luck"):
        run(["sh", "-c", "echo no luck >&2; exit 3"])


def test_a_file_that_is_missing_or_another_is_a_wrong_result() -> None:
    right, other = File("a", 1, "right"), File("a", 1, "other")
    same({right}, [right], "tool")
    for found in ({other}, {right, other}, set[File]()):
        with pytest.raises(WrongResultError, match=r"tool: \d files .* such as \['a'\]"):
            same(found, [right], "tool")


def test_a_function_of_the_instance_runs_without_the_rest_of_its_job(tmp_path: Path) -> None:
    instance = Instance(tmp_path, os.environ)
    instance.forget()
    (tmp_path / "output").mkdir()
    (tmp_path / "output" / "a").write_text("1")
    assert instance.run("take_snapshot ended", "bucket").cpu_seconds > 0
    assert (tmp_path / "snapshot" / "a").read_text() == "1"
    with pytest.raises(WrongResultError, match="bash ended with 3:\nno luck"):
        instance.run("{ echo no luck; exit 3; }", "bucket")


def test_the_row_of_many_jobs_for_real() -> None:
    """A hundredth of the jobs; that calls are counted and jobs are seen is part of the measuring."""
    table, as_json, first, calls = many_jobs.measure(runs=1, scale=0.01)
    assert table.ratio(table.peers[0])
    assert as_json.ours.values
    assert first.ours.values
    assert calls.met


def test_a_call_too_many_is_a_wrong_result(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(many_jobs, "PAGE", 1)  # that many calls are then expected
    with pytest.raises(WrongResultError, match="made the calls"):
        many_jobs.measure(runs=1, scale=0.01)


def test_a_hash_that_changes_is_a_wrong_result(monkeypatch: pytest.MonkeyPatch) -> None:
    tags = iter("abcdefgh")
    monkeypatch.setattr(hash, "venv", lambda *_: None)
    monkeypatch.setattr(hash, "tag", lambda _: next(tags))
    with pytest.raises(WrongResultError, match="the tag changes"):
        hash.measure(runs=1, scale=0.0001)

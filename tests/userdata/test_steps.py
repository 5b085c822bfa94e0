"""How a step runs: within its limit, again if it fails, its last words as the reason. The real functions, in bash."""

from __future__ import annotations

from pathlib import Path

import pytest

from .functions import run

DEADLINE = "DEADLINE=$((EPOCHSECONDS + 3600))"
QUICK = 'pause() { echo "pause $1"; }'
"""Pauses take no time, and are told of."""


def test_what_does_not_end_when_it_is_told_to_is_killed(tmp_path: Path) -> None:
    """SIGKILL, ten seconds later, which are a tenth of one here."""
    stubborn = """bash -c 'trap "" TERM; echo begun; while :; do sleep 0.05; done'"""
    sooner = 'timeout() { command timeout "${@/#--kill-after=10/--kill-after=0.1}"; }'
    assert run(tmp_path, sooner, f"limited 1 {stubborn}", "echo $?") == ["begun", "137"]


def test_what_takes_too_long_is_told_to_end_first(tmp_path: Path) -> None:
    polite = """bash -c 'trap "echo saved; exit 3" TERM; while :; do sleep 0.05; done'"""
    assert run(tmp_path, f"limited 1 {polite}", "echo $?") == ["saved", "124"]
    assert run(tmp_path, f"SOLVER_PATIENCE=1 limited 600 {polite}", "echo $?") == ["saved", "124"]
    assert run(tmp_path, "limited 1 bash -c 'echo done; exit 7'", "echo $?") == ["done", "7"]


FAILS = 'count=0; tries() { echo try; ((++count > LEFT)) && return 0; return "$CODE"; }'


@pytest.mark.parametrize(
    ("left", "said"),
    [
        (0, ["try", "0"]),
        (1, ["try", "pause 5", "try", "0"]),
        (2, ["try", "pause 5", "try", "pause 10", "try", "0"]),
        (3, ["try", "pause 5", "try", "pause 10", "try", "7"]),
    ],
)
def test_a_command_is_tried_again_as_often_as_it_may(tmp_path: Path, left: int, said: list[str]) -> None:
    assert run(tmp_path, QUICK, FAILS, f"LEFT={left} CODE=7", "retried 3 tries", "echo $?") == said
    assert run(tmp_path, DEADLINE, QUICK, FAILS, f"LEFT={left} CODE=7", "outlasting 3 tries", "echo $?") == said


@pytest.mark.parametrize("code", [124, 137])
def test_what_has_used_up_its_time_is_not_repeated(tmp_path: Path, code: int) -> None:
    assert run(tmp_path, DEADLINE, QUICK, FAILS, f"LEFT=9 CODE={code}", "outlasting 3 tries", "echo $?") == [
        "try",
        str(code),
    ]


def test_an_outage_is_waited_for_in_pauses_of_a_minute_at_most(tmp_path: Path) -> None:
    said = run(tmp_path, DEADLINE, QUICK, FAILS, "LEFT=99 CODE=1", "outlasting 20 tries")
    assert said.count("try") == 20
    pauses = [int(line.split()[1]) for line in said if line != "try"]
    assert pauses == [*range(5, 60, 5), *[60] * 8]


def test_an_outage_is_waited_for_only_as_long_as_there_is_time(tmp_path: Path) -> None:
    """Two minutes before the shutdown timer, ten after the deadline, it is too late."""
    late = "DEADLINE=$((EPOCHSECONDS - 421))"
    assert run(tmp_path, late, QUICK, FAILS, "LEFT=9 CODE=1", "outlasting 5 tries", "echo $?") == ["try", "1"]
    later = "DEADLINE=$((EPOCHSECONDS - 300))"
    assert run(tmp_path, later, QUICK, FAILS, "LEFT=1 CODE=1", "outlasting 5 tries", "echo $?")[-1] == "0"


@pytest.mark.parametrize(
    ("since_deadline", "wanted", "left"),
    [(0, 1800, {479, 480}), (0, 100, {100}), (400, 1800, {79, 80}), (430, 1800, {60}), (9999, 1800, {60})],
)
def test_no_step_has_more_time_than_the_machine(
    tmp_path: Path, since_deadline: int, wanted: int, left: set[int]
) -> None:
    (seconds,) = run(tmp_path, f"DEADLINE=$((EPOCHSECONDS - {since_deadline}))", f"time_left {wanted}")
    assert int(seconds) in left


def test_the_reason_of_a_failure_is_its_last_words(tmp_path: Path) -> None:
    said = run(
        tmp_path,
        "attempt 'making it' bash -c 'echo first; echo; echo \"  it broke\"; echo \" \"; exit 3'",
        'echo "$? [$FAILURE]"',
        "attempt 'making it' bash -c 'exit 4'",
        'echo "$? [$FAILURE]"',
        "attempt 'making it' bash -c 'echo much; exit 124'",
        'echo "$? [$FAILURE]"',
        "attempt 'making it' true",
        'echo "$?"',
    )
    results = [line for line in said if line[:1].isdigit() and "T" not in line[:12]]
    assert results == [
        "3 [making it:   it broke]",
        "4 [making it: exit code 4]",
        "124 [making it: timed out]",
        "0",
    ]


def test_what_is_remembered_is_whole_or_as_it_was(tmp_path: Path) -> None:
    assert run(tmp_path, "echo one | remember word", 'cat "$STATE/word"') == ["one"]
    full = """sync() { return 1; }"""  # as on a disk that is full
    assert run(tmp_path, full, "echo two | remember word", "echo $?", 'cat "$STATE/word"') == ["1", "one"]

"""What the boots of a job have cost and until when it may go on, to the micro-dollar: the functions of money.sh."""

from __future__ import annotations

from pathlib import Path

import pytest

from .functions import run

NOW = 1_795_507_200
MONEY = ("steps.sh", "money.sh")
SPENDING = (
    *(f"JOB_DEADLINE={NOW + 100_000}", "JOB_BUDGET=5000000", f"JOB_LAUNCHED_AT={NOW - 3000}", "JOB_DISK_PRICE=360000"),
    *("SPENT=1000000", "COST=$((500000 * 3600))", "PRICE=3600000", f"PRICED={NOW - 200}"),
)
"""$5, of which $1 has gone in earlier boots, $0.50 until the last price, $0.20 since, and $0.30 for the disk."""


@pytest.mark.parametrize(
    ("changes", "seconds", "reason"),
    [
        ((), 2727, "max cost"),  # $3 at $0.0011 a second
        (("JOB_BUDGET=0",), 100_000, "max hours"),
        (("PRICE=0",), 100_000, "max hours"),
        ((f"JOB_DEADLINE={NOW + 2727}",), 2727, "max hours"),
        ((f"JOB_DEADLINE={NOW + 2728}",), 2727, "max cost"),
        (("JOB_BUDGET=1000000",), -909, "max cost"),
    ],
)
def test_the_end_is_the_last_hour_or_the_last_cent(
    tmp_path: Path, changes: tuple[str, ...], seconds: int, reason: str
) -> None:
    said = run(tmp_path, *SPENDING, *changes, "set_deadline", 'echo "$DEADLINE $DEADLINE_REASON"', files=MONEY, now=NOW)
    assert said == [f"{NOW + seconds} {reason} reached"]


def test_earlier_boots_are_counted_and_one_that_was_cut_off_a_minute_longer(tmp_path: Path) -> None:
    lines = ["100 600 50000 360000 ended", "900 60 7000 361000 open", "2000 30 - 0 ended", "half a line", "3000 9 1 5"]
    said = run(
        tmp_path,
        "printf '%s\\n' " + " ".join(f"'{line}'" for line in lines) + ' >"$ATTEMPTS"',
        "recall_attempts",
        'printf \'%s\\n\' "${PAST[@]}" "$SPENT $PRICE"',
        files=MONEY,
        now=NOW,
    )
    assert said == [
        "100 600 50000 360000 ended",
        "900 120 13017 361000 ended",  # 60 s at 361,000 an hour are 6,016.7
        "2000 30 - 0 ended",
        "3000 69 2 5 ended",
        "63019 5",
    ]


def test_a_price_of_a_boot_that_is_unknown_replaces_none(tmp_path: Path) -> None:
    lines = ["echo '100 60 5 360000 ended' >\"$ATTEMPTS\"", "echo '200 60 - 0 ended' >>\"$ATTEMPTS\""]
    assert run(tmp_path, *lines, "recall_attempts", 'echo "$PRICE $SPENT"', files=MONEY, now=NOW) == ["360000 5"]


@pytest.mark.parametrize(
    ("changes", "line", "spent"),
    [
        ((), f"{NOW - 500} 560 700001 3600001 open", "700102"),
        (("PRICE=0",), f"{NOW - 500} 560 - 0 open", "-"),
        (("PAST=('1 60 - 0 ended')",), f"{NOW - 500} 560 700001 3600001 open", "-"),
    ],
)
def test_what_this_boot_has_cost_is_rounded_up(tmp_path: Path, changes: tuple[str, ...], line: str, spent: str) -> None:
    given = (*SPENDING, f"BEGUN={NOW - 500}", "PRICE=3600001", "PAST=('1 60 101 360000 ended')", *changes)
    said = run(tmp_path, *given, "print_attempts open", "spent", files=MONEY, now=NOW)
    assert said[1:] == [line, spent]


@pytest.mark.parametrize(
    ("answer", "price", "cost", "priced"),
    [
        ("1.5", 1_500_000, 500_000 + 200_000, NOW),
        ("0.0000019", 1, 500_000 + 200_000, NOW),
        ("3.600000", 3_600_000, 500_000, NOW - 200),
        ("0", 3_600_000, 500_000, NOW - 200),
        ("None", 3_600_000, 500_000, NOW - 200),
        ("1e3", 3_600_000, 500_000, NOW - 200),
    ],
)
def test_a_new_price_counts_from_now_on(tmp_path: Path, answer: str, price: int, cost: int, priced: int) -> None:
    quiet = ("count() { :; }", "log() { :; }", "arm_timer() { :; }", f'echo {answer} >"$WORK/price"')
    said = run(
        tmp_path, *SPENDING, *quiet, "take_price", 'echo "$PRICE $((COST / 3600)) $PRICED"', files=MONEY, now=NOW
    )
    assert said == [f"{price} {cost} {priced}"]


def test_the_first_price_that_is_known_is_that_of_the_whole_boot(tmp_path: Path) -> None:
    given = (*SPENDING, "PRICE=0 COST=0", "count() { :; }", "log() { :; }", 'echo 7.2 >"$WORK/price"')
    timer = 'arm_timer() { echo "timer $DEADLINE"; }'
    said = run(tmp_path, *given, timer, "take_price", 'echo "$PRICE $COST $PRICED"', files=MONEY, now=NOW)
    assert said == [f"timer {NOW + 1571}", f"7200000 0 {NOW - 200}"]  # $3.30 at $0.0021


def test_of_a_machine_that_is_shared_the_share_is_paid(tmp_path: Path) -> None:
    given = (*SPENDING, "SHARE=(2 8)", "count() { :; }", "log() { :; }", "arm_timer() { :; }")
    said = run(tmp_path, *given, 'echo 1 >"$WORK/price"', "take_price", 'echo "$PRICE"', files=MONEY, now=NOW)
    assert said == ["250000"]

"""Retry strategies of Batch: which failed attempts are made again.

https://docs.aws.amazon.com/batch/latest/userguide/job_retries.html
https://docs.aws.amazon.com/batch/latest/APIReference/API_EvaluateOnExit.html
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from moto.batch.exceptions import ClientException

if TYPE_CHECKING:
    from .batch_jobs import Attempt

MOST_ATTEMPTS = 10
MOST_RULES = 5
PATTERN = re.compile(r"[A-Za-z0-9.:\s]{0,511}[A-Za-z0-9.:\s*]")
"""Up to 512 letters, numbers, periods, colons and white space, and perhaps an asterisk at the end."""
EXIT_CODE = re.compile(r"\d{0,511}[\d*]")
CONDITIONS = {"onStatusReason": PATTERN, "onReason": PATTERN, "onExitCode": EXIT_CODE}


def check(strategy: Mapping[str, Any] | None) -> None:
    """Raise ClientException for a retry strategy that Batch does not take."""
    if not strategy:
        return
    attempts = strategy.get("attempts", 1)
    if not 1 <= attempts <= MOST_ATTEMPTS:
        raise ClientException(f"RetryStrategy attempts must be between 1 and {MOST_ATTEMPTS}.")
    rules = strategy.get("evaluateOnExit") or []
    if rules and "attempts" not in strategy:
        raise ClientException("If evaluateOnExit is specified then the attempts parameter must also be specified.")
    if len(rules) > MOST_RULES:
        raise ClientException(f"EvaluateOnExit can have at most {MOST_RULES} conditions.")
    for rule in rules:
        _check_rule(rule)


def _check_rule(rule: Mapping[str, str]) -> None:
    if str(rule.get("action")).upper() not in ("RETRY", "EXIT"):
        raise ClientException("EvaluateOnExit action must be one of RETRY | EXIT.")
    if not any(name in rule for name in CONDITIONS):
        raise ClientException("EvaluateOnExit must have at least one of onExitCode, onReason, onStatusReason.")
    for name, pattern in CONDITIONS.items():
        if name in rule and not pattern.fullmatch(rule[name]):
            raise ClientException(f"EvaluateOnExit {name} {rule[name]!r} does not match the expected pattern.")


def retries(strategy: Mapping[str, Any] | None, attempt: Attempt) -> bool:
    """Whether a failed attempt is followed by another: the first rule that matches decides, without one it is."""
    if attempt.number >= (strategy or {}).get("attempts", 1):
        return False
    for rule in (strategy or {}).get("evaluateOnExit") or []:
        if _matches(rule, attempt):
            return bool(rule["action"].upper() == "RETRY")
    return True


def _matches(rule: Mapping[str, str], attempt: Attempt) -> bool:
    """Whether all that a rule asks for is so."""
    found = {
        "onStatusReason": attempt.status_reason,
        "onReason": attempt.reason,
        "onExitCode": "" if attempt.exit_code is None else str(attempt.exit_code),
    }
    return all(_fits(rule[name], value) for name, value in found.items() if name in rule)


def _fits(pattern: str, value: str) -> bool:
    return value.startswith(pattern[:-1]) if pattern.endswith("*") else value == pattern

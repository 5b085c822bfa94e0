"""IAM's policy language: whether policies allow an action, of what is known about a request. Pure; knows no service.

https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_grammar.html
https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_evaluation-logic.html
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

Statement = Mapping[str, Any]
Values = tuple[str, ...]


@dataclass(frozen=True)
class Request:
    """One action on one resource."""

    action: str
    """As in a policy: `s3:GetObject`."""
    resource: str
    """Its ARN; `*` for an action that knows no resources."""
    context: Mapping[str, Values] = field(default_factory=dict)
    """What condition keys mean, by their names in lower case; see `context`."""


def context(**pairs: str | Iterable[str] | None) -> dict[str, Values]:
    """Condition keys and their values; those that are None are missing. For names that are no identifiers: `**{…}`."""
    return {
        key.lower(): (value,) if isinstance(value, str) else tuple(value)
        for key, value in pairs.items()
        if value is not None
    }


def allowed(policies: Iterable[Mapping[str, Any]], request: Request, *, principal: str = "") -> bool:
    """Whether a statement allows it and none denies it.

    principal: ARN of who asks, for policies that name principals, which then say nothing of resources.
    """
    effects = {
        statement["Effect"]
        for policy in policies
        for statement in _listed(policy.get("Statement", []))
        if _applies(statement, request, principal)
    }
    return "Allow" in effects and "Deny" not in effects


def _applies(statement: Statement, request: Request, principal: str) -> bool:
    if "Principal" in statement and not _named(statement["Principal"], principal):
        return False
    try:
        return (
            _concerns(statement, "Action", request.action.lower(), request, str.lower)
            and ("Principal" in statement or _concerns(statement, "Resource", request.resource, request, str))
            and all(
                _holds(operator, key, _listed(wanted), request.context)
                for operator, keys in statement.get("Condition", {}).items()
                for key, wanted in keys.items()
            )
        )
    except MissingVariable:
        return False


def _named(principals: Any, who: str) -> bool:
    return principals == "*" or who in _listed(principals.get("AWS", []))


def _concerns(statement: Statement, element: str, value: str, request: Request, form: Callable[[str], str]) -> bool:
    """Whether the element, or its Not… form, has a pattern that fits."""
    negated = f"Not{element}" in statement
    patterns = _listed(statement.get(f"Not{element}" if negated else element, []))
    return negated != any(_fits(form(one), value, request.context, wild=True) for one in patterns)


class MissingVariable(Exception):
    """A policy variable without a value: its statement applies to nothing.

    https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_variables.html
    """


VARIABLE = re.compile(r"\$\{([^},]+)(?:,\s*'([^']*)')?\}")
SPECIAL = {"*": "*", "?": "?", "$": "$"}
"""Characters that are written as variables to stand for themselves."""


def _fits(pattern: str, value: str, known: Mapping[str, Values], *, wild: bool) -> bool:
    """Whether a value is what a pattern means: with variables, and with `*` and `?` outside of them if wild."""
    expression, end = "", 0
    for found in VARIABLE.finditer(pattern):
        expression += _expression(pattern[end : found.start()], wild) + re.escape(_variable(found, known))
        end = found.end()
    return re.fullmatch(expression + _expression(pattern[end:], wild), value, re.DOTALL) is not None


def _expression(text: str, wild: bool) -> str:
    escaped = re.escape(text)
    return escaped.replace(r"\*", ".*").replace(r"\?", ".") if wild else escaped


def _variable(found: re.Match[str], known: Mapping[str, Values]) -> str:
    name, default = found[1].strip(), found[2]
    if name in SPECIAL:
        return SPECIAL[name]
    values = known.get(name.lower(), ())
    if len(values) == 1:
        return values[0]
    if default is None:
        raise MissingVariable(name)
    return default


def _holds(operator: str, key: str, wanted: list[Any], known: Mapping[str, Values]) -> bool:
    """One line of a condition. Raises NotImplementedError for an operator that is not known here."""
    quantifier, _, name = operator.rpartition(":")
    name, if_exists = name.removesuffix("IfExists"), name.endswith("IfExists")
    values, wanted = known.get(key.lower(), ()), [_text(one) for one in wanted]
    if name == "Null":
        return wanted == [_text(not values)]
    base = name.replace("Not", "", 1)
    if base not in MATCHES:
        raise NotImplementedError(f"condition operator {operator}")
    # Looked at without a value, too, so that a missing variable is found.
    fitting = [[MATCHES[base](one, value, known) for one in wanted] for value in values or ("",)]
    each = [any(fits) != (base != name) for fits in fitting]
    if not values:
        return quantifier == "ForAllValues" or if_exists or (base != name and quantifier != "ForAnyValue")
    return any(each) if quantifier == "ForAnyValue" else all(each)


def _arn(pattern: str, value: str, known: Mapping[str, Values]) -> bool:
    """Each of the six parts by itself: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_condition_operators.html#Conditions_ARN"""
    parts = zip(list(_parts(pattern)), value.split(":", 5), strict=False)
    return pattern.count(":") >= 5 <= value.count(":") and all(_fits(*pair, known, wild=True) for pair in parts)


def _parts(arn: str) -> Iterator[str]:
    """The parts of an ARN with variables, whose names have colons, too."""
    kept = VARIABLE.sub(lambda found: found[0].replace(":", "\0"), arn)
    return (part.replace("\0", ":") for part in kept.split(":", 5))


MATCHES: dict[str, Callable[[str, str, Mapping[str, Values]], bool]] = {
    "StringEquals": lambda one, value, known: _fits(one, value, known, wild=False),
    "StringEqualsIgnoreCase": lambda one, value, known: _fits(one.lower(), value.lower(), known, wild=False),
    "StringLike": lambda one, value, known: _fits(one, value, known, wild=True),
    "ArnEquals": _arn,
    "ArnLike": _arn,
    "Bool": lambda one, value, known: one.lower() == value.lower(),
}
"""Operators without `Not`, `IfExists` and quantifiers: whether a value is one of those wanted."""


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _listed(one: Any) -> list[Any]:
    return one if isinstance(one, list) else [one]

"""What invoke lacks: an optional positional argument, options told from positionals, exit code 2, text as text.

invoke takes every positional argument as required (pyinvoke/invoke#159), reads `inv wait --help` as "wait for the job
called --help", and ends with 1 for a mistyped command line. All three are mended in its one state machine, so they
hold for `inv`, for `solver-cloud` and inside other collections. And it makes of a variable of the environment what a
configuration file happens to have in its place: `bool("false")`, `int("0.5")`. Our own settings stay text.
"""

from __future__ import annotations

from typing import Any

from invoke.env import Environment
from invoke.exceptions import Exit, ParseError
from invoke.parser.argument import Argument
from invoke.parser.parser import ParseMachine
from invoke.tasks import Task

from .defaults import of_environment


class OptionalPositional(Argument):
    """A positional argument that may be left out: `inv status` and `inv status JOB`."""


class OptionalJobTask(Task[Any]):
    """A task whose `job` is an OptionalPositional: `@task(klass=OptionalJobTask, positional=["job"])`."""

    def get_arguments(self, ignore_unknown_help: bool | None = None) -> list[Argument]:
        arguments = super().get_arguments(ignore_unknown_help)
        for argument in arguments:
            if argument.name == "job":
                argument.__class__ = OptionalPositional
        return arguments


class WrongUsage(ParseError, Exit):
    """A command line that cannot be parsed. invoke prints a ParseError's text and takes an Exit's code."""

    def __init__(self, text: str, context: Any) -> None:
        ParseError.__init__(self, text, context)
        self.args = (text,)
        self.message, self._code = None, 2  # printed as a ParseError; a message here would print it twice


def _handle(machine: ParseMachine, token: str) -> None:
    """Never take an option for a positional argument."""
    context = machine.context
    if context is None or not token.startswith("-"):
        return _invokes_handle(machine, token)
    positionals, context.positional_args = context.positional_args, []
    try:
        return _invokes_handle(machine, token)
    finally:
        context.positional_args = positionals


def _complete_context(machine: ParseMachine) -> None:
    """Demand no OptionalPositional, and nothing at all of who asks for help."""
    context = machine.context
    asks_help = machine.initial is not None and "help" in machine.initial.args and machine.initial.args.help.value
    if context:
        context.positional_args = [
            argument
            for argument in context.positional_args
            if argument.value is not None or not (asks_help or isinstance(argument, OptionalPositional))
        ]
    _invokes_complete_context(machine)


def _error(machine: ParseMachine, text: str) -> None:
    raise WrongUsage(text, machine.context)


def _load(environment: Environment) -> dict[str, Any]:
    """The environment as invoke reads it, but our own settings as they are, for cloud/config.py to read."""
    configured = environment._config.get("solver", {})
    environment._config = {key: value for key, value in environment._config.items() if key != "solver"}  # type: ignore[assignment]
    ours = of_environment(environment._prefix)
    loaded = _invokes_load(environment)
    # What is no mapping, such as `solver:` with nothing below it, invoke could not merge.
    return {**loaded, "solver": ours} if ours and isinstance(configured, dict) else loaded


_invokes_load = Environment.load
_invokes_handle = ParseMachine.handle
_invokes_complete_context = ParseMachine.complete_context
ParseMachine.handle = _handle  # type: ignore[assignment]
ParseMachine.complete_context = _complete_context  # type: ignore[assignment]
ParseMachine.error = _error  # type: ignore[method-assign,assignment]
Environment.load = _load  # type: ignore[method-assign,assignment]

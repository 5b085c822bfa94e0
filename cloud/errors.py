"""The one error a user meets."""

from collections.abc import Iterator
from contextlib import contextmanager

from invoke.exceptions import Exit

from .text import plain


class CloudError(Exit):
    """What went wrong and how to mend it, in one or two lines.

    invoke prints an `Exit`'s message on stderr without a traceback and ends with its code.

    What came from elsewhere may be in both: of a terminal's commands there is nothing left in the message.

    problem: one line, what went wrong.
    fix: one line, what to do about it; left out where there is nothing to do.
    code: exit code; 1 for a failure, 2 for wrong usage.
    """

    def __init__(self, problem: str, *, fix: str | None = None, code: int = 1) -> None:
        self.problem = problem
        self.fix = fix
        super().__init__(plain(f"{problem}\n  {fix}" if fix else problem), code)

    def __str__(self) -> str:
        return self.message or ""


class UsageError(CloudError):
    """What the user typed cannot be meant: exit code 2, nothing done."""

    def __init__(self, problem: str, *, fix: str | None = None) -> None:
        super().__init__(problem, fix=fix, code=2)


@contextmanager
def interruptible(left: str) -> Iterator[None]:
    """Turn a Ctrl-C into an error that says what is left of what was begun.

    left: what a user wants to know then, as it follows "interrupted; ".
    """
    try:
        yield
    except KeyboardInterrupt:
        raise CloudError(f"interrupted; {left}", code=130) from None

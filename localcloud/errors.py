"""The one error of the local cloud that a user meets."""

from invoke.exceptions import Exit


class LocalCloudError(Exit):
    """What went wrong and how to mend it, in one or two lines.

    problem: one line, what went wrong.
    fix: one line, what to do about it; left out where there is nothing to do.
    """

    def __init__(self, problem: str, *, fix: str | None = None) -> None:
        self.problem = problem
        self.fix = fix
        super().__init__(f"{problem}\n  {fix}" if fix else problem, 1)

    def __str__(self) -> str:
        return self.message or ""

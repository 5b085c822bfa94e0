"""How a command ends when something unforeseen happens: in one line, and without a traceback unless it is asked for."""

from __future__ import annotations

import atexit
import errno
import os
import select
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from traceback import format_exception, walk_tb
from types import TracebackType
from typing import NoReturn, TextIO

from invoke.exceptions import Exit, Failure, ParseError, ThreadException
from invoke.util import log as invokes_log

from . import cache
from .complaints import short
from .errors import CloudError, UsageError

ISSUES = "https://github.com/solver-cloud/solver-cloud/issues"
UNREAD = 141
"""The exit code of a process that SIGPIPE ends, as a shell tells it."""


def take_over() -> None:
    """See to the whole process: for a command line of our own, never for a project that our tasks are a part of."""
    _mend_streams()
    sys.excepthook = _hook
    atexit.register(_last_flush)


@contextmanager
def explained() -> Iterator[None]:
    """Turn whatever leaves a command into an `Exit`, of which invoke shows one or two lines.

    Raises SystemExit in silence if whoever reads our output has seen enough of it, as `head` has:
    https://docs.python.org/3/library/signal.html#note-on-sigpipe
    """
    _mend_streams()
    try:
        yield
        sys.stdout.flush()
    except BaseException as error:
        known = understood(error)
        _flush_or_drop()
        if known is error or invokes_log.isEnabledFor(10):  # `inv -d`
            raise
        raise known from None


def understood(error: BaseException) -> BaseException:
    """An error as a user is to be told it; itself if it is one already."""
    if isinstance(error, ThreadException) and error.exceptions:  # of a thread that passes on what ssh prints
        error = error.exceptions[0].value
    if isinstance(error, Exit | ParseError | SystemExit):
        return error
    if isinstance(error, KeyboardInterrupt):
        return CloudError("interrupted", code=130)
    if isinstance(error, BrokenPipeError) and any(map(_unread, (sys.stdout, sys.stderr))):
        return SystemExit(UNREAD)
    if isinstance(error, OSError) and error.errno:
        return _of_this_machine(error)
    if isinstance(error, Failure):
        return CloudError(f"a command failed with exit code {error.result.exited}: {short(error.result.command)}")
    room = type(error).__module__.partition(".")[0]
    name = f"{type(error).__name__}: {short(error)}" if str(error) else type(error).__name__
    if _passed(error, "invoke.config", "invoke.env"):
        return UsageError(f"invoke cannot read its configuration: {name}", fix="look at invoke.yaml and ~/.invoke.yaml")
    if "botocore" in sys.modules:
        from .aws import translated

        if ours := translated("use AWS", error):
            return ours
    if room in THEIRS:
        return CloudError(f"{THEIRS[room]} failed: {name}", fix=_kept(error))
    return CloudError(f"this is a fault of solver-cloud: {name}", fix=f"{_kept(error)}; please report it: {ISSUES}")


THEIRS = {
    "boto3": "the connection to AWS",
    "cryptography": "the library for ssh keys",
    "docker": "the Docker engine",
    "fabric": "ssh",
    "invoke": "invoke",
    "paramiko": "ssh",
    "requests": "a request over HTTP",
    "urllib3": "a request over HTTP",
}
"""What fails where an exception of another's library comes this far, by the library's name."""


def _passed(error: BaseException, *modules: str) -> bool:
    """Whether an exception was raised in one of these modules, or below them."""
    return any(frame.f_globals.get("__name__") in modules for frame, _ in walk_tb(error.__traceback__))


def _of_this_machine(error: OSError) -> CloudError:
    """What the system does not let us do: a full disk, a file that we may not write, a directory that is gone."""
    why = error.strerror or str(error)
    fix = "make room" if error.errno in (errno.ENOSPC, errno.EDQUOT) else None
    if error.filename is not None:
        return CloudError(f"{os.fsdecode(error.filename)}: {why}", fix=fix)
    try:
        os.getcwd()
    except OSError:
        return CloudError("the current directory does not exist any more", fix="cd into one that does")
    return CloudError(f"the system does not let this command go on: {why}", fix=fix or _kept(error))


def _kept(error: BaseException) -> str:
    """Write an error's traceback where one who looks into it finds it; returns where that is."""
    text = "".join(format_exception(error))
    with suppress(OSError, RuntimeError):
        file = cache.directory() / "traceback.txt"
        cache.write(file, f"{sys.argv}\n{text}")
        return f"its traceback is in {file}"
    with suppress(OSError):
        sys.stderr.write(text)
    return "its traceback is above"


def _mend_streams() -> None:
    """See that there are three standard streams, and that each shows what its encoding has no letter for as `\\u2026`.

    Where one is closed, the next file that is opened would be it.
    """
    for number, (name, mode) in enumerate((("stdin", "r"), ("stdout", "w"), ("stderr", "w"))):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free
        if getattr(sys, name) is None:
            setattr(sys, name, open(number, mode, encoding="utf-8", closefd=False))  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def _unread(stream: TextIO) -> bool:
    """Whether the reader of a pipe is gone."""
    poll = select.poll()
    try:
        poll.register(stream.fileno(), 0)
    except (OSError, ValueError):
        return False
    return any(event & select.POLLERR for _, event in poll.poll(0))


def _flush_or_drop() -> BaseException | None:
    """Pass on what has been printed; what cannot be is dropped, for Python would try again at its end.

    Returns why it cannot be, as a user is to be told it.
    """
    why = None
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError as error:
            why = understood(error)
            with suppress(OSError, ValueError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
    return why


def _hook(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
    """What Python calls with an exception that nobody catches, in place of printing its traceback."""
    if invokes_log.isEnabledFor(10):
        sys.__excepthook__(kind, error, traceback)
    _leave(understood(error))


def _last_flush() -> None:
    """Pass on what invoke has printed, such as the list of its tasks, as a command's own output is."""
    why = _flush_or_drop()
    if why is not None:
        _leave(why)


def _leave(error: BaseException) -> NoReturn:
    """End as invoke does with an `Exit`, from where Python takes none any more."""
    if not isinstance(error, SystemExit):
        with suppress(OSError):
            print(error, file=sys.stderr, flush=True)
    _flush_or_drop()
    code = getattr(error, "code", 1)
    os._exit(code if isinstance(code, int) else 1)

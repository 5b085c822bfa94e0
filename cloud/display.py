"""What a user sees: data on stdout, progress on stderr, and neither colour nor boxes where nobody looks."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from .errors import UsageError
from .jobs import Job

if TYPE_CHECKING:
    from .watch import Details


def say(text: str) -> None:
    """One line of progress."""
    print(text, file=sys.stderr, flush=True)


def agreed(question: str, *, otherwise: str) -> bool:
    """Ask on the terminal; raises UsageError where there is none.

    otherwise: what to type instead, without a terminal.
    """
    if not sys.stdin.isatty():
        raise UsageError("nobody is here to say yes", fix=f"without a terminal: {otherwise}")
    print(f"{question} [y/N] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def table(headings: Sequence[str], rows: Sequence[Sequence[str]], *, spare: Sequence[str] = ()) -> None:
    """Rows as a table on a terminal, or tab-separated for a script, as `gh` does.

    spare: headings of the columns that a narrow terminal does without, the first to go first.
    """
    if not sys.stdout.isatty():
        for row in rows:
            print("\t".join(row))
        return
    from rich import box
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False)
    for gone in range(len(spare) + 1):
        shown = [index for index, heading in enumerate(headings) if heading not in spare[:gone]]
        drawn = Table(*(headings[index] for index in shown), box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
        drawn.columns[0].no_wrap = True
        for row in rows:
            drawn.add_row(*(row[index] for index in shown))
        wanted = console.measure(drawn, options=console.options.update(max_width=1000)).maximum
        if wanted <= console.width:
            break
    console.print(drawn)


@contextmanager
def byte_progress(what: str, total: int) -> Iterator[Callable[[int], None]]:
    """A progress bar on a terminal, nothing elsewhere. Yields the function that is told of each chunk's bytes."""
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(what, total=total)
        yield lambda size: progress.advance(task, size)


def duration(span: timedelta) -> str:
    """`3d 4h`, `4h 05m`, `5m 07s` or `7s`."""
    seconds = max(0, int(span.total_seconds()))
    days, hours, minutes = seconds // 86400, seconds // 3600 % 24, seconds // 60 % 60
    if days:
        return f"{days}d {hours}h"
    if hours:
        return f"{hours}h {minutes:02}m"
    return f"{minutes}m {seconds % 60:02}s" if minutes else f"{seconds}s"


ESCAPE = re.compile(r"\x1b(\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(\x07|\x1b\\)|[@-Z\\-_])")


def last_line(text: str) -> str:
    """The last line with something on it that a terminal would show; progress bars rewrite theirs after a \\r."""
    lines = [line.strip() for line in re.split(r"[\r\n]+", ESCAPE.sub("", text))]
    return next((line for line in reversed(lines) if line), "")


HEADINGS = ("JOB", "TYPE", "MARKET", "STATE", "PHASE", "UPTIME", "CONFIG")
SPARE = ("MARKET", "TYPE", "STATE", "CONFIG")
"""What a narrow terminal does not show of a job."""


def job_row(job: Job) -> tuple[str, ...]:
    """A job as one row under HEADINGS."""
    phase = job.phase if job.status in ("starting", "running") and job.phase else job.status
    return (job.id, job.type, job.market, job.state, phase, duration(job.uptime), job.config)


def job_facts(job: Job, details: Details) -> dict[str, str]:
    """A job in full, by heading; what is not known is left out."""
    facts = {
        "job": job.id,
        "status": job.status,
        "reason": job.reason,
        "phase": job.phase,
        "waiting": f"{_ago(details.waiting_since)}; only its disk costs meanwhile" if details.waiting_since else "",
        "kept": _kept(job),
        "warning": f"no sign of life for {_ago(details.silent_since)}" if details.silent_since else "",
        "trainer": details.latest,
        "exit code": "" if job.exit_code is None else str(job.exit_code),
        "instance": f"{job.state}, {job.type}, {job.market}" + (f", {job.address}" if job.address else ""),
        "uptime": duration(job.uptime),
        "launched": f"{job.launched_at:%Y-%m-%d %H:%M:%S} UTC",
        "resumes": job.resumes,
        "config": job.config,
        "image": job.image,
        "s3": job.s3_path,
        "output": job.output,
    }
    return {key: value for key, value in facts.items() if value}


def _kept(job: Job) -> str:
    """How long there is time for a look at the instance of a failed job."""
    if not job.kept_until:
        return ""
    return (
        f"for a look by ssh, another {duration(job.kept_until - datetime.now(UTC))}; to end it: inv terminate {job.id}"
    )


def _ago(moment: datetime) -> str:
    return duration(datetime.now(UTC) - moment)


def job_json(job: Job, details: Details | None = None) -> dict[str, Any]:
    """A job as JSON has it: every field, times in ISO 8601, uptime in seconds."""
    from dataclasses import asdict

    looked_up = {} if details is None else asdict(details)
    if details is not None:
        looked_up["latest_line"] = looked_up.pop("latest")
    return {**asdict(job), "uptime_seconds": int(job.uptime.total_seconds()), **looked_up}


def print_json(data: Any) -> None:
    """JSON on stdout, as a script reads it."""
    print(json.dumps(data, indent=2, default=lambda v: str(v) if isinstance(v, PurePath) else v.isoformat()))

"""Whatever instances, trainers and AWS say: no view of ours fails on it, and nothing in it reaches the terminal as a
command or as markup."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import fields, replace
from datetime import UTC, datetime
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cloud import display, job_view, sweep_view, terminal
from cloud.child import Child
from cloud.errors import CloudError
from cloud.jobs import Job
from cloud.sweep_record import Asked, Run, Sweep
from cloud.watch import Details
from tests.test_jobs import remembered

CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
OURS = re.compile(r"\x1b\[[0-9;]*m")
"""The only sequences that rich writes into a table: bold headings."""
COMMANDS = (
    "\x1b]52;c;ZXZpbA==\x07",
    "\x1b]8;;https://evil.example\x1b\\",
    "\x1b[2J",
    "\x9b2J",
    "\u202e",
    "\r",
    "\t",
    "\n",
)
MARKUP = ("[/data/x]", "x[b].yaml", "[link=https://evil.example]", ":smile:", "[red", "\\[")
JUNK = st.lists(
    st.one_of(st.text(st.characters(codec=None), max_size=5), st.sampled_from((*COMMANDS, *MARKUP))), max_size=6
).map("".join)
Known = TypeVar("Known", Job, Child, Details, Sweep)
MOMENT = datetime(2026, 11, 24, 8, tzinfo=UTC)


class Terminal(io.StringIO):
    """A terminal that remembers what it was sent."""

    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


def shown(show: Callable[[], None], out: io.StringIO) -> str:
    with redirect_stdout(out), redirect_stderr(out):
        show()
    return out.getvalue()


def junked(data: st.DataObject, known: Known) -> Known:
    """The same with junk for every text in it."""
    texts = [one.name for one in fields(known) if isinstance(getattr(known, one.name), str)]
    junk: dict[str, Any] = {name: data.draw(JUNK, label=name) for name in texts}
    return replace(known, **junk)


def a_child(data: st.DataObject) -> Child:
    asked = Asked(data.draw(JUNK), data.draw(JUNK), {data.draw(JUNK): data.draw(JUNK)})
    return junked(data, Child("", 0, asked, "running", 1, MOMENT, None, 3.0))


def check(show: Callable[[], None]) -> None:
    """Nothing that a terminal obeys comes out, on a terminal or elsewhere, but for bold headings."""
    for out in (Terminal(), io.StringIO()):
        assert not CONTROL.search(OURS.sub("", shown(show, out)))


@pytest.fixture(autouse=True)
def _wide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "400")
    monkeypatch.setenv("TERM", "xterm")


EXAMPLES = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
MANY = settings(EXAMPLES, max_examples=1000)


def look_at_a_job(data: st.DataObject) -> None:
    job = junked(data, remembered("running"))
    details = junked(data, Details())
    check(lambda: display.facts(job_view.job_facts(job, details)))
    check(lambda: display.table(job_view.HEADINGS, [job_view.job_row(job)], spare=job_view.SPARE))
    check(lambda: display.table(job_view.COST_HEADINGS, [job_view.cost_row(job)]))
    check(lambda: display.print_json([job_view.job_json(job, details)]))
    for row in (job_view.job_row(job), job_view.cost_row(job)):
        line = shown(lambda row=row: display.table(row, [row]), io.StringIO())  # type: ignore[misc]
        assert line.count("\t") == len(row) - 1
        assert line.count("\n") == 1


def look_at_a_sweep(data: st.DataObject) -> None:
    child = a_child(data)
    asked: dict[str, Any] = {"image": data.draw(JUNK), "output": data.draw(JUNK)}
    sweep = junked(data, Sweep("", MOMENT, "", "", asked, (), {}, (child.asked,), (Run("", (), "", MOMENT),)))
    check(lambda: display.facts(sweep_view.facts(sweep, child, "bucket")))
    check(lambda: display.table(sweep_view.HEADINGS, [sweep_view.row(child)], spare=sweep_view.SPARE))
    check(lambda: display.table(sweep_view.LISTED, [sweep_view.listed(sweep, data.draw(JUNK))]))
    check(lambda: display.say(sweep_view.total(sweep, [child])))
    check(lambda: display.print_json(sweep_view.sweep_json(sweep, [child])))


def say_it(text: str) -> None:
    check(lambda: display.say(text))
    check(lambda: display.say(str(CloudError(text, fix=text))))
    check(lambda: display.say(display.last_line(text)))
    check(lambda: display.table((text, text), [(text, text)], spare=[text]))
    check(lambda: display.print_json({text: text}))
    log = terminal.Text()
    told = log.shown(text.encode(errors="replace")) + log.end()
    assert not CONTROL.search(OURS.sub("", told).replace("\r", ""))  # a progress bar's
    assert json.loads(shown(lambda: display.print_json([text]), io.StringIO())) == [text]


@EXAMPLES
@given(st.data())
def test_a_job(data: st.DataObject) -> None:
    look_at_a_job(data)


@EXAMPLES
@given(st.data())
def test_a_sweep(data: st.DataObject) -> None:
    look_at_a_sweep(data)


@EXAMPLES
@given(JUNK)
def test_a_text(text: str) -> None:
    say_it(text)


@pytest.mark.long
@MANY
@given(st.data())
def test_many_jobs_sweeps_and_texts(data: st.DataObject) -> None:
    look_at_a_job(data)
    look_at_a_sweep(data)
    say_it(data.draw(JUNK))


@EXAMPLES
@given(st.sampled_from(MARKUP), JUNK)
def test_what_looks_like_markup_is_shown_as_it_is(markup: str, junk: str) -> None:
    out = shown(lambda: display.table(("A", markup), [(markup, "x" + markup), (junk, "")]), Terminal())
    assert out.count(markup) >= 3

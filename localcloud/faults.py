"""Faults: AWS on a bad day, for a share of the requests, so that one can see what one's tools make of it."""

from __future__ import annotations

import io
import re
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from math import nan
from typing import Any

from werkzeug.wsgi import get_input_stream

from . import misbehaviour
from .errors import LocalCloudError
from .misbehaviour import Fault
from .protocol import Application, Environ, StartResponse


def _any(_: Environ) -> bool:
    return True


def _s3(environ: Environ) -> bool:
    return misbehaviour.service(environ) == "s3"


def _s3_get(environ: Environ) -> bool:
    return environ["REQUEST_METHOD"] == "GET" and _s3(environ)


def _session(environ: Environ) -> bool:
    return "HTTP_X_AMZ_SECURITY_TOKEN" in environ


@dataclass(frozen=True)
class Kind:
    """One way to go wrong."""

    concerns: Callable[[Environ], bool]
    """Whether a request can be hit."""
    requests: str
    """What those that can be are called."""
    answer: Callable[[Fault, Application, Environ, StartResponse], Iterable[bytes]]
    about: str
    """What happens to them, with the fault's figures."""


KINDS = {
    "500": Kind(_s3, "S3's requests", misbehaviour.internal_error, "InternalError, and half of them are carried out"),
    "503": Kind(_s3, "S3's requests", misbehaviour.throttled, "SlowDown"),
    "timeout": Kind(_s3, "S3's requests", misbehaviour.late, "carried out at once, answered after {seconds:g} s"),
    "reset": Kind(_s3, "S3's requests", misbehaviour.reset, "connection reset, and half of them are carried out"),
    "truncated": Kind(_s3_get, "S3's GETs", misbehaviour.truncated, "the body ends early"),
    "slow": Kind(_s3, "S3's requests", misbehaviour.slow, "{bytes_per_second:g} bytes a second, up and down"),
    "throttled": Kind(_any, "all requests", misbehaviour.throttled, "the service's error for too many requests"),
    "expired": Kind(_session, "requests of sessions, such as an instance's", misbehaviour.expired, "session expired"),
}


@dataclass
class Active:
    """A fault that has begun, and how often it has hit."""

    kind: str
    percent: float
    of: str
    """Part of what a request is about, as in `_subject`, if it is to be hit; "" for every request."""
    fault: Fault
    hits: int = 0

    def __post_init__(self) -> None:
        self._lock = threading.Lock()

    def strikes(self, environ: Environ) -> bool:
        """Whether a request is hit; counts it."""
        if not KINDS[self.kind].concerns(environ) or (self.of and self.of not in _subject(environ)):
            return False
        with self._lock:
            hit = self.fault.draw() * 100 < self.percent
            self.hits += hit
        return hit

    def describe(self) -> str:
        """One line."""
        kind = KINDS[self.kind]
        of = f" with {self.of!r}" if self.of else ""
        return f"{self.kind}: {self.percent:g} % of {kind.requests}{of}: {kind.about.format(**vars(self.fault))}"


class Faults:
    """The faults that are active, at most one of each kind."""

    def __init__(self) -> None:
        self._active: dict[str, Active] = {}

    def active(self) -> list[Active]:
        return list(self._active.values())

    def change(self, asked: Mapping[str, str]) -> list[str]:
        """Begin a fault, anew if there is one of its kind, or end all (kind `none`); returns what is now, in lines.

        asked: what a user has typed. Raises LocalCloudError for what makes no sense.
        """
        kind = asked.get("kind", "")
        if kind == "none":
            ended, self._active = self.active(), {}
        elif kind in KINDS:
            begun = _begun(kind, asked)
            ended = [before for before in self.active() if before.kind == kind]
            self._active = {**self._active, kind: begun}
        else:
            raise LocalCloudError(f"there is no fault {kind!r}", fix=f"one of: {', '.join(KINDS)}; or `none`")
        for one in ended:
            one.fault.over.set()  # who waits because of it need not any more
        return [one.describe() for one in self.active()] or ["no faults"]


def _begun(kind: str, asked: Mapping[str, str]) -> Active:
    percent = _number(asked, "percent", 10, most=100)
    fault = Fault(
        seed=asked.get("seed", "1"),
        seconds=_number(asked, "seconds", 90),
        bytes_per_second=_number(asked, "bytes_per_second", 10_000),
    )
    return Active(kind, percent, asked.get("of", ""), fault)


def _number(asked: Mapping[str, str], name: str, default: float, most: float = 1e9) -> float:
    text = asked.get(name, str(default))
    try:
        value = float(text)
    except ValueError:
        value = nan
    if not 0 < value <= most:
        raise LocalCloudError(f"--{name.replace('_', '-')} is a number above 0, {most:g} at most, not {text!r}")
    return value


def middleware(application: Application, faults: Faults) -> Application:
    """Put the active faults in front of an application. A request can be hit by several."""

    def faulty(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        answer = application
        for one in faults.active():
            if one.strikes(environ):
                answer = partial(KINDS[one.kind].answer, one.fault, answer)
        return answer(environ, start_response)

    return faulty


def _subject(environ: Environ) -> str:
    """What a request is about: `PUT /bucket/key?query`, and the name of the operation where that is not in it.

    EC2, IAM and STS have it in the body, a form.
    """
    operation = environ.get("HTTP_X_AMZ_TARGET", "")
    if environ.get("CONTENT_TYPE", "").startswith("application/x-www-form-urlencoded"):
        body = get_input_stream(environ).read()
        environ["wsgi.input"] = io.BytesIO(body)
        found = re.search(rb"(?:^|&)Action=(\w+)", body)
        operation = found[1].decode() if found else ""
    return f"{environ['REQUEST_METHOD']} {environ['PATH_INFO']}?{environ.get('QUERY_STRING', '')} {operation}"


def told(faults: Faults) -> list[dict[str, Any]]:
    """The active faults for `status`."""
    return [{"kind": one.kind, "hits": one.hits, "description": one.describe()} for one in faults.active()]

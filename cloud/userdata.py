"""The user data of an instance: the values of one job as quoted assignments, in front of the scripts of userdata/."""

from __future__ import annotations

import ast
import gzip
import hashlib
import json
import shlex
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from .config import PACKAGE
from .errors import CloudError

LIMIT = 16384
"""Bytes that EC2 takes, before base64: https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/user-data.html"""

SHARED = ("steps.sh", "aws.sh", "money.sh", "sync.sh", "training.sh")
"""The files of userdata/ that an instance's job and a sweep's child have in common."""
SCRIPTS = (*SHARED, "instance.sh", "machine.sh", "container.sh", "job.sh")
"""The files of userdata/ in the order in which they make one script; the last calls `main`."""
PROGRAMS = ("snapshot.py", "restore.py", "keep_log.py")
"""The Python programs of userdata/ that find no room in EC2's 16 KB: an instance fetches them by their sha256."""

# User data scripts run at the first boot only, unless cloud-init is told otherwise; this is what AWS documents:
# https://repost.aws/knowledge-center/execute-user-data-ec2
MESSAGE = """\
Content-Type: multipart/mixed; boundary="//"
MIME-Version: 1.0

--//
Content-Type: text/cloud-config; charset="us-ascii"
MIME-Version: 1.0
Content-Transfer-Encoding: 7bit
Content-Disposition: attachment; filename="cloud-config.txt"

#cloud-config
cloud_final_modules:
- [scripts-user, always]

--//
Content-Type: text/x-shellscript; charset="us-ascii"
MIME-Version: 1.0
Content-Transfer-Encoding: 7bit
Content-Disposition: attachment; filename="userdata.txt"

{script}
--//--
"""


@dataclass(frozen=True)
class UserData:
    """What the instance has to know of its job."""

    token: str
    """Client token of the launch, 32 hex digits."""
    bucket: str
    role: str
    """ARN of the role that the instance takes for this job, to reach S3."""
    region: str
    image: str
    """Repository URI with tag."""
    registry: str
    """What to log in to: the host part of `image`."""
    config_key: str
    """S3 key of the trainer's config."""
    config_name: str
    config_sha256: str
    trainer: list[str]
    """The trainer's arguments, with the paths of the container."""
    asked: dict[str, Any]
    """What was asked of the job, for its record."""
    launched_at: int
    """Seconds since 1970."""
    deadline: int
    """Seconds since 1970."""
    sync_seconds: int
    login_user: str
    keep_seconds: int = 0
    """How long the instance of a failed job stays for a look."""
    gpu: bool = False
    """Whether the trainer gets the machine's GPUs."""
    origin: str = ""
    """The job whose output in S3 to go on from; "" to start afresh."""
    budget: int = 0
    """Micro-dollars that the job may still cost; 0 for no cap."""
    price: int = 0
    """Micro-dollars an hour of the running machine, as known at launch; 0 if unknown."""
    disk_price: int = 0
    """Micro-dollars an hour of its disk, stopped or not; 0 if unknown."""


def render(job: UserData) -> bytes:
    """The user data of an instance: a multipart message for cloud-init, gzipped when it is too large otherwise.

    The same job always gives the same bytes. Raises CloudError when it is too large all the same.
    """
    return packed(script(job))


def packed(text: str) -> bytes:
    """A bash script as user data. Raises CloudError when it is too large even when it is gzipped."""
    message = MESSAGE.format(script=text).encode("ascii")
    if len(message) <= LIMIT:
        return message
    zipped = gzip.compress(message, mtime=0)
    if len(zipped) > LIMIT:
        raise CloudError(
            f"the instance's user data has {len(zipped):,} bytes, and EC2 takes {LIMIT:,}",
            fix="shorten the setting solver.trainer or the config's name",
        )
    return zipped


def script(job: UserData) -> str:
    """The whole bash script."""
    return joined(assignments(job), SCRIPTS)


def joined(lines: Iterable[str], names: Iterable[str]) -> str:
    """Assignments in front of files of userdata/, as one script."""
    return "\n".join(["#!/bin/bash", *lines, "", *map(_body, names)])


def assignments(job: UserData) -> Iterator[str]:
    """One line of bash for each value."""
    values: dict[str, str | int] = {
        "JOB_TOKEN": job.token,
        "JOB_BUCKET": job.bucket,
        "JOB_ROLE": job.role,
        "JOB_REGION": job.region,
        "JOB_IMAGE": job.image,
        "JOB_REGISTRY": job.registry,
        "JOB_CONFIG_KEY": job.config_key,
        "JOB_CONFIG_NAME": job.config_name,
        "JOB_CONFIG_SHA256": job.config_sha256,
        "JOB_ASKED": json.dumps(job.asked),
        "JOB_LAUNCHED_AT": job.launched_at,
        "JOB_DEADLINE": job.deadline,
        "JOB_SYNC_SECONDS": job.sync_seconds,
        "JOB_LOGIN_USER": job.login_user,
        "JOB_KEEP_SECONDS": job.keep_seconds,
        "JOB_ORIGIN": job.origin,
        "JOB_GPU": "yes" if job.gpu else "",
        "JOB_BUDGET": job.budget,
        "JOB_PRICE": job.price,
        "JOB_DISK_PRICE": job.disk_price,
    }
    for name, value in values.items():
        yield assignment(name, value)
    yield array("JOB_TRAINER", job.trainer)
    yield assignment("JOB_PROGRAMS", fetched_key())
    yield program("record.py")


def programs() -> Iterator[str]:
    """The Python programs that the scripts run, as assignments: NAME.py is NAME_PY."""
    for name in ("record.py", *PROGRAMS):
        yield program(name)


def program(name: str) -> str:
    """A Python program of userdata/ as an assignment."""
    return f"{name.upper().replace('.', '_')}={shlex.quote(_terse(_text(name)))}"


def fetched() -> bytes:
    """What an instance fetches: the programs, as a file of assignments that bash reads."""
    return "".join(f"{program(name)}\n" for name in PROGRAMS).encode("ascii")


def fetched_key() -> str:
    """Where in S3 that is: beside the configs, which an instance may read and not write."""
    return f"configs/{hashlib.sha256(fetched()).hexdigest()}/programs.sh"


def assignment(name: str, value: str | int) -> str:
    """One line of bash."""
    return f"{name}={_quoted(str(value))}"


def array(name: str, words: Iterable[str]) -> str:
    """One line of bash that makes an array."""
    return f"{name}=({' '.join(map(_quoted, words))})"


def _quoted(text: str) -> str:
    """`text` as one word of bash, in printable ASCII: cloud-init garbles other characters of a 7-bit message."""
    if text.isascii() and text.isprintable():
        return shlex.quote(text)
    return "$'" + "".join(_escaped(byte) for byte in text.encode("utf-8", "surrogateescape")) + "'"


def _escaped(byte: int) -> str:
    return chr(byte) if 0x20 <= byte < 0x7F and chr(byte) not in "'\\" else f"\\{byte:03o}"


def _body(name: str) -> str:
    """A script without its comments, which nobody reads there, and which take a quarter of the room that EC2 gives."""
    lines = _text(name).splitlines(keepends=True)
    return "".join(line for line in lines if not line.lstrip().startswith("#"))


def _terse(program: str) -> str:
    """A Python program without its comments and docstrings, for the same reason."""
    lines = program.splitlines()
    for node in ast.walk(ast.parse(program)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and node.end_lineno:
            first, left = node.lineno - 1, " " * node.col_offset + "pass" if node.col_offset else ""
            lines[first : node.end_lineno] = [left, *[""] * (node.end_lineno - node.lineno)]
    code = (line for line in lines if line.strip() and not line.lstrip().startswith("#"))
    return "\n".join(code) + "\n"


def _text(name: str) -> str:
    return (PACKAGE / "userdata" / name).read_text(encoding="ascii")

"""Names from a record, before they are written on this machine."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

from cloud import bundle
from cloud.aws import Aws
from cloud.bundle import Bundle
from cloud.child import Child, bundles
from cloud.errors import CloudError
from cloud.records import File
from cloud.sweep_record import Asked, Sweep

from .conftest import record


def holding(*paths: str, links: dict[str, str] | None = None, directories: tuple[str, ...] = ()) -> Bundle:
    return Bundle("jobs/i-1/bundle/", tuple(File(path, 1, "00") for path in paths), links or {}, directories)


OUTSIDE = [
    "../evil",
    "/etc/evil",
    "a/../../evil",
    "a/..",
    "",
    ".",
    "a//b",
    "a/",
    "a\0b",
    "caf\udce9",
    ".solver-cloud/lock",
    ".Solver-Cloud/lock",
    ".solver-cloud",
    "./.solver-cloud/lock",
]


@pytest.mark.parametrize("path", OUTSIDE)
def test_a_name_that_leads_out_of_the_directory_is_refused_whatever_has_it(path: str) -> None:
    for named in (holding(path), holding(links={path: "x"}), holding(directories=(path,))):
        with pytest.raises(CloudError, match="outside the bundle"):
            bundle.check(named)


@pytest.mark.parametrize(
    "named",
    [
        holding("a", "a"),
        holding("a", "a/b"),
        holding("a/b/c", links={"a/b": "x"}),
        holding("a", links={"a": "x"}),
        holding("a", directories=("a",)),
        holding("a", directories=("a/b/c",)),
        holding(links={"a": "x", "a/b": "y"}),
    ],
)
def test_a_name_has_one_meaning(named: Bundle) -> None:
    with pytest.raises(CloudError, match="as two things"):
        bundle.check(named)


def test_other_names_are_as_the_trainer_wishes() -> None:
    bundle.check(
        holding("...", "a b", "a\nb", "-rf", "♠", "~", "deep/er/x", links={"deep/l": "er"}, directories=("deep", "e/f"))
    )


def test_a_name_that_this_machine_cannot_write_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.fsencode", lambda name: name.encode("ascii"))
    with pytest.raises(CloudError, match="language settings") as raised:
        bundle.check(holding("♠"))
    assert raised.value.fix


@pytest.mark.parametrize(
    ("path", "target", "inside"),
    [
        ("latest", "ckpt-100", True),
        ("latest", "a/b/c", True),
        ("latest", ".", True),
        ("a/b/latest", "../../c", True),
        ("a/latest", "..", True),
        ("latest", "..", False),
        ("a/latest", "../../b", False),
        ("latest", "/etc/passwd", False),
        ("latest", "", False),
        ("latest", "a\0b", False),
        ("latest", "\ud800", False),
        # p/q/r/here leads to the top: from there, two up is not p/q but outside.
        ("latest", "p/q/r/here/../..", False),
        ("a/latest", "./../..", False),
    ],
)
def test_where_a_link_may_lead(path: str, target: str, inside: bool) -> None:
    assert bundle.stays_inside(path, target) == inside


def test_the_bundles_of_children_are_one_with_all_that_is_in_them(store: Aws) -> None:
    more = {"links": {"latest": "ckpt"}, "directories": ["empty"], "warnings": ["torn"]}
    children = []
    for index in (0, 1):
        file = {"path": "ckpt/model", "size": 1, "sha256": "0" * 64}
        body = json.dumps(record(f"sweep-0/{index}", bundle=[file], **more))
        store.s3.put_object(Bucket=store.bucket, Key=f"sweeps/sweep-0/{index}/job.json", Body=body)
        asked = Asked(f"seed={index}", "leduc.yaml", {})
        children.append(Child("sweep-0", index, asked, "complete", 1, None, None, 0))
    sweep = Sweep("sweep-0", datetime.now(UTC), "", "", {}, (), {}, (), ())
    found, problems = bundles(store, sweep, children)
    assert not problems
    assert found == Bundle(
        "sweeps/sweep-0/",
        (File("seed=0/ckpt/model", 1, "0" * 64), File("seed=1/ckpt/model", 1, "0" * 64)),
        {"seed=0/latest": "ckpt", "seed=1/latest": "ckpt"},
        ("seed=0/empty", "seed=1/empty"),
        ("sweep-0/0: torn", "sweep-0/1: torn"),
        {"seed=0/ckpt/model": "0/bundle/ckpt/model", "seed=1/ckpt/model": "1/bundle/ckpt/model"},
    )
    bundle.check(found)

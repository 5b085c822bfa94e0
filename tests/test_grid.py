"""The children of a sweep: every combination once, in order, and a typo told before anything is asked of AWS."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
import yaml

from cloud.errors import UsageError
from cloud.grid import Axis, axis, children, expand

FAST = b"""\
# Leduc, quickly.
game: leduc
iterations: 450000
stack: {depth: 20, ante: 0.5}
"""


def test_without_a_grid_every_config_is_sent_to_the_byte() -> None:
    found = children({"fast.yaml": FAST, "slow.yaml": b"game: leduc\n"}, [])
    assert [(one.index, one.config_name, one.config, one.name) for one in found] == [
        (0, "fast.yaml", FAST, "fast"),
        (1, "slow.yaml", b"game: leduc\n", "slow"),
    ]


def test_the_grid_is_the_product_of_all_its_values() -> None:
    axes = [axis("iterations=1000,10000"), axis("stack.depth=1..3"), axis("stack.ante=0.5,1,2.25")]
    found = children({"a.yaml": FAST, "b.yaml": FAST}, axes)
    expected = list(itertools.product(("a.yaml", "b.yaml"), (1000, 10000), (1, 2, 3), (0.5, 1, 2.25)))
    assert [(one.config_name, *one.parameters.values()) for one in found] == expected
    assert [one.index for one in found] == list(range(36))
    for one in found:
        stack = {"depth": one.parameters["stack.depth"], "ante": one.parameters["stack.ante"]}
        document = {"game": "leduc", "iterations": one.parameters["iterations"], "stack": stack}
        assert yaml.safe_load(one.config) == document
        assert list(yaml.safe_load(one.config)) == list(document)
    assert len({one.name for one in found}) == len(found)
    assert found[0].name == "a,iterations=1000,stack.depth=1,stack.ante=0.5"


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("seed=1..5", (1, 2, 3, 4, 5)),
        ("seed=-1..1,7", (-1, 0, 1, 7)),
        ("algorithm=cfr+,mccfr", ("cfr+", "mccfr")),
        ("rate=1e-3,0.5,1.5E+10", (0.001, 0.5, 1.5e10)),  # to YAML 1.1, 1e-3 is a word
        ("exact=true,false", (True, False)),
        ("target=null,0.1", (None, 0.1)),
        ("seed=3", (3,)),
        ("answer=no,yes,on,NO", ("no", "yes", "on", "NO")),  # to YAML 1.1, booleans
        ("board=1:30,2026-11-01", ("1:30", "2026-11-01")),  # to YAML 1.1, 90 and a date
        ("mask=0x10,-7,+3", (16, -7, 3)),
        ("""name="a,b",'c,''d', x y ,''""", ("a,b", "c,'d", "x y", "")),
        ("""number="012",'1',1""", ("012", "1", 1)),
        (r'line="a\tb"', ("a\tb",)),
        ("path=../data,it's,a=b", ("../data", "it's", "a=b")),
        ("seed=18446744073709551615", (2**64 - 1,)),
    ],
)
def test_values_are_read_as_they_are_meant(text: str, values: tuple[object, ...]) -> None:
    assert axis(text) == Axis(text.split("=")[0], values)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("seed", "names no key"),
        ("=1", "names no key"),
        ("stack.=1", "names no key"),
        ("seed=", "'nothing' is no value"),
        ("seed=1,,2", "'nothing' is no value"),
        ("seed=[1", "is no value"),
        ("seed={a: 1}", "is no value"),
        ("seed=5..1", "a range goes up"),
        ("seed=0.1..0.3", "a range is of two whole numbers"),
        ("seed=1..3..5", "a range is of two whole numbers"),
        ("seed=1..", "a range is of two whole numbers"),
        ("seed=..5", "a range is of two whole numbers"),
        ("seed=1..9999999999999999999999", "a range is of two whole numbers"),
        ("seed=012", "do not agree what 012 is"),
        ("seed=1_000", "do not agree what 1_000 is"),
        ("seed=0o17", "do not agree what 0o17 is"),
        ("rate=nan", "nan is no number that can be stored"),
        ("rate=-.inf", "-.inf is no number that can be stored"),
        ("rate=1e999", "1e999 is no number that can be stored"),
        ("seed=" + "9" * 5000, "is no number that can be stored"),
        ("a='x", "is no value"),
        ("a=&x", "is no value"),
        (r'a="\q"', "cannot be read: found unknown escape character"),
        ("a=caf\udce9", "is not UTF-8"),
        (r'a="\ud800"', "is not UTF-8"),
        ("seed=1..20000", "at most 10,000"),
        ("seed=1,2,1", "has a value twice"),
        ("seed=1..3,2", "has a value twice"),
    ],
)
def test_what_cannot_be_meant_is_refused(text: str, problem: str) -> None:
    with pytest.raises(UsageError, match=problem) as refusal:
        axis(text)
    assert refusal.value.code == 2


def test_one_and_true_are_two_values() -> None:
    assert axis("x=1,true").values == (1, True)


@pytest.mark.parametrize(
    ("typed", "problem", "fix"),
    [
        ("iteration=1,2", "fast.yaml has no key iteration", "did you mean iterations?"),
        ("stack.dept=1,2", "fast.yaml has no key stack.dept", "did you mean depth?"),
        ("stack.depth.bb=1", "fast.yaml has no key stack.depth.bb", None),
        ("wholly_other=1", "fast.yaml has no key wholly_other", None),
    ],
)
def test_a_typo_in_a_key_is_refused_with_what_is_near(typed: str, problem: str, fix: str | None) -> None:
    with pytest.raises(UsageError) as refusal:
        children({"fast.yaml": FAST}, [axis(typed)])
    assert (refusal.value.problem, refusal.value.fix) == (problem, fix)


def test_a_key_given_twice_would_be_set_twice() -> None:
    with pytest.raises(UsageError, match="--grid seed is given twice"):
        children({"fast.yaml": b"seed: 1\n"}, [axis("seed=1"), axis("seed=2")])


def test_no_child_and_too_many_are_refused() -> None:
    with pytest.raises(UsageError, match="no configuration fits"):
        children({}, [axis("seed=1..5")])
    seeds = [axis("seed=1..100"), axis("rounds=1..101")]
    with pytest.raises(UsageError, match="10,100 trainings are more than one array job"):
        children({"fast.yaml": b"seed: 1\nrounds: 1\n"}, seeds)


def test_an_array_job_can_have_ten_thousand_children_and_no_more() -> None:
    """https://docs.aws.amazon.com/batch/latest/userguide/array_jobs.html: 2 to 10,000."""
    configs = {f"{number}.yaml": b"" for number in range(10_000)}
    assert len(children(configs, [])) == 10_000
    with pytest.raises(UsageError, match="10,001 trainings are more than one array job"):
        children({**configs, "one more.yaml": b""}, [])
    assert len(axis("seed=1..10000").values) == 10_000
    with pytest.raises(UsageError, match="at most 10,000"):
        axis("seed=0..10000")


def test_two_of_one_name_are_refused() -> None:
    with pytest.raises(UsageError, match="trainings 0 and 1 would both be called fast,path=x_y"):
        children({"fast.yaml": b"path: x\n"}, [axis("path=x/y,x_y")])
    with pytest.raises(UsageError, match="trainings 0 and 1 would both be called fast"):
        children({"fast.yaml": b"", "fast.yml": b""}, [])


def test_a_config_that_is_no_yaml_is_named() -> None:
    with pytest.raises(UsageError, match=r"broken\.yaml is not YAML, line 2: "):
        children({"broken.yaml": b"a: [1\n"}, [axis("a=1")])


def test_names_can_be_directories() -> None:
    (found,) = children({"fast.yaml": b"path: x\n"}, [axis("path=../a b")])
    assert found.name == "fast,path=.._a_b"


def test_names_that_are_too_long_for_a_file_are_refused() -> None:
    with pytest.raises(UsageError, match=r"training 0 would be called fast,path=x+…, longer than 255 bytes"):
        children({"fast.yaml": b"path: x\n"}, [axis("path=" + "x" * 300)])


def test_a_file_that_looks_like_a_pattern_is_itself(tmp_path: Path) -> None:
    """`seed[1].yaml` as a pattern means seed1.yaml."""
    for name in ("seed[1].yaml", "seed1.yaml", "a.yaml", "b.yaml"):
        (tmp_path / name).touch()
    assert expand([f"{tmp_path}/seed[1].yaml"]) == [tmp_path / "seed[1].yaml"]
    assert expand([f"{tmp_path}/[ab].yaml"]) == [tmp_path / "a.yaml", tmp_path / "b.yaml"]
    with pytest.raises(UsageError, match="no file fits"):
        expand([f"{tmp_path}/[cd].yaml"])


def test_exactly_as_many_as_an_array_has_are_accepted() -> None:
    """10,000: https://docs.aws.amazon.com/batch/latest/userguide/array_jobs.html"""
    configs = {f"{number}.yaml": b"" for number in range(10_001)}
    with pytest.raises(UsageError, match="10,001 trainings are more than one array job"):
        children(configs, [])
    del configs["0.yaml"]
    assert len(children(configs, [])) == 10_000
    assert len(axis("seed=1..10000").values) == 10_000
    with pytest.raises(UsageError, match="at most 10,000"):
        axis("seed=1..10001")

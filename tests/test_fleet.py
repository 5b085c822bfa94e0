"""docs/scale.md: that commands and instances make the calls it names, and that it has what the simulation prints."""

from __future__ import annotations

import hashlib
import re
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import boto3
import invoke
import pytest

import tasks
from bench import demands, fleet, simulation
from cloud import config, transfer
from cloud.defaults import DEFAULTS
from cloud.errors import CloudError

from .conftest import remember
from .market import set_up, shop
from .shop import C7I, HOME, Shop
from .userdata.machine import Machine, training
from .userdata.test_child import Child
from .userdata.test_endings import UNTIL_STOPPED, interrupt

__all__ = ["shop"]  # a fixture

DOCUMENT = Path(__file__).parent.parent / "docs" / "scale.md"
INSTANCES = "ec2 DescribeInstances"


class Account:
    """Someone at a shell, whose calls of AWS are counted, those of a whole `download` too."""

    def __init__(self, shop: Shop) -> None:
        self.shop = shop
        self.made: list[str] = []
        """A list, to which threads may append at the same moment."""
        self.output = str(shop.directory / "model")
        told = {"name": shop.name, "region": HOME, "source": str(config.PACKAGE / "examples" / "trainer")}
        self.context = invoke.Context(invoke.Config(defaults={"solver": DEFAULTS | told}))

    def note(self, model: Any, params: Any, **_: object) -> None:
        action = f"{model.service_model.service_name} {model.name}"
        paged = action != INSTANCES or any(key.startswith(("Filter.", "MaxResults")) for key in params["body"])
        self.made.append(action if paged else f"{action} by id")

    def launch(self) -> None:
        path = str(self.shop.config(f"{uuid.uuid4()}.yaml"))
        tasks.launch(self.context, instance=C7I, config=path, output=self.output, yes=True)

    def complete(self, job: str) -> None:
        """Let a job be complete, with a model of one file."""
        aws = self.shop.aws()
        one = {"path": "model", "size": 1, "sha256": hashlib.sha256(b"x").hexdigest()}
        remember(aws, job, bundle=[one])
        for key, body in {
            f"jobs/{job}/bundle/model": b"x",
            f"jobs/{job}/logs/trainer.log": b"iteration 1\n",
        }.items():
            aws.s3.put_object(Bucket=aws.bucket, Key=key, Body=body)

    def commands(self) -> dict[str, dict[str, int]]:
        """The calls of each command, as docs/scale.md names them, with two running jobs."""
        self.launch()
        first = self.shop.instances()[0]["InstanceId"]
        run: dict[str, Callable[[], None]] = {
            "launch": self.launch,
            "status": lambda: tasks.status(self.context),
            "status JOB": lambda: tasks.status(self.context, job=first),
            "wait, each 5 s": lambda: self.wait(first),
            "costs": lambda: tasks.costs(self.context),
            "gc": lambda: tasks.gc(self.context, yes=True),
            "offers": lambda: tasks.offers(self.context, instance=C7I),
            "terminate": lambda: tasks.terminate(self.context, job=first),
            "logs": lambda: tasks.logs(self.context, job=first),
            "download": lambda: tasks.download(self.context, job=first, output=self.output),
        }
        found = {}
        for name, command in run.items():
            if name == "logs":
                self.complete(first)
            self.made.clear()
            command()
            found[name] = dict(Counter(self.made))
        return found

    def wait(self, job: str) -> None:
        """The second look of `inv wait` at a job that trains."""
        tags = [{"Key": "solver:status", "Value": "running"}, {"Key": "solver:phase", "Value": "training"}]
        self.shop.client("ec2").create_tags(Resources=[job], Tags=tags)
        looks = 0

        def sleep(seconds: float) -> None:
            nonlocal looks
            looks += 1
            if looks == 2:
                raise KeyboardInterrupt
            self.made.clear()

        with pytest.MonkeyPatch.context() as patch, suppress(CloudError):
            patch.setattr(time, "sleep", sleep)
            tasks.wait(self.context, job=job)


@pytest.fixture
def account(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> Account:
    shop.name = set_up.__wrapped__(shop.cloud)  # where nobody has launched anything
    account = Account(shop)
    get = transfer.Source._get

    def counted(*arguments: Any) -> Any:
        account.made.append("s3 GetObject")
        return get(*arguments)

    monkeypatch.setattr(transfer.Source, "_get", counted)

    class Session(boto3.Session):  # the shop's own, which shares what is known of AWS's services
        def __init__(self, **options: Any) -> None:
            super().__init__(**options)
            self.events.register("before-call", account.note)

    monkeypatch.setattr(boto3, "Session", Session)
    return account


def test_commands_make_the_calls_that_the_document_names(account: Account) -> None:
    assert account.commands() == {name: make(2) for name, make in demands.COMMANDS.items()}


def commands(calls: list[str]) -> Counter[str]:
    """The commands among a machine's calls that ask something of AWS, as INSTANCE names them."""
    found = []
    for call in calls:
        words = call.split()
        if words[:2] in (["aws", "ec2"], ["aws", "ecr"], ["aws", "sts"]):
            found.append(" ".join(words[1:3]) + (" by tag" if "--filters" in words else ""))
        elif words[:2] == ["docker", "pull"]:
            found.append("docker pull")
        elif words[:2] == ["aws", "s3"]:
            every = "all " if "--recursive" in words else ""
            found.append(f"s3 {words[2]} {every}{'up' if words[-1].startswith('s3://') else 'down'}")
    return Counter(found)


@contextmanager
def calls_of(machine: Machine) -> Iterator[Counter[str]]:
    """What a machine asks of AWS while the block lasts; filled at its end."""
    before, found = len(machine.calls), Counter[str]()
    yield found
    found.update(commands(machine.calls[before:]))


def booted(machine: Machine) -> bool:
    """Whether a boot has come to its last call: the record that says that it trains, after the tag that says so."""
    after = "\n".join(machine.calls).rpartition("python3 record running training")
    return "/job.json" in after[2] and "Value=running Key=solver:phase,Value=training" in "\n".join(machine.calls)


def test_an_instance_makes_the_calls_that_the_document_names(tmp_path: Path) -> None:
    machine = Machine(tmp_path, sync_seconds=3600)
    machine.write("trainer", UNTIL_STOPPED)
    with calls_of(machine) as reclaim, training(machine):
        machine.until(lambda: booted(machine))
        first = commands(machine.calls)
        interrupt(machine)
    reclaim.subtract(first)
    assert first == demands.INSTANCE["first boot"]
    assert +reclaim == demands.INSTANCE["reclaim"]
    (tmp_path / "metadata/spot/instance-action").unlink()
    (tmp_path / "calls").unlink()
    with calls_of(machine) as ended, training(machine):
        machine.until(lambda: booted(machine))
        restart = commands(machine.calls)
        machine.write("go")
    ended.subtract(restart)
    assert restart == demands.INSTANCE["restart"]
    assert +ended == demands.INSTANCE["end"]


def test_a_sync_is_what_the_document_says(tmp_path: Path) -> None:
    machine = Machine(tmp_path, sync_seconds=0)
    machine.write("trainer", UNTIL_STOPPED)
    with training(machine):
        machine.until(lambda: len(machine.called("python3 snapshot")) > 3)
        machine.write("go")
    calls = [call for call in machine.calls if call.startswith(("aws", "python3 snapshot"))]
    at = [number for number, call in enumerate(calls) if call.startswith("python3 snapshot")]
    assert commands(calls[at[1] : at[2]]) == demands.INSTANCE["sync"]


def test_what_is_asked_each_hour_is_what_the_document_says(tmp_path: Path) -> None:
    machine = Machine(tmp_path, sync_seconds=3600)
    machine.write("impatient")  # an hour takes a tenth of a second
    machine.write("trainer", UNTIL_STOPPED)
    with training(machine):
        machine.until(lambda: booted(machine))
        with calls_of(machine) as asked:
            before = len(machine.called("aws ec2 describe-spot-price-history"))
            machine.until(lambda: len(machine.called("aws ec2 describe-spot-price-history")) > before + 1)
        machine.write("go")
    assert set(asked) == set(demands.INSTANCE["hour"])


def test_a_child_of_a_sweep_makes_the_calls_that_the_document_counts(tmp_path: Path) -> None:
    child = Child(tmp_path, sync_seconds=3600)
    child.boot()
    assert commands(child.calls) == demands.CHILD["attempt"]


@pytest.mark.parametrize("moment", simulation.EVENTS)
def test_what_is_simulated_is_what_an_instance_does(moment: str) -> None:
    crowd = simulation.at_once(simulation.EVENTS[moment], 1, 0)
    assert crowd.account.ran == demands.INSTANCE[moment]
    assert not crowd.account.refused.total()


def test_a_bucket_refuses_what_it_has_no_token_for_and_fills_up_to_its_size() -> None:
    account = simulation.Account()
    action, (size, refill) = "ec2 CreateTags", demands.LIMITS["ec2 CreateTags"]
    assert [account.ask(action) for _ in range(101)].count(True) == size
    account.now = 3
    assert [account.ask(action) for _ in range(50)].count(True) == 3 * refill
    account.now = 1000
    assert [account.ask(action) for _ in range(200)].count(True) == size


def test_no_more_is_granted_than_the_bucket_gives() -> None:
    crowd = simulation.launches(300, 100)
    granted = crowd.account.asked["ec2 RunInstances"] - crowd.account.refused["ec2 RunInstances"]
    size, refill = demands.LIMITS["ec2 RunInstances"]
    assert granted == len(crowd.seconds) - crowd.wrong.total()
    assert granted <= size + refill * crowd.account.now


def test_the_document_has_what_is_printed() -> None:
    text = DOCUMENT.read_text()
    for make in fleet.TABLES:
        assert make() in text, f"docs/scale.md lacks the table {make.__name__} of `python -m bench.fleet`"


def test_the_document_names_only_what_there_is() -> None:
    """Numbers of the user's own settings, and tests."""
    text = DOCUMENT.read_text()
    assert set(re.findall(r"`(sync_[a-z]+|disk_[a-z]+)`", text)) <= set(DEFAULTS)
    assert f"`{fleet.__name__.replace('.', '/')}.py`" in text

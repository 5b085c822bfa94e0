"""Many instances and launches at once, in simulated seconds.

Token buckets as https://docs.aws.amazon.com/ec2/latest/devguide/ec2-api-throttling.html describes them, the AWS CLI's
retries, and the user data's own (`retried`, `outlasting`). The same seed gives the same figures.
"""

from __future__ import annotations

import heapq
import random
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import count

from .demands import CLI, CLI_SECONDS, LAUNCH_SECONDS, LIMITS

Process = Generator[float, None, str]
"""What is simulated: yields seconds to wait, returns what went wrong for good; "" for nothing."""


@dataclass
class Account:
    """AWS as one account sees it in one region, and a clock."""

    limits: Mapping[str, tuple[float, float]] = field(default_factory=lambda: LIMITS)
    seed: int = 1
    now: float = 0.0
    asked: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    ran: Counter[str] = field(default_factory=Counter)
    """Commands, once each, however often they were tried."""
    lost: Counter[str] = field(default_factory=Counter)
    """Those that were refused for good."""
    _tokens: dict[str, tuple[float, float]] = field(default_factory=dict)
    _queue: list[tuple[float, int, Process]] = field(default_factory=list)
    _order: Iterator[int] = field(default_factory=count)

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)

    def ask(self, action: str) -> bool:
        """One request, now; returns whether AWS answers it, or says that there are too many."""
        capacity, refill = self.limits[action]
        left, since = self._tokens.get(action, (capacity, 0.0))
        left = min(capacity, left + (self.now - since) * refill)
        granted = left >= 1
        self._tokens[action] = left - granted, self.now
        self.asked[action] += 1
        self.refused[action] += not granted
        return granted

    def start(self, process: Process, after: float = 0.0) -> None:
        heapq.heappush(self._queue, (self.now + after, next(self._order), process))

    def run(self) -> None:
        """Until nothing more happens."""
        while self._queue:
            self.now, _, process = heapq.heappop(self._queue)
            for seconds in process:
                self.start(process, seconds)
                break


def request(account: Account, action: str, attempts: int = 5) -> Process:
    """A request with botocore's retries of throttling, standard mode: up to 1, 2, 4, … 20 s between them, at random.

    https://docs.aws.amazon.com/cli/latest/userguide/cli-configure-retries.html; the user data sets five attempts. The
    eight attempts of a launch's RunInstances (cloud/launch.py) have the same pauses.
    """
    for attempt in range(attempts):
        if account.ask(action):
            return ""
        if attempt + 1 < attempts:
            yield account.random.random() * min(2**attempt, 20)
    return f"{action.partition(' ')[2]} refused"


def call(account: Account, command: str, times: int = 1) -> Process:
    """One command; up to so often, as `retried` and `outlasting` of userdata/steps.sh do: after 5, 10, … 60 s."""
    account.ran[command] += 1
    wrong = ""
    for number in range(1, times + 1):
        yield CLI_SECONDS
        for action in [action for action, asked in CLI[command].items() for _ in range(asked)]:
            wrong = yield from request(account, action)
            if wrong:
                break
        else:
            return ""
        if number < times:
            yield min(5.0 * number, 60.0)
    account.lost[command] += 1
    return wrong


def calls(account: Account, *commands: str) -> Process:
    """Commands one after the other; returns what went wrong first."""
    wrong = ""
    for command in commands:
        wrong = (yield from call(account, command)) or wrong
    return wrong


def boot(account: Account, *, first: bool = False) -> Process:
    """A boot up to the trainer. Nothing waits for the tags; nothing fails for want of them, the price, or the spot
    request, which is looked for again at the end."""
    account.start(calls(account, *["ec2 create-tags"] * (3 if first else 2)))
    account.start(calls(account, "ec2 describe-spot-price-history"))
    if first:
        account.start(calls(account, "s3 cp up", "ecr get-login-password", "docker pull"))
    own = ["ec2 describe-instances by tag"] if first else []
    files = [*["s3 cp down"] * (2 if first else 1), "s3 cp up", "s3 cp up"]  # programs; config
    wrong = yield from calls(account, *own, "sts assume-role", *files)
    yield from call(account, "ec2 describe-instances", 5)
    yield from call(account, "s3 cp up")
    return wrong


def reclaim(account: Account) -> Process:
    """From the notice on, but for the trainer's checkpoint: all goes to S3 before EC2 is asked anything."""
    account.start(calls(account, "ec2 create-tags", "ec2 create-tags"))
    wrong = yield from calls(account, "s3 sync up", "s3 sync up")
    yield from call(account, "ec2 describe-instances")
    return (yield from call(account, "s3 cp up")) or wrong


def end(account: Account) -> Process:
    """Of a complete job: the model, the record, the spot request, which must not outlive the job, and the instance."""
    account.start(calls(account, "ec2 create-tags"))
    wrong = yield from call(account, "s3 sync up", 20)
    wrong = (yield from calls(account, "s3 sync up")) and wrong
    wrong = (yield from call(account, "s3 cp up", 20)) or wrong
    yield from call(account, "ec2 create-tags")
    kept = yield from call(account, "ec2 cancel-spot-instance-requests", 3)
    return (yield from call(account, "ec2 terminate-instances", 5)) or kept or wrong


def sync(account: Account) -> Process:
    """Of output and logs."""
    return (yield from calls(account, "s3 sync up", "s3 sync up"))


@dataclass
class Crowd:
    """Many that did the same: how long each took, and how many had what go wrong."""

    account: Account
    seconds: list[float] = field(default_factory=list)
    wrong: Counter[str] = field(default_factory=Counter)

    def join(self, process: Process) -> Process:
        """One of them, as it comes and goes."""
        began = self.account.now
        wrong = yield from process
        self.seconds.append(self.account.now - began)
        if wrong:
            self.wrong[wrong] += 1
        return wrong

    def __str__(self) -> str:
        return ", ".join(f"{times:,} {wrong}" for wrong, times in self.wrong.items()) or "none"


def at_once(
    what: Callable[[Account], Process], number: int, within: float, limits: Mapping[str, tuple[float, float]] = LIMITS
) -> Crowd:
    """So many of the same, evenly spread over a time in seconds."""
    crowd = Crowd(Account(limits))
    for one in range(number):
        crowd.account.start(crowd.join(what(crowd.account)), after=within * one / number)
    crowd.account.run()
    return crowd


def launches(jobs: int, scripts: int) -> Crowd:
    """Jobs launched by scripts at once, each script one after the other; one that is refused is not launched again."""
    crowd = Crowd(Account())

    def launch(account: Account) -> Process:
        yield LAUNCH_SECONDS * (0.5 + account.random.random())
        for action in ("service-quotas GetServiceQuota", "pricing GetProducts", "ec2 RunInstances"):
            if wrong := (yield from request(account, action, attempts=8)):
                return wrong
        return ""

    def script(number: int) -> Process:
        for _ in range(number):
            yield from crowd.join(launch(crowd.account))
        return ""

    for one in range(scripts):
        crowd.account.start(script(len(range(one, jobs, scripts))))
    crowd.account.run()
    return crowd


def first_boot(account: Account) -> Process:
    return boot(account, first=True)


EVENTS: dict[str, Callable[[Account], Process]] = {
    "first boot": first_boot,
    "sync": sync,
    "reclaim": reclaim,
    "restart": boot,
    "end": end,
}
"""The moments of INSTANCE that many can have at once."""

"""`python -m bench.fleet`: the tables of docs/scale.md: what commands and instances ask of AWS, against its limits.

Which calls are made is written down (demands.py) and counted by tests/test_fleet.py, which fails when a command or the
user data makes others. What happens when many make them at once is simulated (simulation.py). AWS is asked nothing.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping

from .canned import PAGE, describe_instances, list_objects, record
from .demands import CHEAP, COMMANDS, DEAR, INSTANCE, LIMITS, MACHINE, MONTH_HOURS, MULTIPART, SWEEPS, pages
from .simulation import EVENTS, at_once, boot, launches

CROWDS = (
    *(("first boot", 10_000, 5000.0), ("sync", 10_000, 60.0), ("sync", 1000, 1.0), ("sync", 10_000, 1.0)),
    *(("reclaim", 1000, 5.0), ("reclaim", 10_000, 5.0), ("restart", 100, 1.0), ("restart", 500, 1.0)),
    *(("restart", 1000, 1.0), ("restart", 1000, 60.0), ("restart", 10_000, 120.0), ("restart", 10_000, 1200.0)),
    *(("end", 100, 1.0), ("end", 300, 1.0), ("end", 1000, 1.0), ("end", 1000, 300.0)),
)
"""So many instances within so many seconds. Launches come at two a second; a notice is seen within five."""


def puts(files: int, size: int) -> int:
    """Requests that upload so many changed files of a size in bytes."""
    return files * (1 if size < MULTIPART else 2 + math.ceil(size / MULTIPART))


def table(*rows: tuple[object, ...]) -> str:
    """A table in Markdown; the first row is its head."""
    lines = ["| " + " | ".join(f"{c:,}" if isinstance(c, int) else str(c) for c in row) + " |" for row in rows]
    return "\n".join([lines[0], "|" + "---|" * len(rows[0]), *lines[1:]])


def limits() -> str:
    names = {True: "of requests to one prefix", False: "of an account and region"}
    rows = [
        (action, f"{size:g}", f"{refill:g}", names[action.startswith("s3")])
        for action, (size, refill) in LIMITS.items()
    ]
    return table(("action", "at once", "then a second", "counted"), *rows)


def in_words(made: Mapping[str, int]) -> str:
    return ", ".join(f"{times} {name}" if times > 1 else name for name, times in made.items()) or "-"


def commands() -> str:
    rows = []
    for name, make in COMMANDS.items():
        parts: dict[bool, dict[str, int]] = {False: {}, True: {}}
        for action, times in make(1).items():
            service, _, operation = action.partition(" ")
            parts[service == "s3"][operation if service in ("ec2", "s3") else action] = times
        rows.append((f"`{name}`", in_words(parts[False]), in_words(parts[True])))
    return table(("command", "EC2 and others", "S3"), *rows)


def long_lists(jobs: int = 10_000) -> str:
    """What the commands ask that look at every job, all of them running."""
    rows = []
    instances, prefixes = (len(page(0, PAGE, "1")) * pages(jobs) for page in (describe_instances, list_objects))
    for name, lists in (("status", 1), ("costs", 1), ("gc", 2)):
        made = COMMANDS[name](jobs)
        of_ec2 = sum(times for action, times in made.items() if action.startswith("ec2"))
        dear, gets = sum(times for action, times in made.items() if "s3 List" in action), made.get("s3 GetObject", 0)
        size = lists * instances + prefixes + gets * len(record(0))
        money = f"${dear * DEAR + gets * CHEAP:.4f}"
        rows.append((f"`{name}`", of_ec2, dear, gets, f"{size / 1e6:.0f} MB", f"{size * 8 / 100e6:.1f} s", money))
    return table(("command", "EC2", "LIST", "GET", "answers", "at 100 Mbit/s", "S3 costs"), *rows)


def instance() -> str:
    rows = [
        (moment, in_words({f"`{command}`": times for command, times in made.items()}))
        for moment, made in INSTANCE.items()
    ]
    return table(("moment", "commands"), *rows)


def launching() -> str:
    rows = []
    for jobs, scripts in ((10, 10), (100, 100), (1000, 1000), (1000, 1), (1000, 6), (1000, 16), (10_000, 6)):
        crowd = launches(jobs, scripts)
        most, minutes = max(crowd.seconds), crowd.account.now / 60
        took = f"{statistics.median(crowd.seconds):.0f} s, {most:.0f} s"
        rows.append(
            (jobs, scripts, crowd.account.refused["ec2 RunInstances"], took, crowd.wrong.total(), f"{minutes:.0f} min")
        )
    head = ("launches", "scripts", "RunInstances refused", "a launch (median, most)", "given up", "all done after")
    return table(head, *rows)


def crowds() -> str:
    rows = []
    for name, number, within in CROWDS:
        crowd, alone = at_once(EVENTS[name], number, within), at_once(EVENTS[name], 1, 0)
        made, refused = crowd.account.asked.total(), crowd.account.refused.total()
        late = [seconds - alone.seconds[0] for seconds in crowd.seconds]
        delay = f"{statistics.median(late):.0f} s, {max(late):.0f} s"
        tags = crowd.account.lost["ec2 create-tags"]
        rows.append((name, number, f"{within:g} s", made, f"{refused / made:.0%}", delay, tags, str(crowd)))
    head = ("moment", "instances", "within", "requests", "refused", "later by (median, most)", "tags lost")
    return table((*head, "failed for good"), *rows)


def raised() -> str:
    """Restarts with other limits of DescribeInstances by id."""
    rows = []
    for number, within in ((1000, 1.0), (10_000, 600.0)):
        for times in (1, 2, 3):
            size, refill = (times * limit for limit in LIMITS["ec2 DescribeInstances by id"])
            crowd = at_once(boot, number, within, {**LIMITS, "ec2 DescribeInstances by id": (size, refill)})
            late = max(crowd.seconds) - at_once(boot, 1, 0).seconds[0]
            rows.append(
                (f"{size:g}, {refill:g} a second", number, f"{within:g} s", f"{late:.0f} s", crowd.wrong.total())
            )
    return table(("DescribeInstances by id", "restarts", "within", "later by (most)", "failed for good"), *rows)


def syncing() -> str:
    rows = []
    shapes = {"2 small files": (2, 1), "100 small files": (100, 1), "1 file of 1 GB": (1, 10**9)}
    for instances, shape, seconds in (
        *((1000, "2 small files", 60), (1000, "100 small files", 60), (1000, "1 file of 1 GB", 60)),
        *((1000, "1 file of 1 GB", 600), (10_000, "2 small files", 60), (10_000, "1 file of 1 GB", 600)),
    ):
        put = 2 + puts(*shapes[shape])
        rate, hourly = instances * put / seconds, instances * (put + 2) * DEAR * 3600 / seconds
        share = f"{hourly / instances / MACHINE:.1%}"
        money = (f"${hourly:,.2f}", f"${hourly * MONTH_HOURS:,.0f}", share)
        puts_, lists = f"{rate:,.0f} ({rate / LIMITS['s3 PutObject'][1]:.0%})", f"{2 * instances / seconds:,.0f}"
        rows.append((instances, shape, seconds, puts_, lists, *money))
    head = ("instances", "changed each time", "`sync_seconds`", "PUT a second (of 3,500)", "LIST a second")
    return table((*head, "an hour", "a month", "of the machines' price"), *rows)


def sweeps(hours: float = 1) -> str:
    """What sweeps ask, whose children run for an hour with two small files, on shares of machines of two vCPUs."""
    rows = []
    for children, seconds in ((12, 60), (1000, 60), (10_000, 60), (10_000, 600)):
        syncs = round(hours * 3600 / seconds)
        put = children * (1 + 3 + 2 * 2 + syncs * 2 * 2)
        lists, gets = children * (1 + 2 + syncs * 2), 2 * children
        money, machines = (put + lists) * DEAR + gets * CHEAP, children * hours * MACHINE / 8
        calls = sum(SWEEPS["status SWEEP"](children).values())
        rows.append((children, seconds, put, lists, gets, f"${money:,.2f}", f"{money / machines:.1%}", calls))
    head = ("children", "`sync_seconds`", "PUT", "LIST", "GET", "S3 costs", "of the machines' price")
    return table((*head, "calls of `status`"), *rows)


TABLES = (limits, commands, long_lists, instance, launching, crowds, raised, syncing, sweeps)


def main() -> None:
    """Print every table."""
    print("\n\n".join(make() for make in TABLES))


if __name__ == "__main__":
    main()

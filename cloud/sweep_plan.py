"""What a sweep is, decided before anything is asked of AWS Batch."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from . import batch, claims, firewall, grid, instance_types, machine, offers, pool, registry, sweep_record
from .aws import Aws
from .batch import Pool
from .config import Settings, check_instance_types, trainer_arguments
from .errors import UsageError
from .grid import Training
from .image import Snapshot
from .instance_types import InstanceType
from .offers import Facts
from .provision import Piece
from .runner import CONFIG, OUTPUT
from .trainer_config import read_trainer_config

MEMORY_PER_VCPU = 1.5
"""GiB: of the 2 that the leanest types have, what system and ECS agent leave to the children."""


MOST_ATTEMPTS = 10
"""Of a job: https://docs.aws.amazon.com/batch/latest/userguide/job_retries.html"""


@dataclass(frozen=True)
class Share:
    """What a child costs an hour on one kind of machine: the share of its price that its vCPUs are."""

    type: str
    market: str
    zone: str
    dollars: float


@dataclass(frozen=True)
class Plan:
    """One sweep, all decided."""

    children: tuple[Training, ...]
    types: tuple[InstanceType, ...]
    platform: str
    """Docker's name of their architecture."""
    facts: Facts
    pool: Pool
    queue: str
    image: str
    """Repository URI with tag."""
    pushed: bool
    """Whether ECR has the image."""
    vcpus: int
    memory_gib: float
    asked: dict[str, Any]
    """What the record keeps."""

    @property
    def claim_key(self) -> str:
        """Where this sweep is claimed: the same command on the same source has the same place."""
        configs = [hashlib.sha256(child.config).hexdigest() for child in self.children]
        return claims.key_of({**self.asked, "configs": configs})

    @property
    def shares(self) -> list[Share]:
        """What a child costs an hour wherever it may run, the cheapest first."""
        vcpus = {kind.name: kind.vcpus for kind in self.types}
        prices = [(type, "spot", zone, price) for (type, zone), price in self.facts.spot.items()]
        prices += [(type, "on-demand", "", price) for type, price in self.facts.on_demand.items() if price]
        shares = [
            Share(type, market, zone, price * self.vcpus / vcpus[type])
            for type, market, zone, price in prices
            if type in vcpus and market in self.asked["markets"]
        ]
        return sorted(shares, key=lambda one: one.dollars)

    @property
    def most(self) -> float | None:
        """Dollars that the sweep can cost, if every child runs to its limit where it is dearest; None if not known."""
        hours, cap = self.asked["max_hours"], self.asked["max_cost"]
        each = [share.dollars * hours for share in self.shares[-1:]] + ([] if cap is None else [cap])
        return len(self.children) * min(each) if each else None


@dataclass(frozen=True)
class Wishes:
    """What was typed of a sweep's machines; what is None is the settings'."""

    instance: str | None = None
    max_vcpus: float | None = None
    vcpus: float | None = None
    memory_gib: float | None = None
    attempts: float | None = None

    def settings(self, settings: Settings) -> Settings:
        """The settings with these wishes."""
        changes: dict[str, Any] = {
            "sweep_instance": self.instance,
            "sweep_max_vcpus": self.max_vcpus and int(self.max_vcpus),
            "sweep_vcpus": self.vcpus and int(self.vcpus),
            "sweep_memory": self.memory_gib,
            "sweep_attempts": self.attempts and int(self.attempts),
        }
        return settings.with_(**{key: value for key, value in changes.items() if value is not None})


def machines(aws: Aws, security_group: str) -> tuple[list[InstanceType], Facts, Pool]:
    """The types that the settings want for sweeps, what EC2 says of them, and the pool of them.

    Types that this region does not have are left out. Raises UsageError if it has none of them.
    """
    settings = aws.settings
    names = check_instance_types(settings.sweep_instance)
    types = instance_types.existing(aws, names)
    facts = offers.look(aws, [kind.name for kind in types], ("spot", "on-demand"))
    types = [kind for kind in types if any(kind.name == name for name, _ in facts.sold)]
    if not types:
        raise UsageError(f"none of these types is sold in {settings.region}: {', '.join(names)}")
    if any(kind.gpus for kind in types):
        raise UsageError("a sweep's children cannot share GPUs", fix="types without GPUs, or one `inv launch` for each")
    return types, facts, pool.of(aws, types, facts, security_group)


def set_up(aws: Aws, *, dry_run: bool) -> Iterator[Piece]:
    """Bring the account to what sweeps with the settings' machines need, yielding each piece as it is done."""
    group = firewall.find(aws)
    if group is None and not dry_run:
        raise firewall.missing(aws)
    _, _, wanted = machines(aws, group["GroupId"] if group else "")
    return pool.converge(aws, wanted, dry_run=dry_run)


def look(aws: Aws, snapshot: Snapshot, children: Iterable[Training], output: str) -> Plan:
    """Gather the facts of a sweep, and decide it. Nothing is made."""
    children = tuple(children)
    check_names(children)
    settings = aws.settings
    _ = aws.ec2, aws.ecr, aws.pricing, aws.service_quotas, aws.bucket  # made before the threads that use them
    with ThreadPoolExecutor(2) as threads:
        naming = threads.submit(registry.repository_uri, aws, settings.repository)
        types, facts, machines_ = machines(aws, firewall.required(aws))
        platform = machine.PLATFORMS[types[0].architecture]
        tag = snapshot.tag(settings.builder_image, settings.runtime_image, platform)
        pushed = registry.tag_exists(aws, settings.repository, tag)
        image = f"{naming.result()}:{tag}"
    if settings.sweep_attempts > MOST_ATTEMPTS:
        raise UsageError(f"--attempts {settings.sweep_attempts}: AWS Batch makes at most {MOST_ATTEMPTS}")
    if settings.max_price:
        raise UsageError("AWS Batch knows no solver.max_price", fix="unset it; --max-cost limits each child")
    trainer_arguments(settings.trainer, config=CONFIG, output=OUTPUT)  # a bad one is refused before anything is made
    memory = settings.sweep_memory or settings.sweep_vcpus * MEMORY_PER_VCPU
    check_fits(types, settings.sweep_vcpus, memory, settings.sweep_max_vcpus)
    return Plan(
        children=children,
        types=tuple(types),
        platform=platform,
        facts=facts,
        pool=machines_,
        queue=batch.queue_name(settings, machines_, settings.markets),
        image=image,
        pushed=pushed is not None,
        vcpus=settings.sweep_vcpus,
        memory_gib=memory,
        asked={
            "region": settings.region,
            "output": output,
            "image": image,
            "trainer": settings.trainer,
            "types": sorted(kind.name for kind in types),
            "markets": list(settings.markets),
            "max_vcpus": settings.sweep_max_vcpus,
            "vcpus": settings.sweep_vcpus,
            "memory_gib": memory,
            "attempts": settings.sweep_attempts,
            "max_hours": settings.max_hours,
            "max_cost": settings.max_cost,
            "sync_seconds": settings.sync_seconds,
        },
    )


def check_names(children: Iterable[Training]) -> None:
    """Raises UsageError for a child whose name could not be that of a directory, which `download` makes."""
    for child in children:
        try:
            sweep_record.check_name(child.name)
        except ValueError as error:
            raise UsageError(str(error), fix=f"rename the configuration {child.config_name}") from None


def check_fits(types: Iterable[InstanceType], vcpus: int, memory_gib: float, max_vcpus: int) -> None:
    """Raises UsageError when no machine has room for one child: it would wait for ever.

    System and ECS agent need some memory for themselves; a tenth is what is reckoned here.
    """
    if not any(kind.vcpus >= vcpus and kind.memory_gib * 0.9 >= memory_gib for kind in types):
        largest = max(types, key=lambda kind: (kind.vcpus, kind.memory_gib))
        raise UsageError(
            f"no type has room for a child of {vcpus} vCPUs and {memory_gib:g} GiB",
            fix=f"{largest.name} has {largest.vcpus} and {largest.memory_gib:g}: another --instance, or ask for less",
        )
    if max_vcpus < vcpus:
        raise UsageError(f"--max-vcpus {max_vcpus} has no room for a child of {vcpus} vCPUs")


def read_configs(patterns: Iterable[str], axes: Iterable[str]) -> list[Training]:
    """The children of a sweep from what was typed: --config, file names or patterns, and --grid."""
    patterns = list(patterns)
    if not patterns:
        raise UsageError("no config", fix="say which: --config 'configs/*.yaml'")
    files = {}
    for path in grid.expand(patterns):
        found = read_trainer_config(path)
        if found.name in files:
            raise UsageError(f"two configurations are called {found.name}", fix="results are told apart by name")
        files[found.name] = found.data
    return grid.children(files, [grid.axis(text) for text in axes])

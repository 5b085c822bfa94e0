"""What a launch is, decided before anything is asked of EC2."""

from __future__ import annotations

import hashlib
import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from . import machine, machine_images, offers, prices, registry
from .aws import Aws
from .claims import Claim, key_of
from .config import Settings, trainer_arguments
from .errors import CloudError, UsageError
from .image import Snapshot
from .instance_types import Needs, Wanted
from .machine import Machine
from .offers import Market, Offer
from .trainer_config import TrainerConfig

TAG_VALUE_LIMIT = 256


@dataclass(frozen=True)
class Resumed:
    """A job to go on from."""

    job: str
    origin: str
    """The job whose output is the latest there is: `job`, or one before it in the chain."""
    spent: float | None
    """Dollars that it has cost so far, with those before it; None if that is not known."""
    bytes: int = 0
    """Size of that output."""


@dataclass(frozen=True)
class Plan:
    """One launch, all decided but for which of the offers EC2 grants."""

    machine: Machine
    market: Market
    image: str
    """Repository URI with tag."""
    config_key: str
    config_name: str
    config_sha256: str
    output: str
    markets: tuple[str, ...]
    max_hours: float
    trainer: tuple[str, ...]
    asked: dict[str, Any]
    """What the record keeps, but for what only the offer decides."""
    pushed: bool = True
    """Whether ECR has the image."""
    disk_price: float | None = None
    """Dollars an hour."""
    budget: float | None = None
    """Dollars that it may cost; None for no limit."""
    resumes: Resumed | None = field(default=None)

    def deadline(self, claim: Claim) -> datetime:
        """When the job is stopped at the latest."""
        return claim.launched_at + timedelta(hours=self.max_hours)

    @property
    def claim_key(self) -> str:
        """Where this launch is claimed: the same command has the same place, as long as its source is the same.

        It is the same in every region, and whatever of it the market has just now.
        """
        theirs = {key: value for key, value in self.asked.items() if key not in ("region", "config", "disk_price")}
        tag = self.image.rpartition(":")[2]
        return key_of(
            {**theirs, "image": tag, "types": [kind.name for kind in self.machine.types], "markets": self.markets}
        )

    def asked_of(self, offer: Offer) -> dict[str, Any]:
        """What was asked, with the machine that an offer is."""
        return {
            "instance_type": offer.type.name,
            "market": offer.market,
            "zone": offer.zone,
            "price": offer.price,
            **self.asked,
        }

    def most(self, offer: Offer) -> float | None:
        """Dollars that the job costs at most at the price of an offer; None if that is not known."""
        if offer.price is None or self.disk_price is None:
            return self.budget
        hours = (offer.price + self.disk_price) * self.max_hours
        return hours if self.budget is None else min(self.budget, hours)

    @property
    def dearest(self) -> float | None:
        """Dollars that the job costs at most whichever offer is granted; None if of none that is known."""
        return max((cost for offer in self.market.offers if (cost := self.most(offer)) is not None), default=None)


def look(aws: Aws, wanted: Wanted, snapshot: Snapshot, config: TrainerConfig, output: str) -> Plan:
    """Gather the facts of a launch, as many at once as can be, and decide it. Nothing is made.

    Raises CloudError when the account is not set up, or no machine is to be had.
    """
    settings = aws.settings
    with ThreadPoolExecutor(8) as pool:
        # Clients are made before the threads that use them, and by this one; the next while the last is waited for.
        _ = aws.ec2, aws.ssm
        describing = pool.submit(machine.look, aws, wanted)
        baking = pool.submit(machine_images.ours, aws)
        _ = aws.ecr
        naming = pool.submit(registry.repository_uri, aws, settings.repository)
        _ = aws.pricing, aws.service_quotas
        pricing = pool.submit(prices.disk, aws, prices.Disk.of(settings))
        looking = None if isinstance(wanted, Needs) else pool.submit(offers.look, aws, wanted, settings.markets)
        _ = aws.s3, aws.ec2_once  # which the launch needs next
        bucket = pool.submit(lambda: aws.bucket)  # makes a client, if the account is not known yet
        kind = describing.result()
        tag = snapshot.tag(settings.builder_image, settings.runtime_image, kind.platform)
        pushing = pool.submit(registry.pushed, aws, settings.repository, tag)
        names = [one.name for one in kind.types]
        facts = looking.result() if looking else offers.look(aws, names, settings.markets)
        limits = offers.Limits(settings.max_price, settings.max_cost, of_needs=isinstance(wanted, Needs))
        market = offers.choose(list(kind.types), settings.markets, facts, limits)
        image, pushed = f"{naming.result()}:{tag}", pushing.result()
        return decide(
            settings,
            machine.with_image(kind, baking.result(), image),
            market,
            image,
            config,
            output,
            bucket=bucket.result(),
            disk_price=pricing.result(),
            pushed=pushed is not None,
            image_bytes=pushed.bytes if pushed else 0,
        )


def decide(
    settings: Settings,
    kind: Machine,
    market: Market,
    image: str,
    config: TrainerConfig,
    output: str,
    *,
    bucket: str,
    disk_price: float | None = None,
    pushed: bool = True,
    image_bytes: int = 0,
    resumes: Resumed | None = None,
) -> Plan:
    """Decide one launch. Pure.

    image: repository URI with tag. disk_price: dollars an hour. pushed: whether ECR has the image. image_bytes: of
    its compressed layers, if it has. resumes: the job to go on from.
    Raises UsageError for what does not fit into a tag or onto the disk, CloudError when there is no money left.
    """
    for what, value in (("config file's name", config.name), ("output directory", output)):
        if len(value) > TAG_VALUE_LIMIT:
            raise UsageError(f"the {what} has {len(value)} characters; a tag holds {TAG_VALUE_LIMIT}")
    check_room(settings, kind, image_bytes=image_bytes, output_bytes=resumes.bytes if resumes else 0)
    sha256 = hashlib.sha256(config.data).hexdigest()
    key = f"configs/{sha256}/{config.name}"
    return Plan(
        machine=kind,
        market=market,
        image=image,
        config_key=key,
        config_name=config.name,
        config_sha256=sha256,
        output=output,
        markets=settings.markets,
        max_hours=settings.max_hours,
        trainer=tuple(
            trainer_arguments(settings.trainer, config=f"/solver/config/{config.name}", output="/solver/output")
        ),
        asked={
            "region": settings.region,
            "config": f"s3://{bucket}/{key}",
            "config_name": config.name,
            "config_sha256": sha256,
            "output": output,
            "image": image,
            "trainer": settings.trainer,
            "max_hours": settings.max_hours,
            "max_cost": settings.max_cost,
            "keep_on_failure": settings.keep_on_failure,
            "sync_seconds": settings.sync_seconds,
            "disk_gb": settings.disk_gb,
            "disk_price": disk_price,
            **({"resumes": resumes.job, "spent_before": resumes.spent} if resumes else {}),
        },
        pushed=pushed,
        disk_price=disk_price,
        budget=_budget(settings.max_cost, disk_price, resumes),
        resumes=resumes,
    )


def check_room(settings: Settings, kind: Machine, *, image_bytes: int, output_bytes: int = 0) -> None:
    """Raises UsageError when the disk is too small for what is known to come onto it.

    image_bytes: of the trainer's image, compressed; unpacked, layers of programs have two to three times that.
    output_bytes: of the job to go on from; the sync keeps a copy of each file. What is still to come is not known.
    """
    least = kind.root_gb + math.ceil((3 * image_bytes + 2 * output_bytes) / 1e9)
    if settings.disk_gb < least:
        raise UsageError(
            f"solver.disk_gb is {settings.disk_gb}, but the machine image ({kind.root_gb} GB), the trainer's and "
            f"what there is of its output need {least} GB",
            fix=f"set it to {least + 20} or more",
        )


def _budget(max_cost: float | None, disk_price: float | None, resumes: Resumed | None) -> float | None:
    """What may still be spent: `--max-cost` counts what the job cost before it was resumed."""
    if max_cost is None:
        return None
    spent = resumes.spent if resumes else 0.0
    if disk_price is None or spent is None:
        what = "the price of its disk" if disk_price is None else "what the job has cost so far"
        raise CloudError(f"{what} is not known, so --max-cost cannot be kept", fix="--max-hours instead")
    if spent >= max_cost:
        raise CloudError(f"the job has cost ${spent:.2f}, of --max-cost {max_cost:g}", fix="a higher --max-cost")
    return max_cost - spent

"""Someone who launches, in regions whose market a test sets, and what that asked of AWS."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import tasks
from cloud import instance_types
from cloud.aws import Aws
from cloud.config import Settings
from localcloud import supervisor

from .conftest import HERE
from .localcloud.conftest import FakeCloud

HOME, AWAY, NOWHERE = "eu-west-2", "eu-west-1", "eu-west-3"
"""Two regions that are set up, each with zones a, b and c, and one that is not. No other test runs anything there."""
EXAMPLE = HERE.parent / "examples" / "trainer"
C7I, M7I, SMALL = "c7i.4xlarge", "m7i.4xlarge", "c7i.2xlarge"
ON_DEMAND = {C7I: 0.9, M7I: 1.0, SMALL: 0.45}
SPOT = {
    C7I: {"a": 0.31, "b": 0.3, "c": 0.32},
    M7I: {"a": 0.4, "b": 0.41, "c": 0.42},
    SMALL: {"a": 0.5, "b": 0.51, "c": 0.52},
}
"""Dollars an hour, by type and zone; the small type is dear on spot."""

Cells = Mapping[str, str]
"""Letters of zones, by type."""


@dataclass(frozen=True)
class Call:
    """One call of AWS's API."""

    region: str
    operation: str
    body: Mapping[str, Any]

    @property
    def market(self) -> str:
        return str(self.body.get("InstanceMarketOptions.MarketType", "on-demand"))


@dataclass
class Shop:
    """An account with two regions to launch in, which sell what a test says, and someone who launches."""

    cloud: FakeCloud
    name: str
    directory: Path
    calls: list[Call] = field(default_factory=list)
    """What was asked of AWS in this process, in order."""
    sent: list[str] = field(default_factory=list)
    """The operation of each request, of those that were sent again too."""
    surprises: list[Callable[[], object]] = field(default_factory=list)
    """What happens when EC2 is asked for a machine: the first at the first time, and so on."""
    regions: dict[str, Any] = field(default_factory=dict)

    def sells(
        self,
        region: str = HOME,
        *,
        none: Cells | None = None,
        spot_none: Cells | None = None,
        on_demand_none: Cells | None = None,
        unsupported: Cells | None = None,
        spot: Mapping[str, Mapping[str, float]] = SPOT,
        **more: Any,
    ) -> None:
        """Set what a region sells: everything, at ON_DEMAND and SPOT, but in the zones that are named.

        more: quotas, denied, spot_role, as in localcloud/market_file.py.
        """
        lacking = {"none": none, "spot-none": spot_none, "on-demand-none": on_demand_none}
        types: dict[str, Any] = {
            kind: {
                **({"on_demand": ON_DEMAND[kind]} if kind in ON_DEMAND else {}),
                "zones": {f"{region}{letter}": {"spot": price} for letter, price in spot[kind].items()},
            }
            for kind in spot
        }
        for capacity, cells in lacking.items():
            for kind, letters in (cells or {}).items():
                for letter in letters:
                    types[kind]["zones"][f"{region}{letter}"]["capacity"] = capacity
        for kind, letters in (unsupported or {}).items():
            types[kind]["zones"] |= {f"{region}{letter}": "unsupported" for letter in letters}
        self.regions[region] = {"types": types, **more}
        file = self.directory / "market.yaml"
        file.write_text(json.dumps({"regions": self.regions}))  # JSON is YAML
        assert self.cloud.running
        supervisor.change_market(self.cloud.running, str(file))

    def denies_prices(self) -> None:
        """Have the Price List API, which us-east-1 has for all regions, tell this profile nothing."""
        self.sells("us-east-1", spot={}, denied=["GetProducts"])

    def then_sells(self, **changes: Any) -> None:
        """Have it sell something else once EC2 is asked for a machine, after all that a launch has looked up."""
        self.surprises.append(lambda: self.sells(**changes))

    def fault(self, kind: str, **figures: str) -> None:
        """`inv local.fault`."""
        assert self.cloud.running
        supervisor.change_faults(self.cloud.running, kind, **figures)

    def aws(self, region: str = HOME, **settings: Any) -> Aws:
        return Aws(Settings.from_context({}, name=self.name, region=region, **{"source": EXAMPLE, **settings}))

    def config(self, name: str = "fast.yaml") -> Path:
        """A config of that name, with content of its own."""
        path = self.directory / name
        if not path.exists():
            path.write_text(f"seed: {uuid.uuid4().int % 10**9}\n")
        return path

    def launch(
        self,
        instance: str | None = C7I,
        *,
        region: str = HOME,
        config: str = "fast.yaml",
        yes: bool = True,
        **typed: Any,
    ) -> str:
        """`inv launch` in this process; returns the job's id.

        typed: cpus, memory, gpus and arm, the rest are settings.
        """
        needs = {"cpus": None, "memory": None, "gpus": None, "arm": False}
        needs |= {key: typed.pop(key) for key in needs.keys() & typed.keys()}
        aws = self.aws(region, **typed)
        wanted = instance_types.wanted(instance, aws.settings, **needs)  # type: ignore[arg-type]
        return tasks.start_job(aws, wanted, str(self.config(config)), "~/models/it", yes=yes)

    def unbuilt(self) -> Path:
        """A Cargo workspace of which ECR has no image."""
        source = self.directory / "trainer"
        source.mkdir(exist_ok=True)
        (source / "Cargo.toml").write_text('[package]\nname = "poker-solver-trainer"\nversion = "0.1.0"\n')
        return source

    def client(self, service: str, region: str = HOME) -> Any:
        return self.cloud.client(service, region_name=region)

    def asked(self) -> list[str]:
        """What EC2 was asked for, in order: type, market and zone."""
        return [
            f"{call.body['InstanceType']} {call.market} in {zones(self, call.region)[call.body['SubnetId']]}"
            for call in self.calls
            if call.operation == "RunInstances"
        ]

    def instances(self, region: str = HOME) -> list[dict[str, Any]]:
        """What has been started in a region and not ended."""
        states = [{"Name": "instance-state-name", "Values": ["pending", "running", "stopping", "stopped"]}]
        groups = self.client("ec2", region).describe_instances(Filters=states)["Reservations"]
        return [instance for group in groups for instance in group["Instances"]]

    def end_all(self) -> None:
        """End what runs, and everything that would start it again."""
        for region in (HOME, AWAY):
            ec2 = self.client("ec2", region)
            requests = ec2.describe_spot_instance_requests()["SpotInstanceRequests"]
            if requests:
                ec2.cancel_spot_instance_requests(
                    SpotInstanceRequestIds=[one["SpotInstanceRequestId"] for one in requests]
                )
            if running := self.instances(region):
                ec2.terminate_instances(InstanceIds=[one["InstanceId"] for one in running])


def offers(kind: str, market: str, letters: str, region: str = HOME) -> list[str]:
    """What `Shop.asked` says of asking for a type in some zones."""
    return [f"{kind} {market} in {region}{letter}" for letter in letters]


BOTH = f"{C7I},{M7I}"
DRY = {C7I: "abc", M7I: "abc"}
"""The zones without capacity, where there is none anywhere."""
FALLBACK: dict[str, Any] = {"fallback": "on-demand"}
ALL_SPOT = offers(C7I, "spot", "bac") + offers(M7I, "spot", "abc")
ALL_ON_DEMAND = offers(C7I, "on-demand", "abc") + offers(M7I, "on-demand", "abc")


def zones(shop: Shop, region: str) -> dict[str, str]:
    """The zones of a region by their default subnets."""
    return {
        one["SubnetId"]: one["AvailabilityZone"] for one in shop.client("ec2", region).describe_subnets()["Subnets"]
    }

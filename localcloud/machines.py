"""Placeholder with the agreed interface, until the real module is put in its place."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal


@dataclass(frozen=True)
class MachineSpec:
    instance_id: str
    instance_type: str
    region: str
    availability_zone: str
    image_id: str
    private_ip: str
    user_data: bytes
    public_key: str | None
    key_name: str | None
    role: str | None
    lifecycle: str


class Machines:
    def __init__(self, **_: Any) -> None:
        pass

    def boot(self, spec: MachineSpec) -> str:
        raise NotImplementedError

    def stop(self, instance_id: str, *, force: bool = False) -> None:
        raise NotImplementedError

    def start(self, instance_id: str) -> str:
        raise NotImplementedError

    def terminate(self, instance_id: str) -> None:
        raise NotImplementedError

    def reboot(self, instance_id: str) -> None:
        raise NotImplementedError

    def console(self, instance_id: str) -> str:
        raise NotImplementedError

    def notice(self, instance_id: str, action: Literal["stop", "terminate"] | None, at: datetime | None) -> None:
        raise NotImplementedError

    def close(self) -> None:
        pass

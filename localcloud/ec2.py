"""EC2's answers: moto's response class, where AWS says something else."""

# mypy: allow-subclassing-any
from __future__ import annotations

import copy
import re
from typing import Any, ClassVar

from moto.core.responses import ActionResult, EmptyResult
from moto.core.types import Base64EncodedString
from moto.core.utils import utcnow
from moto.ec2 import urls
from moto.ec2.exceptions import EC2ClientError, InvalidParameterCombination
from moto.ec2.models import ec2_backends, instances
from moto.ec2.models.instances import InstanceState, Reservation
from moto.ec2.responses import EC2Response

from . import catalog, describe, launch_checks
from .idempotency import Mismatch
from .instances import Cloud, LocalInstance
from .routes import routed
from .spot import SpotBackend
from .spot_options import read_options

ID = re.compile(r"i-([0-9a-f]{8}|[0-9a-f]{17})")


def install(cloud: Cloud) -> None:
    """Make moto's EC2 this cloud's; before the first request."""
    catalog.install()
    instances.Instance = LocalInstance
    Region.cloud = cloud
    ec2_backends.backend = Region


class Region(SpotBackend):
    @property
    def _url_module(self) -> Any:
        return routed(urls, LocalEC2Response)


class LocalEC2Response(EC2Response):
    # moto shows every instance of RunInstances as pending; a repeated call shall see what became of it.
    RESPONSE_KEY_PATH_TO_TRANSFORMER: ClassVar[dict[str, Any]] = {
        path: transform
        for path, transform in EC2Response.RESPONSE_KEY_PATH_TO_TRANSFORMER.items()
        if path != "RunInstances.Reservation.Instances.Instance.State"
    }

    @property
    def ec2_backend(self) -> Region:
        backend: Region = ec2_backends[self.current_account][self.region]
        return backend

    def run_instances(self) -> ActionResult:
        token = self._get_param("ClientToken")
        if not token:
            return ActionResult(self._launch())
        asked = copy.deepcopy(self.params)
        try:
            reservation, again = self.ec2_backend.answers.answer("RunInstances", token, asked, self._launch)
        except Mismatch:
            raise EC2ClientError(
                "IdempotentParameterMismatch",
                "Arguments on this idempotent request are inconsistent with arguments used in previous request(s).",
            ) from None
        if again and all(instance.state == "terminated" for instance in reservation.instances):
            raise EC2ClientError(
                "IdempotentInstanceTerminated",
                "The client token was already used for an instance that has been terminated.",
            )
        return ActionResult(reservation)

    def _launch(self) -> Reservation:
        backend = self.ec2_backend
        launch_checks.complete(self.params, backend)
        options = read_options(self.params)
        tags = self._parse_tag_specification().get("spot-instances-request", {})
        with backend.lock:  # or the instance could end before its spot request begins
            reservation = super().run_instances().result
            if options:
                for instance in reservation.instances:
                    backend.request_spot(instance, options, tags)
        return reservation

    def _parse_block_device_mapping(self) -> list[dict[str, Any]]:
        """What was asked for, with the throughput that moto drops, and a size where only the image knows it."""
        asked = self._get_param("BlockDeviceMappings", [])
        return [
            {**copy.deepcopy(disk), "NoDevice": disk.get("NoDevice"), "Ebs": disk.get("Ebs") or {}} for disk in asked
        ]

    def describe_instances(self) -> ActionResult:
        self.error_on_dryrun()
        ids = self._ids()
        size, token = self._get_param("MaxResults"), self._get_param("NextToken")
        if ids and size is not None:
            raise InvalidParameterCombination("The parameter instancesSet cannot be used with the parameter maxResults")
        backend = self.ec2_backend
        reservations = backend.get_reservations_by_instance_ids(ids) if ids else backend.describe_instances()
        members = describe.select(reservations, self._filters_from_querystring())
        shown, following = describe.page(members, int(size) if size is not None else None, token)
        return ActionResult({"Reservations": shown, "NextToken": following})

    def terminate_instances(self) -> ActionResult:
        ids = self._ids()
        self.error_on_dryrun()
        return ActionResult({"TerminatingInstances": _changes(self.ec2_backend.terminate_instances(ids))})

    def stop_instances(self) -> ActionResult:
        ids = self._ids()
        self.error_on_dryrun()
        force = bool(self._get_param("Force", False))
        return ActionResult({"StoppingInstances": _changes(self.ec2_backend.stop_instances(ids, force))})

    def start_instances(self) -> ActionResult:
        ids = self._ids()
        self.error_on_dryrun()
        return ActionResult({"StartingInstances": _changes(self.ec2_backend.start_instances(ids))})

    def reboot_instances(self) -> ActionResult:
        ids = self._ids()
        self.error_on_dryrun()
        self.ec2_backend.reboot_instances(ids)
        return EmptyResult()

    def get_console_output(self) -> ActionResult:
        instance = self.ec2_backend.get_instance(self._get_param("InstanceId"))
        text = self.ec2_backend.cloud.machines.console(instance.id)
        # EC2 keeps the last 64 KB: https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_GetConsoleOutput.html
        output = Base64EncodedString.from_raw_string(text[-65536:])
        return ActionResult({"InstanceId": instance.id, "Timestamp": utcnow(), "Output": output})

    def _ids(self) -> list[str]:
        """InstanceId.N; raises EC2ClientError for one that cannot be an id."""
        ids: list[str] = self._get_param("InstanceIds", [])
        for one in ids:
            if not ID.fullmatch(one):
                raise EC2ClientError("InvalidInstanceID.Malformed", f'Invalid id: "{one}"')
        return ids


def _changes(before: list[tuple[LocalInstance, InstanceState]]) -> list[dict[str, Any]]:
    return [
        {"InstanceId": instance.id, "CurrentState": instance.instance_state, "PreviousState": state}
        for instance, state in before
    ]

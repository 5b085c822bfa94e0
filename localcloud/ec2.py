"""EC2's answers: moto's response class, where AWS says something else."""

# mypy: allow-subclassing-any
from __future__ import annotations

import copy
import re
from collections.abc import Sequence
from http import HTTPStatus
from typing import Any, ClassVar

from moto.core.responses import ActionResult, EmptyResult
from moto.core.types import Base64EncodedString
from moto.core.utils import utcnow
from moto.ec2 import urls
from moto.ec2.exceptions import DryRunClientError, EC2ClientError, InvalidParameterCombination
from moto.ec2.models import ec2_backends, instances
from moto.ec2.models.instances import InstanceState, Reservation
from moto.ec2.responses import EC2Response

from . import admission, authorization, catalog, describe, launch_checks, offerings, requirements, scores, spot_history
from .admission import Wish
from .idempotency import Mismatch
from .instances import Cloud, LocalInstance
from .machine_images import ImageBackend
from .paging import BadToken, page
from .refusal import Refused
from .routes import routed
from .spot_options import SpotOptions, read_options

MOST = 1000
"""Items of a page, unless fewer are asked for."""
ID = re.compile(r"i-([0-9a-f]{8}|[0-9a-f]{17})")


def install(cloud: Cloud) -> None:
    """Make moto's EC2 this cloud's; before the first request."""
    catalog.install()
    instances.Instance = LocalInstance
    Region.cloud = cloud
    ec2_backends.backend = Region


class Region(ImageBackend):
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

    def _authenticate_and_authorize_normal_action(self, resource: str) -> None:
        super()._authenticate_and_authorize_normal_action(resource)
        market = self.ec2_backend.cloud.market
        authorization.check_ec2(market, self.region, self._get_action(), self.get_access_key())

    def error_on_dryrun(self) -> None:
        if self._get_param("DryRun", False):
            raise Refused(HTTPStatus.PRECONDITION_FAILED, DryRunClientError.code, DryRunClientError.message)

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
        wish = self._wish(options)
        self.error_on_dryrun()
        with backend.lock:  # or the instance could end before its spot request begins
            if wish:
                zone = admission.admit(backend, wish)
                self.params["Placement"] = {**self._get_param("Placement", {}), "AvailabilityZone": zone}
            reservation = super().run_instances().result
            if options:
                for instance in reservation.instances:
                    backend.request_spot(instance, options, tags)
        return reservation

    def _wish(self, options: SpotOptions | None) -> Wish | None:
        """What is to be launched; None for a type that only a launch template tells."""
        instance_type = self._get_param("InstanceType")
        if not instance_type:
            return None
        zones = launch_checks.zones(self.params, instance_type, self.ec2_backend)
        price = float(options.max_price) if options and options.max_price else None
        return Wish(instance_type, zones, self.params["MinCount"], spot=options is not None, max_price=price)

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

    def describe_instance_type_offerings(self) -> ActionResult:
        self.error_on_dryrun()
        where, filters = self._get_param("LocationType", "region"), self._filters_from_querystring()
        found = offerings.offerings(self.ec2_backend.cloud.market, self.region, where, filters)
        return self._page("InstanceTypeOfferings", found)

    def describe_spot_price_history(self) -> ActionResult:
        self.error_on_dryrun()
        query = spot_history.query(self.params, self._filters_from_querystring())
        return self._page("SpotPriceHistory", spot_history.history(self.ec2_backend.cloud.market, self.region, query))

    def get_instance_types_from_instance_requirements(self) -> ActionResult:
        self.error_on_dryrun()
        names = requirements.types(self.ec2_backend.cloud.market, self.region, self.params)
        return self._page("InstanceTypes", [{"InstanceType": name} for name in names])

    def get_spot_placement_scores(self) -> ActionResult:
        self.error_on_dryrun()
        return self._page("SpotPlacementScores", scores.placement_scores(self.ec2_backend.cloud.market, self.params))

    def _page(self, name: str, items: Sequence[Any]) -> ActionResult:
        """One page of the items, under that name."""
        size, token = int(self._get_param("MaxResults", MOST)), self._get_param("NextToken")
        try:
            shown, following = page(items, min(size, MOST) if size > 0 else MOST, token)
        except BadToken:
            raise EC2ClientError("InvalidNextToken", f"The token '{token}' is invalid") from None
        return ActionResult({name: shown, "NextToken": following})

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

    def deregister_image(self) -> ActionResult:
        self.error_on_dryrun()
        snapshots_too = bool(self._get_param("DeleteAssociatedSnapshots", False))
        self.ec2_backend.deregister_image(self._get_param("ImageId"), delete_snapshots=snapshots_too)
        return ActionResult({"Return": True})

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

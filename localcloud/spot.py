"""Spot requests of RunInstances: their states, and what EC2 does when one of their instances ends.

States and status codes: https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/spot-request-status.html
"""

# mypy: allow-subclassing-any
from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from moto.ec2.exceptions import EC2ClientError
from moto.ec2.utils import generic_filter

from . import admission, capacity
from .admission import Wish
from .instances import SPOT_STOP, SPOT_TERMINATION, LocalInstance, later
from .lifecycle import LifecycleBackend
from .refusal import Refused
from .spot_options import SpotOptions
from .spot_request import NO_CAPACITY, SpotRequest

KEPT_AFTER_END = timedelta(hours=4)
"""https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DescribeSpotInstanceRequests.html"""


class SpotBackend(LifecycleBackend):
    """EC2 in one region, with the spot requests of its instances."""

    def request_spot(self, instance: LocalInstance, options: SpotOptions, tags: dict[str, str]) -> SpotRequest:
        """Record the request that an instance just launched fulfils; tags are the request's own."""
        request = SpotRequest(self, instance, options, tags)
        self.spot_instance_requests[request.id] = request
        if options.valid_until:
            later((options.valid_until - datetime.now(UTC)).total_seconds(), self._expire, request)
        return request

    def spot_request(self, instance: LocalInstance) -> SpotRequest | None:
        """The request that an instance belongs to."""
        request: SpotRequest | None = self.spot_instance_requests.get(instance.spot_instance_request_id or "")
        return request

    def describe_spot_instance_requests(
        self, filters: Any = None, spot_instance_ids: list[str] | None = None
    ) -> list[Any]:
        self.forget()
        asked = self._requests(spot_instance_ids) if spot_instance_ids else list(self.spot_instance_requests.values())
        found: list[Any] = generic_filter(filters, asked)
        return found

    def cancel_spot_instance_requests(self, request_ids: list[str]) -> list[Any]:
        """Cancel requests: a running instance goes on, a stopped one is terminated by EC2.

        https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/spot-instance-terminate.html
        """
        with self.lock:
            requests = self._requests(request_ids)
            for request in requests:
                if isinstance(request, SpotRequest) and request.uncancelled:
                    self._cancel(request)
        return requests

    def _requests(self, request_ids: list[str]) -> list[Any]:
        for request_id in request_ids:
            if request_id not in self.spot_instance_requests:
                raise EC2ClientError(
                    "InvalidSpotInstanceRequestID.NotFound",
                    f"The spot instance request ID '{request_id}' does not exist",
                )
        return [self.spot_instance_requests[request_id] for request_id in request_ids]

    def _cancel(self, request: SpotRequest) -> None:
        instance = self.living_instance(request.instance_id)
        if instance is None:
            request.enter("cancelled", "canceled-before-fulfillment", "The request was canceled.")
        elif instance.state in ("stopping", "stopped"):
            request.enter("cancelled", "instance-terminated-by-service", "The request was canceled while stopped.")
            self.end(instance, "Server.SpotInstanceTermination", "Spot request canceled while the instance was stopped")
        else:
            request.enter("cancelled", "request-canceled-and-instance-running", "The request was canceled.")

    def _expire(self, request: SpotRequest) -> None:
        """ValidUntil is reached. An instance that its owner stopped stays as it is, one that EC2 stopped ends."""
        with self.lock:
            if not request.uncancelled:
                return
            instance = self.living_instance(request.instance_id)
            if instance is None:
                request.enter("cancelled", "schedule-expired", "The request expired.")
            elif request.status["Code"] == NO_CAPACITY:
                request.enter("cancelled", "instance-terminated-by-service", "The request expired while stopped.")
                self.end(instance, "Server.SpotInstanceTermination", "Spot request expired while stopped")
            else:
                request.enter("cancelled", request.status["Code"], "The request expired.")

    def instance_stopped(self, instance: LocalInstance) -> None:
        request = self.spot_request(instance)
        if request is None:
            return
        if request.state == "active" and instance.state_reason.code == SPOT_STOP[0]:
            request.enter(
                "disabled", NO_CAPACITY, "Your Spot instance was stopped: there is no Spot capacity available."
            )
            later(self.cloud.relaunch_seconds, self._try_again, request)
        elif request.state == "active":
            request.enter("disabled", "instance-stopped-by-user", "The instance was stopped by its user.")
        elif request.state == "cancelled":
            # A stopped instance whose request is cancelled cannot start again, and EC2 terminates it.
            self.end(instance, "Server.SpotInstanceTermination", "Spot request canceled before the instance stopped")

    def instance_ended(self, instance: LocalInstance) -> None:
        """A persistent request that nobody cancelled is open again, and EC2 launches another instance.

        https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/spot-request-status.html ("Persistent requests")
        """
        request = self.spot_request(instance)
        if request is None or not request.uncancelled:
            return
        if request.type == "persistent" and instance.state_reason.code != "Server.InternalError":
            request.instance_id = None
            request.enter("open", "pending-evaluation", "The instance was terminated; the request is open again.")
            later(self.cloud.relaunch_seconds, self._try_again, request)
        elif instance.state_reason.code == SPOT_TERMINATION[0]:
            request.enter("closed", "instance-terminated-no-capacity", "There is no Spot capacity available.")
        else:
            request.enter("closed", "instance-terminated-by-user", "The instance was terminated.")

    def check_can_stop(self, instance: LocalInstance) -> None:
        """https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/spot-instance-stop.html"""
        super().check_can_stop(instance)
        request = self.spot_request(instance)
        if request and request.type == "one-time":
            raise EC2ClientError(
                "UnsupportedOperation",
                f"You can't stop the Spot Instance '{instance.id}' because it is associated with a one-time Spot "
                "Instance request. You can only stop Spot Instances associated with persistent Spot Instance requests.",
            )
        if request and request.state == "cancelled":
            raise _wrong_state(instance, "stop")

    def check_can_start(self, instance: LocalInstance) -> None:
        """Only EC2 can start what it stopped itself."""
        super().check_can_start(instance)
        if instance.state != "stopped":
            return
        request = self.spot_request(instance)
        if request and request.status["Code"] != "instance-stopped-by-user":
            raise _wrong_state(instance, "start")
        capacity.check_start(self, instance)

    def start_stopped(self, instance: LocalInstance) -> None:
        instance.interruption = None
        super().start_stopped(instance)
        if request := self.spot_request(instance):
            request.fulfil(instance)

    def ends_at_shutdown(self, instance: LocalInstance) -> bool:
        """A one-time spot instance cannot stop, so it terminates."""
        request = self.spot_request(instance)
        return super().ends_at_shutdown(instance) or (request is not None and request.type == "one-time")

    def power_on(self, instance: LocalInstance) -> str:
        """What the metadata service announced before the stop is over."""
        if instance.announced:
            instance.announced = False
            self.cloud.machines.notice(instance.id, None, None)
            self.cloud.machines.rebalance(instance.id, None)
        return super().power_on(instance)

    def market_changed(self) -> None:
        """There may be capacity again: have the requests that wait for it tried again, soon."""
        with self.lock:
            requests = [r for r in self.spot_instance_requests.values() if isinstance(r, SpotRequest) and r.waits]
        for request in requests:
            later(self.cloud.relaunch_seconds, self._try_again, request)

    def _try_again(self, request: SpotRequest) -> None:
        """Give a request that waits its instance, if there is capacity: the stopped one, or one more.

        One more is what the request asked for but for the tags of the first launch.
        https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/interruption-behavior.html (restart of stopped instances)
        """
        with self.lock:
            if not request.waits:
                return
            try:
                admission.zone_for(self, self._wish(request))
            except EC2ClientError as error:
                self._keep_waiting(request, "price-too-low", error.message)
            except Refused as error:
                self._keep_waiting(request, "capacity-not-available", error.message)
            else:
                self._serve(request)

    def _wish(self, request: SpotRequest) -> Wish:
        price = float(request.spot_price) if request.spot_price else None
        return Wish(request.instance_type, (request.launched_availability_zone or "",), spot=True, max_price=price)

    def _keep_waiting(self, request: SpotRequest, code: str, why: str) -> None:
        if request.state == "open":
            request.enter("open", code, why)

    def _serve(self, request: SpotRequest) -> None:
        if request.state == "open":
            request.fulfil(self.run_again(request.launch))
        elif stopped := self.living_instance(request.instance_id):
            self.start_stopped(stopped)

    def forget(self, *, all_ended: bool = False) -> None:
        """Besides instances, drop the requests that ended long enough ago, or all that ended, without an instance."""
        super().forget(all_ended=all_ended)
        cutoff = datetime.now(UTC) - (timedelta() if all_ended else KEPT_AFTER_END)
        with self.lock:
            for request in [r for r in self.spot_instance_requests.values() if isinstance(r, SpotRequest)]:
                over = not request.uncancelled and request.status["UpdateTime"] <= cutoff
                if over and self.living_instance(request.instance_id) is None:
                    del self.spot_instance_requests[request.id]
                    self.tags.pop(request.id, None)


def _wrong_state(instance: LocalInstance, action: str) -> EC2ClientError:
    return EC2ClientError(
        "IncorrectSpotRequestState",
        f"You can't {action} the Spot Instance '{instance.id}' because the associated Spot Instance request is not in "
        f"an appropriate state to support {action}.",
    )

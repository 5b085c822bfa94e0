"""The AWS API of the local cloud: moto, with this cloud's EC2, ECR and S3 in it and the credentials check in front.

Imported by the daemon only, after it has set moto's switches: moto reads them when it is imported.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from functools import partial
from typing import Any
from urllib.parse import parse_qsl

from moto.core import DEFAULT_ACCOUNT_ID
from moto.ec2.models import ec2_backends
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app

from . import (
    authorization,
    batch,
    batch_references,
    capacity,
    controls,
    credentials,
    ec2,
    ecr,
    faults,
    interruption,
    json_services,
    managed_policies,
    market_file,
    price_list,
    quotas,
    s3,
)
from .credentials import Caller
from .errors import LocalCloudError
from .instances import Cloud, LocalInstance
from .market import Market, Scenario
from .protocol import Application, Environ, StartResponse
from .state import Key

SERVICES = ("ec2", "s3", "ecr", "iam", "sts", "ssm")
"""Made at the start, so that the first call is as fast as the next."""


def application(cloud: Cloud, storage: ecr.Storage, key: Key, endpoint: str) -> Application:
    """The whole API as one WSGI application.

    storage: the registry behind ECR; key: of the profile; endpoint: where all this is served.
    """
    owner = key.id
    ec2.install(cloud)
    ecr.install(storage)
    s3.install()
    authorization.install()
    managed_policies.install()
    batch.install(endpoint, owner)
    moto = DomainDispatcherApplication(create_backend_app)
    for service in SERVICES:
        moto.app_instances[service] = create_backend_app(service)
    active = faults.Faults()
    checked = faults.middleware(credentials.middleware(_with_json_services(moto, cloud.market), owner), active)

    def dispatch(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        path = environ["PATH_INFO"]
        if path.startswith(controls.PREFIX):
            if why := controls.refusal(environ, key.secret, endpoint):
                return _answer(start_response, "403 Forbidden", {"problem": why, "fix": None})
            return _answer(start_response, *_local(environ, cloud, active))
        if path.startswith(("/moto-api", "/latest/")):  # moto's own controls, which would empty the cloud
            return _answer(start_response, "404 Not Found", "")
        return checked(environ, start_response)

    return dispatch


def _with_json_services(moto: Application, market: Market) -> Application:
    """moto, with the services that it lacks in front."""
    operations: dict[str, json_services.Operation] = {
        "AWSPriceListService.GetProducts": partial(price_list.get_products, market),
        "ServiceQuotasV20190624.GetServiceQuota": partial(quotas.get_service_quota, market),
        "ServiceQuotasV20190624.ListServiceQuotas": partial(quotas.list_service_quotas, market),
    }

    def refuse(caller: Caller, action: str) -> str | None:
        return authorization.why_denied(market, caller.region, caller.service, action, caller.access_key)

    return json_services.middleware(moto, operations, refuse)


def _local(environ: Environ, cloud: Cloud, active: faults.Faults) -> tuple[str, Any]:
    """What the cloud says of itself, and what can be done to it: status and answer of /_local/NAME?ASKED.

    A refusal is the problem and the fix of a LocalCloudError.
    """
    name = environ["PATH_INFO"].removeprefix(controls.PREFIX)
    try:
        asked = {**dict(parse_qsl(environ.get("QUERY_STRING", ""))), "body": controls.body(environ)}
        return _done(environ["REQUEST_METHOD"], name, asked, cloud, active)
    except ValueError as error:
        return "400 Bad Request", {"problem": f"{name} cannot read what it was sent: {error}", "fix": None}
    except LocalCloudError as error:
        return "400 Bad Request", {"problem": error.problem, "fix": error.fix}


def _done(method: str, name: str, asked: dict[str, str], cloud: Cloud, active: faults.Faults) -> tuple[str, Any]:
    match method, name:
        case "GET", "caller-address":
            return "200 OK", "127.0.0.1\n"
        case "GET", "status":
            return "200 OK", {
                "instances": [describe(instance) for instance in all_instances()],
                "batch": batch_references.told(),
                "without_capacity": sorted(cloud.market.exhausted),
                "market": cloud.market.scenario.file,
                "faults": faults.told(active),
            }
        case "POST", "forget":
            for backend in backends():
                backend.forget(all_ended=True)
            return "200 OK", {}
        case "POST", "expire-sessions":
            return "200 OK", {"sessions": credentials.expire_sessions()}
        case "POST", "interrupt":
            instance = _meant(asked.get("job", ""))
            lines = interruption.interrupt(
                instance.ec2_backend, instance, interruption.seconds(asked.get("notice", "120"))
            )
            return "200 OK", {"lines": lines}
        case "POST", "rebalance":
            instance = _meant(asked.get("job", ""))
            return "200 OK", {"lines": interruption.recommend_rebalance(instance.ec2_backend, instance)}
        case "POST", "capacity":
            change_capacity(cloud, asked.get("type", ""), asked.get("state", ""))
            return "200 OK", {}
        case "POST", "market":
            cloud.market.scenario = (
                market_file.scenario(asked["body"], asked["file"]) if asked.get("file") else Scenario()
            )
            market_changed()
            return "200 OK", {}
        case "POST", "batch-finish":
            return "200 OK", {"finished": batch_references.finish(asked)}
        case "POST", "fault":
            return "200 OK", {"lines": active.change(asked)}
        case _:
            return "404 Not Found", {"problem": f"{method} {name} is not known here", "fix": None}


def _meant(reference: str) -> LocalInstance:
    """The instance that a user means by its id, `latest`, or a job of Batch that runs on it."""
    return batch_references.instance(reference) or interruption.named(living_instances(), reference)


def _answer(start_response: StartResponse, status: str, content: Any) -> Iterable[bytes]:
    body = (content if isinstance(content, str) else json.dumps(content)).encode()
    kind = "text/plain" if isinstance(content, str) else "application/json"
    start_response(status, [("Content-Type", kind), ("Content-Length", str(len(body)))])
    return [body]


def backends() -> Iterator[ec2.Region]:
    """EC2 of every account and region that was spoken to."""
    for _, _, backend in list(ec2_backends.iter_backends()):
        yield backend


def all_instances() -> Iterator[LocalInstance]:
    for backend in backends():
        yield from backend.all_instances()


def living_instances() -> list[LocalInstance]:
    """The instances that have not ended and are not about to."""
    return [instance for instance in all_instances() if instance.state not in ("shutting-down", "terminated")]


def change_capacity(cloud: Cloud, instance_type: str, state: str) -> None:
    """Take capacity away or give it back, and tell the spot requests that wait for it."""
    capacity.change(cloud.market, instance_type, state)
    market_changed()


def market_changed() -> None:
    """Tell the spot requests and the jobs of Batch that wait for capacity."""
    for backend in backends():
        backend.market_changed()
    batch.market_changed()


def describe(instance: LocalInstance) -> dict[str, str]:
    """One instance for `status`."""
    return {
        "id": instance.id,
        "type": instance.instance_type,
        "state": instance.state,
        "address": instance.public_ip or "",
    }


def halted(instance_id: str) -> None:
    """A machine shut itself down."""
    for backend in backends():
        if instance := backend.get_instance_by_id(instance_id):
            backend.halted(instance)


def tags(instance_id: str) -> dict[str, str]:
    """The tags of an instance; empty for one that is forgotten."""
    return next((dict(backend.tags[instance_id]) for backend in backends() if instance_id in backend.tags), {})


def role_credentials(role: str, session_name: str) -> dict[str, str]:
    """Fresh credentials for a role of the owner's account, in the form of the instance metadata service.

    session_name: the id of the instance, or of the container, that they are for.

    https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/instance-metadata-security-credentials.html
    """
    from moto.iam.models import iam_backends
    from moto.sts.models import sts_backends

    arn = iam_backends[DEFAULT_ACCOUNT_ID]["aws"].get_role(role).arn
    session = sts_backends[DEFAULT_ACCOUNT_ID]["aws"].assume_role(
        region_name="us-east-1",
        role_session_name=session_name,
        role_arn=arn,
        policy="",
        duration=6 * 3600,
        external_id="",
    )
    for backend in backends():
        if instance := backend.get_instance_by_id(session_name):
            region = backend.region_name
            session.source_instance = f"arn:aws:ec2:{region}:{DEFAULT_ACCOUNT_ID}:instance/{instance.id}"
    return {
        "AccessKeyId": session.access_key_id,
        "SecretAccessKey": session.secret_access_key,
        "Token": session.session_token,
        "Expiration": f"{session.expiration:%Y-%m-%dT%H:%M:%SZ}",
    }

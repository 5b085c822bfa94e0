"""Requests as they come in: what they ask for, in the terms of IAM, and how each service refuses them."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl
from xml.sax.saxutils import escape

from moto.core import DEFAULT_ACCOUNT_ID
from werkzeug.wsgi import get_input_stream

from .policy_language import Request, context

Environ = dict[str, Any]
StartResponse = Callable[..., Any]
Application = Callable[[Environ, StartResponse], Iterable[bytes]]

JSON_SERVICES = {"batch", "ecr", "ecs", "logs", "pricing", "servicequotas", "ssm"}


@dataclass(frozen=True)
class Refusal:
    """Why a request is not let through, as AWS says it."""

    service: str
    status: str
    code: str
    message: str

    def body(self) -> tuple[str, str]:
        """Content type and body in the protocol of the service."""
        code, message = escape(self.code), escape(self.message)
        match self.service:
            case "ec2":
                error = f"<Errors><Error><Code>{code}</Code><Message>{message}</Message></Error></Errors>"
                return "text/xml", f"<Response>{error}<RequestID>local</RequestID></Response>"
            case "s3":
                return "application/xml", f"<Error><Code>{code}</Code><Message>{message}</Message></Error>"
            case service if service in JSON_SERVICES:
                return "application/x-amz-json-1.1", json.dumps({"__type": self.code, "message": self.message})
            case _:
                error = f"<Error><Type>Sender</Type><Code>{code}</Code><Message>{message}</Message></Error>"
                return "text/xml", f"<ErrorResponse>{error}<RequestId>local</RequestId></ErrorResponse>"


def body(environ: Environ) -> bytes:
    """The whole body, which stays there to be read."""
    read = get_input_stream(environ).read()
    environ["wsgi.input"] = io.BytesIO(read)
    environ["CONTENT_LENGTH"] = str(len(read))
    environ.pop("HTTP_TRANSFER_ENCODING", None)
    return read


def form(environ: Environ) -> dict[str, str]:
    """The parameters of a request to EC2, IAM or STS."""
    return dict(parse_qsl(body(environ).decode(), keep_blank_values=True))


IDS = re.compile(r"(InstanceId|ResourceId|SpotInstanceRequestId|ImageId|VolumeId)(\.\d+)?")
KINDS = {"i": "instance", "sir": "spot-instances-request", "vol": "volume", "ami": "image"}


def asked_of_ec2(asked: dict[str, str], region: str) -> list[Request]:
    """One request for each resource that is named, or one for all.

    https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazonec2.html
    """
    action, tags = asked.get("Action", ""), _tags(asked)
    known = {"aws:TagKeys": tuple(tags) or None, **{f"aws:RequestTag/{key}": value for key, value in tags.items()}}
    named = [] if action.startswith("Describe") else [one for key, one in asked.items() if IDS.fullmatch(key)]
    arn = f"arn:aws:ec2:{region}:{DEFAULT_ACCOUNT_ID}"
    return [
        Request(f"ec2:{action}", f"{arn}:{KINDS[kind]}/{one}", context(**known, **_of_resource(one, region)))
        for one in named
        if (kind := one.partition("-")[0]) in KINDS
    ] or [Request(f"ec2:{action}", "*", context(**known))]


def _tags(asked: dict[str, str]) -> dict[str, str]:
    keys = {name: value for name, value in asked.items() if re.fullmatch(r"Tag\.\d+\.Key", name)}
    return {key: asked.get(name.replace("Key", "Value"), "") for name, key in keys.items()}


def _of_resource(id: str, region: str) -> dict[str, str | None]:
    """What condition keys say of something of EC2's, as its ARN has it: tags, and of an instance its profile."""
    from moto.ec2.models import ec2_backends

    backend = ec2_backends[DEFAULT_ACCOUNT_ID][region]
    found = (
        {f"aws:ResourceTag/{key}": value for key, value in dict(backend.tags[id]).items()} if id in backend.tags else {}
    )
    instance = backend.get_instance_by_id(id) if id.startswith("i-") else None
    if instance is None:
        return dict(found)
    association = backend.iam_instance_profile_associations.get(id)
    profile = association.iam_instance_profile.arn if association else None
    return {**found, "ec2:InstanceID": id, "ec2:InstanceProfile": profile}


def asked_of_json(environ: Environ, service: str, region: str) -> list[Request]:
    """Of a service that is asked in JSON or in a form, by the repository that is named, if one is."""
    target = environ.get("HTTP_X_AMZ_TARGET", "").rpartition(".")[2]
    if not target:
        target = form(environ).get("Action", "")
        return [Request(f"{service}:{target or '-'}", "*")]
    asked = json.loads(body(environ) or b"{}")
    name = asked.get("repositoryName") if service == "ecr" else None
    resource = f"arn:aws:ecr:{region}:{DEFAULT_ACCOUNT_ID}:repository/{name}" if name else "*"
    return [Request(f"{service}:{target}", resource)]

"""The instance metadata service, version 2 only, of one instance.

Paths, status codes and formats are those of
https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/instancedata-data-categories.html
"""

from __future__ import annotations

import json
import platform
import secrets
import socket
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.message import Message
from http import HTTPStatus
from typing import TYPE_CHECKING, Literal

from .http_door import Answer, serve_http

if TYPE_CHECKING:
    from .machines import MachineSpec

Credentials = dict[str, str]
Value = str | bytes | Callable[[], str]
Tree = dict[str, "Tree | Value"]
Action = Literal["stop", "terminate"]

VERSIONS = ("1.0", "2009-04-04", "2016-09-02", "2018-09-24", "2021-03-23", "2022-09-24", "latest")
TOKEN_HEADER = "X-aws-ec2-metadata-token"
TTL_HEADER = "X-aws-ec2-metadata-token-ttl-seconds"
MAX_TTL_SECONDS = 21600
REFRESH_SECONDS = 20 * 60
"""Credentials are renewed this long before they expire: SDKs ask for new ones from 15 minutes before."""
ACCOUNT = "123456789012"
"""The account that moto has by default."""


class Metadata:
    """What one instance can learn about itself.

    spec: the instance. credentials: by role name and session name, {"AccessKeyId", "SecretAccessKey", "Token",
    "Expiration" (ISO 8601)}.
    tags: the instance's tags by its id.
    """

    def __init__(
        self,
        spec: MachineSpec,
        credentials: Callable[[str, str], Credentials],
        tags: Callable[[str], dict[str, str]],
    ) -> None:
        self.spec = spec
        self.public_address: str | None = None
        self.notice: tuple[Action, datetime] | None = None
        self.rebalance: datetime | None = None
        self._credentials = credentials
        self._tags = tags
        self._tokens: dict[str, float] = {}
        self._held: Credentials | None = None
        self._lock = threading.Lock()
        self._booted_at = datetime.now(UTC)

    def answer(self, method: str, path: str, headers: Message) -> Answer:
        """Answer one request. headers: found by name in any case."""
        path = path.partition("?")[0]
        if method == "PUT" and path == "/latest/api/token":
            return self._new_token(headers)
        if method not in ("GET", "HEAD"):
            return Answer(HTTPStatus.METHOD_NOT_ALLOWED)
        if self._tokens.get(headers.get(TOKEN_HEADER) or "", 0) < time.monotonic():
            return Answer(HTTPStatus.UNAUTHORIZED)
        body = self._read([part for part in path.split("/") if part])
        return Answer(HTTPStatus.NOT_FOUND) if body is None else Answer(HTTPStatus.OK, body)

    def serve(self, connection: socket.socket) -> None:
        """Answer the HTTP requests of one connection."""
        serve_http(connection, self.answer, server="EC2ws")

    def _new_token(self, headers: Message) -> Answer:
        if headers.get("X-Forwarded-For"):
            return Answer(HTTPStatus.FORBIDDEN)
        ttl = headers.get(TTL_HEADER) or ""
        if not (ttl.isdecimal() and 1 <= int(ttl) <= MAX_TTL_SECONDS):
            return Answer(HTTPStatus.BAD_REQUEST)
        token = secrets.token_urlsafe(40)
        self._tokens[token] = time.monotonic() + int(ttl)
        return Answer(HTTPStatus.OK, token.encode(), {TTL_HEADER: ttl})

    def _read(self, parts: list[str]) -> bytes | None:
        """A value, or the listing of a directory; None where there is neither."""
        if not parts:
            return "\n".join(VERSIONS).encode()
        if parts[0] not in VERSIONS:
            return None
        node: Tree | Value = self._tree()
        for part in parts[1:]:
            if not isinstance(node, dict) or part not in node:
                return None
            node = node[part]
        if callable(node):
            node = node()
        if isinstance(node, dict):
            node = "\n".join(f"{name}/" if isinstance(node[name], dict) else name for name in sorted(node))
            if parts[-1] == "public-keys":
                node = f"0={self.spec.key_name or ''}"
        return node if isinstance(node, bytes) else node.encode()

    def _tree(self) -> Tree:
        tree: Tree = {
            "dynamic": {"instance-identity": {"document": self._identity}},
            "meta-data": self._meta_data(),
        }
        if self.spec.user_data:
            tree["user-data"] = self.spec.user_data
        return tree

    def _meta_data(self) -> Tree:
        spec = self.spec
        mac = mac_address(spec.private_ip)
        interface: Tree = {
            "device-number": "0",
            "local-hostname": self.hostname,
            "local-ipv4s": spec.private_ip,
            "mac": mac,
        }
        tree: Tree = {
            "ami-id": spec.image_id,
            "ami-launch-index": "0",
            "ami-manifest-path": "(unknown)",
            "hostname": self.hostname,
            "instance-action": "none",
            "instance-id": spec.instance_id,
            "instance-life-cycle": spec.lifecycle,
            "instance-type": spec.instance_type,
            "local-hostname": self.hostname,
            "local-ipv4": spec.private_ip,
            "mac": mac,
            "network": {"interfaces": {"macs": {mac: interface}}},
            "placement": {"availability-zone": spec.availability_zone, "region": spec.region},
            "services": {"domain": "amazonaws.com", "partition": "aws"},
        }
        if self.public_address:
            tree["public-ipv4"] = interface["public-ipv4s"] = self.public_address
        if spec.public_key:
            tree["public-keys"] = {"0": {"openssh-key": f"{spec.public_key.strip()}\n"}}
        if spec.role:
            tree["iam"] = {"info": self._iam_info, "security-credentials": {spec.role: self._role_credentials}}
        if spec.metadata_tags:
            tree["tags"] = {"instance": dict(self._tags(spec.instance_id))}
        if self.notice:
            action, at = self.notice
            spot: Tree = {"instance-action": json.dumps({"action": action, "time": timestamp(at)})}
            if action == "terminate":
                spot["termination-time"] = timestamp(at)
            tree["spot"] = spot
        if self.rebalance:
            recommended = json.dumps({"noticeTime": timestamp(self.rebalance)})
            tree["events"] = {"recommendations": {"rebalance": recommended}}
        return tree

    @property
    def hostname(self) -> str:
        """https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/hostname-types.html (IP name)"""
        domain = "ec2.internal" if self.spec.region == "us-east-1" else f"{self.spec.region}.compute.internal"
        return f"{host_name(self.spec.private_ip)}.{domain}"

    def _identity(self) -> str:
        spec = self.spec
        document = {
            "accountId": ACCOUNT,
            "architecture": {"x86_64": "x86_64", "aarch64": "arm64"}.get(platform.machine(), platform.machine()),
            "availabilityZone": spec.availability_zone,
            "imageId": spec.image_id,
            "instanceId": spec.instance_id,
            "instanceType": spec.instance_type,
            "pendingTime": timestamp(self._booted_at),
            "privateIp": spec.private_ip,
            "region": spec.region,
            "version": "2017-09-30",
        }
        return json.dumps(document, indent=2)

    def _iam_info(self) -> str:
        arn = f"arn:aws:iam::{ACCOUNT}:instance-profile/{self.spec.role}"
        return json.dumps(
            {"Code": "Success", "LastUpdated": timestamp(self._booted_at), "InstanceProfileArn": arn}, indent=2
        )

    def _role_credentials(self) -> str:
        spec = self.spec
        with self._lock:
            now = datetime.now(UTC)
            held = self._held
            if held is None or _moment(held["Expiration"]) - now < timedelta(seconds=REFRESH_SECONDS):
                self._held = held = {
                    "LastUpdated": timestamp(now),
                    **self._credentials(spec.role or "", spec.instance_id),
                }
            return json.dumps({"Code": "Success", "Type": "AWS-HMAC", **held}, indent=2)


def timestamp(at: datetime) -> str:
    """A moment as the metadata service writes it, in UTC to the second."""
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def host_name(private_ip: str) -> str:
    """ip-10-0-0-12 for 10.0.0.12."""
    return f"ip-{private_ip.replace('.', '-')}"


def mac_address(private_ip: str) -> str:
    """A locally administered address, as EC2's are, that no other instance of the subnet has."""
    return ":".join(["02", "00", *(f"{int(part):02x}" for part in private_ip.split("."))])


def _moment(text: str) -> datetime:
    at = datetime.fromisoformat(text)
    return at if at.tzinfo else at.replace(tzinfo=UTC)

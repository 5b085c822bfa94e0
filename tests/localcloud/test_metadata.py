"""The metadata service: what it answers, to whom, and in which words."""

from __future__ import annotations

import http.client
import json
import socket
import threading
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.message import Message
from typing import Any

import pytest

from localcloud.machines import MachineSpec
from localcloud.metadata import Credentials, Metadata

from .conftest import eventually

SPEC = MachineSpec(
    instance_id="i-1234567890abcdef0",
    instance_type="c7i.large",
    region="us-east-1",
    availability_zone="us-east-1a",
    image_id="ami-12345678",
    private_ip="10.0.0.12",
    user_data=b"#!/bin/bash\n\xff\x00",
    public_key="ssh-ed25519 AAAA me",
    key_name="solver-cloud",
    role="job",
    lifecycle="spot",
)
NOON = datetime(2026, 11, 24, 12, 0, 0, 999_999, tzinfo=UTC)
TOKEN = "X-aws-ec2-metadata-token"
TTL = "X-aws-ec2-metadata-token-ttl-seconds"


def service(lifetime: timedelta = timedelta(hours=6), **changes: Any) -> Metadata:
    """The service of an instance; its role's credentials are good for that long, and each time new."""
    issued: list[str] = []

    def issue(role: str, session: str) -> Credentials:
        assert session == SPEC.instance_id
        issued.append(role)
        expiration = (datetime.now(UTC) + lifetime).strftime("%Y-%m-%dT%H:%M:%SZ")
        key = f"{role}-{len(issued)}"
        return {"AccessKeyId": key, "SecretAccessKey": "secret", "Token": "token", "Expiration": expiration}

    return Metadata(replace(SPEC, **changes), issue, lambda id: {"solver:status": "starting", "id": id})


def ask(metadata: Metadata, method: str, path: str, headers: dict[str, str]) -> tuple[int, bytes]:
    message = Message()
    for name, value in headers.items():
        message[name] = value
    answer = metadata.answer(method, path, message)
    return answer.status, answer.body


def token(metadata: Metadata, seconds: int = 60) -> dict[str, str]:
    status, value = ask(metadata, "PUT", "/latest/api/token", {TTL: str(seconds)})
    assert status == 200
    return {TOKEN: value.decode()}


def read(metadata: Metadata, path: str) -> str | None:
    """What is at a path below meta-data/; None where there is nothing."""
    status, body = ask(metadata, "GET", f"/latest/meta-data/{path}", token(metadata))
    assert status in (200, 404)
    return body.decode() if status == 200 else None


@pytest.mark.parametrize("path", ["/", "/latest/meta-data/instance-id", "/latest/nothing"])
def test_a_token_of_this_instance_is_needed_for_everything(path: str) -> None:
    """https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/configuring-instance-metadata-service.html"""
    for headers in ({}, {TOKEN: ""}, {TOKEN: "guessed"}, token(service())):
        assert ask(service(), "GET", path, headers) == (401, b"")


def test_a_token_expires_when_it_said_it_would() -> None:
    """https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/configuring-instance-metadata-service.html"""
    metadata = service()
    short, long = token(metadata, 1), token(metadata, 21600)
    assert ask(metadata, "GET", "/", short)[0] == 200
    eventually(lambda: ask(metadata, "GET", "/", short)[0] == 401)
    assert ask(metadata, "GET", "/", long)[0] == 200


@pytest.mark.parametrize("ttl", [None, "", "0", "-1", "1.5", "soon", "21601", "²"])
def test_a_token_lives_between_a_second_and_six_hours_and_a_forwarded_request_gets_none(ttl: str | None) -> None:
    """https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/configuring-instance-metadata-service.html"""
    assert ask(service(), "PUT", "/latest/api/token", {TTL: ttl} if ttl is not None else {}) == (400, b"")
    assert ask(service(), "PUT", "/latest/api/token", {TTL: "60", "X-Forwarded-For": "192.0.2.7"}) == (403, b"")


def test_other_methods_are_not_allowed() -> None:
    metadata = service()
    for method, path in (("POST", "user-data"), ("DELETE", "user-data"), ("POST", "api/token"), ("PUT", "user-data")):
        assert ask(metadata, method, f"/latest/{path}", token(metadata) | {TTL: "60"})[0] == 405


def test_listings_have_a_slash_after_directories() -> None:
    """https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/instancedata-data-retrieval.html"""
    metadata = service()
    top = (read(metadata, "") or "").split("\n")
    assert {"ami-id", "hostname", "iam/", "instance-id", "placement/", "public-keys/"} <= set(top)
    assert top == sorted(top)
    assert read(metadata, "placement") == read(metadata, "placement/?x=y") == "availability-zone\nregion"
    assert read(metadata, "network/interfaces/macs") == "02:00:0a:00:00:0c/"
    assert read(metadata, "instance-id/more") is read(metadata, "nothing") is None
    for version in ask(metadata, "GET", "/", token(metadata))[1].decode().split("\n"):
        assert ask(metadata, "GET", f"/{version}/meta-data/", token(metadata)) == (200, "\n".join(top).encode())


def test_the_user_data_is_given_back_byte_for_byte_or_is_not_there() -> None:
    for user_data, expected in ((SPEC.user_data, (200, SPEC.user_data)), (b"", (404, b""))):
        metadata = service(user_data=user_data)
        assert ask(metadata, "GET", "/latest/user-data", token(metadata)) == expected


def test_an_instance_knows_how_it_was_bought_and_where_it_is() -> None:
    """https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/hostname-types.html (IP names)
    https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/instance-identity-documents.html
    """
    metadata = service()
    assert read(metadata, "instance-life-cycle") == "spot"
    assert read(service(lifecycle="on-demand"), "instance-life-cycle") == "on-demand"
    assert read(metadata, "hostname") == "ip-10-0-0-12.ec2.internal"
    assert read(service(region="eu-west-1"), "hostname") == "ip-10-0-0-12.eu-west-1.compute.internal"
    assert read(metadata, "public-ipv4") is None
    metadata.public_address = "192.0.2.7"
    assert read(metadata, "public-ipv4") == "192.0.2.7"
    document = json.loads(ask(metadata, "GET", "/latest/dynamic/instance-identity/document", token(metadata))[1])
    assert (document["instanceId"], document["region"]) == (SPEC.instance_id, "us-east-1")


def test_a_role_has_credentials_in_the_documented_format_and_without_one_there_are_none() -> None:
    """https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/instance-metadata-security-credentials.html"""
    metadata = service()
    assert read(metadata, "iam/security-credentials/") == "job"
    shown = json.loads(read(metadata, "iam/security-credentials/job") or "")
    assert (shown.pop("Code"), shown.pop("Type"), shown.pop("AccessKeyId")) == ("Success", "AWS-HMAC", "job-1")
    assert set(shown) == {"LastUpdated", "SecretAccessKey", "Token", "Expiration"}
    assert read(metadata, "iam/security-credentials/another") is None
    assert ":instance-profile/job" in json.loads(read(metadata, "iam/info") or "")["InstanceProfileArn"]
    assert read(service(role=None), "iam/security-credentials/") is read(service(role=None), "iam/info") is None


@pytest.mark.parametrize(("minutes", "keys"), [(25, ["job-1", "job-1"]), (15, ["job-1", "job-2"])])
def test_credentials_are_renewed_before_they_expire(minutes: int, keys: list[str]) -> None:
    """https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/instance-metadata-security-credentials.html"""
    metadata = service(timedelta(minutes=minutes))
    shown = [json.loads(read(metadata, "iam/security-credentials/job") or "") for _ in keys]
    assert [credentials["AccessKeyId"] for credentials in shown] == keys


def test_interruptions_and_rebalance_recommendations_are_announced_as_documented() -> None:
    """https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/spot-instance-termination-notices.html
    https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/rebalance-recommendations.html
    """
    metadata = service()
    assert read(metadata, "spot/instance-action") is read(metadata, "spot/termination-time") is None
    metadata.notice = ("terminate", NOON)
    assert read(metadata, "spot/instance-action") == '{"action": "terminate", "time": "2026-11-24T12:00:00Z"}'
    assert read(metadata, "spot/termination-time") == "2026-11-24T12:00:00Z"
    metadata.notice = ("stop", NOON.astimezone())
    assert read(metadata, "spot/instance-action") == '{"action": "stop", "time": "2026-11-24T12:00:00Z"}'
    assert read(metadata, "spot/termination-time") is read(metadata, "events/recommendations/rebalance") is None
    metadata.rebalance = NOON
    assert read(metadata, "events/recommendations/rebalance") == '{"noticeTime": "2026-11-24T12:00:00Z"}'


def test_the_public_key_is_listed_by_name_and_read_by_number() -> None:
    """https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/instancedata-data-retrieval.html"""
    assert read(service(), "public-keys/") == "0=solver-cloud"
    assert read(service(), "public-keys/0/openssh-key") == "ssh-ed25519 AAAA me\n"
    assert read(service(public_key=None), "public-keys/") is None


def test_tags_are_shown_only_where_that_was_asked_for() -> None:
    """https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/work-with-tags-in-IMDS.html"""
    assert read(service(), "tags/instance") is None
    assert read(service(metadata_tags=True), "tags/instance") == "id\nsolver:status"
    assert read(service(metadata_tags=True), "tags/instance/id") == SPEC.instance_id


def test_a_connection_serves_one_request_after_another() -> None:
    client, (near, far) = http.client.HTTPConnection("169.254.169.254"), socket.socketpair()
    threading.Thread(target=service().serve, args=(far,), daemon=True).start()
    client.sock = near
    client.request("PUT", "/latest/api/token", headers={TTL: "60"})
    answer = client.getresponse()
    assert answer.headers[TTL] == "60"
    headers = {TOKEN.lower(): answer.read().decode()}
    for method, body in (("HEAD", b""), ("GET", SPEC.user_data)):
        client.request(method, "/latest/user-data", headers=headers)
        answer = client.getresponse()
        assert (answer.status, answer.headers["Content-Length"], answer.read()) == (200, "14", body)
    client.close()

"""An account whose S3 and EC2 say what a test lets them say. It answers in microseconds, for ten thousand tries."""

from __future__ import annotations

import io
from collections.abc import Iterator
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

from botocore.exceptions import ClientError

from cloud.aws import Aws
from cloud.config import Settings

NAME = "solver-cloud"
BEGAN = datetime(2026, 11, 24, 8, tzinfo=UTC)


class NoSuchKeyError(Exception):
    """S3's, which no bug of ours is taken for."""


def failure(code: str) -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": code}}, "it")


def instance(id: str, state: str, tags: dict[str, str], **more: Any) -> dict[str, Any]:
    """An instance of ours as EC2 shows it."""
    every = {"solver:cloud": NAME, **tags}
    shown = [{"Key": key, "Value": value} for key, value in every.items()]
    told = {"InstanceId": id, "State": {"Name": state}, "InstanceType": "c7i.large", "LaunchTime": BEGAN, "Tags": shown}
    return {**told, "ImageId": "ami-1", **more}


class Service:
    """A client of a service of which only what is needed here is there; any list of anything else is empty."""

    exceptions = SimpleNamespace(ClientError=ClientError, NoSuchKey=NoSuchKeyError)

    def __init__(self, account: Shelf) -> None:
        self.account = account

    def get_paginator(self, operation: str) -> Any:
        one_page: Any = getattr(self, f"page_of_{operation}", lambda **_: {})
        return SimpleNamespace(paginate=lambda **asked: iter([one_page(**asked)]))


class S3(Service):
    def get_object(self, Key: str, **_: Any) -> dict[str, Any]:
        body = self.account.objects.get(Key)
        if body is None:
            raise self.exceptions.NoSuchKey
        return {"Body": io.BytesIO(body), "ETag": str(hash(body)), "ContentLength": len(body)}

    def head_object(self, Key: str, **_: Any) -> dict[str, Any]:
        if Key not in self.account.objects:
            raise failure("404")
        return {"LastModified": BEGAN}

    def put_object(self, Key: str, Body: bytes, **condition: str) -> dict[str, Any]:
        there = self.account.objects.get(Key)
        version = str(hash(there))
        if ("IfNoneMatch" in condition and there is not None) or condition.get("IfMatch", version) != version:
            raise failure("PreconditionFailed")
        self.account.objects[Key] = Body
        return {"ETag": str(hash(Body))}

    def page_of_list_objects_v2(self, Prefix: str, Delimiter: str = "", **_: Any) -> dict[str, Any]:
        found = [key for key in self.account.objects if key.startswith(Prefix)]
        if not Delimiter:
            return {"Contents": [{"Key": key, "Size": len(self.account.objects[key])} for key in found]}
        rolled = {Prefix + key[len(Prefix) :].partition(Delimiter)[0] + Delimiter for key in found}
        return {"CommonPrefixes": [{"Prefix": one} for one in sorted(rolled)]}


class EC2(Service):
    def page_of_describe_instances(self, Filters: list[dict[str, Any]], **_: Any) -> dict[str, Any]:
        ours = Filters[0]["Name"] == "tag:solver:cloud"
        return {"Reservations": [{"Instances": self.account.instances}] if ours else []}

    def describe_instances(self, InstanceIds: list[str]) -> dict[str, Any]:
        found = [one for one in self.account.instances if one["InstanceId"] in InstanceIds]
        if not found:
            raise failure("InvalidInstanceID.NotFound")
        return {"Reservations": [{"Instances": found}]}

    def describe_images(self, **_: Any) -> dict[str, Any]:
        return {"Images": []}

    def create_tags(self, **_: Any) -> None:
        pass

    def terminate_instances(self, InstanceIds: list[str]) -> None:
        for one in self.account.instances:
            if one["InstanceId"] in InstanceIds:
                one["State"] = {"Name": "shutting-down"}

    def cancel_spot_instance_requests(self, **_: Any) -> None:
        pass


class Shelf(Aws):
    """What `Aws` is, with other clients; `objects` of S3 by key, and `instances` of EC2."""

    def __init__(self, objects: dict[str, bytes], instances: list[dict[str, Any]]) -> None:
        super().__init__(Settings.from_context({}))
        self.objects, self.instances = objects, instances
        vars(self).update(s3=S3(self), ec2=EC2(self), ecr=Service(self), batch=Service(self), bucket="bucket")


def living(aws: Shelf) -> Iterator[str]:
    for one in aws.instances:
        if one["State"]["Name"] not in ("shutting-down", "terminated"):
            yield one["InstanceId"]

"""A local cloud in a process of its own, with machines that exist in name only, and real machines by themselves."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import docker
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from localcloud import images, prerequisites
from localcloud.state import Running, State

from .real_machines import Cloud as RealCloud
from .real_machines import Instance, Key

REPOSITORY = Path(__file__).parents[2]
IMAGE = "/aws/service/ecs/optimized-ami/amazon-linux-2023/recommended/image_id"


class FakeCloud:
    """The daemon of fake_daemon.py, or the real one with an AMI."""

    def __init__(self, root: Path, registry: str, ami: str = "") -> None:
        self.ami = ami
        self.state = State(root)
        self.registry_program = registry
        self.running: Running | None = None
        self._clients: dict[tuple[str, ...], Any] = {}

    def start(self, *arguments: str) -> None:
        read, write = os.pipe()
        options = ["--state", str(self.state.root), "--ami", self.ami or "none", "--ready-fd", str(write)]
        options += ["--registry", self.registry_program]
        module = "localcloud.daemon" if self.ami else "tests.localcloud.fake_daemon"
        with (self.state.root / "daemon.log").open("w") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", module, *options, *arguments],
                cwd=REPOSITORY,
                pass_fds=[write],
                stderr=log,
            )
        os.close(write)
        with open(read) as waiting:
            assert waiting.read() == "ready\n", self.state.log.read_text()
        self.running = self.state.running()

    def stop(self) -> None:
        self.process.terminate()
        assert self.process.wait(30) == 0

    @property
    def endpoint(self) -> str:
        assert self.running
        return self.running.endpoint

    @property
    def registry(self) -> str:
        assert self.running
        return self.running.registry

    def session(self, **credentials: Any) -> boto3.Session:
        key = self.state.key()
        own = {"aws_access_key_id": key.id, "aws_secret_access_key": key.secret, "region_name": "us-east-1"}
        return boto3.Session(**{**own, **credentials})

    def client(self, service: str, **credentials: Any) -> Any:
        """A client of one service, the same for the same credentials: to make one takes longer than most calls."""
        key = (self.endpoint, service, *(f"{name}={value}" for name, value in sorted(credentials.items())))
        if key not in self._clients:
            config = Config(retries={"total_max_attempts": 1})
            session = self.session(**credentials)
            self._clients[key] = session.client(service, endpoint_url=self.endpoint, config=config)  # type: ignore[call-overload]
        return self._clients[key]

    def post(self, name: str) -> None:
        assert self.running
        url, key = f"{self.endpoint}/_local/{name}", {"X-Local-Key": self.running.key}
        urllib.request.urlopen(urllib.request.Request(url, headers=key, method="POST")).read()

    def calls(self, instance: str) -> list[str]:
        """What the machine of an instance was told to do, in order."""
        path = self.state.machines / "calls"
        lines = [line.split() for line in path.read_text().splitlines()] if path.exists() else []
        return [line[0] for line in lines if len(line) > 1 and line[1] == instance]


def find_registry() -> str:
    """Debian's docker-registry, which need not be installed: it is unpacked into the user's own state directory."""
    program = prerequisites.registry(docker.from_env(), State.default().root, print)
    return program or pytest.fail("these tests need Debian's docker-registry, and only the image registry:2 is here")


@pytest.fixture(scope="session")
def registry_program() -> str:
    return find_registry()


@pytest.fixture(scope="session")
def cloud(tmp_path_factory: pytest.TempPathFactory, registry_program: str) -> Iterator[FakeCloud]:
    cloud = FakeCloud(tmp_path_factory.mktemp("cloud"), registry_program)
    cloud.start("--relaunch-seconds", "0.3")
    yield cloud
    cloud.stop()


@pytest.fixture(scope="session")
def ec2(cloud: FakeCloud) -> Any:
    return cloud.client("ec2")


@pytest.fixture(scope="session")
def s3(cloud: FakeCloud) -> Any:
    return cloud.client("s3")


@pytest.fixture
def bucket(s3: Any) -> str:
    """An empty bucket."""
    name = f"bucket-{uuid.uuid4().hex}"
    s3.create_bucket(Bucket=name)
    return name


@pytest.fixture(scope="session")
def ami(cloud: FakeCloud) -> str:
    return str(cloud.client("ssm").get_parameter(Name=IMAGE)["Parameter"]["Value"])


@pytest.fixture
def run(ec2: Any, ami: str) -> Callable[..., dict[str, Any]]:
    """Launch one instance; returns RunInstances' description of it."""

    def run(**changes: Any) -> dict[str, Any]:
        request = {"ImageId": ami, "InstanceType": "c7i.large", "MinCount": 1, "MaxCount": 1, **changes}
        instance: dict[str, Any] = ec2.run_instances(**request)["Instances"][0]
        return instance

    return run


@pytest.fixture
def instance_profile(cloud: FakeCloud) -> str:
    """An instance profile with a role of the same name."""
    iam, name = cloud.client("iam"), f"job-{uuid.uuid4().hex[:8]}"
    iam.create_role(RoleName=name, AssumeRolePolicyDocument="{}")
    iam.create_instance_profile(InstanceProfileName=name)
    iam.add_role_to_instance_profile(InstanceProfileName=name, RoleName=name)
    return name


@pytest.fixture(scope="session")
def engine() -> Any:
    return docker.from_env()


@pytest.fixture(scope="session")
def runtime_image(engine: Any) -> str:
    return images.base_images(engine, print).runtime


@pytest.fixture(scope="session")
def instance_image(engine: Any) -> str:
    return images.instance_image(engine, print)


@pytest.fixture(scope="session")
def real_cloud(tmp_path_factory: pytest.TempPathFactory, engine: Any, instance_image: str) -> Iterator[RealCloud]:
    """A cloud whose machines are real."""
    directory = tmp_path_factory.mktemp("a-state-directory-whose-path-is-longer-than-a-socket-address-may-be" * 2)
    private = Ed25519PrivateKey.generate()
    path = directory / "key"
    path.touch(mode=0o600)
    path.write_bytes(private.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()))
    line = private.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()
    cloud = RealCloud(directory / "machines", engine, instance_image, Key(path, line))
    yield cloud
    cloud.close()


@pytest.fixture(scope="session")
def instance(real_cloud: RealCloud) -> Instance:
    """One running instance, for tests that leave it as it is."""
    return real_cloud.boot("#!/bin/bash\necho ran > /var/lib/user-data\nenv > /var/lib/environment\n")


def eventually(condition: Callable[[], Any], seconds: float = 10) -> Any:
    """The first true value of a condition; fails when none comes in time."""
    until = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < until, "it did not come to that in time"
        time.sleep(0.02)
    return value


def look(ec2: Any, instance: str) -> dict[str, Any]:
    found: dict[str, Any] = ec2.describe_instances(InstanceIds=[instance])["Reservations"][0]["Instances"][0]
    return found


def in_state(ec2: Any, instance: str, state: str) -> dict[str, Any]:
    """The instance once it is in that state."""

    def there() -> dict[str, Any] | None:
        found = look(ec2, instance)
        return found if found["State"]["Name"] == state else None

    found: dict[str, Any] = eventually(there)
    return found


def refusal(call: Callable[..., Any], **arguments: Any) -> tuple[str, str]:
    """Code and message with which a call is refused."""
    with pytest.raises(ClientError) as error:
        call(**arguments)
    answer = error.value.response["Error"]
    return answer["Code"], answer["Message"]

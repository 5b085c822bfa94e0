"""`aws` on an instance: whoever calls it cannot tell that another process does the work."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from .conftest import eventually
from .real_machines import WAIT_SECONDS, Cloud, Instance

SERVER = "pgrep --full --oldest libexec/[a]ws-server"
HANGING = "aws --endpoint-url http://127.0.0.1:9 sts get-caller-identity"
SILENT = "socat TCP-LISTEN:9,bind=127.0.0.1,fork,reuseaddr EXEC:'sleep 1000'"
"""Takes connections, and never answers."""


@pytest.fixture(scope="module")
def instance(real_cloud: Cloud) -> Iterator[Instance]:
    instance = real_cloud.boot("#!/bin/bash\n")
    instance.run(f"timeout {WAIT_SECONDS} sh -c 'until [ -S /run/aws.sock ]; do sleep 0.05; done'")
    instance.container.exec_run(["bash", "-c", SILENT], detach=True)
    yield instance
    real_cloud.machines.terminate(instance.id)


def processes(instance: Instance) -> int:
    """How many processes run a call, or wait for one."""
    return len(instance.run("pgrep --full libexec/[a]ws-server", check=False).split())


@pytest.mark.parametrize("server", ["runs", "is gone"])
def test_arguments_environment_directory_and_streams_are_the_callers(instance: Instance, server: str) -> None:
    if server == "is gone":
        instance.run(f"kill -STOP $({SERVER}); mv /run/aws.sock /run/aws.sock.away")
    try:
        configure = "cd /tmp && HOME=/tmp AWS_CONFIG_FILE=./relative aws configure"
        instance.run(f"{configure} set region 'eu west'")
        assert "region = eu west" in instance.run("cat /tmp/relative")
        assert instance.run(f"{configure} get region") == "eu west"
        refused = instance.run("aws s3 nonsense 2>&1 >/dev/null; echo $?")
        assert refused.startswith("usage: aws ")
        assert refused.endswith("\n252")  # of the AWS CLI for a command that it does not know
    finally:
        if server == "is gone":
            instance.run(f"mv /run/aws.sock.away /run/aws.sock; kill -CONT $({SERVER})")


def test_standard_input_is_read_and_output_can_be_bytes(instance: Instance) -> None:
    sent = instance.run("head -c 100000 /dev/urandom | tee /tmp/sent | aws s3 cp - s3://b/k 2>&1", check=False)
    assert "upload failed: - to s3://b/k" in sent  # this cloud's API knows no S3, and was asked


def test_the_login_user_calls_it_as_itself(instance: Instance) -> None:
    made = "cd /tmp && HOME=/tmp AWS_CONFIG_FILE=/tmp/mine aws configure set region here && stat -c %U /tmp/mine"
    assert instance.run(made, user="ec2-user") == "ec2-user"


def test_who_kills_the_command_ends_the_call(instance: Instance) -> None:
    idle = processes(instance)
    during = "pgrep --full libexec/[a]ws-server | wc -l"
    told = instance.run(f"{HANGING} & sleep 1; {during}; kill $!; wait $!; echo $?", check=False)
    assert told.split() == [str(idle + 1), str(128 + 15)]
    eventually(lambda: processes(instance) == idle)


def test_who_kills_the_call_ends_the_command(instance: Instance) -> None:
    call = "pgrep --full --newest libexec/[a]ws-server"
    assert instance.run(f"{HANGING} & sleep 1; kill -9 $({call}); wait $!; echo $?", check=False) == str(128 + 9)

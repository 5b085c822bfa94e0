"""The Docker engine of an instance: what it shows, where its paths lead, and what it refuses."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from localcloud.engine_allowed import Refused
from localcloud.engine_proxy import Request, engine_socket
from localcloud.engine_rules import Scope
from localcloud.errors import LocalCloudError

from .conftest import eventually
from .real_machines import Cloud, Instance

LABELS = {"solver-cloud.local": "cloud", "solver-cloud.local.instance": "i-1"}


@pytest.fixture(scope="module")
def neighbour(real_cloud: Cloud, runtime_image: str) -> Iterator[Instance]:
    """Another instance of the cloud, with a container called theirs."""
    neighbour = real_cloud.boot(private_ip="10.0.0.13")
    neighbour.run(f"docker run --detach --name theirs {runtime_image} sleep 600")
    yield neighbour
    real_cloud.machines.terminate(neighbour.id)


@pytest.fixture
def scope(engine: Any) -> Scope:
    """An instance that the engine does not have."""
    return Scope(engine, cloud="cloud", instance_id="i-1", network="network", container="i-1", volume="i-1-var-lib")


def test_a_container_gives_its_output_and_exit_code_and_takes_its_input(instance: Instance, runtime_image: str) -> None:
    command = "cat; echo to stderr >&2; exit 7"
    run = f"echo from stdin | docker run --rm --interactive {runtime_image} sh -c '{command}'"
    assert instance.run(f"{run} 2> /tmp/stderr; echo $?; cat /tmp/stderr") == "from stdin\n7\nto stderr"


def test_a_created_container_is_started_waited_for_and_removed(instance: Instance, runtime_image: str) -> None:
    instance.run(f"docker create --name job {runtime_image} sh -c 'echo output; exit 3'")
    assert instance.run("docker start --attach job; echo $?") == "output\n3"
    assert instance.run("docker logs job; docker wait job") == "output\n3"
    assert instance.run("docker inspect job --format '{{.Name}} {{.State.ExitCode}}'") == "/job 3"
    assert instance.run("docker rename job done && docker rm done && docker ps --all --quiet") == "done"


def test_a_container_that_is_stopped_may_finish(instance: Instance, runtime_image: str) -> None:
    command = 'trap "echo finished; exit" TERM; echo ready; sleep 600 & wait'
    instance.run(f"docker run --detach --name job {runtime_image} bash -c '{command}'")
    eventually(lambda: instance.run("docker logs job") == "ready")
    assert instance.run("docker exec job echo inside") == "inside"
    assert instance.run("docker stop job && docker logs job && docker rm job") == "job\nready\nfinished\njob"


def test_a_container_can_be_called_by_the_name_the_engine_gave_it(instance: Instance, runtime_image: str) -> None:
    instance.run(f"docker create {runtime_image} true")
    name = instance.run("docker ps --all --format '{{.Names}}'")
    assert instance.run(f"docker rm {name}") == name


def test_an_instance_sees_its_own_containers_only(instance: Instance, neighbour: Instance, runtime_image: str) -> None:
    assert neighbour.run("docker ps --all --format '{{.Names}}'") == "theirs"
    assert instance.run("docker ps --all --quiet") == ""
    instance.run(f"docker create --name theirs {runtime_image} true")  # the name is free here
    assert instance.run("docker ps --all --filter name=^/theirs$ --format '{{.Status}}'") == "Created"
    assert instance.run("docker container prune --force && docker ps --all --quiet").endswith("reclaimed space: 0B")
    assert neighbour.run("docker ps --format '{{.Names}}'") == "theirs"


def test_an_instance_cannot_touch_what_is_not_its_own(instance: Instance, neighbour: Instance, engine: Any) -> None:
    theirs = engine.containers.get(f"{neighbour.id}-theirs")
    execution = engine.api.exec_create(theirs.id, ["true"])["Id"]
    for name in ("theirs", theirs.name, theirs.id, theirs.short_id, instance.container.name, instance.container.id):
        commands = [f"{verb} {name}" for verb in ("inspect --type container", "logs", "rm -f", "kill", "stop", "wait")]
        commands += [f"exec {name} true", f"rename {name} mine", f"cp {name}:/etc/hosts ."]
        printed = instance.run("; ".join(f"docker {command} 2>&1 >/dev/null" for command in commands), check=False)
        assert printed.lower().count("no such container") == len(commands), printed
    start = f"curl --silent --unix-socket /var/run/docker.sock -d '{{}}' http://d/exec/{execution}/start"
    assert json.loads(instance.run(f"{start} -H 'Content-Type: application/json'"))["message"].startswith("No such")
    theirs.reload()
    assert (theirs.status, theirs.name) == ("running", f"{neighbour.id}-theirs")


def test_a_bind_mount_is_the_instances_own_directory(instance: Instance, runtime_image: str) -> None:
    instance.run("mkdir -p /opt/read /var/lib/shared; echo read > /opt/read/file; echo shared > /var/lib/shared/file")
    mounts = "-v /var/lib/../lib/shared:/shared --mount type=bind,source=/opt/read,target=/read,readonly"
    command = "cat /read/file /shared/file; echo written > /shared/file; touch /read/file 2>&1"
    printed = instance.run(f"docker run --rm {mounts} {runtime_image} sh -c '{command}'", check=False)
    assert printed.startswith("read\nshared\ntouch:")
    assert printed.endswith("Read-only file system")
    assert instance.run("cat /var/lib/shared/file") == "written"


def test_a_symbolic_link_leads_where_it_does_on_the_instance(instance: Instance, runtime_image: str) -> None:
    instance.run("echo mine > /etc/whose; ln -sfn /etc /opt/link; ln -sfn / /var/lib/link; ln -sfn /run /opt/run")
    for source in ("/etc", "/opt/link", "/var/lib/link/etc"):
        assert instance.run(f"docker run --rm -v {source}:/mnt {runtime_image} cat /mnt/whose") == "mine"
    refused = instance.run(f"docker run --rm -v /opt/run:/mnt {runtime_image} true", check=False)
    assert "cannot mount /opt/run into a container; use a path below /var/lib" in refused


@pytest.mark.parametrize("source", ["/run", "/proc/1", "/dev/shm", "/var/run/docker.sock", "/etc/../sys"])
def test_what_is_on_no_disk_cannot_be_mounted(instance: Instance, runtime_image: str, source: str) -> None:
    printed = instance.run(f"docker run --rm -v {source}:/mnt {runtime_image} true 2>&1; echo $?")
    assert f"cannot mount {source} into a container; use a path below /var/lib" in printed
    assert printed.endswith("125")


def test_a_named_volume_is_the_instances_own(instance: Instance, neighbour: Instance, runtime_image: str) -> None:
    for machine in (instance, neighbour):
        machine.run(f"docker run --rm -v data:/data {runtime_image} sh -c 'echo {machine.id} >> /data/file'")
    for machine in (instance, neighbour):
        mount = "--mount type=volume,source=data,target=/data"
        assert machine.run(f"docker run --rm {mount} {runtime_image} cat /data/file") == machine.id


def test_an_unreachable_registry_is_reported_in_the_engines_words(instance: Instance) -> None:
    for command in ("docker pull 127.0.0.1:1/image", "echo secret | docker login -u AWS --password-stdin 127.0.0.1:1"):
        assert "connect: connection refused" in instance.run(f"{command} && echo done", check=False)


def test_what_is_the_hosts_is_not_offered(instance: Instance, runtime_image: str) -> None:
    for command in ("network ls", "volume ls", "swarm init", "image prune --force", f"rmi {runtime_image}"):
        assert "the local cloud's instances do not offer" in instance.run(f"docker {command}", check=False)


MOUNTS: list[tuple[dict[str, Any], str]] = [
    ({"VolumeOptions": {"DriverConfig": {"Options": {"type": "none", "o": "bind", "device": "/"}}}}, "DriverConfig"),
    ({"source": "/"}, "source of a mount"),
    ({"Type": "npipe"}, "type npipe"),
    ({"Type": "bind", "BindOptions": {"Propagation": "rshared"}}, "Propagation"),
]
"""What makes a mount one of the host's, and what the refusal says."""


@pytest.mark.parametrize(
    ("host", "message"),
    [
        ({"Privileged": True}, "Privileged"),
        ({"privileged": True}, "privileged"),  # as Go reads JSON, that is the same
        ({"MaskedPaths": []}, "MaskedPaths"),
        ({"maskedPaths": []}, "maskedPaths"),
        ({"CapAdd": ["SYS_ADMIN"]}, "CapAdd"),
        ({"SecurityOpt": ["seccomp=unconfined"]}, "SecurityOpt"),
        ({"Devices": [{"PathOnHost": "/dev/sda"}]}, "Devices"),
        ({"DeviceCgroupRules": ["a *:* rwm"]}, "DeviceCgroupRules"),
        ({"Sysctls": {"kernel.core_pattern": "|x"}}, "Sysctls"),
        ({"CgroupParent": "/"}, "CgroupParent"),
        ({"VolumeDriver": "sshfs"}, "VolumeDriver sshfs"),
        ({"Runtime": "sysbox"}, "Runtime sysbox"),
        ({"OomScoreAdj": -1000}, "OomScoreAdj"),
        ({"LogConfig": {"Type": "syslog"}}, "LogConfig"),
        ({"Binds": ["/var/lib/x:/x:rshared"]}, "as a mount"),
        *(
            ({"Mounts": [{"Type": "volume", "Source": "data", "Target": "/x", **more}]}, message)
            for more, message in MOUNTS
        ),
        ({"NetworkMode": "host"}, "NetworkMode host"),
        ({"NetworkMode": "container:theirs"}, "NetworkMode container:theirs"),
        *(({key: "host"}, f"{key} host") for key in ("PidMode", "IpcMode", "UTSMode", "UsernsMode", "CgroupnsMode")),
        *(({key: "container:theirs"}, f"{key} container:theirs") for key in ("PidMode", "IpcMode")),
        *(({key: ["theirs"]}, key) for key in ("VolumesFrom", "Links")),
    ],
)
def test_a_container_that_would_be_the_hosts_is_refused(scope: Scope, host: dict[str, Any], message: str) -> None:
    with pytest.raises(Refused, match=message) as refusal:
        scope.creation({"HostConfig": host})
    assert refusal.value.status == 403


@pytest.mark.parametrize("asked", [{"hostconfig": {"Privileged": True}}, {"HostConfig": "x"}])
def test_a_container_cannot_be_asked_for_in_another_spelling(scope: Scope, asked: dict[str, Any]) -> None:
    with pytest.raises(Refused):
        scope.creation(asked)


def test_a_directory_that_became_a_link_is_not_the_hosts(instance: Instance, runtime_image: str) -> None:
    instance.run(f"mkdir -p /var/lib/swap && docker create --name swap -v /var/lib/swap:/mnt {runtime_image} ls /mnt")
    instance.run("rmdir /var/lib/swap && ln -s / /var/lib/swap")
    assert "/var/lib/swap leads to / now" in instance.run("docker start swap", check=False)
    instance.run("rm /var/lib/swap && mkdir /var/lib/swap && docker start --attach swap && docker rm swap")


@pytest.mark.parametrize(
    "command",
    [
        "exec --privileged up id",
        "build -t debian -",
        "load",
        "import - debian",
        "tag up other",
        "save {image}",
        "push x",
    ],
)
def test_what_would_change_or_show_the_hosts_images_is_not_offered(
    instance: Instance, runtime_image: str, command: str
) -> None:
    instance.run(f"docker start up || docker run --detach --name up {runtime_image} sleep 600", check=False)
    printed = instance.run(f"echo | docker {command.format(image=runtime_image)} 2>&1; echo $?", check=False)
    assert not printed.endswith("\n0"), printed
    assert "the local cloud's instances" in printed


SMUGGLED = "POST /containers/create?name=smuggled HTTP/1.1\r\nHost: d\r\nContent-Type: application/json\r\n"
TWO_IN_ONE = {
    "behind an upgrade": "GET /_ping HTTP/1.1\r\nHost: d\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n",
    "behind a line feed": "GET /_ping HTTP/1.1\r\nHost: d\r\nX: y\n\n",
    "pipelined": "GET /_ping HTTP/1.1\r\nHost: d\r\nConnection: keep-alive\r\n\r\n",
}


@pytest.mark.parametrize("first", TWO_IN_ONE)
def test_a_second_request_does_not_pass_unseen(instance: Instance, engine: Any, runtime_image: str, first: str) -> None:
    body = json.dumps({"Image": runtime_image, "HostConfig": {"Privileged": True}})
    second = f"{SMUGGLED}Content-Length: {len(body)}\r\n\r\n{body}"
    script = f"""python3 - <<'END'
import socket
s = socket.socket(socket.AF_UNIX); s.connect("/var/run/docker.sock"); s.settimeout(5)
s.sendall({TWO_IN_ONE[first] + second!r}.encode())
answer = b""
while part := s.recv(65536): answer += part
print(answer.decode())
END"""
    printed = instance.run(script, check=False)
    assert "smuggled" not in [one.name for one in engine.containers.list(all=True)]
    assert printed.count("Content-Length") + printed.lower().count("transfer-encoding") == 1


def test_a_refusal_reaches_the_command_line(instance: Instance, runtime_image: str) -> None:
    printed = instance.run(f"docker run --rm --privileged {runtime_image} true 2>&1; echo $?")
    assert printed.startswith("docker: Error response from daemon: Privileged does not work")
    assert printed.endswith("125")


def test_a_container_is_put_into_the_clouds_network_and_marked(scope: Scope) -> None:
    host = {"NetworkMode": "default", "PortBindings": {"80/tcp": [{"HostPort": "80"}]}, "PublishAllPorts": True}
    asked = {"Image": "image", "Labels": {"own": "label", **dict.fromkeys(LABELS, "forged")}}
    made = scope.creation({**asked, "HostConfig": host, "NetworkingConfig": {"EndpointsConfig": {"host": {}}}})
    assert (made["Image"], made["Labels"], made["NetworkingConfig"]) == ("image", {"own": "label", **LABELS}, {})
    expected = {"NetworkMode": "network", "PortBindings": {}, "PublishAllPorts": False, "Binds": [], "Mounts": []}
    expected["CpuShares"] = 64
    assert made["HostConfig"] == expected
    assert scope.creation({"HostConfig": {"NetworkMode": "none"}})["HostConfig"]["NetworkMode"] == "none"
    assert scope.creation({})["HostConfig"]["NetworkMode"] == "network"


def test_names_and_filters_are_the_hosts_outside_and_the_owners_inside(scope: Scope) -> None:
    assert scope.name("job") == scope.name("/job") == "i-1-job"
    assert scope.with_own_names(b'["/i-1-job", "i-1-job"]') == b'["/job", "i-1-job"]'
    assert json.loads(scope.filters(None)) == {"label": {"solver-cloud.local.instance=i-1": True}}
    asked = json.dumps({"label": {"own": True}, "name": ["^/job$", "^job", "job"], "status": {"exited": True}})
    filters = json.loads(scope.filters(asked))
    assert set(filters["label"]) == {"own", "solver-cloud.local.instance=i-1"}
    assert set(filters["name"]) == {"^/?i-1-job$", "^/?i-1-job", "job"}
    assert filters["status"] == {"exited": True}


def test_a_request_is_read_while_its_body_is_on_its_way_and_written_anew() -> None:
    near, far = socket.socketpair()
    head = b"POST /v1.41/containers/create?name=a%2Fb HTTP/1.1\r\nHost: d\r\nContent-Length: 9\r\n\r\n"
    near.sendall(head + b'{"a"')
    request = Request.read(far)
    assert request
    assert (request.version, request.path) == ("/v1.41", "/containers/create")
    assert (request.parameter("name"), request.header("host")) == ("a/b", "d")
    near.sendall(b": 10}")
    near.close()
    assert request.read_json(far) == {"a": 10}
    request.replace_json({})
    request.set_parameter("name", "i-1-c")
    first, *headers = request.encode().decode().split("\r\n")
    assert first == "POST /v1.41/containers/create?name=i-1-c HTTP/1.1"
    assert headers == ["Host: d", "Content-Length: 2", "Connection: close", "", "{}"]
    assert Request.read(far) is None
    far.close()


def test_only_an_engine_at_a_socket_is_usable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "tcp://192.0.2.7:2375")
    with pytest.raises(LocalCloudError, match=r"tcp://192\.0\.2\.7:2375"):
        engine_socket()

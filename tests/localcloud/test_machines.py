"""Real machines: boot, user data, shutting down, and what is left afterwards."""

from __future__ import annotations

import gzip
import queue
from email.mime.multipart import MIMEMultipart
from email.mime.text import MIMEText
from pathlib import Path
from typing import Any

import pytest

from localcloud.errors import LocalCloudError
from localcloud.machines import Machines

from .conftest import eventually
from .real_machines import WAIT_SECONDS, Cloud, Instance


def every_boot(script: str) -> bytes:
    """User data that runs at every boot, as AWS documents it."""
    parts = MIMEMultipart()
    parts.attach(MIMEText("#cloud-config\ncloud_final_modules:\n- [scripts-user, always]\n", "cloud-config"))
    parts.attach(MIMEText(script, "x-shellscript"))
    return gzip.compress(parts.as_bytes())


def test_the_user_data_runs_as_it_does_on_ec2(instance: Instance) -> None:
    assert instance.wait_for("/var/lib/user-data") == "ran"
    assert "HOME=" not in instance.wait_for("/var/lib/environment")


def test_ssh_lets_the_key_in_and_the_user_may_do_everything(instance: Instance) -> None:
    answer = instance.ssh("whoami; hostname; sudo whoami; docker ps --quiet && tmux -V")
    assert answer.stdout.splitlines()[:3] == ["ec2-user", "ip-10-0-0-12", "root"]
    assert answer.returncode == 0, answer.stderr


def test_the_aws_cli_has_endpoint_region_and_the_roles_credentials(real_cloud: Cloud, instance: Instance) -> None:
    answer = instance.run("aws sts get-caller-identity --query Account --output text", user="ec2-user")
    assert answer == "123456789012"
    headers = real_cloud.api.seen.get(timeout=WAIT_SECONDS)
    assert "Credential=ASIAJOB/" in headers["Authorization"]
    assert "/us-east-1/sts/" in headers["Authorization"]
    assert headers["X-Amz-Security-Token"] == "session-token"


def test_the_console_shows_cloud_init_and_the_user_data(real_cloud: Cloud) -> None:
    instance = real_cloud.boot("#!/bin/bash\necho to the console\necho > /var/lib/done x\n")
    instance.wait_for("/var/lib/done")
    assert "to the console" in eventually(lambda: real_cloud.machines.console(instance.id))
    real_cloud.machines.terminate(instance.id)
    assert "to the console" in real_cloud.machines.console(instance.id)


def test_a_second_boot_has_the_disk_and_runs_the_user_data_again(real_cloud: Cloud) -> None:
    script = "#!/bin/bash\ncat /proc/sys/kernel/random/uuid >> /opt/boots\ncp /opt/boots /run/booted\n"
    instance = real_cloud.boot(every_boot(script))
    instance.wait_for("/run/booted")
    host_key = instance.run("echo kept > /var/lib/kept; cat /etc/ssh/ssh_host_ed25519_key.pub")
    real_cloud.machines.stop(instance.id)
    assert not real_cloud.api.seen.qsize()
    assert real_cloud.machines.start(instance.id) == instance.address
    assert len(instance.wait_for("/run/booted").splitlines()) == 2
    assert instance.run("cat /var/lib/kept /etc/ssh/ssh_host_ed25519_key.pub") == f"kept\n{host_key}"
    assert instance.ssh("true").returncode == 0
    real_cloud.machines.terminate(instance.id)
    assert real_cloud.halted.empty()  # it was asked to go down each time


def test_a_reboot_keeps_the_instance(real_cloud: Cloud) -> None:
    instance = real_cloud.boot(every_boot("#!/bin/bash\necho >> /opt/boots x\ncp /opt/boots /run/booted\n"))
    instance.wait_for("/run/booted")
    for ask in (lambda: real_cloud.machines.reboot(instance.id), lambda: instance.run("reboot", check=False)):
        started = instance.container.attrs["State"]["StartedAt"]
        ask()
        eventually(lambda: has_started_since(instance, started), WAIT_SECONDS)  # noqa: B023
        boots = instance.wait_for("/run/booted").split()
    assert boots == ["x", "x", "x"]
    assert real_cloud.halted.empty()
    real_cloud.machines.terminate(instance.id)


def has_started_since(instance: Instance, moment: str) -> bool:
    instance.container.reload()
    state = instance.container.attrs["State"]
    return bool(state["Running"] and state["StartedAt"] != moment)


def test_shutting_down_from_inside_is_noticed_once(real_cloud: Cloud) -> None:
    # Without a log of its own it would write into cloud-init's, which may be ended first: SIGPIPE.
    script = "#!/bin/bash\nexec &>/dev/null\ntrap 'echo ended > /var/lib/ended; exit' TERM\n"
    script += "shutdown -h now\nsleep 60 & wait\n"
    instance = real_cloud.boot(script)
    assert real_cloud.halted.get(timeout=WAIT_SECONDS) == instance.id
    real_cloud.machines.start(instance.id)
    ended = instance.run("cat /var/lib/ended", check=False)
    assert ended == "ended", real_cloud.machines.console(instance.id)  # the user data had time for its trap
    real_cloud.machines.terminate(instance.id)
    with pytest.raises(queue.Empty):
        real_cloud.halted.get(timeout=0.5)


def test_a_crash_is_noticed_too(real_cloud: Cloud) -> None:
    instance = real_cloud.boot()
    instance.container.kill()
    assert real_cloud.halted.get(timeout=WAIT_SECONDS) == instance.id
    real_cloud.machines.terminate(instance.id)


def test_the_shutdown_timer_is_kept_replaced_and_cancelled(real_cloud: Cloud) -> None:
    instance = real_cloud.boot()
    scheduled = "/run/systemd/shutdown/scheduled"
    assert "Shutdown scheduled" in instance.run("shutdown -P +1")
    first = schedule(instance.run(f"cat {scheduled}"))
    now = int(instance.run("date +%s"))
    assert 55 <= first["at"] - now <= 60
    instance.run("shutdown -h +600 'a message'")
    assert schedule(instance.run(f"cat {scheduled}"))["at"] - first["at"] >= 599 * 60 - 60
    instance.run("shutdown -c")
    assert instance.run(f"ls {scheduled}", check=False).endswith("No such file or directory")
    # The timer is PID 1's: whoever armed it may die, here a shell whose whole session is gone.
    instance.run(f"mkdir -p ${{0%/*}} && printf 'USEC=%s000000\\nMODE=poweroff\\n' $(($(date +%s) + 2)) > {scheduled}")
    instance.run("setsid bash -c 'kill -USR1 1; kill -KILL $$'", check=False)
    assert real_cloud.halted.get(timeout=WAIT_SECONDS) == instance.id
    real_cloud.machines.terminate(instance.id)


def schedule(text: str) -> dict[str, int]:
    values = dict(line.split("=") for line in text.splitlines())
    return {"at": int(values["USEC"]) // 1_000_000}


def test_only_root_may_shut_down(instance: Instance) -> None:
    assert "must be root" in instance.run("shutdown -h now", user="ec2-user", check=False)


def test_termination_leaves_nothing(real_cloud: Cloud, engine: Any, runtime_image: str) -> None:
    instance = real_cloud.boot()
    instance.run(f"docker run --detach --name solver --volume data:/data {runtime_image} sleep 600")
    assert engine.containers.get(f"{instance.id}-solver").status == "running"
    real_cloud.machines.terminate(instance.id)
    real_cloud.machines.terminate(instance.id)
    names = [container.name for container in engine.containers.list(all=True, ignore_removed=True)]
    names += [volume.name for volume in engine.volumes.list()]
    assert [name for name in names if instance.id in name] == []
    assert real_cloud.halted.empty()


def test_a_container_dies_with_a_stopped_instance_and_stays_on_its_disk(
    real_cloud: Cloud, engine: Any, runtime_image: str
) -> None:
    instance = real_cloud.boot()
    command = 'trap "echo terminated > /out/ended; exit" TERM; echo > /out/started x; sleep 600 & wait'
    instance.run(f"docker run --detach --name solver --volume /var/lib/job:/out {runtime_image} bash -c '{command}'")
    instance.wait_for("/var/lib/job/started")
    real_cloud.machines.stop(instance.id)
    assert engine.containers.get(f"{instance.id}-solver").status == "exited"
    real_cloud.machines.start(instance.id)
    assert instance.run("cat /var/lib/job/ended; docker ps --all --format '{{.Names}}'") == "terminated\nsolver"
    instance.run("docker start solver")
    real_cloud.machines.stop(instance.id, force=True)
    assert engine.containers.get(f"{instance.id}-solver").status == "exited"
    real_cloud.machines.terminate(instance.id)


def test_what_does_not_boot_leaves_nothing(tmp_path: Path, engine: Any, real_cloud: Cloud, runtime_image: str) -> None:
    cloud = Cloud(tmp_path / "machines", engine, runtime_image, real_cloud.key)
    with pytest.raises(LocalCloudError, match="does not boot"):
        cloud.boot(instance_id="i-0123456789abcdef0")
    assert engine.containers.list(all=True, filters={"label": f"solver-cloud.local={cloud.name}"}) == []
    assert list((tmp_path / "machines").iterdir()) == []
    cloud.close()


def test_two_clouds_have_different_addresses(
    tmp_path: Path, engine: Any, real_cloud: Cloud, instance: Instance
) -> None:
    other = Cloud(tmp_path / "machines", engine, instance.container.image.id, real_cloud.key)
    beside = other.boot()
    assert beside.address != instance.address
    assert beside.ssh("hostname").returncode == instance.ssh("hostname").returncode == 0
    other.close()


def test_a_later_process_removes_what_an_earlier_one_left(tmp_path: Path, engine: Any, real_cloud: Cloud) -> None:
    dead = Cloud(tmp_path / "machines", engine, real_cloud.machines._site.ami, real_cloud.key)
    dead.boot()
    label = {"label": f"solver-cloud.local={dead.name}"}
    Machines.sweep(tmp_path / "machines", dead.name)
    assert engine.containers.list(all=True, filters=label) == []
    assert engine.volumes.list(filters=label) == []
    assert engine.networks.list(filters=label) == []

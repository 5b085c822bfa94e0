"""A job from launch to download, with the real commands on the local cloud."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from .conftest import User, gone, training


def tree(directory: Path) -> dict[str, bytes]:
    return {str(p.relative_to(directory)): p.read_bytes() for p in directory.rglob("*") if p.is_file()}


def trained_by_hand(image: str, config: Path, output: Path) -> dict[str, bytes]:
    """What the trainer leaves when it is simply run."""
    output.mkdir()
    subprocess.run(
        [
            *("docker", "run", "--rm", "-v", f"{config.parent}:/in:ro", "-v", f"{output}:/out", image),
            *("poker-solver-trainer", "train", "--config", f"/in/{config.name}", "--output", "/out"),
        ],
        check=True,
        capture_output=True,
    )
    return tree(output)


@pytest.fixture(scope="module")
def finished(user: User) -> dict[str, Any]:
    """A job that was launched and waited for."""
    config = user.config("fast.yaml", iterations=30000)
    job, said = user.launch(config, "~/models/run-001")
    assert "inv attach " + job in said
    followed = user.run("logs", job, "--follow").stdout
    user.run("wait", job)
    return {**user.until(job, gone), "config_path": config, "followed": followed}


def test_the_model_is_what_the_trainer_makes_when_run_by_hand(
    user: User, finished: dict[str, Any], tmp_path: Path
) -> None:
    done = user.run("download", finished["id"])
    directory = Path(done.stdout.strip())
    assert directory == user.home / "models" / "run-001"
    assert tree(directory) == trained_by_hand(finished["image"], finished["config_path"], tmp_path / "by-hand")


def test_a_second_download_fetches_nothing(user: User, finished: dict[str, Any], tmp_path: Path) -> None:
    first = user.run("download", finished["id"], "--output", str(tmp_path / "model"))
    assert "4 files fetched" in first.stderr
    second = user.run("download", finished["id"], "--output", str(tmp_path / "model"))
    assert "0 files fetched (0 bytes), 4 were there already" in second.stderr


def test_the_finished_job_is_told_in_full(user: User, finished: dict[str, Any]) -> None:
    assert (finished["status"], finished["phase"], finished["exit_code"]) == ("complete", "done", 0)
    assert (finished["type"], finished["market"]) == ("c7i.4xlarge", "spot")
    assert [file["path"] for file in finished["bundle"]] == [
        *("config.yaml", "convergence.csv", "metrics.json", "strategy.csv")
    ]
    shown = user.run("status", finished["id"]).stdout
    for line in ("status     complete", "exit code  0", "config     fast.yaml", "output     ~/models/run-001"):
        assert line in shown
    table = user.run("status").stdout.splitlines()
    assert any(row.split("\t")[0] == finished["id"] and "complete" in row for row in table)


def test_its_log_is_in_s3(user: User, finished: dict[str, Any]) -> None:
    log = user.run("logs", finished["id"]).stdout
    assert log.startswith("poker-solver-trainer ")
    assert "done: exploitability" in log


def test_nothing_can_be_attached_to_any_more(user: User, finished: dict[str, Any]) -> None:
    """Without a terminal the refusal is about that; with one, about the job: test_attach.py."""
    assert "attach needs a terminal" in user.run("attach", finished["id"], code=2).stderr


def test_its_spot_request_is_closed(user: User, finished: dict[str, Any]) -> None:
    (request,) = user.aws.ec2.describe_spot_instance_requests(
        Filters=[{"Name": "instance-id", "Values": [finished["id"]]}]
    )["SpotInstanceRequests"]
    assert request["State"] in ("cancelled", "closed")


def test_a_second_launch_builds_nothing_and_one_byte_builds_again(
    user: User, finished: dict[str, Any], source: Path
) -> None:
    config = user.config("fast.yaml")
    job, said = user.launch(config, "~/models/same", source=source)
    assert user.status(job)["image"] == finished["image"]
    assert "building" not in said
    assert "pushing" not in said
    user.run("terminate", job)

    main = source / "crates" / "trainer" / "src" / "main.rs"
    main.write_text(main.read_text() + "\n// one more line\n")
    job, said = user.launch(config, "~/models/edited", source=source)
    assert user.status(job)["image"] != finished["image"]
    assert "building" in said
    assert "pushing" in said
    user.run("terminate", job)


def test_a_failing_trainer_fails_the_job_and_keeps_its_log(user: User) -> None:
    job, _ = user.launch(user.config("broken.yaml", algorithm="alchemy"), "~/models/broken")
    assert "trainer exited with 1" in user.run("wait", job, code=1).stderr
    found = user.until(job, gone)
    assert (found["status"], found["exit_code"]) == ("failed", 1)
    assert "alchemy" in user.run("logs", job).stdout
    refused = user.run("download", job, code=1)
    assert f"inv logs {job}" in refused.stderr
    assert not (user.home / "models" / "broken").exists()


def test_a_running_job_can_be_seen_and_ended(user: User) -> None:
    job, _ = user.launch(
        user.config("long.yaml", iterations=10**9, report_every=100, rest_milliseconds=100), "~/models/long"
    )
    found = user.until(job, training)
    assert found["state"] == "running"
    assert "iteration" in user.run("logs", job).stdout
    assert f"{job} has not ended yet" in user.run("download", job, code=1).stderr
    assert f"{job} terminated" in user.run("terminate", job).stdout
    found = user.until(job, gone)
    assert (found["status"], found["reason"]) == ("terminated", "ended by `terminate`")
    assert "has ended already" in user.run("terminate", job).stderr
    assert f"{job} terminated: ended by `terminate`" in user.run("wait", job, code=1).stderr


@pytest.mark.long
def test_two_launches_of_one_file_name_do_not_meet(user: User, tmp_path: Path) -> None:
    configs = [user.config("same.yaml", seed=seed, algorithm="mccfr", iterations=200000) for seed in (1, 2)]
    launches = [
        user.start(
            *(
                "launch",
                "--instance",
                "c7i.large",
                "--config",
                str(config),
                "--output",
                str(tmp_path / f"model-{index}"),
            ),
            *("--source", str(Path(__file__).parents[2] / "examples" / "trainer")),
        )
        for index, config in enumerate(configs)
    ]
    jobs = [launch.communicate(timeout=240)[0].strip() for launch in launches]
    assert len(set(jobs)) == 2
    for index, (job, config) in enumerate(zip(jobs, configs, strict=True)):
        user.run("wait", job)
        user.run("download", job)
        assert (tmp_path / f"model-{index}" / "config.yaml").read_bytes() == config.read_bytes()


def test_follow_printed_until_the_end(user: User, finished: dict[str, Any]) -> None:
    assert finished["followed"] == user.run("logs", finished["id"]).stdout


def test_a_job_is_found_after_ec2_has_forgotten_it(user: User, finished: dict[str, Any], tmp_path: Path) -> None:
    forget(user)
    found = user.status(finished["id"])
    assert (found["state"], found["status"], found["config"]) == ("gone", "complete", "fast.yaml")
    assert "done: exploitability" in user.run("logs", finished["id"]).stdout
    user.run("download", finished["id"], "--output", str(tmp_path / "late"))
    assert (tmp_path / "late" / "strategy.csv").exists()
    everything = json.loads(user.run("status", "--json").stdout)
    assert finished["id"] in [job["id"] for job in everything]


def forget(user: User) -> None:
    """What EC2 does about an hour after an instance has ended."""
    import urllib.request

    url = f"{user.aws.ec2.meta.endpoint_url}/_local/forget"
    credentials = user.aws.session.get_credentials()
    assert credentials
    key = {"X-Local-Key": credentials.secret_key}
    urllib.request.urlopen(urllib.request.Request(url, headers=key, method="POST"), timeout=10)

"""The built wheel in a fresh environment, inside a project that has a tasks.py and a `cloud` of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parent.parent
HOST_TASKS = """\
from invoke import Collection, task
from solver_cloud import tasks as solver

import cloud


@task
def rain(c):
    "The host project's own task."
    print(cloud.FORECAST)


ns = Collection(rain)
ns.add_collection(solver, name="solver")
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(directory), str(REPOSITORY)],
        check=True,
        capture_output=True,
    )
    (built,) = directory.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def project(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project in whose environment the wheel is installed."""
    directory = tmp_path_factory.mktemp("project")
    subprocess.run([sys.executable, "-m", "venv", str(directory / "venv")], check=True)
    pip = [str(directory / "venv" / "bin" / "python"), "-m", "pip", "install", "--quiet"]
    constraints = directory / "constraints.txt"
    lock = (REPOSITORY / "requirements.lock").read_text()
    constraints.write_text("\n".join(line.split(" \\")[0] for line in lock.splitlines() if "==" in line))
    subprocess.run([*pip, "-c", str(constraints), str(wheel)], check=True, capture_output=True)
    (directory / "tasks.py").write_text(HOST_TASKS)
    (directory / "cloud").mkdir()
    (directory / "cloud" / "__init__.py").write_text('FORECAST = "rain"\n')
    return directory


def run(project: Path, *command: str, code: int = 0) -> subprocess.CompletedProcess[str]:
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("AWS_", "INVOKE_", "PYTHONPATH"))}
    done = subprocess.run(
        [str(project / "venv" / "bin" / command[0]), *command[1:]],
        cwd=project,
        env={**clean, "HOME": str(project), "AWS_EC2_METADATA_DISABLED": "true"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done


def test_the_wheel_has_what_the_commands_need_and_nothing_at_its_top(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0] for name in names} - {"solver_cloud"} == {
        name.split("/")[0] for name in names if ".dist-info/" in name
    }
    for needed in ("tasks.py", "docker/Dockerfile", "userdata/record.py", "cloud/launch.py", "localcloud/tasks.py"):
        assert f"solver_cloud/{needed}" in names
    assert any(name.startswith("solver_cloud/examples/trainer/crates/") for name in names)
    assert not any("/target/" in name or "__pycache__" in name for name in names)


def test_a_host_project_has_our_tasks_beside_its_own(project: Path) -> None:
    listed = run(project, "inv", "--list").stdout
    for name in ("rain", "solver.launch", "solver.status", "solver.attach", "solver.local.up"):
        assert f"  {name} " in listed
    assert "solver.test" not in listed
    assert run(project, "inv", "rain").stdout == "rain\n"


def test_the_host_projects_own_file_configures_us(project: Path) -> None:
    (project / "invoke.yaml").write_text("solver: {max_hours: 0}\n")
    assert "solver.max_hours is 0" in run(project, "inv", "solver.status", code=2).stderr
    (project / "invoke.yaml").unlink()


def test_dockerfile_and_user_data_are_found(project: Path) -> None:
    program = (
        "from solver_cloud.cloud import config, userdata; s = config.Settings.from_context({});"
        "assert s.dockerfile.is_file(), s.dockerfile; print(config.PACKAGE.name)"
    )
    assert run(project, "python", "-c", program).stdout == "solver_cloud\n"


def test_the_console_command_is_the_same_without_a_tasks_file(project: Path) -> None:
    assert "launch" in run(project, "solver-cloud", "--list").stdout
    assert "no AWS credentials found" in run(project, "solver-cloud", "status", code=1).stderr
    assert run(project, "solver-cloud", "lanch", code=2).stderr == "No idea what 'lanch' is!\n"
    assert run(project, "solver-cloud", "--version").stdout.startswith("solver-cloud 0.1.0")

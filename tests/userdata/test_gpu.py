"""A machine with a GPU: the trainer gets it, or the boot says early why not; and the timeline of the first boot."""

from __future__ import annotations

from pathlib import Path

from .machine import Machine


def test_the_trainer_gets_the_gpus(tmp_path: Path) -> None:
    machine = Machine(tmp_path, gpu=True)
    machine.write("gpu", "Tesla V100-SXM2-16GB\n")
    machine.boot()
    (created,) = machine.called("docker create")
    assert " --gpus all " in created
    assert machine.record is not None
    assert machine.record["status"] == "complete"


def test_a_driver_that_does_not_answer_ends_the_boot_before_anything_is_pulled(tmp_path: Path) -> None:
    machine = Machine(tmp_path, gpu=True).boot()
    assert machine.record is not None
    assert machine.record["reason"] == (
        "asking the GPU's driver: NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver."
    )
    assert not machine.called("docker pull")


def test_an_image_without_a_driver_is_named(tmp_path: Path) -> None:
    machine = Machine(tmp_path, gpu=True, without=("apt-get", "yum", "nvidia-smi")).boot()
    assert machine.record is not None
    assert "nvidia-smi" in machine.record["reason"]


def test_no_gpu_is_asked_for_where_there_is_none(machine: Machine) -> None:
    machine.boot()
    assert not machine.called("nvidia-smi")
    assert "--gpus" not in machine.called("docker create")[0]


def test_the_record_has_the_first_boots_timeline(machine: Machine) -> None:
    machine.boot()
    assert machine.record is not None
    timeline = machine.record["timeline"]
    assert list(timeline) == ["script", "pulled", "training"]
    assert machine.record["launched_at"] < timeline["script"] <= timeline["pulled"] <= timeline["training"]
    assert timeline["training"] >= machine.record["started_at"]
    machine.boot()
    assert machine.record["timeline"] == timeline

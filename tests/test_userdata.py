"""The rendering of user data: what cloud-init finds in it, and what bash does."""

from __future__ import annotations

import ast
import gzip
import hashlib
import shlex
import subprocess
from dataclasses import replace
from email import message_from_bytes

import pytest

from cloud import userdata
from cloud.config import PACKAGE
from cloud.errors import CloudError
from cloud.userdata import UserData

JOB = UserData(
    token="0123456789abcdef0123456789abcdef",
    bucket="solver-cloud-123456789012-us-east-1",
    role="arn:aws:iam::123456789012:role/solver-cloud-us-east-1-job",
    region="us-east-1",
    image="123456789012.dkr.ecr.us-east-1.amazonaws.com/solver-cloud:abc",
    registry="123456789012.dkr.ecr.us-east-1.amazonaws.com",
    config_key="configs/beef/fast buckets.yaml",
    config_name="fast buckets.yaml",
    config_sha256="beef",
    trainer=["train", "--config", "/solver/config/fast buckets.yaml", "--output", "/solver/output"],
    asked={"market": "spot", "max_hours": 3.0},
    launched_at=1795507200,
    deadline=1795518000,
    sync_seconds=60,
    login_user="ec2-user",
)
ASSIGNMENTS = """\
JOB_TOKEN=0123456789abcdef0123456789abcdef
JOB_BUCKET=solver-cloud-123456789012-us-east-1
JOB_ROLE=arn:aws:iam::123456789012:role/solver-cloud-us-east-1-job
JOB_REGION=us-east-1
JOB_IMAGE=123456789012.dkr.ecr.us-east-1.amazonaws.com/solver-cloud:abc
JOB_REGISTRY=123456789012.dkr.ecr.us-east-1.amazonaws.com
JOB_CONFIG_KEY='configs/beef/fast buckets.yaml'
JOB_CONFIG_NAME='fast buckets.yaml'
JOB_CONFIG_SHA256=beef
JOB_ASKED='{"market": "spot", "max_hours": 3.0}'
JOB_LAUNCHED_AT=1795507200
JOB_DEADLINE=1795518000
JOB_SYNC_SECONDS=60
JOB_LOGIN_USER=ec2-user
JOB_KEEP_SECONDS=0
JOB_ORIGIN=''
JOB_GPU=''
JOB_BUDGET=0
JOB_PRICE=0
JOB_DISK_PRICE=0
JOB_TRAINER=(train --config '/solver/config/fast buckets.yaml' --output /solver/output)
JOB_PROGRAMS="""


def unpacked(data: bytes) -> bytes:
    """As cloud-init does: gzip is recognised by its first bytes."""
    return gzip.decompress(data) if data.startswith(b"\x1f\x8b") else data


def assigned(job: UserData, *names: str, after: str = "") -> list[str]:
    """What bash makes of the assignments."""
    words = " ".join(f'"${{{name}[@]}}"' for name in names)
    text = "\n".join([*userdata.assignments(job), after, f"printf '%s\\0' {words}"])
    printed = subprocess.run(["bash", "-c", text], check=True, capture_output=True).stdout
    return printed.decode("utf-8", "surrogateescape").removesuffix("\0").split("\0")


def test_the_assignments_to_the_letter() -> None:
    assert userdata.script(JOB).startswith("#!/bin/bash\n" + ASSIGNMENTS)


def test_cloud_init_finds_its_config_and_one_script() -> None:
    message = message_from_bytes(unpacked(userdata.render(JOB)))
    assert message.get_content_type() == "multipart/mixed"
    assert not message.defects
    _, config, script = message.walk()
    assert config.get_content_type() == "text/cloud-config"
    assert config.get_payload() == "#cloud-config\ncloud_final_modules:\n- [scripts-user, always]\n"
    assert script.get_content_type() == "text/x-shellscript"
    assert script.get_payload() == userdata.script(JOB)


def test_the_script_is_the_files_one_after_the_other_without_comments_and_ends_with_main() -> None:
    script = userdata.script(JOB)
    files = [(PACKAGE / "userdata" / name).read_text() for name in userdata.SCRIPTS]
    code = [line for text in files for line in text.splitlines() if line and not line.lstrip().startswith("#")]
    assert [line for line in script.splitlines() if line][-len(code) :] == code
    assert script.endswith('\nmain "$@"\n')
    subprocess.run(["bash", "-n"], input=script, text=True, check=True)


@pytest.mark.parametrize(
    "value",
    ["it's", '$HOME `id` $(id) \\ "', "ünïcödé ♠", "line\nbreak", "tab\t", "*", "", "-n", "\udcfflatin", "a=b;c&d|e"],
)
def test_any_text_arrives_as_it_is(value: str) -> None:
    job = replace(JOB, config_name=value, trainer=["train", value, "end"], asked={"output": value})
    assert assigned(job, "JOB_CONFIG_NAME", "JOB_TRAINER") == [value, "train", value, "end"]
    assert unpacked(userdata.render(job)).isascii()


def test_money_arrives_in_micro_dollars() -> None:
    job = replace(JOB, budget=2_500_000, price=357_000, disk_price=8_767)
    assert assigned(job, "JOB_BUDGET", "JOB_PRICE", "JOB_DISK_PRICE") == ["2500000", "357000", "8767"]


def without_docstrings(text: str) -> str:
    """What a program does."""
    tree = ast.parse(text)
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)):
            node.body = [one for one in node.body if not isinstance(one, ast.Pass) and not is_text(one)]
    return ast.dump(tree)


def is_text(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def test_the_programs_arrive_without_their_comments_and_do_the_same() -> None:
    """One in the user data, the others in what it fetches from S3 by its sha256."""
    names = ("record.py", *userdata.PROGRAMS)
    texts = [(PACKAGE / "userdata" / name).read_text() for name in names]
    fetch = f"eval {shlex.quote(userdata.fetched().decode())}"
    arrived = assigned(JOB, *(name.upper().replace(".", "_") for name in names), after=fetch)
    assert [without_docstrings(text) for text in arrived] == [without_docstrings(text) for text in texts]
    assert not [line for text in arrived for line in text.splitlines() if line.lstrip().startswith(("#", '"' * 3))]
    sha256 = hashlib.sha256(userdata.fetched()).hexdigest()
    assert assigned(JOB, "JOB_PROGRAMS") == [f"configs/{sha256}/programs.sh"]


def test_the_same_job_gives_the_same_bytes_within_what_ec2_takes() -> None:
    first = userdata.render(JOB)
    assert first == userdata.render(JOB)
    assert len(first) <= 16384


def test_what_fits_is_sent_as_plain_text(monkeypatch: pytest.MonkeyPatch) -> None:
    def small(_: UserData) -> str:
        return "#!/bin/bash\n"

    monkeypatch.setattr(userdata, "script", small)
    assert userdata.render(JOB).startswith(b"Content-Type: multipart/mixed")


def test_what_can_never_fit_is_refused() -> None:
    noise = [hashlib.sha256(bytes([number])).hexdigest() for number in range(256)]
    with pytest.raises(CloudError, match=r"user data has [\d,]+ bytes, and EC2 takes 16,384"):
        userdata.render(replace(JOB, trainer=noise))

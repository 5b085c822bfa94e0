"""What stands between us and AWS, each for real: broken files, helpers that talk nonsense, somebody else's pages."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
from invoke import Context

from cloud import aws_files
from cloud.aws import Aws, aws_errors
from cloud.commands import command
from cloud.config import Settings
from cloud.errors import CloudError
from tests.test_tasks import REPOSITORY, inv

KEYS = "aws_access_key_id = AKIATEST\naws_secret_access_key = x\n"
ROLE = "role_arn = arn:aws:iam::123456789012:role/x\n"


@pytest.fixture
def files(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The directory of AWS's files; no credentials are in the environment."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    directory = home / ".aws"
    directory.mkdir()
    return directory


def refused(profile: str | None = "x") -> CloudError:
    """What a command that asks AWS for something says."""

    @command()
    def ask(aws: Aws) -> None:
        with aws_errors("ask"):
            aws.sts.get_caller_identity()

    with pytest.raises(CloudError) as ended:
        ask(Context(), profile=profile)
    assert len(ended.value.problem.splitlines()) == 1
    assert ended.value.fix
    return ended.value


@pytest.mark.parametrize(
    ("config", "problem"),
    [
        (b"\xef\xbb\xbf[profile x]\n", r"AWS's file .*/config cannot be read: File contains no section headers\..*"),
        (b"[profile x]\na = \xe9\n", r"AWS's file .*/config cannot be read: 'utf-8' codec can't decode byte 0xe9.*"),
        (b"what\n[profile x]\n", r"AWS's file .*/config cannot be read: File contains no section headers.*"),
        (b"[profile x]\n[profile x]\n", r"AWS's file .*/config cannot be read: .* section 'profile x' already exists"),
        (b"[profile y]\n", r"there is no AWS profile 'x'"),
        (b"[profile x]\naws_access_key_id = a\n", r"cannot ask: Partial credentials found in .*"),
        (b"[profile x]\ncredential_process = nothing-here\n", r"cannot ask: the profile's credentials .*"),
        (b"[profile x]\ncredential_process = echo hello\n", r"cannot ask: .*\(JSONDecodeError: .*"),
        (b"[profile x]\ncredential_process = echo []\n", r"cannot ask: .*\(AttributeError: .*"),
        (b"[profile x]\ncredential_process = echo {}\n", r"cannot ask: what the profile names .*Unsupported version.*"),
        (b"[profile x]\ncredential_process = false\n", r"cannot ask: what the profile names to get credentials .*"),
        (b"[profile x]\ncredential_process = 'echo\n", r"cannot ask: .*No closing quotation\)"),
        (f"[profile x]\n{ROLE}source_profile = z\n".encode(), r"cannot ask: the profile is wrong: .* does not exist\."),
        (f"[profile x]\n{ROLE}credential_source = z\n".encode(), r"cannot ask: the profile is wrong: .*is not valid\."),
        (f"[profile x]\n{ROLE}source_profile = x\n".encode(), r"cannot ask: .*"),
        (b"[profile x]\nsso_session = s\nsso_account_id = 1\nsso_role_name = r\n", r"cannot ask: the profile is .*"),
        (
            b"[profile x]\nsso_session = s\nsso_account_id = 1\nsso_role_name = r\n"
            b"[sso-session s]\nsso_region = us-east-1\nsso_start_url = https://192.0.2.1\n",
            r"cannot ask: the AWS login has expired",
        ),
        (f"[profile x]\n{KEYS}endpoint_url = nonsense\n".encode(), r"cannot ask: Invalid endpoint: nonsense"),
        (f"[profile x]\n{KEYS}region = eu west\n".encode(), r"cannot ask: there is no such region: .*'eu west'.*"),
        (f"[profile x]\n{KEYS}endpoint_url = http://127.0.0.1:9\n".encode(), r"cannot ask: AWS does not answer .*"),
    ],
)  # fmt: skip
def test_a_profile_that_leads_nowhere_is_one_line_with_a_fix(config: bytes, problem: str, files: Path) -> None:
    (files / "config").write_bytes(config)
    assert re.fullmatch(problem, refused().problem)


def test_both_files_are_read_as_botocore_reads_them(files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """https://docs.aws.amazon.com/cli/latest/userguide/cli-configure-files.html"""
    (files / "config").write_text('[profile "my prod"]\nregion = eu-west-1\nsolver_max_hours = 3\n')
    (files / "credentials").write_text(f"[only here]\n{KEYS}region = eu-north-1\nsolver_disk_gb = 70\n")
    quoted = Settings.from_context({}, profile="my prod")
    assert (quoted.region, quoted.max_hours) == ("eu-west-1", 3)
    other = Settings.from_context({}, profile="only here")
    assert (other.region, other.disk_gb) == ("eu-north-1", 70)
    monkeypatch.setenv("AWS_PROFILE", "only here")
    assert Settings.from_context({}) == other
    assert Settings.from_context({}, profile="my prod") == quoted
    assert aws_files.section(None)[0] == "only here"


PAGE = (
    b"<!DOCTYPE html><html><head><title>Hotel Wi-Fi</title></head><body>\x1b[2JLog in" + b"!" * 5000 + b"</body></html>"
)


@pytest.fixture(params=[200, 403, 511])
def portal(request: pytest.FixtureRequest) -> Iterator[str]:
    """Somebody who answers everything with a page, as the login page of a network does."""

    class Page(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.send_response(request.param)
            self.send_header("Content-Type", "text/html")
            self.send_header("Content-Length", str(len(PAGE)))
            self.end_headers()
            self.wfile.write(PAGE)

        do_GET = do_HEAD = do_PUT = do_POST

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Page)
    Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


def test_a_login_page_in_place_of_aws_is_called_one(portal: str, files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (files / "config").write_text(f"[profile x]\n{KEYS}endpoint_url = {portal}\nregion = us-east-1\n")
    error = refused()
    assert "somebody else than AWS has answered" in error.problem
    assert error.fix
    assert "login page" in error.fix
    assert "\x1b" not in str(error)
    assert len(error.problem) < 500


def test_a_page_is_no_empty_answer_of_a_service_that_speaks_json(
    portal: str, files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (files / "config").write_text(f"[profile x]\n{KEYS}endpoint_url = {portal}\nregion = us-east-1\n")
    aws = Aws(Settings.from_context({}, profile="x"))
    with pytest.raises(CloudError, match="somebody else than AWS has answered"), aws_errors("ask"):
        aws.ecr.describe_repositories()


def test_an_mfa_code_is_asked_of_a_terminal_or_not_at_all(files: Path) -> None:
    """botocore would read the code from whatever stdin is, and wait for it."""
    mfa = f"{ROLE}source_profile = y\nmfa_serial = arn:aws:iam::123456789012:mfa/me\n"
    (files / "config").write_text(f"[profile x]\n{mfa}[profile y]\n{KEYS}")
    words = [sys.executable, "-m", "invoke", "--search-root", str(REPOSITORY), "status", "--profile", "x"]
    with subprocess.Popen(
        words, cwd=files, stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as asking:
        assert asking.stderr
        problem, fix = asking.stderr.read().splitlines()  # while its stdin stays open
        assert asking.wait(30) == 1
    assert problem == "this profile wants an MFA code, and there is no terminal to ask for it"
    assert "get-session-token" in fix


def test_a_login_that_is_the_wrong_one_is_said_where_a_client_is_made(home: Path) -> None:
    (home / ".aws").mkdir()
    (home / ".aws" / "config").write_text(f"[profile x]\n{KEYS}defaults_mode = bogus\n")
    done = inv("status", "--profile", "x", home=home)
    assert (done.returncode, "Traceback" in done.stderr) == (1, False)
    assert "invalid defaults mode: bogus" in done.stderr


@pytest.mark.parametrize(
    ("code", "fix"),
    [("RequestTimeTooSkewed", "clock"), ("AuthFailure", "clock"), ("InvalidSignatureException", "clock")],
)
def test_a_clock_that_is_wrong_is_named(code: str, fix: str, aws: Aws) -> None:
    from botocore.exceptions import ClientError

    with pytest.raises(CloudError) as ended, aws_errors("ask"):
        raise ClientError({"Error": {"Code": code, "Message": "no"}}, "Ask")
    assert fix in str(ended.value)


def test_a_value_that_cannot_be_sent_is_one_line(store: Aws) -> None:
    with (
        pytest.raises(CloudError, match=r"^cannot ask: a value cannot be sent .*bucket name") as ended,
        aws_errors("ask"),
    ):
        store.s3.list_objects_v2(Bucket="a b\n")
    assert len(ended.value.problem.splitlines()) == 1


def test_what_is_not_of_aws_passes_as_it_is() -> None:
    for error in (ValueError("ours"), OSError(2, "gone"), KeyboardInterrupt(), CloudError("known")):
        with pytest.raises(type(error)) as ended, aws_errors("ask"):
            raise error
        assert ended.value is error

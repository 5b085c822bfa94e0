"""What EC2's refusals mean: sent again, another offer, or the end; and what the user can do.

Codes: https://docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from botocore import exceptions
from botocore.exceptions import ClientError

from cloud import claims, launch, quotas, refusals
from cloud.aws import Aws

from .test_launch import C7I, M7I, OFFER, found

SMALL = replace(OFFER, type=replace(C7I, name="c7i.2xlarge", vcpus=8))
FULL = replace(OFFER, market="on-demand")
DEAR = replace(OFFER, type=M7I)
GPU = replace(OFFER, type=replace(C7I, name="g4dn.4xlarge"))
OTHERS = [SMALL, FULL, DEAR, GPU]


def refusal(code: str, message: str = "No.") -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": message}}, "RunInstances")


@pytest.mark.parametrize(
    "code",
    [
        *("RequestLimitExceeded", "Throttling", "ThrottlingException"),
        *("InternalError", "InternalFailure", "ServiceUnavailable", "Unavailable"),
    ],
)
def test_what_is_no_fault_of_ours_is_sent_again(code: str) -> None:
    assert refusals.transient(refusal(code))


def test_what_got_no_answer_is_sent_again() -> None:
    """Its client token keeps it from being granted twice."""
    assert refusals.transient(exceptions.EndpointConnectionError(endpoint_url="https://ec2"))
    assert refusals.transient(exceptions.ConnectTimeoutError(endpoint_url="https://ec2"))
    assert refusals.transient(exceptions.ReadTimeoutError(endpoint_url="https://ec2"))


@pytest.mark.parametrize("code", ["InsufficientInstanceCapacity", "VcpuLimitExceeded", "InvalidParameterValue"])
def test_what_would_be_refused_again_is_not_sent_again(code: str) -> None:
    assert not refusals.transient(refusal(code))
    assert not refusals.transient(KeyboardInterrupt())
    assert not refusals.transient(ValueError("Throttling"))


def test_an_instance_profile_that_ec2_does_not_know_yet_is_waited_for(
    ready: Aws, monkeypatch: pytest.MonkeyPatch
) -> None:
    """IAM's changes reach EC2 some seconds later:
    https://docs.aws.amazon.com/IAM/latest/UserGuide/troubleshoot.html#troubleshoot_general_eventual-consistency"""
    run_instances, asked = ready.ec2_once.run_instances, []

    def too_early(**wanted: Any) -> Any:
        asked.append(wanted)
        unknown = {"IamInstanceProfile": {"Name": "not-there-yet"}} if len(asked) < 3 else {}
        return run_instances(**{**wanted, **unknown})

    monkeypatch.setattr(ready.ec2_once, "run_instances", too_early)
    monkeypatch.setattr("time.sleep", lambda _: None)
    assert launch.run(ready, found(ready), claims.claim(ready, "claims/1.json"), print).id
    assert len(asked) == 3
    assert asked[0] == asked[2]


def test_a_request_that_always_fails_is_given_up(ready: Aws, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []

    def fail(**wanted: object) -> None:
        asked.append(wanted)
        raise refusal("InternalError")

    monkeypatch.setattr(ready.ec2_once, "run_instances", fail)
    monkeypatch.setattr("time.sleep", lambda _: None)
    with pytest.raises(Exception, match="InternalError"):
        launch.run(ready, found(ready), claims.claim(ready, "claims/1.json"), print)
    assert len(asked) == launch.ATTEMPTS == 8


@pytest.mark.parametrize(
    "code",
    [
        *("InsufficientInstanceCapacity", "InsufficientHostCapacity", "InsufficientCapacity"),
        "InsufficientVolumeCapacity",
    ],
)
def test_where_there_is_no_capacity_each_other_offer_is_still_asked_for(aws: Aws, code: str) -> None:
    read = refusals.read(aws, refusal(code), OFFER, OTHERS)
    assert read
    assert (read.refusal.what, read.refusal.why, read.others) == (str(OFFER), f"no capacity ({code})", frozenset())
    assert read.refusal.fix == "later, or another --instance, --region or --fallback on-demand"
    read = refusals.read(aws, refusal(code), FULL, OTHERS)
    assert read
    assert read.refusal.fix == "later, or another --instance or --region"
    read = refusals.read(Aws(replace(aws.settings, fallback="on-demand")), refusal(code), OFFER, OTHERS)
    assert read
    assert read.refusal.fix == "later, or another --instance or --region"


@pytest.mark.parametrize(
    ("code", "fix"),
    [
        ("Unsupported", "another --instance or --region"),
        ("InsufficientFreeAddressesInSubnet", "another --instance or --region"),
        ("SpotMaxPriceTooLow", "a higher --max-price, or another --instance"),
    ],
)
def test_what_only_this_offer_cannot_have_leaves_the_others(aws: Aws, code: str, fix: str) -> None:
    read = refusals.read(aws, refusal(code, " Not here. "), OFFER, OTHERS)
    assert read
    assert (read.refusal.what, read.refusal.why) == (str(OFFER), f"Not here. ({code})")
    assert (read.refusal.fix, read.others) == (fix, frozenset())


@pytest.mark.parametrize("code", ["MaxSpotInstanceCountExceeded", "VcpuLimitExceeded", "InstanceLimitExceeded"])
def test_a_quota_rules_out_what_needs_as_much_of_the_same(aws: Aws, monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    monkeypatch.setattr(quotas, "find", lambda *_: [])
    read = refusals.read(aws, refusal(code), OFFER, OTHERS)
    assert read
    assert (read.refusal.what, read.refusal.why, set(read.others)) == ("c7i.4xlarge spot", f"No. ({code})", {DEAR})
    assert "'All Standard (A, C, D, H, I, M, R, T, Z) Spot Instance Requests'" in read.refusal.fix
    assert read.refusal.fix.endswith("--quota-code L-34B43A08 --desired-value 16 --region us-east-1")
    unknown = replace(OFFER, type=replace(C7I, name="u-6tb1.metal"))
    read = refusals.read(aws, refusal(code), unknown, OTHERS)
    assert read
    assert read.refusal.fix == "ask for more under Service Quotas (EC2), or use a smaller --instance"


@pytest.mark.parametrize(("limit", "used", "enough"), [(32, 20, 48), (8, 30, 46), (8, 0, 24)])
def test_what_is_asked_for_is_more_than_there_is_and_enough_for_what_runs(
    aws: Aws, monkeypatch: pytest.MonkeyPatch, limit: int, used: int, enough: int
) -> None:
    there = quotas.Quota("L-34B43A08", "…", "a c d h i m r t z", "spot", limit, used)
    asked: list[Any] = []

    def find(*of: Any) -> list[quotas.Quota]:
        asked.append(of)
        return [there]

    monkeypatch.setattr(quotas, "find", find)
    read = refusals.read(aws, refusal("VcpuLimitExceeded"), OFFER, OTHERS)
    assert read
    assert asked == [(aws, [OFFER.type.name], ["spot"])]
    assert f"--desired-value {enough} " in read.refusal.fix


def test_without_the_spot_role_every_spot_machine_is_ruled_out(aws: Aws) -> None:
    read = refusals.read(aws, refusal("AuthFailure.ServiceLinkedRoleCreationNotPermitted"), OFFER, OTHERS)
    assert read
    assert (read.refusal.what, set(read.others)) == ("spot machine", {SMALL, DEAR, GPU})
    assert read.refusal.why == (
        "the account has no AWSServiceRoleForEC2Spot (AuthFailure.ServiceLinkedRoleCreationNotPermitted)"
    )
    command = "aws iam create-service-linked-role --aws-service-name spot.amazonaws.com"
    assert read.refusal.fix == f"once, by someone who may: {command}"


def test_a_refusal_without_a_message_is_told_as_it_is(aws: Aws) -> None:
    read = refusals.read(aws, ClientError({"Error": {"Code": "Unsupported"}}, "RunInstances"), OFFER, OTHERS)
    assert read
    assert read.refusal.why.startswith("An error occurred (Unsupported) when calling the RunInstances operation")


def test_a_refusal_that_no_other_offer_mends_is_none_of_these(aws: Aws) -> None:
    assert refusals.read(aws, refusal("InvalidParameterValue"), OFFER, OTHERS) is None
    assert refusals.denied(aws, refusal("UnauthorizedOperation"), "start it") is None
    assert refusals.denied(aws, refusal("Blocked", "Encoded authorization failure message: x"), "start it") is None


@pytest.mark.parametrize(
    ("decoded", "fix"),
    [
        (
            '{"explicitDeny": false, "context": {"principal": {"arn": "arn:aws:iam::1:user/me"}, '
            '"action": "iam:PassRole", "resource": "arn:aws:iam::1:role/x"}}',
            "allow iam:PassRole on arn:aws:iam::1:role/x for arn:aws:iam::1:user/me",
        ),
        (
            '{"explicitDeny": true, "context": {"action": "ec2:RunInstances"}}',
            "take back the explicit deny of ec2:RunInstances on * for this profile's user or role",
        ),
        ("{}", "allow ec2:RunInstances on * for this profile's user or role"),
    ],
)
def test_what_is_not_allowed_is_named(aws: Aws, monkeypatch: pytest.MonkeyPatch, decoded: str, fix: str) -> None:
    """https://docs.aws.amazon.com/STS/latest/APIReference/API_DecodeAuthorizationMessage.html"""
    asked: list[str] = []

    def decode(EncodedMessage: str) -> dict[str, str]:
        asked.append(EncodedMessage)
        return {"DecodedMessage": decoded}

    monkeypatch.setattr(aws.sts, "decode_authorization_message", decode)
    error = refusal("UnauthorizedOperation", "You may not. Encoded authorization failure message: abc123 ")
    denied = refusals.denied(aws, error, "start a c7i.4xlarge")
    assert denied
    assert asked == ["abc123"]
    assert denied.problem == "cannot start a c7i.4xlarge: this profile may not (UnauthorizedOperation)"
    assert denied.fix == fix


@pytest.mark.parametrize("decoded", [None, "", "[]", "{", '{"context": []}', '{"context": {"principal": "me"}}'])
def test_a_message_that_cannot_be_read_is_left_to_whoever_can(
    aws: Aws, monkeypatch: pytest.MonkeyPatch, decoded: str | None
) -> None:
    def decode(EncodedMessage: str) -> dict[str, str]:
        if decoded is None:
            raise refusal("AccessDenied")
        return {"DecodedMessage": decoded} if decoded else {}

    monkeypatch.setattr(aws.sts, "decode_authorization_message", decode)
    error = refusal("UnauthorizedOperation", "You may not. Encoded authorization failure message: abc123 ")
    denied = refusals.denied(aws, error, "start it")
    assert denied
    assert denied.fix == "to see what is missing: aws sts decode-authorization-message --encoded-message abc123"

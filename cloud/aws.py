"""AWS clients, and botocore's errors in our words. The only place that makes boto3 clients."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Any

from . import aws_session, cache, complaints
from .config import Settings
from .errors import CloudError

if TYPE_CHECKING:
    import boto3
    from botocore.config import Config
    from botocore.model import OperationModel
    from mypy_boto3_batch import BatchClient
    from mypy_boto3_ec2 import EC2Client
    from mypy_boto3_ec2.type_defs import InstanceTypeDef
    from mypy_boto3_ecr import ECRClient
    from mypy_boto3_iam import IAMClient
    from mypy_boto3_pricing import PricingClient
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_service_quotas import ServiceQuotasClient
    from mypy_boto3_ssm import SSMClient
    from mypy_boto3_sts import STSClient


KEYS_KEPT = 20
"""Of how many access keys the account is remembered; those of a login last some hours only."""


class Aws:
    """One session and its clients, each made on first use and kept: six clients of one session cost what two of
    separate sessions do."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    @property
    def regions(self) -> list[Aws]:
        """One account in each of the regions that the settings name, in their order."""
        names = [name.strip() for name in self.settings.region.split(",")]
        return [self] if len(names) == 1 else [Aws(self.settings.with_(region=name)) for name in names]

    @cached_property
    def session(self) -> boto3.Session:
        with aws_errors("use this profile"):
            return aws_session.make(self.settings.profile, self.settings.region)

    @cached_property
    def batch(self) -> BatchClient:
        return self.session.client("batch", config=_config())

    @cached_property
    def batch_once(self) -> BatchClient:
        """Sends each request once: SubmitJob has no client token, and would run everything twice."""
        return self.session.client("batch", config=_config(attempts=1))

    @cached_property
    def ec2(self) -> EC2Client:
        return self.session.client("ec2", config=_config())

    @cached_property
    def ec2_once(self) -> EC2Client:
        """Sends each request once: to be told of a lack of capacity at once, which botocore takes for a fault of the
        server (HTTP 500) and would ask about for half a minute."""
        return self.session.client("ec2", config=_config(attempts=1))

    @cached_property
    def ecr(self) -> ECRClient:
        return self.session.client("ecr", config=_config())

    @cached_property
    def iam(self) -> IAMClient:
        return self.session.client("iam", config=_config())

    @cached_property
    def logs(self) -> Any:
        """CloudWatch Logs, where Batch puts what containers print."""
        return self.session.client("logs", config=_config())

    @cached_property
    def pricing(self) -> PricingClient:
        """The Price List API is in a few regions only, and tells the prices of all:
        https://docs.aws.amazon.com/awsaccountbilling/latest/aboutv2/using-price-list-query-api.html"""
        return self.session.client("pricing", region_name="us-east-1", config=_config())

    @cached_property
    def s3(self) -> S3Client:
        """A request that S3 leaves unanswered is sent again after 20 s: S3 advises to do so after 2 s
        (https://docs.aws.amazon.com/AmazonS3/latest/userguide/optimizing-performance-guidelines.html), but a slow line
        may hold up a whole chunk."""
        client = self.session.client("s3", config=_config(read_timeout=20))
        client.meta.events.register("before-parameter-build.s3", self._name_owner)
        client.meta.events.register("after-call.s3", self._suspect_owner)
        return client

    def _name_owner(self, params: dict[str, Any], model: OperationModel, **_: Any) -> None:
        """Let S3 refuse any request about a bucket that is not this account's: a name may be taken by anybody.

        https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucket-owner-condition.html
        """
        if model.input_shape and "ExpectedBucketOwner" in model.input_shape.members:
            params.setdefault("ExpectedBucketOwner", self.account)

    def _suspect_owner(self, parsed: dict[str, Any], **_: Any) -> None:
        """S3 does not tell a bucket of another account from what one may not do."""
        if (error := parsed.get("Error", {})).get("Code") in DENIED:
            error["Message"] = f"{error.get('Message')}, unless the bucket {self.bucket} belongs to another account"

    @cached_property
    def service_quotas(self) -> ServiceQuotasClient:
        return self.session.client("service-quotas", config=_config())

    @cached_property
    def ssm(self) -> SSMClient:
        return self.session.client("ssm", config=_config())

    @cached_property
    def sts(self) -> STSClient:
        return self.session.client("sts", config=_config())

    @cached_property
    def account(self) -> str:
        """The account's twelve digits, asked for once for each access key: a key belongs to one account for ever.

        https://docs.aws.amazon.com/STS/latest/APIReference/API_GetAccessKeyInfo.html
        """
        with aws_errors("find out which AWS account this is"):
            credentials = self.session.get_credentials()
            key = credentials.access_key if credentials else ""
        name = hashlib.sha256(key.encode()).hexdigest()
        known = cache.load("accounts")
        if key and name in known:
            return str(known[name])
        with aws_errors("find out which AWS account this is"):
            account = self.sts.get_caller_identity()["Account"]
        cache.keep("accounts", dict([*known.items(), (name, account)][-KEYS_KEPT:]))
        return account

    @cached_property
    def bucket(self) -> str:
        """The bucket's name: the setting, or one that no other account or region has."""
        settings = self.settings
        return settings.bucket or f"{settings.name}-{self.account}-{settings.region}"


def _config(*, attempts: int = 8, read_timeout: float = 60) -> Config:
    from botocore.config import Config

    # "standard" retries throttling and 5xx with jittered backoff; three attempts are too few under real throttling.
    return Config(
        retries={"mode": "standard", "total_max_attempts": attempts},
        connect_timeout=10,
        read_timeout=read_timeout,
        max_pool_connections=32,
    )


def pages(client: Any, operation: str, key: str, **arguments: Any) -> list[Any]:
    """All items of a paginated operation; key: where they are in an answer. For use inside `aws_errors`."""
    return [item for page in client.get_paginator(operation).paginate(**arguments) for item in page.get(key, [])]


def instances(aws: Aws, filters: list[dict[str, Any]]) -> list[InstanceTypeDef]:
    """The instances that EC2 shows for these filters. For use inside `aws_errors`."""
    groups = pages(aws.ec2, "describe_instances", "Reservations", Filters=filters)
    return [instance for group in groups for instance in group["Instances"]]


def error_code(error: Exception) -> str:
    """AWS's own code of a botocore ClientError ('NoSuchBucket', '404', …); '' for anything else."""
    response = getattr(error, "response", None) or {}
    return str(response.get("Error", {}).get("Code", ""))


FIXES = {
    "ExpiredToken": "log in again: `aws sso login`, or renew the keys of this profile",
    "ExpiredTokenException": "log in again: `aws sso login`, or renew the keys of this profile",
    "RequestTimeTooSkewed": "set this machine's clock: AWS refuses requests more than 15 minutes off",
    "InvalidSignatureException": "set this machine's clock, or `aws configure` the secret key that fits the access key",
    "RequestExpired": "log in again, or set this machine's clock: AWS refuses requests more than 5 minutes off",
    "InvalidClientTokenId": "the access key is not known to AWS: `aws configure` sets another",
    "UnrecognizedClientException": "the access key is not known to AWS: `aws configure` sets another",
    "AuthFailure": "AWS does not know the access key (`aws configure` sets another), or this machine's clock is wrong",
    "SignatureDoesNotMatch": "the secret key does not fit the access key: `aws configure` sets both",
    "InvalidAccessKeyId": "the access key is not known to AWS: `aws configure` sets another",
    "InsufficientInstanceCapacity": "EC2 has none of this type now: try another --instance, --region or --on-demand",
    "SpotMaxPriceTooLow": "the spot price is above the maximum: try another --instance or --on-demand",
    "MaxSpotInstanceCountExceeded": "the account's spot quota is used up: ask for more vCPUs under Service Quotas "
    "(EC2, 'Spot Instance Requests'), or use --on-demand",
    "VcpuLimitExceeded": "the account's vCPU quota is used up: ask for more under Service Quotas (EC2), or use a "
    "smaller --instance",
    "InstanceLimitExceeded": "the account's instance quota is used up: ask for more under Service Quotas (EC2)",
    "Unsupported": "this type is not offered there: try another --instance or --region",
    "InvalidInstanceType": "`aws ec2 describe-instance-types` lists the types of a region",
    "OptInRequired": "the account is not signed up for this service or region",
    "RequestLimitExceeded": "AWS is throttling this account: try again in a minute",
    "Throttling": "AWS is throttling this account: try again in a minute",
    "ThrottlingException": "AWS is throttling this account: try again in a minute",
    "SlowDown": "S3 is throttling: try again in a minute",
    "NoSuchBucket": "run `inv setup` first",
    "RepositoryNotFoundException": "run `inv setup` first",
    "InvalidKeyPair.NotFound": "run `inv setup` first",
}
"""What to do about each code a user can meet, as AWS documents it:
https://docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html"""

DENIED = {"UnauthorizedOperation", "AccessDenied", "AccessDeniedException", "403"}


@contextmanager
def aws_errors(doing: str) -> Iterator[None]:
    """Translate botocore's errors into CloudError.

    doing: what was being done, as it follows "cannot ": 'start the instance'.
    Codes that mean something to the caller are caught inside, before this sees them.
    """
    try:
        yield
    except Exception as error:
        known = translated(doing, error)
        if known is None:
            raise
        raise known from None


def translated(doing: str, error: BaseException) -> CloudError | None:
    """An error of AWS, or on the way there, as a CloudError; None for one that comes from elsewhere.

    doing: as `aws_errors` takes it.
    """
    from botocore.exceptions import ClientError

    return _answered(doing, error) if isinstance(error, ClientError) else complaints.explained(doing, error)


def _answered(doing: str, error: Exception) -> CloudError:
    """A ClientError as a CloudError: AWS's message, its code, and the fix where one is known."""
    response = getattr(error, "response", {})
    code = error_code(error)
    message = complaints.short(response.get("Error", {}).get("Message", error))
    if message.lstrip().startswith("<"):  # HTML, where AWS's services answer in JSON or XML
        return CloudError(f"cannot {doing}: somebody else than AWS has answered: {message}", fix=complaints.NOT_AWS)
    operation = getattr(error, "operation_name", "")
    if code in DENIED:
        who = f"allow {operation} to this profile's user or role, or use another --profile"
        return CloudError(f"cannot {doing}: AWS refuses {operation} ({code}): {message}", fix=who)
    return CloudError(f"cannot {doing}: {message} ({code})", fix=FIXES.get(code))


NOT_FOUND = {
    "InvalidInstanceID.NotFound",
    "InvalidSpotInstanceRequestID.NotFound",
    "InvalidVolume.NotFound",
    "ImageNotFoundException",
    "NoSuchUpload",
}
"""AWS's answers when something has gone already."""


@contextmanager
def gone_is_fine() -> Iterator[None]:
    """Let AWS answer that something has gone already."""
    from botocore.exceptions import ClientError

    try:
        yield
    except ClientError as error:
        if error_code(error) not in NOT_FOUND:
            raise

"""AWS clients, and botocore's errors in our words. The only place that makes boto3 clients."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any

from . import cache
from .config import Settings
from .errors import CloudError

if TYPE_CHECKING:
    import boto3
    from botocore.config import Config
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
        import boto3
        import botocore.exceptions
        import botocore.session

        # As the AWS CLI does it: https://github.com/aws/aws-cli/blob/develop/awscli/customizations/scalarparse.py
        base = botocore.session.get_session()
        base.get_component("response_parser_factory").set_parser_defaults(timestamp_parser=_moment)
        try:
            return boto3.Session(
                botocore_session=base, profile_name=self.settings.profile, region_name=self.settings.region
            )
        except botocore.exceptions.ProfileNotFound:
            raise CloudError(
                f"there is no AWS profile {self.settings.profile!r}",
                fix="`aws configure list-profiles` shows those there are; `aws configure --profile NAME` makes one",
            ) from None

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
        return self.session.client("s3", config=_config(read_timeout=20))

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


def _moment(value: Any) -> datetime:
    """A moment in an answer of AWS. Python reads ISO 8601 in a fiftieth of the time that botocore's dateutil takes."""
    if isinstance(value, str) and value.endswith("Z"):
        with suppress(ValueError):
            return datetime.fromisoformat(value)
    from botocore.utils import parse_timestamp

    return parse_timestamp(value)


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
    "RequestExpired": "log in again, or set this machine's clock: AWS refuses requests more than 5 minutes off",
    "InvalidClientTokenId": "the access key is not known to AWS: `aws configure` sets another",
    "UnrecognizedClientException": "the access key is not known to AWS: `aws configure` sets another",
    "AuthFailure": "the access key is not known to AWS: `aws configure` sets another",
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
    """Translate botocore's errors into CloudError; the one place that does.

    doing: what was being done, as it follows "cannot ": 'start the instance'.
    Codes that mean something to the caller are caught inside, before this sees them.
    """
    from botocore import exceptions

    try:
        yield
    except (exceptions.NoCredentialsError, exceptions.PartialCredentialsError):
        raise CloudError(
            f"cannot {doing}: no AWS credentials found",
            fix="`aws configure` or `aws sso login`, or name a profile: --profile NAME",
        ) from None
    except (exceptions.SSOError, exceptions.TokenRetrievalError):
        raise CloudError(
            f"cannot {doing}: the AWS login has expired", fix="`aws sso login`, then the same again"
        ) from None
    except exceptions.ClientError as error:
        raise _translated(doing, error) from None
    except (exceptions.HTTPClientError, exceptions.ConnectionError) as error:
        raise CloudError(
            f"cannot {doing}: AWS does not answer ({error})",
            fix="check the network and the region; `inv local.status` if the profile is the local cloud's",
        ) from None
    except exceptions.BotoCoreError as error:
        raise CloudError(f"cannot {doing}: {error}") from None


def _translated(doing: str, error: Exception) -> CloudError:
    """A ClientError as a CloudError: AWS's message, its code, and the fix where one is known."""
    response = getattr(error, "response", {})
    code = error_code(error)
    message = str(response.get("Error", {}).get("Message", error)).strip()
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

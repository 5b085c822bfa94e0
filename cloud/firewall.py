"""The security group: ssh from this machine's address, and nothing else, comes in."""

from __future__ import annotations

import getpass
import ipaddress
import platform
import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from .aws import Aws, aws_errors, error_code
from .errors import CloudError
from .pieces import Found

if TYPE_CHECKING:
    from mypy_boto3_ec2.type_defs import IpPermissionTypeDef, IpRangeTypeDef, SecurityGroupTypeDef


def find(aws: Aws) -> SecurityGroupTypeDef | None:
    """The security group of our name in the default VPC; None when there is none. Both are looked for at once."""
    _ = aws.ec2  # made before the thread that uses it
    with ThreadPoolExecutor(1) as pool:
        finding = pool.submit(default_vpc, aws)
        with aws_errors("look for the security group"):
            named = aws.ec2.describe_security_groups(Filters=[{"Name": "group-name", "Values": [aws.settings.name]}])
        vpc = finding.result()
    return next((group for group in named["SecurityGroups"] if group["VpcId"] == vpc), None)


def required(aws: Aws) -> str:
    """The id of our security group; raises CloudError when there is none, for want of `setup`."""
    group = find(aws)
    if group is None:
        raise missing(aws)
    return group["GroupId"]


def missing(aws: Aws) -> CloudError:
    """What a user is to be told who has not run `setup`."""
    settings = aws.settings
    return CloudError(
        f"account {aws.account} is not set up for {settings.name} in {settings.region}",
        fix=f"run `inv setup` first, with --region {settings.region}",
    )


def default_vpc(aws: Aws) -> str:
    """The region's default VPC; raises CloudError when it was deleted."""
    with aws_errors("look for the default VPC"):
        vpcs = aws.ec2.describe_vpcs(Filters=[{"Name": "is-default", "Values": ["true"]}])["Vpcs"]
    if not vpcs:
        raise CloudError(
            f"region {aws.settings.region} has no default VPC",
            fix=f"make one: aws ec2 create-default-vpc --region {aws.settings.region}",
        )
    return vpcs[0]["VpcId"]


def caller_address(aws: Aws) -> str:
    """This machine's public IPv4 address as AWS sees it, "192.0.2.7".

    Raises CloudError when the service that tells it does not answer with one.
    """
    import urllib3

    url = aws.settings.caller_address_url
    try:
        # urllib3 comes with botocore, and honours the machine's own certificates.
        text = urllib3.PoolManager().request("GET", url, timeout=10, retries=3).data.decode(errors="replace").strip()
        return str(ipaddress.IPv4Address(text))
    except (urllib3.exceptions.HTTPError, ValueError) as error:
        raise CloudError(
            f"cannot find out this machine's public address: {url} says {error}",
            fix="set solver.caller_address_url to a page that answers with an IPv4 address",
        ) from None


def look(aws: Aws) -> Found:
    """What there is of the security group, and whether it lets this machine in."""
    group = find(aws)
    if group is None:
        return Found(False, [partial(_make, aws)])
    changes = _changes(aws, group)
    return Found(True, [partial(_change, aws, group, changes)] if changes else [])


def _make(aws: Aws) -> None:
    """Make the security group, and let this machine in."""
    with aws_errors("make the security group"):
        try:
            aws.ec2.create_security_group(
                GroupName=aws.settings.name,
                Description="solver-cloud: ssh from whoever attaches",
                VpcId=default_vpc(aws),
            )
        except aws.ec2.exceptions.ClientError as error:
            if error_code(error) != "InvalidGroup.Duplicate":  # another setup was faster
                raise
    group = find(aws)
    if group is None:
        raise CloudError("the new security group cannot be seen yet", fix="run the same again")
    admit_caller(aws, group)


def admit_caller(aws: Aws, group: SecurityGroupTypeDef) -> bool:
    """Let ssh in from this machine's present address, and close what an earlier address of it had opened.

    Returns whether anything had to be changed. A rule is this machine's if its description names it.
    """
    changes = _changes(aws, group)
    _change(aws, group, changes)
    return bool(changes)


@dataclass(frozen=True)
class Changes:
    """Addresses to open ssh to, and to close it to."""

    opened: list[str]
    closed: list[str]

    def __bool__(self) -> bool:
        return bool(self.opened or self.closed)


def _changes(aws: Aws, group: SecurityGroupTypeDef) -> Changes:
    """What this machine's present address asks for."""
    wanted = f"{caller_address(aws)}/32"
    rules = [
        ip_range
        for permission in group.get("IpPermissions", [])
        if permission.get("FromPort") == 22
        for ip_range in permission.get("IpRanges", [])
    ]
    mine = [rule["CidrIp"] for rule in rules if rule.get("Description") == _this_machine()]
    return Changes(
        opened=[] if wanted in (rule["CidrIp"] for rule in rules) else [wanted],
        closed=[cidr for cidr in mine if cidr != wanted],
    )


def _change(aws: Aws, group: SecurityGroupTypeDef, changes: Changes) -> None:
    id = group["GroupId"]
    with aws_errors("let this machine in through the security group"):
        for cidr in changes.opened:
            rule = _ssh({"CidrIp": cidr, "Description": _this_machine()})
            try:
                aws.ec2.authorize_security_group_ingress(GroupId=id, IpPermissions=[rule])
            except aws.ec2.exceptions.ClientError as error:
                if error_code(error) != "InvalidPermission.Duplicate":  # another command was faster
                    raise
        for cidr in changes.closed:
            aws.ec2.revoke_security_group_ingress(GroupId=id, IpPermissions=[_ssh({"CidrIp": cidr})])


def _ssh(ip_range: IpRangeTypeDef) -> IpPermissionTypeDef:
    return {"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22, "IpRanges": [ip_range]}


def _this_machine() -> str:
    """Who a rule belongs to, within the characters AWS allows in a description."""
    return re.sub(r"[^a-zA-Z0-9. _\-:/()#,@\[\]+=&;{}!$*]", "-", f"{getpass.getuser()}@{platform.node()}")[:255]

"""The security group: ssh from this machine's address, and nothing else, comes in."""

from __future__ import annotations

import getpass
import ipaddress
import platform
import re
from typing import TYPE_CHECKING, Literal

from .aws import Aws, aws_errors, error_code
from .errors import CloudError

if TYPE_CHECKING:
    from mypy_boto3_ec2.type_defs import IpPermissionTypeDef, IpRangeTypeDef, SecurityGroupTypeDef

Outcome = Literal["made", "completed", "there"]


def find(aws: Aws) -> SecurityGroupTypeDef | None:
    """The security group of our name in the default VPC; None when there is none."""
    with aws_errors("look for the security group"):
        groups = aws.ec2.describe_security_groups(
            Filters=[
                {"Name": "group-name", "Values": [aws.settings.name]},
                {"Name": "vpc-id", "Values": [default_vpc(aws)]},
            ]
        )["SecurityGroups"]
    return groups[0] if groups else None


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


def converge(aws: Aws) -> Outcome:
    """Make the security group if it is missing and let this machine in."""
    group = find(aws)
    if group:
        return "completed" if admit_caller(aws, group) else "there"
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
    return "made"


def admit_caller(aws: Aws, group: SecurityGroupTypeDef) -> bool:
    """Let ssh in from this machine's present address, and close what an earlier address of it had opened.

    Returns whether anything had to be changed. A rule is this machine's if its description names it.
    """
    wanted = f"{caller_address(aws)}/32"
    owner = _this_machine()
    rules = [
        (permission, ip_range)
        for permission in group.get("IpPermissions", [])
        if permission.get("FromPort") == 22
        for ip_range in permission.get("IpRanges", [])
    ]
    open_to = {ip_range["CidrIp"] for _, ip_range in rules}
    stale = [
        ip_range["CidrIp"]
        for _, ip_range in rules
        if ip_range.get("Description") == owner and ip_range["CidrIp"] != wanted
    ]
    with aws_errors("let this machine in through the security group"):
        if wanted not in open_to:
            try:
                aws.ec2.authorize_security_group_ingress(
                    GroupId=group["GroupId"],
                    IpPermissions=[_ssh({"CidrIp": wanted, "Description": owner})],
                )
            except aws.ec2.exceptions.ClientError as error:
                if error_code(error) != "InvalidPermission.Duplicate":  # another command was faster
                    raise
        for cidr in stale:
            aws.ec2.revoke_security_group_ingress(GroupId=group["GroupId"], IpPermissions=[_ssh({"CidrIp": cidr})])
    return bool(stale) or wanted not in open_to


def _ssh(ip_range: IpRangeTypeDef) -> IpPermissionTypeDef:
    return {"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22, "IpRanges": [ip_range]}


def _this_machine() -> str:
    """Who a rule belongs to, within the characters AWS allows in a description."""
    return re.sub(r"[^a-zA-Z0-9. _\-:/()#,@\[\]+=&;{}!$*]", "-", f"{getpass.getuser()}@{platform.node()}")[:255]

"""EC2 and S3 of an account with many jobs, as a small HTTP server: answers made beforehand, and every call counted.

`python -m bench.canned RUNNING FINISHED` prints its address, then serves until it is killed. `GET /counts` tells how
often each operation was called. Pages hold what AWS's do: 1,000 instances
(https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DescribeInstances.html) and 1,000 prefixes
(https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListObjectsV2.html).
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

PAGE = 1000
BUCKET = "bench"
BEGAN = datetime(2026, 1, 1, tzinfo=UTC)

TAGS = {
    "solver-cloud": "solver-cloud",
    "Name": "solver-cloud fast_buckets.yaml",
    "solver:status": "running",
    "solver:phase": "training",
    "solver:job-config": "fast_buckets.yaml",
    "solver:output": "~/models/run-001",
    "solver:image": "0123456789abcdef0123",
    "solver:launched-at": "2026-01-02T00:00:00Z",
}

INSTANCE = """<item>
<instanceId>{id}</instanceId><imageId>ami-0123456789abcdef0</imageId><instanceState><code>16</code><name>running</name>
</instanceState><privateDnsName>ip-10-0-0-1.ec2.internal</privateDnsName><dnsName>ec2-1-2-3-4.amazonaws.com</dnsName>
<reason/><keyName>solver-cloud</keyName><amiLaunchIndex>0</amiLaunchIndex><productCodes/>
<instanceType>c7i.4xlarge</instanceType><launchTime>2026-01-02T00:00:00.000Z</launchTime><placement>
<availabilityZone>us-east-1a</availabilityZone><groupName/><tenancy>default</tenancy></placement>
<monitoring><state>disabled</state></monitoring><subnetId>subnet-01234567</subnetId><vpcId>vpc-01234567</vpcId>
<privateIpAddress>10.0.0.1</privateIpAddress><ipAddress>1.2.3.4</ipAddress><sourceDestCheck>true</sourceDestCheck>
<groupSet><item><groupId>sg-0123456789abcdef0</groupId><groupName>solver-cloud</groupName></item></groupSet>
<architecture>x86_64</architecture><rootDeviceType>ebs</rootDeviceType><rootDeviceName>/dev/xvda</rootDeviceName>
<blockDeviceMapping><item><deviceName>/dev/xvda</deviceName><ebs><volumeId>vol-0123456789abcdef0</volumeId>
<status>attached</status><attachTime>2026-01-02T00:00:01.000Z</attachTime>
<deleteOnTermination>true</deleteOnTermination></ebs></item></blockDeviceMapping>
<virtualizationType>hvm</virtualizationType><clientToken>{id}</clientToken><tagSet>{tags}</tagSet>
<hypervisor>xen</hypervisor><instanceLifecycle>spot</instanceLifecycle>
<spotInstanceRequestId>sir-01234567</spotInstanceRequestId><networkInterfaceSet><item>
<networkInterfaceId>eni-0123456789abcdef0</networkInterfaceId><subnetId>subnet-01234567</subnetId>
<vpcId>vpc-01234567</vpcId><description/><ownerId>123456789012</ownerId><status>in-use</status>
<macAddress>02:00:00:00:00:01</macAddress><privateIpAddress>10.0.0.1</privateIpAddress><groupSet><item>
<groupId>sg-0123456789abcdef0</groupId><groupName>solver-cloud</groupName></item></groupSet><attachment>
<attachmentId>eni-attach-01234567</attachmentId><deviceIndex>0</deviceIndex><status>attached</status>
<attachTime>2026-01-02T00:00:00.000Z</attachTime><deleteOnTermination>true</deleteOnTermination></attachment>
<privateIpAddressesSet><item><privateIpAddress>10.0.0.1</privateIpAddress><primary>true</primary></item>
</privateIpAddressesSet></item></networkInterfaceSet><ebsOptimized>true</ebsOptimized><metadataOptions>
<state>applied</state><httpTokens>required</httpTokens><httpPutResponseHopLimit>1</httpPutResponseHopLimit>
<httpEndpoint>enabled</httpEndpoint></metadataOptions></item>"""


IDENTITY = """<GetCallerIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><GetCallerIdentityResult>
<Arn>arn:aws:iam::123456789012:user/bench</Arn><UserId>AIDABENCH</UserId><Account>123456789012</Account>
</GetCallerIdentityResult></GetCallerIdentityResponse>"""


def job(number: int) -> str:
    """The id of the job of that number; the running ones come last."""
    return f"i-{number:017x}"


def describe_instances(first: int, count: int, token: str) -> str:
    """A page of DescribeInstances, a reservation for each instance."""
    tags = "".join(f"<item><key>{key}</key><value>{value}</value></item>" for key, value in TAGS.items())
    found = "".join(
        f"<item><reservationId>r-{number:017x}</reservationId><ownerId>123456789012</ownerId><groupSet/>"
        f"<instancesSet>{INSTANCE.format(id=job(number), tags=tags)}</instancesSet></item>"
        for number in range(first, first + count)
    )
    return (
        '<DescribeInstancesResponse xmlns="http://ec2.amazonaws.com/doc/2016-11-15/"><requestId>1</requestId>'
        f"<reservationSet>{found}</reservationSet>{token and f'<nextToken>{token}</nextToken>'}"
        "</DescribeInstancesResponse>"
    )


def list_objects(first: int, count: int, token: str) -> str:
    """A page of ListObjectsV2 with a dot for delimiter: a prefix for each job."""
    found = "".join(
        f"<CommonPrefixes><Prefix>asked/jobs/{job(number)}.</Prefix></CommonPrefixes>"
        for number in range(first, first + count)
    )
    return (
        f'<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Name>{BUCKET}</Name>'
        f"<Prefix>asked/jobs/</Prefix><Delimiter>.</Delimiter><KeyCount>{count}</KeyCount><MaxKeys>{PAGE}</MaxKeys>"
        f"<IsTruncated>{'true' if token else 'false'}</IsTruncated>"
        f"{token and f'<NextContinuationToken>{token}</NextContinuationToken>'}{found}</ListBucketResult>"
    )


ASKED = {
    **{"instance_type": "c7i.4xlarge", "market": "spot", "config_name": "fast_buckets.yaml", "price": 0.3},
    **{"output": "~/models/run-001", "image": "0123456789abcdef0123", "spent_before": 0.0},
}


def entry(number: int) -> str:
    """What the registry has of a job."""
    began = BEGAN + timedelta(minutes=number)
    told = {"version": 1, "job": job(number), "launched_at": f"{began:%Y-%m-%dT%H:%M:%SZ}"}
    return json.dumps({**told, "asked": ASKED, "resumed_by": ""})


def record(number: int) -> str:
    """The record of a job that is complete."""
    began = BEGAN + timedelta(minutes=number)
    return json.dumps(
        {
            "version": 1,
            "job": job(number),
            "status": "complete",
            "phase": "complete",
            "reason": "",
            "exit_code": 0,
            "launched_at": f"{began:%Y-%m-%dT%H:%M:%SZ}",
            "started_at": f"{began + timedelta(minutes=2):%Y-%m-%dT%H:%M:%SZ}",
            "ended_at": f"{began + timedelta(hours=2):%Y-%m-%dT%H:%M:%SZ}",
            "asked": ASKED,
            "attempts": [{"started_at": f"{began:%Y-%m-%dT%H:%M:%SZ}", "seconds": 7200, "dollars": 0.6}],
        }
    )


class Account:
    """The answers, and how often each operation was called."""

    def __init__(self, running: int, finished: int) -> None:
        self.finished = finished
        self.counts: Counter[str] = Counter()
        last = finished + running
        self.instances = {start: self._page(describe_instances, start, last) for start in range(finished, last, PAGE)}
        self.prefixes = {start: self._page(list_objects, start, last) for start in range(0, last, PAGE)}

    @staticmethod
    def _page(make: Callable[[int, int, str], str], start: int, last: int) -> str:
        count = min(PAGE, last - start)
        return make(start, count, str(start + count) if start + count < last else "")

    def answer(self, method: str, path: str, query: dict[str, list[str]]) -> tuple[int, str]:
        """The HTTP status and the body for a request."""
        action = query.get("Action", [""])[0]
        if path == "/counts":
            return 200, json.dumps(self.counts)
        if action == "DescribeInstances":
            self.counts["DescribeInstances"] += 1
            return 200, self.instances[int(query.get("NextToken", [str(self.finished)])[0])]
        if "list-type" in query:
            self.counts["ListObjectsV2"] += 1
            return 200, self.prefixes[int(query.get("continuation-token", ["0"])[0])]
        if method == "GET" and path.endswith("/job.json"):
            self.counts["GetObject"] += 1
            return 200, record(int(path.split("/")[-2].removeprefix("i-"), 16))
        if method == "GET" and "/asked/jobs/" in path:
            self.counts["GetObject"] += 1
            return 200, entry(int(path.split("/")[-1].removeprefix("i-").removesuffix(".json"), 16))
        self.counts[action or f"{method} {path}"] += 1
        return (200, IDENTITY) if action == "GetCallerIdentity" else (404, "")


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    account: Account

    def do_GET(self) -> None:
        where = urlsplit(self.path)
        query = where.query or self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
        status, text = self.account.answer(self.command, where.path, parse_qs(query))
        body = text.encode()
        self.send_response(status)
        self.send_header("ETag", '"0"')
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_HEAD = do_GET

    def log_message(self, format: str, *args: object) -> None:
        pass


def main(running: int, finished: int) -> None:
    Handler.account = Account(running, finished)
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        print(f"http://127.0.0.1:{server.server_port}", flush=True)
        server.serve_forever()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))

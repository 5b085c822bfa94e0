"""One object of S3, or a part of one, read to its end whatever breaks on the way."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from .aws import Aws, aws_errors
from .errors import CloudError

if TYPE_CHECKING:
    from botocore.awsrequest import AWSResponse
    from botocore.httpsession import URLLib3Session

CHUNK = 1 << 18
ATTEMPTS = 8
"""Requests for one part, each going on where the one before broke off."""

SLEEP = 20
"""The longest wait before another attempt, in seconds."""

TRANSIENT = (408, 429, 500, 502, 503, 504)
"""S3's answers that pass: https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html"""

AGAIN = "the same again fetches the rest"


class Changed(CloudError):
    """The object is not the one that the reading began with, or not of the size it should have."""


class _Stopped(Exception):
    """The whole download is being given up."""


class Source:
    """The objects below a prefix of the bucket, for many threads at once.

    botocore's client takes 3 ms of CPU for a GET; what fetches thousands of small files cannot afford it. So botocore
    makes one listing in its own way, which finds endpoint, region and credentials; each GET is then signed by
    botocore's signer, which renews the credentials, and sent by botocore's HTTP session: 1 ms.
    """

    def __init__(self, aws: Aws, prefix: str, *, connections: int) -> None:
        """connections: how many threads will read at once. Raises CloudError when S3 refuses the listing."""
        with aws_errors("list the bundle"):
            self._address, self._signature = _signing(aws, prefix)
            self._http = _http(aws, self._address, connections)
        self._prefix = prefix
        self._etags: dict[str, str] = {}
        self._stop = threading.Event()

    def stop(self) -> None:
        """Let every reading end at once, with an error."""
        self._stop.set()

    def read(self, path: str, start: int, end: int, size: int, write: Callable[[bytes, int], None]) -> None:
        """Read the bytes from `start` to before `end` of an object that has `size`, in order and each once.

        path: the object's key below the prefix. write: takes each chunk and its position in the object.
        A body that breaks off is gone on with by another GET, which S3 refuses if the object has changed meanwhile:
        https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetObject.html
        Raises Changed for an object that is not as expected, CloudError when S3 does not give it.
        """
        from tenacity import Retrying, retry_if_exception, stop_after_attempt, wait_random_exponential
        from tenacity.nap import sleep_using_event

        position = start

        def put(chunk: bytes) -> None:
            nonlocal position
            if self._stop.is_set():
                raise _Stopped
            write(chunk, position)
            position += len(chunk)

        attempts = Retrying(
            stop=stop_after_attempt(ATTEMPTS),
            wait=wait_random_exponential(multiplier=0.5, max=SLEEP),
            retry=retry_if_exception(lambda error: _passes(error) and not self._stop.is_set()),
            sleep=sleep_using_event(self._stop),
            reraise=True,
        )
        try:
            with aws_errors(f"fetch {path}"):
                attempts(lambda: self._read_on(path, position, end, size, put))
        except Changed:
            raise
        except CloudError as error:
            raise CloudError(error.problem, fix=f"{error.fix}; then {AGAIN}" if error.fix else AGAIN) from None

    def _read_on(self, path: str, position: int, end: int, size: int, put: Callable[[bytes], None]) -> None:
        """One GET of what is still missing."""
        from botocore.response import StreamingBody

        response = self._get(path, position, end, size)
        _check(response, path, position, end, size)
        self._etags.setdefault(path, response.headers.get("ETag", ""))
        try:
            for chunk in StreamingBody(response.raw, end - position).iter_chunks(CHUNK):
                put(chunk)
        except BaseException:
            response.raw.close()  # a connection that is in the middle of a body is of no use to the next request
            raise

    def _get(self, path: str, position: int, end: int, size: int) -> AWSResponse:
        from botocore.awsrequest import AWSRequest
        from botocore.utils import percent_encode

        headers = {}
        if (position, end) != (0, size):
            headers["Range"] = f"bytes={position}-{end - 1}"
        if etag := self._etags.get(path):
            headers["If-Match"] = etag
        request = AWSRequest("GET", self._address + percent_encode(self._prefix + path, safe="/~"), headers=headers)
        self._signature().add_auth(request)
        prepared = request.prepare()
        prepared.stream_output = True
        return self._http.send(prepared)


def _signing(aws: Aws, prefix: str) -> tuple[str, Callable[[], Any]]:
    """The bucket's address, ending in "/", and a function that makes a signer with credentials that are valid now.

    Both are what botocore settles on for a listing, after redirects to the bucket's region:
    https://docs.aws.amazon.com/boto3/latest/guide/events.html
    """
    seen: dict[str, Any] = {}

    def see(request: Any, signing_name: str, region_name: str, request_signer: Any, **_: Any) -> None:
        seen.update(url=request.url, signer=request_signer, names=(signing_name, region_name))

    event = "before-sign.s3.ListObjectsV2"
    aws.s3.meta.events.register_last(event, see)
    try:
        aws.s3.list_objects_v2(Bucket=aws.bucket, Prefix=prefix, MaxKeys=1)
    finally:
        aws.s3.meta.events.unregister(event, see)
    parts = urlsplit(seen["url"])
    address = f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/')}/"
    return address, lambda: seen["signer"].get_auth_instance(*seen["names"], signature_version="s3v4")


def _http(aws: Aws, address: str, connections: int) -> URLLib3Session:
    """An HTTP session with the profile's certificates and proxies, and the client's patience."""
    import botocore.session
    from botocore.httpsession import URLLib3Session
    from botocore.utils import get_environ_proxies

    profile = botocore.session.Session(profile=aws.settings.profile)
    config: Any = aws.s3.meta.config
    options: dict[str, Any] = {
        "verify": profile.get_config_variable("ca_bundle") or os.environ.get("REQUESTS_CA_BUNDLE") or True,
        "proxies": config.proxies if config.proxies is not None else get_environ_proxies(address),
        "timeout": (config.connect_timeout, config.read_timeout),
        "max_pool_connections": connections,
        "client_cert": config.client_cert,
        "proxies_config": config.proxies_config,
    }
    return URLLib3Session(**options)


def _check(response: AWSResponse, path: str, position: int, end: int, size: int) -> None:
    """Raise unless a response has just the bytes asked for, of an object of the size expected."""
    from botocore.exceptions import ClientError
    from botocore.parsers import create_parser

    status, headers = response.status_code, response.headers
    if status in (412, 416):
        response.raw.drain_conn()
        raise Changed(f"{path} in S3 has changed")
    if status not in (200, 206):
        no_shape: Any = None  # an error has none
        answer = {"status_code": status, "headers": headers, "body": response.content}
        raise ClientError(create_parser("rest-xml").parse(answer, no_shape), "GetObject")
    whole = f"bytes {position}-{end - 1}/{size}" if status == 206 else str(size)
    if headers.get("Content-Range" if status == 206 else "Content-Length") != whole or (
        status == 200 and (position, end) != (0, size)
    ):
        response.raw.close()
        raise Changed(f"{path} in S3 has another size than {size:,} bytes")


def _passes(error: BaseException) -> bool:
    """Whether another attempt may fare better."""
    from botocore import exceptions

    if isinstance(error, exceptions.ClientError):
        answer: Any = error.response
        return (
            answer["ResponseMetadata"]["HTTPStatusCode"] in TRANSIENT or answer["Error"].get("Code") == "RequestTimeout"
        )
    if isinstance(error, (exceptions.SSLError, exceptions.ProxyConnectionError)):
        return False
    return isinstance(error, (exceptions.HTTPClientError, exceptions.ConnectionError, exceptions.IncompleteReadError))

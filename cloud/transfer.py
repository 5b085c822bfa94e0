"""One object of S3, or a part of one, read to its end whatever breaks on the way."""

from __future__ import annotations

import os
import random
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection, IncompleteRead
from typing import Any
from urllib.parse import urlsplit

from .aws import Aws, aws_errors
from .errors import CloudError

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

    botocore's client takes 3 ms of CPU for a GET, its HTTP session 0.7 ms; what fetches thousands of small files cannot
    afford them. So botocore makes one listing in its own way, which finds endpoint, region and credentials; each GET is
    then signed by botocore's signer, which renews the credentials, and sent by http.client, which receives into a
    buffer that is used again: 0.4 ms.
    """

    def __init__(self, aws: Aws, prefix: str, keys: Mapping[str, str] | None = None) -> None:
        """keys: where below the prefix an object is, by the path that it is read by, if that is not the path itself.

        Raises CloudError when S3 refuses the listing, and for a proxy that cannot be used."""
        with aws_errors("list the bundle"):
            self._address, self._signature = _signing(aws, prefix)
            self._connect = _connector(aws, self._address)
        self._owner = aws.account
        self._prefix = prefix
        self._keys = keys or {}
        self._etags: dict[str, str] = {}
        self._idle: list[tuple[HTTPConnection, memoryview]] = []
        self._stop = threading.Event()

    def stop(self) -> None:
        """Let every reading end at once, with an error."""
        self._stop.set()

    def close(self) -> None:
        """Close the connections, when nothing is read any more."""
        for connection, _ in self._idle:
            connection.close()

    def read(self, path: str, start: int, end: int, size: int, write: Callable[[memoryview, int], None]) -> None:
        """Read the bytes from `start` to before `end` of an object that has `size`, in order and each once.

        path: the object's key below the prefix. write: takes each chunk, whose bytes are there until it returns, and
        the chunk's position in the object.
        A body that breaks off is gone on with by another GET, which S3 refuses if the object has changed meanwhile:
        https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetObject.html
        Raises Changed for an object that is not as expected, CloudError when S3 does not give it.
        """
        try:
            with aws_errors(f"fetch {path}"):
                self._read(path, start, end, size, write)
        except Changed:
            raise
        except CloudError as error:
            raise CloudError(error.problem, fix=f"{error.fix}; then {AGAIN}" if error.fix else AGAIN) from None

    def _read(self, path: str, position: int, end: int, size: int, write: Callable[[memoryview, int], None]) -> None:
        """By as many attempts as it takes. A loop: tenacity costs a file that needs but one a tenth more time."""
        from botocore.exceptions import ClientError, ResponseStreamingError

        for attempt in range(1, ATTEMPTS + 1):
            try:
                for chunk in self._rest(path, position, end, size):
                    if self._stop.is_set():
                        raise _Stopped
                    write(chunk, position)
                    position += len(chunk)
                return
            except (ClientError, ResponseStreamingError) as error:
                longest = min(SLEEP, 0.25 * 2**attempt)
                if attempt == ATTEMPTS or not _passes(error) or self._stop.wait(random.uniform(0, longest)):
                    raise

    def _rest(self, path: str, position: int, end: int, size: int) -> Iterator[memoryview]:
        """What one GET gives of what is still missing."""
        with self._connection() as (connection, buffer):
            response = self._get(connection, path, position, end, size)
            _check(response, path, position, end, size)
            self._etags.setdefault(path, response.headers.get("ETag", ""))
            while position < end:
                if not (count := response.readinto(buffer[: end - position])):
                    raise IncompleteRead(b"", end - position)
                position += count
                yield buffer[:count]
            response.read()  # http.client's sign that the connection is free

    @contextmanager
    def _connection(self) -> Iterator[tuple[HTTPConnection, memoryview]]:
        """A connection and its buffer, kept for the next request when the block ends well, closed when it does not.

        Raises ResponseStreamingError for whatever happens to the connection.
        """
        from botocore.exceptions import ResponseStreamingError

        try:
            connection, buffer = self._idle.pop()
        except IndexError:
            connection, buffer = self._connect(), memoryview(bytearray(CHUNK))
        try:
            yield connection, buffer
        except (OSError, HTTPException) as error:
            connection.close()
            said = " ".join(str(error).split())[:200]  # it may be what something else than S3 answers
            raise ResponseStreamingError(error=said or type(error).__name__) from error
        except BaseException:
            connection.close()
            raise
        self._idle.append((connection, buffer))

    def _get(self, connection: HTTPConnection, path: str, position: int, end: int, size: int) -> HTTPResponse:
        from botocore.awsrequest import AWSRequest
        from botocore.utils import percent_encode

        headers = {"x-amz-expected-bucket-owner": self._owner}  # as Aws.s3 has it in each request
        if (position, end) != (0, size):
            headers["Range"] = f"bytes={position}-{end - 1}"
        if etag := self._etags.get(path):
            headers["If-Match"] = etag
        url = self._address + percent_encode(self._prefix + self._keys.get(path, path), safe="/~")
        request = AWSRequest("GET", url, headers=headers)
        self._signature().add_auth(request)
        connection.request("GET", urlsplit(url).path, headers=dict(request.headers.items()))
        return connection.getresponse()


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


def _connector(aws: Aws, address: str) -> Callable[[], HTTPConnection]:
    """A function that makes a connection to an address with the certificates and the proxy that botocore would use.

    Raises CloudError for a proxy that is itself spoken to by TLS, which http.client cannot.
    """
    from botocore.httpsession import ProxyConfiguration
    from botocore.utils import get_environ_proxies

    config: Any = aws.s3.meta.config
    to = urlsplit(address)
    host = to.hostname or ""
    connect = partial(HTTPConnection, timeout=config.read_timeout)
    if to.scheme == "https":
        connect = partial(HTTPSConnection, timeout=config.read_timeout, context=_tls(aws))
    proxies = ProxyConfiguration(get_environ_proxies(address))
    if not (proxy := proxies.proxy_url_for(address)):
        return lambda: connect(host, to.port)
    if proxy.startswith("https:"):
        raise CloudError("files cannot be fetched through an https:// proxy", fix="name an http:// one in HTTPS_PROXY")

    through = urlsplit(proxy)

    def tunnel() -> HTTPConnection:
        made = connect(through.hostname or "", through.port or 80)
        made.set_tunnel(host, to.port, proxies.proxy_headers_for(proxy))
        return made

    return tunnel


def _tls(aws: Aws) -> ssl.SSLContext:
    """Checks certificate and host name; by the profile's ca_bundle, AWS_CA_BUNDLE, or what botocore comes with.

    Not botocore's create_urllib3_context: that leaves the host name to urllib3.
    """
    import botocore.session
    from botocore.httpsession import get_cert_path

    profile = botocore.session.Session(profile=aws.settings.profile)
    named = profile.get_config_variable("ca_bundle") or os.environ.get("REQUESTS_CA_BUNDLE")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(named or get_cert_path(True))
    return context


def _check(response: HTTPResponse, path: str, position: int, end: int, size: int) -> None:
    """Raise unless a response has just the bytes asked for, of an object of the size expected."""
    from botocore.exceptions import ClientError
    from botocore.parsers import create_parser

    status, headers = response.status, response.headers
    if status in (412, 416):
        raise Changed(f"{path} in S3 has changed")
    if status >= 300:
        no_shape: Any = None  # an error has none
        answer = {"status_code": status, "headers": headers, "body": response.read(CHUNK)}
        raise ClientError(create_parser("rest-xml").parse(answer, no_shape), "GetObject")
    whole = f"bytes {position}-{end - 1}/{size}" if status == 206 else str(size)
    if headers.get("Content-Range" if status == 206 else "Content-Length") != whole or (
        status != 206 and (status != 200 or (position, end) != (0, size))
    ):
        raise Changed(f"{path} in S3 has another size than {size:,} bytes")


def _passes(error: Exception) -> bool:
    """Whether another attempt may fare better, after an answer of S3 or a connection that broke."""
    answer: Any = getattr(error, "response", None)
    if answer is None:
        return True
    return answer["ResponseMetadata"]["HTTPStatusCode"] in TRANSIENT or answer["Error"].get("Code") == "RequestTimeout"

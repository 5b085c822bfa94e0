"""What a request to S3 wants, in the terms of IAM, and what S3 says to one that may not.

https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazons3.html
https://docs.aws.amazon.com/AmazonS3/latest/userguide/using-with-s3-policy-actions.html
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from urllib.parse import parse_qsl, unquote
from xml.sax.saxutils import unescape

from moto.s3.models import s3_backends
from moto.s3.responses import ACTION_MAP

from .policy_language import Request, context
from .protocol import Environ, Refusal, body


def asked(environ: Environ) -> list[Request]:
    """One request for each object or bucket. A path is /BUCKET/KEY."""
    bucket, key = _named(environ)
    query = dict(parse_qsl(environ.get("QUERY_STRING", ""), keep_blank_values=True))
    method = environ["REQUEST_METHOD"]
    if not bucket:
        return [Request("s3:ListAllMyBuckets", "*")]
    if not key:
        return _asked_of_bucket(environ, method, bucket, query)
    wanted = [Request(f"s3:{_action('KEY', method, query)}", _arn(bucket, key))]
    source = unquote(environ.get("HTTP_X_AMZ_COPY_SOURCE", "")).lstrip("/")
    if source:
        name, _, version = source.partition("?versionId=")
        wanted.append(Request(f"s3:GetObject{'Version' if version else ''}", _arn(*name.split("/", 1))))
    return wanted


def _named(environ: Environ) -> tuple[str, str]:
    """Bucket and key; WSGI has a path's bytes as characters."""
    bucket, _, key = environ["PATH_INFO"].encode("latin-1").decode(errors="replace").lstrip("/").partition("/")
    return bucket, key


def _asked_of_bucket(environ: Environ, method: str, bucket: str, query: Mapping[str, str]) -> list[Request]:
    if method == "POST":
        return _deletions(body(environ).decode(), bucket)
    if method == "HEAD":
        return [Request("s3:ListBucket", _arn(bucket))]
    known = context(**{"s3:prefix": query.get("prefix"), "s3:delimiter": query.get("delimiter")})
    return [Request(f"s3:{_action('BUCKET', method, query)}", _arn(bucket), known)]


def _deletions(text: str, bucket: str) -> list[Request]:
    """DeleteObjects. S3 answers for each key by itself; here one that may not be deleted refuses all."""
    return [
        Request(f"s3:DeleteObject{'Version' if '<VersionId>' in one else ''}", _arn(bucket, unescape(key[1])))
        for one in re.findall(r"<Object>(.*?)</Object>", text, re.DOTALL)
        if (key := re.search(r"<Key>(.*?)</Key>", one, re.DOTALL))
    ] or [Request("s3:DeleteObject", _arn(bucket, "*"))]


def _action(kind: str, method: str, query: Mapping[str, str]) -> str:
    """By moto's table, whose names are IAM's; `-`, which no policy names, for what is not in it."""
    actions = ACTION_MAP[kind].get(method, {})
    return str(next((action for name, action in actions.items() if name in query), actions.get("DEFAULT", "-")))


def _arn(bucket: str, key: str = "") -> str:
    return f"arn:aws:s3:::{bucket}/{key}" if key else f"arn:aws:s3:::{bucket}"


def reveals_absence(environ: Environ, can: Callable[[Request], bool]) -> bool:
    """Whether the answer would be that there is no such object, to one who may not list the bucket: that gets 403.

    https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetObject.html
    """
    bucket, key = _named(environ)
    if environ["REQUEST_METHOD"] not in ("GET", "HEAD") or not key or can(Request("s3:ListBucket", _arn(bucket))):
        return False
    if bucket not in s3_backends.bucket_accounts:
        return False
    partition, account = s3_backends.bucket_accounts[bucket]
    return s3_backends[account][partition].get_object(bucket, key) is None


def refusal(request: Request, who: str) -> Refusal:
    """https://docs.aws.amazon.com/AmazonS3/latest/userguide/troubleshoot-403-errors.html"""
    why = f"because no identity-based policy allows the {request.action} action"
    message = f'User: {who} is not authorized to perform: {request.action} on resource: "{request.resource}" {why}'
    return Refusal("s3", "403 Forbidden", "AccessDenied", message)

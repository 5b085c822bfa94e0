"""The caller's address, from a real page on loopback. What the security group makes of it is in test_provision.py."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from cloud import firewall
from cloud.aws import Aws
from cloud.config import Settings
from cloud.errors import CloudError


@contextmanager
def page(body: bytes) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()


def address(settings: Settings, url: str) -> str:
    return firewall.caller_address(Aws(settings.with_(caller_address_url=url)))


def test_the_pages_address_is_ours(settings: Settings) -> None:
    with page(b"203.0.113.5\n") as url:
        assert address(settings, url) == "203.0.113.5"


@pytest.mark.parametrize("body", [b"", b"<html>hello</html>", b"2001:db8::1", b"0.0.0.0/0"])
def test_anything_but_an_address_is_refused(settings: Settings, body: bytes) -> None:
    with page(body) as url, pytest.raises(CloudError, match=r"solver\.caller_address_url"):
        address(settings, url)


def test_a_page_that_does_not_answer_is_named(settings: Settings) -> None:
    with pytest.raises(CloudError, match=r"127\.0\.0\.1:9"):
        address(settings, "http://127.0.0.1:9/")

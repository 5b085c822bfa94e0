"""What answers in S3's place may be anything: it is said in a line, and nothing of it is kept."""

from __future__ import annotations

import random
import socket
import threading
from collections.abc import Iterator
from contextlib import suppress
from http.client import HTTPConnection
from typing import Any

import pytest

from cloud import transfer
from cloud.aws import Aws
from cloud.errors import CloudError

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nETag: x\r\n\r\nhello"
PORTAL = b"<!DOCTYPE html><html><body>Sign in to the hotel's network &nbsp;</body></html>"


class Anything:
    """Answers each request with the next of these bytes, or the last, and then closes the connection."""

    def __init__(self, answers: list[bytes]) -> None:
        self.answers = answers
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.requests = 0
        self.thread = threading.Thread(target=self.serve)
        self.thread.start()

    def serve(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self.listener.accept()
                with connection, suppress(OSError):
                    connection.recv(1 << 16)
                    self.requests += 1
                    connection.sendall(self.answers.pop(0) if len(self.answers) > 1 else self.answers[0])

    def close(self) -> None:
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self.thread.join()


@pytest.fixture
def source(store: Aws, monkeypatch: pytest.MonkeyPatch) -> transfer.Source:
    monkeypatch.setattr(transfer, "SLEEP", 0.01)
    return transfer.Source(store, "jobs/i-1/bundle/")


@pytest.fixture
def answering(source: transfer.Source, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A function that lets S3 answer with bytes; returns what is read of a file of five bytes."""
    servers: list[Anything] = []

    def read(*answers: bytes) -> bytes:
        server = Anything(list(answers))
        servers.append(server)
        port = server.listener.getsockname()[1]
        monkeypatch.setattr(source, "_connect", lambda: HTTPConnection("127.0.0.1", port, timeout=5))
        found = bytearray(5)
        source.close()
        source._idle.clear()

        def write(chunk: memoryview, position: int) -> None:
            found[position : position + len(chunk)] = chunk

        source.read("model", 0, 5, 5, write)
        return bytes(found)

    yield read
    for server in servers:
        server.close()


def headed(status: str, body: bytes, *headers: str, length: int | None = None) -> bytes:
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body) if length is None else length}", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


def test_the_file_is_read(answering: Any) -> None:
    assert answering(OK) == b"hello"


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"\x16\x03\x01\x00\x05hello",
        b"HTTP/1.1 999 No\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 1000 + b"\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nhello",
        b"HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 0-4/5\r\nContent-Length: x\r\n\r\nhel",
        headed("200 OK", PORTAL, "Content-Type: text/html"),
        headed("200 OK", b"hel", length=5),
        headed("200 OK", b"hello", length=-5),
        headed("200 OK", b"hello", length=10**30),
        headed("206 Partial Content", b"hello", "Content-Range: bytes 1-5/6"),
        headed("206 Partial Content", b"hello", "Content-Range: garbage"),
        headed("204 No Content", b""),
        headed("302 Found", b"", "Location: http://hotel.example/"),
        headed("307 Temporary Redirect", PORTAL, "Location: http://hotel.example/"),
        headed("403 Forbidden", PORTAL, "Content-Type: text/html"),
        headed("404 Not Found", b"\xff\xfe\x00"),
        headed("400 Bad Request", b"<Error><Code>\xff"),
        headed("403 Forbidden", b"<Error/>"),
        headed("403 Forbidden", b"<Error><Code/><Message/></Error>"),
        headed("403 Forbidden", b"<a>" * 10_000),
        headed("412 Precondition Failed", PORTAL),
        headed("416 Range", b""),
        headed("500 Internal Server Error", PORTAL),
        headed("503 Slow Down", b""),
        headed("511 Network Authentication Required", PORTAL),
    ],
)
def test_what_is_no_answer_of_s3_is_said_in_a_line(answering: Any, answer: bytes) -> None:
    with pytest.raises(CloudError) as raised:
        answering(answer)
    assert len(str(raised.value).splitlines()) <= 2
    assert len(str(raised.value)) < 1000


@pytest.mark.parametrize("first", [b"", b"garbage\r\n\r\n", headed("503 Slow Down", PORTAL), OK[:-2]])
def test_what_passes_is_asked_again(answering: Any, first: bytes) -> None:
    assert (
        answering(first, OK if first != OK[:-2] else headed("206 x", b"lo", "Content-Range: bytes 3-4/5")) == b"hello"
    )


def test_bytes_behind_the_end_are_not_the_next_answer(answering: Any) -> None:
    assert answering(OK + b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nworld") == b"hello"


def test_whatever_is_done_to_an_answer_it_is_read_or_said(answering: Any) -> None:
    chance = random.Random(14)
    for _ in range(150):
        answer = bytearray(chance.choice([OK, headed("403 Forbidden", PORTAL), headed("200 OK", b"hello", "ETag: y")]))
        for _ in range(chance.randrange(1, 4)):
            answer[chance.randrange(len(answer))] = chance.randrange(256)
        said = ""
        try:
            answering(bytes(answer))
        except CloudError as error:
            said = str(error)
        assert len(said.splitlines()) <= 2

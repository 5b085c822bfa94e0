"""Who may use this cloud's own controls, below /_local/: whoever has its key, and no page in a browser."""

from __future__ import annotations

import hmac
from typing import Any
from urllib.parse import urlsplit

from werkzeug.wsgi import get_input_stream

PREFIX = "/_local/"
KEY_HEADER = "X-Local-Key"
OPEN = ("caller-address",)
"""What anybody may ask, as of https://checkip.amazonaws.com."""
MOST_BYTES = 1 << 20
"""Of what a control is sent."""


def refusal(environ: dict[str, Any], secret: str, endpoint: str) -> str | None:
    """Why a request is refused, in one line; None when it may pass.

    secret: that has to be in the header KEY_HEADER. endpoint: URL of this cloud.
    A page in a browser on this machine can send requests here, by our address or by a name of its own that leads
    here; a browser names the page in `Origin`, or that name in `Host`.
    """
    port = urlsplit(endpoint).port
    if environ.get("HTTP_HOST") not in (f"127.0.0.1:{port}", f"localhost:{port}") or "HTTP_ORIGIN" in environ:
        return "the controls of the local cloud answer only to this machine's own commands"
    if environ["PATH_INFO"].removeprefix(PREFIX) in OPEN:
        return None
    if not hmac.compare_digest(environ.get("HTTP_X_LOCAL_KEY", "").encode(), secret.encode()):
        return "the controls of the local cloud want its key"
    return None


def body(environ: dict[str, Any]) -> str:
    """What a control is sent, as text; raises ValueError when it is too large or not UTF-8."""
    data = get_input_stream(environ).read(MOST_BYTES + 1)
    if len(data) > MOST_BYTES:
        raise ValueError("over 1 MiB")
    return data.decode()

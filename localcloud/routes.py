"""How a response class of ours gets to answer instead of moto's."""

from __future__ import annotations

from types import ModuleType, SimpleNamespace
from typing import Any


def routed(urls: ModuleType, response: Any) -> SimpleNamespace:
    """moto's `urls` module of a service, with the paths leading to another response class.

    To be the property `_url_module` of a backend, where moto looks for it.
    """
    paths = {path: getattr(response, handler.__name__) for path, handler in urls.url_paths.items()}
    return SimpleNamespace(url_bases=urls.url_bases, url_paths=paths)

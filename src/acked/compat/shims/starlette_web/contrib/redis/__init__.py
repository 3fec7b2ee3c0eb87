"""As in starlette_web: its cache and its lock are its own, where it is installed."""

import importlib
from pkgutil import extend_path
from typing import Any

__path__ = extend_path(__path__, __name__)

_ELSEWHERE = {"RedisCache": "cache", "RedisLock": "redislock"}


def __getattr__(name: str) -> Any:
    if name not in _ELSEWHERE:
        raise AttributeError(name)
    return getattr(importlib.import_module(f"{__name__}.{_ELSEWHERE[name]}"), name)

"""The way to Redis, for both Redis layers: the one seam to redis-py."""

from importlib import import_module

try:
    import_module("redis")
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        f"{error.name} is not installed: pip install 'acked[redis]'", name=error.name
    ) from error

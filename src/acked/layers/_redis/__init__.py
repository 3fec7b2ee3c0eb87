"""The way to Redis, for both Redis layers: the one seam to redis-py."""

from importlib import import_module

try:
    for _needed in ("redis", "hiredis"):
        import_module(_needed)
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        f"{error.name} is not installed: pip install 'acked[redis]'", name=error.name
    ) from error

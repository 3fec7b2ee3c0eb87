"""The way to Redis, for both Redis layers: the one seam to redis-py."""

try:
    import redis  # noqa: F401 - is it there?
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        f"{error.name} is not installed: pip install 'acked[redis]'", name=error.name
    ) from error

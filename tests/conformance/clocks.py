"""A wall clock that somebody has set, for whoever in this process reads it."""

import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from unittest.mock import patch

__all__ = ("wrong_clock",)


@asynccontextmanager
async def wrong_clock(error: float) -> AsyncGenerator[None]:
    """Let the wall clock be wrong by `error` seconds, as the hook `set_clock` must."""
    right, right_ns = time.time, time.time_ns
    with (
        patch("time.time", lambda: right() + error),
        patch("time.time_ns", lambda: right_ns() + int(error * 1e9)),
    ):
        yield

"""A broker for each URL: private, and nothing has happened on it yet."""

import tempfile
from collections.abc import Generator
from contextlib import contextmanager

from compose.fleet import create
from compose.lifecycle import NAMES


@contextmanager
def place(url: str) -> Generator[str]:
    """Yield `url`, a scheme and perhaps a path, with the address of what was started for it."""
    scheme, _, path = url.partition("://")
    kind = scheme.partition("-")[0]
    if kind in NAMES:
        with create(kind, is_for_benchmarks=True) as broker:
            yield f"{scheme}://{broker.url.partition('://')[2]}{path}"
    elif kind == "sqlite":
        with tempfile.TemporaryDirectory() as folder:
            yield f"{scheme}://{folder}/queue.db"
    else:
        yield url

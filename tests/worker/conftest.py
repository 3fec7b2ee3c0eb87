"""Workers are tried over a queue in memory, one in a file, and Redis Streams."""

from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

import pytest

from acked import Topic
from acked.abc import AckLayer
from acked.layers.memory_queue import MemoryQueueLayer
from acked.layers.redis_streams import RedisStreamsLayer
from acked.layers.sqlite_queue import SQLiteQueueLayer

MakeLayer = Callable[[], AckLayer]


@pytest.fixture(
    params=[
        *((layer, loop) for layer in ("memory", "sqlite") for loop in ("asyncio", "trio")),
        ("redis", "asyncio"),  # its client is for asyncio
    ],
    ids="-".join,
)
def make_layer(request: pytest.FixtureRequest, tmp_path: Path, anyio_backend: str) -> MakeLayer:
    """Return a function that makes layers over one broker."""
    layer, _ = request.param
    if layer == "memory":
        queue = MemoryQueueLayer()
        return lambda: queue
    if layer == "sqlite":
        return lambda: SQLiteQueueLayer(tmp_path / "queue.db")
    url = request.getfixturevalue("redis_broker").url
    return lambda: RedisStreamsLayer(url)


@pytest.fixture
def anyio_backend(request: pytest.FixtureRequest) -> str:
    """The loop that goes with the layer; asyncio where none is asked for."""
    params = request.node.callspec.params if hasattr(request.node, "callspec") else {}
    _, loop = params.get("make_layer", (None, "asyncio"))
    return loop


@pytest.fixture
def jobs() -> Topic[int]:
    return Topic(f"jobs-{uuid4().hex}", int)

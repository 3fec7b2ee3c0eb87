"""What every test of Redis Streams has: a topic of its own, an open layer, and a client to ask."""

from collections.abc import AsyncIterator, Iterator

import pytest
import redis

from acked.layers.redis_streams import RedisStreamsLayer
from compose.lifecycle import Broker
from tests.layers.redis_streams.kit import Oracle, fresh


@pytest.fixture
def topic() -> str:
    return fresh("stream")


@pytest.fixture
def oracle(redis_broker: Broker) -> Iterator[Oracle]:
    with redis.Redis.from_url(redis_broker.url) as client:
        yield client


@pytest.fixture
async def layer(redis_broker: Broker) -> AsyncIterator[RedisStreamsLayer]:
    async with RedisStreamsLayer(redis_broker.url) as opened:
        yield opened

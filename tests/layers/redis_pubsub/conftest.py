"""What every test of Redis pub/sub has: a topic of its own."""

import pytest

from acked import Topic
from tests.layers.redis_pubsub_kit import fresh


@pytest.fixture
def topic() -> Topic[bytes]:
    return fresh()

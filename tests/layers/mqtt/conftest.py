"""What every test of MQTT has: a topic of its own, the shared broker, and both event loops."""

import pytest

from acked.conformance.harness import fresh


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def topic() -> str:
    return fresh("topic")


@pytest.fixture
def url(mqtt_broker) -> str:
    return mqtt_broker.url

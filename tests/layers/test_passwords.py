"""A hundred passwords, each printable character in one, in a URL of every layer: nobody is told.

Not in an error, a traceback that shows variables, a repr, a finding, or a log at DEBUG.
"""

import logging
import string
from collections.abc import Callable
from importlib.metadata import entry_points
from typing import Any
from urllib.parse import quote

import anyio
import pytest

from acked import Channel
from acked.errors import AckedError, LayerError
from acked.layers.kafka import KafkaLayer
from acked.layers.mqtt import MQTTLayer
from acked.layers.postgres_notify import PostgresNotifyLayer
from tests.layers.redis_streams.kit import port_of_nobody
from tests.layers.secrets_kit import LEFT, PASSWORDS, RIGHT, is_hidden, shown

pytestmark = pytest.mark.anyio

SCHEMES = {
    "memory": True,
    "redis-pubsub": True,
    "postgres-notify": True,
    "memory-queue": False,
    "sqlite-queue": False,
    "redis-streams": False,
    "kafka": False,
    "mqtt": False,
}
"""Of each layer, and whether it is one of news."""

OF_A_SERVER = {
    "redis-streams": "timeout=1",
    "redis-pubsub": "timeout=1",
    "postgres-notify": "timeout=1",
    "kafka": "timeout=0.5",
    "mqtt": "timeout=1",
}


def urls(scheme: str, password: str) -> list[str]:
    return [
        f"{scheme}://shop:{password}@127.0.0.1:1",
        f"{scheme}://shop:{password}@127.0.0.1:1/0?nonsense=1",
        f"{scheme}://shop:{password}@127.0.0.1:1?timeout=soon",
        f"{scheme}://shop:{password}@127.0.0.1:port",
        f"{scheme}://:{password}@[::1",
        f"{scheme}://{password}@127.0.0.1",
        f"{scheme}://shop:{password}@127.0.0.1?a=b&a=c",
    ]


def channel_at(url: str, scheme: str) -> Channel[Any]:
    is_of_news = SCHEMES[scheme]
    return Channel.from_url(url, fire_and_forget=True) if is_of_news else Channel.from_url(url)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_no_password_is_told_by_who_cannot_read_its_url(
    scheme: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    (point,) = entry_points(group="acked.layers", name=scheme)
    layer = point.load()
    refused = 0
    for number, password in enumerate(PASSWORDS):
        for position, url in enumerate(urls(scheme, password)):
            try:  # a channel looks for entry points, which takes long, so it is asked for one each
                is_asked = position == number % 7
                told = repr(channel_at(url, scheme) if is_asked else layer.from_url(url))
            except AckedError as error:
                refused += 1
                told = shown(error)
            # Where a queue is a file, what stands in its URL is its path.
            assert scheme == "sqlite-queue" or is_hidden(told, password), told
    assert refused > 100
    assert LEFT not in caplog.text


MADE: list[Callable[[str], object]] = [
    MQTTLayer,
    PostgresNotifyLayer,
    KafkaLayer,
    lambda url: KafkaLayer("127.0.0.1:port", user="shop", password=url),
    lambda url: KafkaLayer("127.0.0.1:1", user="shop", password=url, sasl_mechanism="NONE"),
]


@pytest.mark.parametrize("make", MADE)
def test_nor_by_a_layer_that_is_made_by_hand(make: Callable[[str], object]) -> None:
    for password in PASSWORDS:
        for url in (f"http://u:{password}@h:p", f"mqtt://u:{password}@h:1?a", password):
            try:
                told = repr(make(url))
            except AckedError as error:
                told = shown(error)
            assert is_hidden(told, password), told


@pytest.mark.parametrize("scheme", OF_A_SERVER)
async def test_nor_by_one_that_reaches_nobody(
    scheme: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    port = port_of_nobody()
    for first in range(0, 100, 10):
        password = LEFT + string.printable[first : first + 10] + RIGHT
        login = quote(password, safe="")
        url = f"{scheme}://shop:{login}@127.0.0.1:{port}?{OF_A_SERVER[scheme]}"
        channel = channel_at(url, scheme)
        with anyio.fail_after(20), pytest.raises(LayerError) as caught:
            await channel.__aenter__()
        assert is_hidden(shown(caught.value) + repr(channel), password), shown(caught.value)
        assert is_hidden(caplog.text, password)

"""What the tests of MQTT share: feeds, what to do with them, and other ends of a connection."""

import socket
import threading
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from typing import Any, Self

import anyio
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from acked.abc import AckFeed
from acked.conformance.harness import fresh
from acked.errors import ConnectionLost
from acked.layers.mqtt import MQTTLayer
from acked.layers.mqtt._connection import MQTTConnection
from acked.types import Leased, Record, Settlement, Start, Verb
from compose.lifecycle import Broker
from compose.mqtt.recipe import MosquittoRecipe
from compose.native.server import NativeBroker
from tests.fix_brokers import or_skip

GROUP = "group"


def record(topic: str, body: object = "body", **more: Any) -> Record:
    return Record(topic, str(body).encode(), fresh("id"), **more)


@asynccontextmanager
async def feed_at(
    url: str, topic: str, *, in_flight: int = 100, group: str = GROUP, **options: Any
) -> AsyncGenerator[tuple[MQTTLayer, AckFeed]]:
    """A layer of its own and a feed, that know nothing of earlier ones."""
    async with MQTTLayer(url, **options) as layer:
        async with joined(layer, topic, in_flight=in_flight, group=group) as feed:
            yield layer, feed


def joined(layer: MQTTLayer, *topics: str, in_flight: int = 100, group: str = GROUP):
    return layer.consume(topics, group, in_flight=in_flight, lease=30.0, start=Start.EARLIEST)


async def take(feed: AckFeed, count: int, *, reconnect: bool = False) -> list[Leased]:
    got: list[Leased] = []
    with anyio.fail_after(40):
        while len(got) < count:
            try:
                got += await feed.receive(count - len(got))
            except ConnectionLost:
                if not reconnect:
                    raise
                await anyio.sleep(0.02)
    return got


def bodies(leased: Sequence[Leased]) -> list[str]:
    return [one.record.body.decode() for one in leased]


def acks(leased: Sequence[Leased]) -> list[Settlement]:
    return [Settlement(one.token, Verb.ACK) for one in leased]


async def broker_has_read(feed: AckFeed) -> None:
    """Return when the broker has read every PUBACK: it answers what came after them."""
    await feed._connection.barrier()  # type: ignore[attr-defined]


async def cut(between, feed: AckFeed) -> None:
    """Cut the connections and return when the feed has noticed it."""
    between.cut()
    with anyio.fail_after(40):
        while feed._connection.broken is None:  # type: ignore[attr-defined]
            await anyio.sleep(0.001)


async def what_is_owed(url: str, topic: str, **options: Any) -> list[str]:
    """Return what the broker owes to the group, by its own account; and ack it."""
    async with feed_at(url, topic, **options) as (layer, feed):
        await layer.publish([record(topic, "sentinel")])
        got: list[Leased] = []
        while not got or got[-1].record.body != b"sentinel":
            got += await take(feed, 1)
        await feed.settle(acks(got))
    return bodies(got)[:-1]


@contextmanager
def foreign_client(url: str) -> Iterator[Client]:
    """A client that is not ours."""
    connected = threading.Event()
    client = Client(CallbackAPIVersion.VERSION2, protocol=MQTTProtocolVersion.MQTTv5)
    client.on_connect = lambda *_: connected.set()
    client.connect("127.0.0.1", int(url.rpartition(":")[2]))
    client.loop_start()
    assert connected.wait(10)
    try:
        yield client
    finally:
        client.disconnect()
        client.loop_stop()
        client.on_connect = None


def forget_session(url: str, client_id: str) -> None:
    """Let the broker forget a session, by connecting as it with a clean start."""
    ended = threading.Event()
    client = Client(CallbackAPIVersion.VERSION2, client_id, protocol=MQTTProtocolVersion.MQTTv5)
    client.on_connect = lambda *_: client.disconnect()
    client.on_disconnect = lambda *_: ended.set()
    client.connect("127.0.0.1", int(url.rpartition(":")[2]), clean_start=True)
    client.loop_start()
    assert ended.wait(10)
    client.loop_stop()
    client.on_connect = client.on_disconnect = None


@contextmanager
def mosquitto(*settings: str) -> Iterator[Broker]:
    """A broker of one's own, with more lines in its configuration."""
    broker = NativeBroker(MosquittoRecipe(settings))
    or_skip("mqtt", broker.start)
    with broker:
        yield broker


class Refuser(threading.Thread):
    """A server that answers each packet of one connection with prepared bytes."""

    def __init__(self, *replies: bytes) -> None:
        super().__init__(daemon=True)
        self._replies = replies
        self._server = socket.create_server(("127.0.0.1", 0))
        self.url = f"mqtt://user:secret@127.0.0.1:{self._server.getsockname()[1]}"
        self._is_over = threading.Event()
        self.heard: list[bytes] = []
        """What came, as far as there was an answer to it."""

    def run(self) -> None:
        connection, _ = self._server.accept()
        with connection:
            for reply in self._replies:
                self.heard.append(connection.recv(65_536))
                connection.sendall(reply)
            connection.settimeout(0.05)
            while not self._is_over.is_set():
                try:
                    if not connection.recv(65_536):
                        break
                except TimeoutError:
                    pass
                except ConnectionResetError:  # it left before it read all
                    break

    def hang_up(self) -> None:
        self._is_over.set()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.close()
        self.join(10)


CONNACK = bytes([0x20, 3, 0, 0, 0])


def redirect(layer: MQTTLayer, broker: Refuser) -> None:
    """Let the connections that `layer` makes from now on lead to `broker`."""
    there = layer._address._replace(port=int(broker.url.rpartition(":")[2]))
    layer._address = there
    layer._connection = partial(MQTTConnection, there, **layer._connection.keywords)

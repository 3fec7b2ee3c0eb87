"""MQTT: a group is a session: who has it, who shares it, and who takes it over."""

import os
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import anyio.abc
import pytest

from acked.conformance.harness import fresh
from acked.errors import ConnectionLost, LayerError, PublishFailed
from acked.layers.mqtt import MQTTLayer
from acked.layers.mqtt._identity import share_name
from acked.layers.mqtt._ownership import MARKS
from tests.layers.mqtt.kit import (
    CONNACK,
    Refuser,
    acks,
    bodies,
    broker_has_read,
    cut,
    feed_at,
    joined,
    record,
    redirect,
    take,
    what_is_owed,
)

pytestmark = pytest.mark.anyio


def test_names_of_groups_that_mqtt_cannot_share_by_do_not_meet() -> None:
    names = ["a/b", "a+b", "a#b", "a_b", "a b"]
    shares = {share_name(name) for name in names}
    assert len(shares) == len(names)
    assert not any(set(share) & set("/+#") for share in shares)
    assert share_name("a_b") == "a_b"


async def test_a_second_consumer_takes_the_session_over(url: str, topic: str) -> None:
    async with feed_at(url, topic) as (layer, first):
        await layer.publish([record(topic)])
        await take(first, 1)
        async with feed_at(url, topic) as (_, second):
            with pytest.raises(LayerError):
                await take(first, 1)
            assert bodies(await take(second, 1)) == ["body"]


async def test_a_session_taken_over_is_no_reason_to_try_again(url: str, topic: str) -> None:
    suback, taken_over = bytes([0x90, 5, 0, 1, 0, 1, 1]), bytes([0xE0, 2, 0x8E, 0])
    async with MQTTLayer(url) as layer:
        with Refuser(CONNACK, suback + taken_over) as broker:
            redirect(layer, broker)
            async with joined(layer, topic) as feed:
                with pytest.raises(LayerError, match="taken over") as caught:
                    await take(feed, 1)
                assert not isinstance(caught.value, ConnectionLost)


async def test_a_second_consumer_of_one_layer_is_refused_unless_shared(
    url: str, topic: str
) -> None:
    async with feed_at(url, topic) as (layer, _):
        with pytest.raises(LayerError, match="shared=True"):
            async with joined(layer, topic):
                pass


async def test_consumers_of_a_shared_group_share_its_messages(url: str, topic: str) -> None:
    async with MQTTLayer(url, client_id=fresh("member"), shared=True) as layer:
        async with joined(layer, topic) as one, joined(layer, topic) as other:
            await layer.publish([record(topic, n) for n in range(10)])
            got = await take(one, 5) + await take(other, 5)
            assert sorted(bodies(got)) == [str(n) for n in range(10)]
        async with joined(layer, topic) as one:
            assert len(await take(one, 5)) == 5  # its own; the other's stay with the other


async def test_two_groups_each_get_every_message(url: str, topic: str) -> None:
    async with MQTTLayer(url) as layer:
        async with joined(layer, topic, group="a") as a, joined(layer, topic, group="b") as b:
            await layer.publish([record(topic, n) for n in range(3)])
            for feed in (a, b):
                got = await take(feed, 3)
                assert bodies(got) == ["0", "1", "2"]
                await feed.settle(acks(got))


@pytest.mark.parametrize("options", [{}, {"shared": True, "client_id": "the-same"}])
async def test_of_two_consumers_the_newer_keeps_the_session_whatever_the_broker_tells(
    url: str, topic: str, options: dict[str, Any]
) -> None:
    """Mosquitto 2.0.11 only hangs up on the older one, as a lost connection would."""
    async with (
        feed_at(url, topic, **options) as (layer, older),
        feed_at(url, topic, **options) as (_, newer),
    ):
        with pytest.raises(ConnectionLost):
            await take(older, 1)
        # Coming back, it takes the session once more, sees who had it meanwhile, and goes.
        with pytest.raises(LayerError, match=r"taken over.*shared=True") as caught:
            await take(older, 1)
        assert not isinstance(caught.value, ConnectionLost)
        await layer.publish([record(topic)])
        got = await take(newer, 1, reconnect=True)
        assert bodies(got) == ["body"]
        await newer.settle(acks(got))
    assert await what_is_owed(url, topic, **options) == []


async def test_a_consumer_that_was_cut_off_or_restarted_has_not_been_succeeded(
    mqtt_broker, proxy, topic: str
) -> None:
    between = proxy(mqtt_broker)
    for _ in range(3):
        async with feed_at(between.url, topic) as (layer, feed):
            for number in range(3):
                await cut(between, feed)
                got = []
                while not got:
                    try:
                        await layer.publish([record(topic, number)])
                        got = await take(feed, 1, reconnect=True)
                    except PublishFailed:
                        await anyio.sleep(0.02)
                assert bodies(got) == [str(number)]
                await feed.settle(acks(got))
                await broker_has_read(feed)


async def test_a_session_without_any_mark_is_its_consumers_own(
    mqtt_broker, proxy, url: str, topic: str
) -> None:
    """The connection may break after the marks were looked at, before ours was left again."""
    between = proxy(mqtt_broker)
    async with MQTTLayer(url) as publisher, feed_at(between.url, topic) as (_, feed):
        assert len(await feed._connection.unsubscribe(MARKS)) == 1  # type: ignore[attr-defined]
        await cut(between, feed)
        await publisher.publish([record(topic)])
        assert bodies(await take(feed, 1, reconnect=True)) == ["body"]


CONSUMER = """
import sys
import anyio
from acked import Channel
from acked.layers.mqtt import MQTTLayer

async def main(url, topic):
    async with Channel(MQTTLayer(url)) as channel:
        async with channel.subscribe(topic, group="group") as sub:
            print("ready", flush=True)
            async for delivery in sub:
                await delivery.ack()
                print("got", flush=True)

anyio.run(main, *sys.argv[1:])
"""


@asynccontextmanager
async def consumer(url: str, topic: str) -> AsyncGenerator[anyio.abc.Process]:
    """Another process that consumes."""
    command = [sys.executable, "-c", CONSUMER, url, topic]
    process = await anyio.open_process(command, env=dict(os.environ))
    try:
        with anyio.fail_after(30):
            await says(process, "ready")
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.aclose()


async def says(process: anyio.abc.Process, word: str) -> None:
    assert process.stdout is not None
    heard = b""
    while word.encode() not in heard:
        heard += await process.stdout.receive()


async def test_the_older_of_two_processes_ends_with_an_error_and_the_newer_goes_on(
    url: str, topic: str
) -> None:
    async with consumer(url, topic) as older, consumer(url, topic) as newer:
        assert older.stderr is not None
        with anyio.fail_after(30):
            await older.wait()
            words = b"".join([part async for part in older.stderr]).decode()
        assert older.returncode == 1
        assert "LayerError" in words
        assert "was taken over by another consumer" in words
        async with MQTTLayer(url) as layer:
            await layer.publish([record(topic, 1)])
            with anyio.fail_after(30):
                await says(newer, "got")

"""MQTT as news on few connections: by MQTT 5 with sessions, by 3.1.1 without."""

import socket
from collections.abc import Callable
from contextlib import AsyncExitStack, suppress

import anyio
import pytest

from acked import ConnectionLost, GapCause, Stream
from acked.conformance.harness import fresh
from acked.errors import ChannelClosed, ConfigurationError, PublishFailed
from acked.layers.mqtt import MQTTTail, _line
from acked.types import Record
from compose.lifecycle import Broker
from tests.fix_proxy import Proxies

pytestmark = [pytest.mark.anyio, pytest.mark.parametrize("version", [5, 4])]

SOON = 20.0


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def record(topic: str, body: str) -> Record:
    return Record(topic, body.encode(), fresh("id"), timestamp=1.5)


def sink() -> Stream[Record]:
    return Stream(1000)


async def until(is_true: Callable[[], bool]) -> None:
    with anyio.fail_after(SOON):
        while not is_true():
            await anyio.sleep(0.005)


async def heard(stream: Stream[Record], count: int) -> list[str]:
    with anyio.fail_after(SOON):
        found: list[str] = []
        while len(found) < count and await stream.ready():
            found.append(stream.take()[0].body.decode())
    return found


async def test_all_topics_are_heard_on_one_connection(
    version: int, mqtt_broker: Broker, proxy: Proxies
) -> None:
    way = proxy(mqtt_broker)
    topics = [fresh("topic") for _ in range(50)]
    streams = {topic: sink() for topic in topics}
    async with MQTTTail(way.url, version=version) as tail, AsyncExitStack() as listening:
        for topic, stream in streams.items():
            await listening.enter_async_context(tail.listen([topic], stream))
        for topic in topics:
            await tail.publish([record(topic, topic)])
        for topic, stream in streams.items():
            assert await heard(stream, 1) == [topic]
        assert way.statistics().open_connections == 2


async def test_filters_that_overlap_are_each_told_once(version: int, mqtt_broker: Broker) -> None:
    root = fresh("root")
    filters = [f"{root}/a", f"{root}/+", f"{root}/#", f"{root}/+"]
    streams = [sink() for _ in filters]
    async with MQTTTail(mqtt_broker.url, version=version) as tail, AsyncExitStack() as listening:
        for one, stream in zip(filters, streams, strict=True):
            await listening.enter_async_context(tail.listen([one], stream))
        for body in ("1", "2"):
            await tail.publish([record(f"{root}/a", body)])
        for stream in streams:
            assert await heard(stream, 2) == ["1", "2"]
            assert not stream.buffer.items


async def test_all_who_begin_to_listen_at_once_hear(version: int, mqtt_broker: Broker) -> None:
    """Also where the first and the second of a topic wait for their turn to ask."""
    first, topic = fresh("topic"), fresh("topic")
    streams = [(first, sink()), (topic, sink()), (topic, sink())]
    async with (
        MQTTTail(mqtt_broker.url, version=version) as tail,
        tail.listen([fresh("topic")], sink()),
    ):
        joining = [tail.listen([name], stream) for name, stream in streams]
        async with anyio.create_task_group() as tasks:
            for one in joining:
                tasks.start_soon(one.__aenter__)
        for name in (first, topic):
            await tail.publish([record(name, "news")])
        assert [await heard(stream, 1) for _, stream in streams] == [["news"]] * 3
        for one in joining:
            await one.__aexit__(None, None, None)


async def test_a_topic_left_during_a_loss_can_be_listened_to_again(
    version: int, mqtt_broker: Broker, proxy: Proxies, monkeypatch: pytest.MonkeyPatch
) -> None:
    way, topic, other_topic = proxy(mqtt_broker), fresh("topic"), fresh("topic")
    stays, again = sink(), sink()
    tries: list[int] = []

    async def pause(attempt: int) -> None:
        tries.append(attempt)
        await anyio.sleep(0.01)

    monkeypatch.setattr(_line, "pause_before", pause)
    async with (
        MQTTTail(way.url, version=version) as tail,
        MQTTTail(mqtt_broker.url, version=version) as other,
        tail.listen([other_topic], stays),
    ):
        async with tail.listen([topic], sink()):
            way.refuse()
            way.cut()
            await until(lambda: len(tries) > 2)
        way.accept()
        await until(lambda: version == 5 or stays.buffer.pending_gap is not None)
        # A session that the broker kept has the topic still, and nobody is handed what comes.
        await other.publish([record(topic, "to nobody"), record(other_topic, "heard")])
        assert await heard(stays, 1) == ["heard"]
        async with tail.listen([topic], again):
            await other.publish([record(topic, "after")])
            assert await heard(again, 1) == ["after"]
    assert tries == list(range(1, len(tries) + 1))


async def test_who_cannot_be_connected_is_told_and_the_next_hears(
    version: int, mqtt_broker: Broker, proxy: Proxies
) -> None:
    way, topic, stream = proxy(mqtt_broker), fresh("topic"), sink()
    async with MQTTTail(way.url, version=version) as tail:
        way.refuse()
        with pytest.raises(ConnectionLost, match="cannot connect"):
            async with tail.listen([topic], sink()):
                pass
        way.accept()
        async with tail.listen_patterns([f"{topic}/+"], stream):
            await tail.publish([record(f"{topic}/1", "heard")])
            await tail.send(f"{topic}/2", b"and without an acknowledgement", qos=0, retain=False)
            assert await heard(stream, 2) == ["heard", "and without an acknowledgement"]


async def test_publishing_on_a_lost_connection_fails(
    version: int, mqtt_broker: Broker, proxy: Proxies
) -> None:
    way = proxy(mqtt_broker)
    async with MQTTTail(way.url, version=version) as tail:
        client = (await tail._opened().open()).client
        client.socket().shutdown(socket.SHUT_RDWR)  # type: ignore[union-attr]
        with pytest.raises(PublishFailed, match="the connection broke"):
            await tail.send("topic", b"", qos=0, retain=False)
        way.refuse()
        with pytest.raises(PublishFailed, match="1 of 1"):
            await tail.publish([record("topic", "nowhere")])


async def test_a_tail_that_is_left_while_somebody_listens_leaves_no_connection(
    version: int, mqtt_broker: Broker, proxy: Proxies
) -> None:
    way = proxy(mqtt_broker)
    async with MQTTTail(way.url, version=version) as tail:
        async with tail.listen([fresh("topic")], sink()):
            await tail.__aexit__(None, None, None)
            await until(lambda: way.statistics().open_connections == 0)
        await tail.__aexit__(None, None, None)  # again: a no-op


async def test_who_is_cancelled_leaves_no_connection(
    version: int, mqtt_broker: Broker, proxy: Proxies
) -> None:
    way = proxy(mqtt_broker)
    async with MQTTTail(way.url, version=version) as tail:
        with anyio.CancelScope() as scope:
            async with tail.listen([fresh("topic")], sink()):
                assert way.statistics().open_connections == 2
                scope.cancel()
                await anyio.sleep_forever()
        await until(lambda: way.statistics().open_connections == 1)


async def test_a_cut_is_a_gap_only_where_there_is_no_session(
    version: int, mqtt_broker: Broker, proxy: Proxies
) -> None:
    way, topic, stream = proxy(mqtt_broker), fresh("topic"), sink()
    async with (
        MQTTTail(way.url, version=version) as tail,
        MQTTTail(mqtt_broker.url, version=version) as other,
    ):
        async with tail.listen([topic], stream):
            way.refuse()
            way.cut()
            await other.publish([record(topic, "meanwhile")])
            way.accept()
            if version == 5:
                assert await heard(stream, 1) == ["meanwhile"]
            else:
                with anyio.fail_after(SOON):
                    while stream.buffer.pending_gap is None:
                        await anyio.sleep(0.01)
                assert stream.buffer.pending_gap.causes == {GapCause.RECONNECT}
            await other.publish([record(topic, "after")])
            assert await heard(stream, 1) == ["after"]
            assert stream.unknown_gaps == (version == 4)


async def test_a_lost_connection_may_be_the_end_and_the_next_who_listens_hears(
    version: int, mqtt_broker: Broker, proxy: Proxies
) -> None:
    way, topic, stream = proxy(mqtt_broker), fresh("topic"), sink()
    async with MQTTTail(way.url, version=version, on_loss="raise") as tail:
        async with tail.listen([topic], stream):
            way.cut()
            with anyio.fail_after(SOON):
                assert not await stream.ready()
            assert isinstance(stream.failure, ConnectionLost)
            again = sink()
            async with tail.listen([topic], again):
                with anyio.fail_after(SOON):
                    while True:
                        with suppress(PublishFailed):
                            await tail.publish([record(topic, "again")])
                            break
                assert await heard(again, 1) == ["again"]


async def test_who_joins_while_the_end_is_told_is_told_it(
    version: int, mqtt_broker: Broker, proxy: Proxies
) -> None:
    way, topic, stream, late = proxy(mqtt_broker), fresh("topic"), sink(), sink()

    async def join_late() -> None:
        async with tail.listen([topic], late):
            assert not await late.ready()

    async with MQTTTail(way.url, version=version, on_loss="raise") as tail:
        async with tail.listen([topic], stream), anyio.create_task_group() as tasks:
            line = tail._lines[""]
            async with line._turn:
                way.cut()
                await until(line._broken.is_set)
                await anyio.wait_all_tasks_blocked()  # who keeps the connection has the next turn
                tasks.start_soon(join_late)
                await anyio.wait_all_tasks_blocked()
            with anyio.fail_after(SOON):
                assert not await stream.ready()
        assert isinstance(stream.failure, ConnectionLost)
        assert isinstance(late.failure, ConnectionLost)


async def test_who_listens_begins_with_what_is_retained(version: int, mqtt_broker: Broker) -> None:
    topic = fresh("topic")
    async with MQTTTail(mqtt_broker.url, version=version) as tail:
        await tail.send(topic, b"kept", qos=1, retain=True)
        for _ in range(2):
            stream = sink()
            async with tail.listen([topic], stream):
                assert await heard(stream, 1) == ["kept"]
        await tail.send(topic, b"", qos=1, retain=True)


async def test_what_cannot_be_is_said(version: int, mqtt_broker: Broker) -> None:
    with pytest.raises(ConfigurationError, match=r"version=3.*3\.1\.1"):
        MQTTTail(mqtt_broker.url, version=3)
    tail = MQTTTail(mqtt_broker.url, version=version)
    with pytest.raises(ChannelClosed, match="enter it first"):
        await tail.publish([record("topic", "nowhere")])
    async with tail:
        with pytest.raises(ConfigurationError, match="no topic filter"):
            async with tail.listen(["a/b+"], sink()):
                pass

"""The laws on MQTT, in the form they have there: a group is owed what comes after it subscribed.

So every test subscribes first. A lease ends with its connection and with nothing else.
"""

import os
import signal
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import anyio
import pytest

from acked import AlreadySettled, CapabilityError, Channel, LeaseLost, Redelivery, Start
from acked.layers.mqtt import MQTTLayer
from tests.laws.acknowledgement import ack_all, bodies, receive
from tests.laws.harness import fresh

pytestmark = pytest.mark.anyio


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request) -> str:
    return request.param


@pytest.fixture
def url(mqtt_broker) -> str:
    return mqtt_broker.url


def channel_at(url: str, **options) -> Channel:
    return Channel(MQTTLayer(url, **options))


async def begin(channel: Channel, topic: str, group: str) -> None:
    """Let `group` exist."""
    async with channel.subscribe(topic, group=group):
        pass


async def nothing_but_a_sentinel_comes(url: str, topic: str, group: str) -> None:
    """Over a new connection that remembers nothing: whatever is owed would come first."""
    async with channel_at(url) as channel:
        await channel.publish(topic, "sentinel")
        async with channel.subscribe(topic, group=group) as sub:
            (first,) = await receive(sub, 1)
            assert first.body == "sentinel"
            await first.ack()
            assert sub.statistics().buffered == 0


CHILD = """
import os, signal, sys
import anyio
from acked import Channel
from acked.layers.mqtt import MQTTLayer

async def main(mode, url, topic, group, count):
    async with Channel(MQTTLayer(url)) as channel:
        async with channel.subscribe(topic, group=group) as sub:
            held = [await anext(sub) for _ in range(count)]
            if mode == "ack":
                for delivery in held[:2]:
                    await delivery.ack()
                # The broker answers in order: an answer to this says that it has read the acks.
                await sub._desk._feed._link.barrier()
            print("ready", flush=True)
            await anyio.sleep_forever()

_, mode, url, topic, group, count = sys.argv
anyio.run(main, mode, url, topic, group, int(count))
"""


@asynccontextmanager
async def killed_child(
    mode: str, url: str, topic: str, group: str, count: int
) -> AsyncGenerator[None]:
    """A child that received `count` messages and was killed."""
    command = [sys.executable, "-c", CHILD, mode, url, topic, group, str(count)]
    process = await anyio.open_process(command, stderr=None, env=dict(os.environ))
    try:
        assert process.stdout is not None
        said = b""
        with anyio.fail_after(30):
            while b"ready" not in said:
                said += await process.stdout.receive()
        process.send_signal(signal.SIGKILL)
        await process.wait()
        yield
    finally:
        if process.returncode is None:
            process.kill()
        await process.aclose()


async def test_an_acked_message_never_comes_again(url: str) -> None:
    """C1: not to a new consumer, not after reopening."""
    topic, group = fresh("topic"), fresh("group")
    async with channel_at(url) as channel:
        async with channel.subscribe(topic, group=group) as sub:
            await channel.publish_many(topic, range(10))
            await ack_all(await receive(sub, 10))
        await channel.publish(topic, 10)
        async with channel.subscribe(topic, group=group) as sub:
            deliveries = await receive(sub, 1)
            assert bodies(deliveries) == [10]
            await ack_all(deliveries)
    await nothing_but_a_sentinel_comes(url, topic, group)


async def test_what_a_leaving_holder_did_not_settle_comes_again(url: str) -> None:
    """C2: to the next consumer of the session, without waiting for anything."""
    topic, group = fresh("topic"), fresh("group")
    async with channel_at(url) as channel:
        async with channel.subscribe(topic, group=group) as sub:
            await channel.publish_many(topic, range(6))
            first, *_held = await receive(sub, 3)
            await first.ack()
        async with channel.subscribe(topic, group=group) as sub:
            again = await receive(sub, 5)
            assert bodies(again) == [1, 2, 3, 4, 5]
            await ack_all(again)
    await nothing_but_a_sentinel_comes(url, topic, group)


async def test_what_is_published_while_nobody_consumes_is_owed_to_a_group_that_exists(
    url: str,
) -> None:
    topic, group = fresh("topic"), fresh("group")
    async with channel_at(url) as channel:
        await begin(channel, topic, group)
        await channel.publish_many(topic, range(3))
    async with channel_at(url) as channel, channel.subscribe(topic, group=group) as sub:
        deliveries = await receive(sub, 3)
        assert bodies(deliveries) == [0, 1, 2]
        assert {d.attempt for d in deliveries} == {1}
        await ack_all(deliveries)


async def test_a_killed_holders_unacked_messages_come_again(url: str) -> None:
    """C2, H4: SIGKILL while holding."""
    topic, group = fresh("topic"), fresh("group")
    async with channel_at(url) as channel:
        await begin(channel, topic, group)
        await channel.publish_many(topic, range(4))
        async with killed_child("hold", url, topic, group, 4):
            async with channel.subscribe(topic, group=group) as sub:
                again = await receive(sub, 4)
                assert bodies(again) == [0, 1, 2, 3]
                assert {d.attempt for d in again} == {2}
                await ack_all(again)


async def test_what_a_killed_holder_had_acked_does_not_come_again(url: str) -> None:
    """C1, C2: the acks that the broker has read hold; the others come again."""
    topic, group = fresh("topic"), fresh("group")
    async with channel_at(url) as channel:
        await begin(channel, topic, group)
        await channel.publish_many(topic, range(4))
        async with killed_child("ack", url, topic, group, 4):
            async with channel.subscribe(topic, group=group) as sub:
                again = await receive(sub, 2)
                assert bodies(again) == [2, 3]
                await ack_all(again)
    await nothing_but_a_sentinel_comes(url, topic, group)


async def test_a_nack_brings_it_again_at_once_and_disturbs_no_neighbour(url: str) -> None:
    """C3, C4."""
    topic, group = fresh("topic"), fresh("group")
    async with channel_at(url) as channel:
        async with channel.subscribe(topic, group=group) as sub:
            await channel.publish_many(topic, range(3))
            deliveries = await receive(sub, 3)
            await deliveries[1].nack()
            (again,) = await receive(sub, 1)
            assert (again.body, again.attempt) == (1, 2)
            await ack_all([deliveries[0], deliveries[2], again])
    await nothing_but_a_sentinel_comes(url, topic, group)


async def test_a_delayed_nack_brings_it_not_before_its_delay(url: str) -> None:
    """C3: what is published meanwhile comes first."""
    topic, group = fresh("topic"), fresh("group")
    async with channel_at(url) as channel:
        async with channel.subscribe(topic, group=group) as sub:
            await channel.publish(topic, "delayed")
            (delivery,) = await receive(sub, 1)
            nacked = anyio.current_time()
            await delivery.nack(delay=0.3)
            await channel.publish(topic, "meanwhile")
            first, second = await receive(sub, 2)
            assert (first.body, second.body) == ("meanwhile", "delayed")
            assert second.attempt == 2
            assert anyio.current_time() - nacked >= 0.3
            await ack_all([first, second])


async def test_a_rejected_message_is_only_in_the_dead_letters(url: str) -> None:
    """C5, D1: if there is a topic for them that a group subscribes to."""
    topic, dead, group = fresh("topic"), fresh("dead"), fresh("group")
    async with channel_at(url) as channel:
        policy = Redelivery(dead_letter=dead)
        async with channel.subscribe(dead, group=group) as letters:
            async with channel.subscribe(topic, group=group, redelivery=policy) as sub:
                await channel.publish(topic, "first", headers={"source": "web"})
                await (await receive(sub, 1))[0].reject("no such\ncustomer")
            (letter,) = await receive(letters, 1)
            assert letter.body == "first"
            assert letter.headers["source"] == "web"
            assert letter.headers["acked-topic"] == topic
            assert letter.headers["acked-reason"] == "no such\ncustomer"
            await letter.ack()
    await nothing_but_a_sentinel_comes(url, topic, group)


async def test_the_first_settlement_wins(url: str) -> None:
    """C6: the same again is a no-op, another one an error."""
    topic, group = fresh("topic"), fresh("group")
    async with channel_at(url) as channel:
        async with channel.subscribe(topic, group=group) as sub:
            await channel.publish_many(topic, range(2))
            first, second = await receive(sub, 2)
            async with anyio.create_task_group() as tasks:
                for _ in range(10):
                    tasks.start_soon(first.ack)
            await first.ack()
            with pytest.raises(AlreadySettled):
                await first.nack()
            await second.nack()
            with pytest.raises(AlreadySettled):
                await second.ack()
            (again,) = await receive(sub, 1)
            assert (again.body, again.attempt) == (second.body, 2)
            await again.ack()
    await nothing_but_a_sentinel_comes(url, topic, group)


async def test_a_settlement_after_the_connection_broke_is_lost_and_the_message_comes_again(
    mqtt_broker, proxy, url: str
) -> None:
    """C7: by each verb."""
    topic, group = fresh("topic"), fresh("group")
    between = proxy(mqtt_broker)
    async with channel_at(url) as publisher, channel_at(between.url) as channel:
        async with channel.subscribe(topic, group=group) as sub:
            await publisher.publish_many(topic, range(3))
            stale = await receive(sub, 3)
            between.cut()
            again = await receive(sub, 3)
            assert bodies(again) == [0, 1, 2]
            assert {d.attempt for d in again} == {2}
            with pytest.raises(LeaseLost):
                await stale[0].ack()
            with pytest.raises(LeaseLost):
                await stale[1].nack()
            with pytest.raises(LeaseLost):
                await stale[2].reject()
            await again[0].ack()
        async with channel.subscribe(topic, group=group) as sub:
            rest = await receive(sub, 2)
            assert bodies(rest) == [1, 2]
            await ack_all(rest)


async def test_held_and_buffered_messages_never_exceed_the_window(url: str) -> None:
    """F1."""
    topic, group = fresh("topic"), fresh("group")
    async with channel_at(url) as channel:
        async with channel.subscribe(topic, group=group, in_flight=5) as sub:
            await channel.publish_many(topic, range(50))
            for body in range(50):
                (delivery,) = await receive(sub, 1)
                now = sub.statistics()
                assert now.held + now.buffered <= 5
                assert delivery.body == body
                await delivery.ack()


async def test_cancelling_a_waiting_receive_loses_nothing(url: str) -> None:
    """G5: at whatever moment of a message's arrival."""
    topic, group = fresh("topic"), fresh("group")
    async with channel_at(url) as channel:
        async with channel.subscribe(topic, group=group) as sub:
            got: list[object] = []

            async def publish() -> None:
                for body in range(100):
                    await channel.publish(topic, body)

            async with anyio.create_task_group() as tasks:
                tasks.start_soon(publish)
                with anyio.fail_after(20):
                    while len(got) < 100:
                        with anyio.move_on_after(0.0007):
                            delivery = await anext(sub)
                            got.append(delivery.body)
                            with anyio.CancelScope(shield=True):
                                await delivery.ack()
            assert got == list(range(100))


async def test_consuming_resumes_by_itself_after_the_broker_restarted(private_broker) -> None:
    """H1: SIGTERM; the sessions are kept."""
    broker = private_broker("mqtt")
    topic, group = fresh("topic"), fresh("group")
    async with channel_at(broker.url) as channel:
        async with channel.subscribe(topic, group=group) as sub:
            await channel.publish_many(topic, range(5))
            before = await receive(sub, 5)
            await ack_all(before[:3])
            await anyio.to_thread.run_sync(broker.restart)
            again = await receive(sub, 2)
            assert bodies(again) == [3, 4]
            await ack_all(again)
            await channel.publish(topic, 5)
            (last,) = await receive(sub, 1)
            assert last.body == 5
            await last.ack()


async def test_what_is_not_offered_is_refused(url: str) -> None:
    topic, group = fresh("topic"), fresh("group")
    async with channel_at(url) as channel:
        with pytest.raises(CapabilityError):
            async with channel.subscribe(topic, group=group, start=Start.LATEST):
                pass
        async with channel.subscribe(topic, group=group) as sub:
            await channel.publish(topic, "body")
            (delivery,) = await receive(sub, 1)
            with pytest.raises(CapabilityError):
                await delivery.extend(10)
            await delivery.ack()

"""How often a consumer asks the server: once for each batch, and not for what it knows already."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import anyio
import pytest

from acked import Record, Start
from acked.abc import AckFeed
from acked.layers.postgres_queue import PostgresQueueLayer
from acked.types import Leased, Outcome, Settlement, Verb
from tests.layers.postgres_kit import connected, fresh, until

pytestmark = pytest.mark.anyio

MANY = 20
SPARE = 3
"""Looks that are made for other reasons: the first, and when notifications are known to arrive."""


class CountedLooks:
    """Counts what is asked of the server in rows: a consumer's looks."""

    def __init__(self, layer: PostgresQueueLayer) -> None:
        self.count = 0
        self._rows = layer._store.rows
        layer._store.rows = self._counted  # type: ignore[method-assign]

    async def _counted(self, statement: str, *arguments: object) -> Any:
        self.count += 1
        return await self._rows(statement, *arguments)


@asynccontextmanager
async def waiting_feed(
    url: str, topic: str, **options: Any
) -> AsyncIterator[tuple[PostgresQueueLayer, AckFeed]]:
    """Enter a layer and a consumer that is known to be told of what is new, and polls in vain."""
    async with PostgresQueueLayer(url, poll=60) as layer:
        consuming = layer.consume_in_key_order if options.get("in_order") else layer.consume
        entered = consuming([topic], "g", in_flight=100, lease=30.0, start=Start.EARLIEST)
        async with entered as feed:
            await until(lambda: layer._wakeups.is_live)
            yield layer, feed


async def received(feed: AckFeed, limit: int = 10) -> Sequence[Leased]:
    with anyio.fail_after(20):
        return await feed.receive(limit)


async def ack(feed: AckFeed, batch: Sequence[Leased]) -> None:
    replies = await feed.settle([Settlement(leased.token, Verb.ACK) for leased in batch])
    assert [*replies] == [Outcome.CONFIRMED] * len(batch)


def make(topic: str, *names: str, key: str | None = None) -> list[Record]:
    return [Record(topic, b"", name, key) for name in names]


async def test_messages_that_come_one_by_one_cost_a_look_each(postgres_broker) -> None:
    """Not one more that finds nothing, nor one for what the consumer's own layer has told."""
    topic = fresh()
    async with waiting_feed(postgres_broker.url, topic) as (layer, feed):
        looks = CountedLooks(layer)
        for number in range(MANY):
            receiving = asyncio.create_task(received(feed))
            await layer.publish(make(topic, str(number)))
            await ack(feed, await receiving)
        await until(lambda: not layer._wakeups._untold and not layer._wakeups._echoes)
        with anyio.move_on_after(0.2):
            await feed.receive(1)
        assert looks.count <= MANY + SPARE


async def test_of_two_layers_that_publish_none_is_missed(postgres_broker) -> None:
    """One of them is the consumer's own: what it has told must not be taken for the other's."""
    topic = fresh()
    async with (
        waiting_feed(postgres_broker.url, topic) as (layer, feed),
        PostgresQueueLayer(postgres_broker.url) as other,
    ):

        async def publish(by: PostgresQueueLayer, name: str) -> None:
            for number in range(MANY):
                await by.publish(make(topic, f"{name}{number}"))

        async with anyio.create_task_group() as publishing:
            publishing.start_soon(publish, layer, "ours")
            publishing.start_soon(publish, other, "theirs")
            got = 0
            while got < 2 * MANY:
                got += len(await received(feed))


async def test_what_is_more_than_there_was_room_for_is_taken_at_once(postgres_broker) -> None:
    topic = fresh()
    async with waiting_feed(postgres_broker.url, topic) as (layer, feed):
        await layer.publish(make(topic, *map(str, range(5))))
        assert [len(await received(feed, 2)) for _ in range(3)] == [2, 2, 1]


async def test_an_ack_lets_the_next_of_its_key_come_without_a_poll(postgres_broker) -> None:
    topic = fresh()
    async with waiting_feed(postgres_broker.url, topic, in_order=True) as (layer, feed):
        await layer.publish(make(topic, "1", "2", "3", key="k"))
        for name in "123":
            batch = await received(feed)
            assert [leased.record.id for leased in batch] == [name]
            await ack(feed, batch)


async def test_a_lease_that_ends_is_looked_for_in_time(postgres_broker) -> None:
    """The look before was full of news, and nobody tells of an end."""
    topic = fresh()
    async with waiting_feed(postgres_broker.url, topic) as (layer, feed):
        entered = layer.consume([topic], "g", in_flight=1, lease=0.5, start=Start.EARLIEST)
        async with entered as dying:
            await layer.publish(make(topic, "1"))
            assert len(await received(dying)) == 1
            await layer.publish(make(topic, "2"))
            first = await received(feed)
            assert [leased.record.id for leased in first] == ["2"]
            second = await received(feed)
            assert [(leased.record.id, leased.attempt) for leased in second] == [("1", 2)]


UNTOLD = """
select acked.publish(array[$1], array['id'], array[null], array[null], array['x/y'],
    array[1.0::double precision], array[''::bytea], false)"""


async def test_one_looks_for_all_that_wait_and_misses_nothing_that_nobody_tells_of(
    postgres_broker,
) -> None:
    url, topics, every = postgres_broker.url, [fresh() for _ in range(MANY)], 0.25
    async with PostgresQueueLayer(url, poll=every) as layer, connected(url) as oracle:
        async with AsyncExitStack() as entered, anyio.create_task_group() as waiting:
            got: list[str] = []

            async def wait(topic: str) -> None:
                consumed = layer.consume([topic], "g", in_flight=1, lease=30, start=Start.EARLIEST)
                feed = await entered.enter_async_context(consumed)
                got.extend(one.record.topic for one in await feed.receive(1))

            for topic in topics:
                waiting.start_soon(wait, topic)
            with anyio.fail_after(30):
                await until(lambda: layer._wakeups.is_live and len(layer._patrol._posts) == MANY)
                looks, before = CountedLooks(layer), -MANY
                while looks.count - before > SPARE:  # each by itself, they would always be 80
                    before = looks.count
                    await anyio.sleep(4 * every)
                await oracle.execute(UNTOLD, topics[3])
                await until(lambda: got == [topics[3]])
                await oracle.execute("delete from acked.grp where topic = $1", topics[5])
                await oracle.execute(UNTOLD, topics[5])
                await until(lambda: len(got) == 2)
            assert got == [topics[3], topics[5]]
            waiting.cancel_scope.cancel()

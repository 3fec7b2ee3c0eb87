"""Publish and ack in the user's own transaction, by each driver that can."""

import asyncio

import anyio
import asyncpg
import pytest

from acked import (
    Channel,
    Delivery,
    LayerError,
    LeaseLost,
    PublishFailed,
    Reject,
    Release,
    Retry,
)
from acked.errors import CapabilityError, ConfigurationError
from acked.layers.memory_queue import MemoryQueueLayer
from acked.layers.postgres_notify import PostgresNotifyLayer
from acked.layers.postgres_queue import PostgresQueueLayer
from acked.types import Record, Start
from tests.crash import exactly_once
from tests.fix_brokers import or_skip
from tests.layers.postgres_kit import connected, fresh
from tests.layers.postgres_ways import OUTSIDE, WAYS, by_asyncpg, by_psycopg, by_session

pytestmark = pytest.mark.anyio


class Failed(Exception):
    """What a transaction is rolled back for."""


@pytest.mark.parametrize("begun", WAYS)
async def test_what_is_published_in_a_transaction_comes_if_it_commits_and_never_if_not(
    postgres_broker, begun
) -> None:
    url, topic = postgres_broker.url, fresh()
    async with Channel(PostgresQueueLayer(url)) as channel:
        async with channel.subscribe(topic, group="g") as subscription:
            with pytest.raises(Failed):
                async with begun(url) as mine:
                    await channel.publish(topic, "rolled back", connection=mine)
                    raise Failed
            async with begun(url) as mine:
                receipt = await channel.publish(
                    topic, "committed", key="k\0", headers={"a": "b"}, id="x", connection=mine
                )
            with anyio.fail_after(10):
                delivery = await anext(subscription)
            assert delivery.body == "committed"
            assert (delivery.key, delivery.headers, delivery.id) == ("k\0", {"a": "b"}, "x")
            assert delivery.position == receipt.position
            await delivery.ack()


@pytest.mark.parametrize("begun", WAYS)
async def test_an_ack_in_a_transaction_holds_if_it_commits_and_else_the_message_is_owed(
    postgres_broker, begun
) -> None:
    url, topic = postgres_broker.url, fresh()
    async with Channel(PostgresQueueLayer(url)) as channel:
        await channel.publish_many(topic, ["first", "second"])
        async with channel.subscribe(topic, group="g", lease=30.0) as subscription:
            first = await anext(subscription)
            with pytest.raises(Failed):
                async with begun(url) as mine:
                    await first.ack(connection=mine)
                    raise Failed
            assert (await owed(url, topic))[0] == ("first", 1, True)
            async with begun(url) as mine:  # the lease is kept
                await first.ack(connection=mine)
            assert [body for body, *_ in await owed(url, topic)] == ["second"]
            await first.ack()  # no news
            with pytest.raises(LeaseLost):
                async with begun(url) as mine:
                    await first.ack(connection=mine)
            assert subscription.statistics().acked == 1
            await (await anext(subscription)).ack()


async def owed(url: str, topic: str) -> list[tuple[str, int, bool]]:
    async with connected(url) as admin:
        found = await admin.fetch(
            "select convert_from(body, 'utf8') as body, attempt, lease <> 0 as leased "
            "from acked.message m join acked.grp g on g.id = m.grp where g.topic = $1 order by seq",
            topic,
        )
    return [(row["body"].strip('"'), row["attempt"], row["leased"]) for row in found]


@pytest.mark.parametrize("is_outside", [True, False])
async def test_a_handler_that_fails_behind_its_ack_gets_the_message_again_soon(
    postgres_broker, is_outside: bool
) -> None:
    """Whichever of the two contexts is the outer one: nobody waits for an open transaction."""
    url, topic = postgres_broker.url, fresh()
    async with Channel(PostgresQueueLayer(url)) as channel:
        await channel.publish(topic, 1)
        async with channel.subscribe(topic, group="g", lease=60.0) as subscription:
            delivery = await anext(subscription)
            with anyio.fail_after(5), pytest.raises(Failed):
                if is_outside:
                    async with delivery, by_asyncpg(url) as mine:
                        await delivery.ack(connection=mine)
                        raise Failed
                async with by_asyncpg(url) as mine, delivery:
                    await delivery.ack(connection=mine)
                    raise Failed
            with anyio.fail_after(10):
                again = await anext(subscription)
            assert again.attempt == 2
            async with again, by_asyncpg(url) as mine:
                await again.ack(connection=mine)
            assert await owed(url, topic) == []


@pytest.mark.parametrize("raised", [Failed(), Retry(after=0.1), Reject("no"), Release()])
async def test_a_worker_whose_handler_fails_behind_its_ack_gets_the_message_again_soon(
    postgres_broker, caplog, raised: Exception
) -> None:
    url, topic = postgres_broker.url, fresh()
    attempts: list[int] = []

    async def handle(delivery: Delivery[int]) -> None:
        attempts.append(delivery.attempt)
        async with by_asyncpg(url) as mine:
            await delivery.ack(connection=mine)
            if delivery.attempt == 1:
                raise raised
        tasks.cancel_scope.cancel()

    async with Channel(PostgresQueueLayer(url)) as channel:
        await channel.publish(topic, 1)
        with anyio.fail_after(15):  # its lease is longer
            async with anyio.create_task_group() as tasks:
                await channel.process(topic, handle, group="g", lease=60.0)
        assert attempts == [1, 2]
        assert await owed(url, topic) == []
    assert "failed at attempt 1: " + type(raised).__name__ in caplog.text


@pytest.mark.parametrize("begun", OUTSIDE)
async def test_a_connection_in_no_transaction_is_refused_and_nothing_is_touched(
    postgres_broker, begun
) -> None:
    url, topic = postgres_broker.url, fresh()
    async with Channel(PostgresQueueLayer(url)) as channel, begun(url) as mine:
        await channel.publish(topic, 1)
        with pytest.raises(ConfigurationError, match="in no transaction"):
            await channel.publish(topic, 2, connection=mine)
        async with channel.subscribe(topic, group="g") as subscription:
            delivery = await anext(subscription)
            with pytest.raises(ConfigurationError, match="in no transaction"):
                await delivery.ack(connection=mine)
            assert [body for body, *_ in await owed(url, topic)] == ["1"]
            await delivery.ack()
        assert await owed(url, topic) == []


async def test_what_cannot_be_published_leaves_the_transaction_as_it_was(postgres_broker) -> None:
    url, topic = postgres_broker.url, fresh()
    async with (
        PostgresQueueLayer(url) as layer,
        layer.consume([topic], "g", in_flight=1, lease=30.0, start=Start.EARLIEST),
    ):
        async with by_asyncpg(url) as mine:
            assert await layer.publish_in(mine, []) == []
            await layer.publish_in(mine, [Record(topic, b"whole", "a")])
            with pytest.raises(PublishFailed, match="UTF-8"):
                await layer.publish_in(mine, [Record(topic, b"half", "b", "\ud800")])
        assert [body for body, *_ in await owed(url, topic)] == ["whole"]


async def test_news_are_refused_on_a_connection_in_no_transaction(postgres_broker) -> None:
    url, topic = postgres_broker.url, fresh()
    async with Channel(PostgresNotifyLayer(url)) as channel, connected(url) as mine:
        async with channel.subscribe(topic) as news:
            with pytest.raises(ConfigurationError, match="in no transaction"):
                await channel.publish(topic, "at once", connection=mine)
            await channel.publish(topic, "next")
            assert (await anext(news)).body == "next"


async def test_a_long_transaction_keeps_its_message_from_others_and_their_renewals_going(
    postgres_broker,
) -> None:
    url, topic = postgres_broker.url, fresh()
    async with Channel(PostgresQueueLayer(url)) as channel:
        await channel.publish_many(topic, [1, 2])
        async with channel.subscribe(topic, group="g", lease=1.0) as subscription:
            first, second = await anext(subscription), await anext(subscription)
            async with by_asyncpg(url) as mine:
                await first.ack(connection=mine)
                async with channel.subscribe(topic, group="g", lease=1.0) as other:
                    with anyio.move_on_after(3):  # three leases
                        pytest.fail(f"{(await anext(other)).body} was claimed")
            await second.ack()
            assert await owed(url, topic) == []


async def test_a_lease_that_is_lost_ends_the_transaction(postgres_broker) -> None:
    url, topic = postgres_broker.url, fresh()
    async with Channel(PostgresQueueLayer(url)) as channel:
        await channel.publish(topic, 1)
        async with channel.subscribe(topic, group="g") as subscription:
            delivery = await anext(subscription)
            async with connected(url) as admin:
                await admin.execute("update acked.message set lease = lease + 1")
            with pytest.raises(LeaseLost):
                async with by_asyncpg(url) as mine:
                    await mine.execute("create temp table effect (n int) on commit drop")
                    await delivery.ack(connection=mine)
            with pytest.raises(LeaseLost):
                await delivery.ack()


async def test_a_connection_to_another_database_is_told_and_the_message_stays_held(
    postgres_broker,
) -> None:
    url, topic = postgres_broker.url, fresh()
    async with Channel(PostgresQueueLayer(url)) as channel:
        await channel.publish(topic, 1)
        async with channel.subscribe(topic, group="g") as subscription:
            delivery = await anext(subscription)
            other = url.replace("/postgres", "/template1")
            for begun in (by_asyncpg, by_psycopg, by_session):
                with pytest.raises(LayerError):
                    async with begun(other) as mine:
                        await delivery.ack(connection=mine)
                with pytest.raises(PublishFailed):
                    async with begun(other) as mine:
                        await channel.publish(topic, 2, connection=mine)
            with pytest.raises(ConfigurationError, match="connection= is a str"):
                await delivery.ack(connection="no connection")
            await delivery.ack()


async def test_a_layer_in_no_database_refuses_and_nothing_is_touched() -> None:
    async with Channel(MemoryQueueLayer()) as channel:
        with pytest.raises(CapabilityError, match="without connection="):
            await channel.publish("t", 1, connection=object())
        await channel.publish("t", 2)
        async with channel.subscribe("t", group="g") as subscription:
            delivery = await anext(subscription)
            with pytest.raises(CapabilityError, match="without connection="):
                await delivery.ack(connection=object())
            assert delivery.body == 2
            await delivery.ack()


async def test_news_are_published_in_a_transaction_too(postgres_broker) -> None:
    url, topic = postgres_broker.url, fresh()
    async with Channel(PostgresNotifyLayer(url)) as channel:
        async with channel.subscribe(topic) as news:
            with pytest.raises(Failed):
                async with by_asyncpg(url) as mine:
                    await channel.publish(topic, "never", connection=mine)
                    raise Failed
            async with by_asyncpg(url) as mine:
                await channel.publish(topic, "now", connection=mine)
            assert (await anext(news)).body == "now"


async def test_delivered_is_committed_with_a_third_rolled_back(postgres_broker) -> None:
    """The full size: `python -m tests.crash.exactly_once`."""
    url, topic = postgres_broker.url, fresh()
    async with Channel(PostgresQueueLayer(url)) as channel, asyncpg.create_pool(url) as pool:
        committed = {number for number in range(300) if number % 3}

        async def publish(number: int) -> None:
            async with pool.acquire() as connection:
                transaction = connection.transaction()
                await transaction.start()
                await channel.publish(topic, number, connection=connection)
                await (transaction.commit() if number in committed else transaction.rollback())

        await asyncio.gather(*map(publish, range(300)))
        got: list[int] = []
        async with channel.subscribe(topic, group="g") as subscription:
            async for delivery in subscription:
                got.append(delivery.body)
                await delivery.ack()
                if len(got) == len(committed):
                    break
        assert sorted(got) == sorted(committed)
        assert await owed(url, topic) == []


@pytest.mark.crash
@pytest.mark.timeout(300)
def test_effects_are_exactly_once_although_workers_are_killed_and_the_server_too() -> None:
    report = or_skip("postgres", lambda: exactly_once.run(400, kills=3, restarts=1))
    assert exactly_once.held(report, 400), f"{report}"

"""An inbox: what comes again has its effects once, and whatever is not committed was not handled."""

import anyio
import pytest

from acked import AlreadySettled, Channel, ConfigurationError, LayerError
from acked.inbox import Inbox
from acked.layers.memory_queue import MemoryQueueLayer
from tests.boxes.kit import Database, outside_by_sqlite3, postgres_at
from tests.layers.postgres_kit import connected
from tests.layers.postgres_ways import outside_by_asyncpg

pytestmark = pytest.mark.anyio


class Failed(Exception):
    """What a transaction is rolled back for."""


def inbox_of(database: Database, **options) -> Inbox:
    return Inbox(database.url, schema=database.schema, **options)


async def first_time(database: Database, inbox: Inbox, delivery) -> bool:
    async with database.begin() as connection:
        return await inbox.first_time(delivery, connection=connection)


async def deliveries(channel: Channel, count: int, *topics: str, group: str = "g") -> list:
    got = []
    async with channel.subscribe(*(topics or "t"), group=group) as subscription:
        with anyio.fail_after(10):
            while len(got) < count:
                got.append(await anext(subscription))
                yield got[-1]
                await got[-1].ack()


async def test_a_message_is_marked_if_its_effects_commit_and_only_then(by_each_driver) -> None:
    database = by_each_driver
    async with inbox_of(database) as inbox, Channel(MemoryQueueLayer()) as channel:
        await channel.publish("t", 1, id="the\0same")
        await channel.publish("t", 1, id="the\0same")
        await channel.publish("t", 1, id="another")
        seen = []
        async for delivery in deliveries(channel, 3):
            if not seen:
                with pytest.raises(Failed):
                    async with database.begin() as connection:
                        assert await inbox.first_time(delivery, connection=connection)
                        raise Failed
            seen.append(await first_time(database, inbox, delivery))
        assert seen == [True, False, True]


async def test_groups_and_topics_are_told_apart(database) -> None:
    async with inbox_of(database) as inbox, Channel(MemoryQueueLayer()) as channel:
        for topic in ("a", "b"):
            async with channel.subscribe(topic, group="1"), channel.subscribe(topic, group="2"):
                await channel.publish(topic, 1, id="same")
        found = {}
        for group in ("1", "2"):
            async for delivery in deliveries(channel, 2, "a", "b", group=group):
                assert delivery.group == group
                found[group, delivery.topic] = await first_time(database, inbox, delivery)
        assert found == dict.fromkeys([("1", "a"), ("1", "b"), ("2", "a"), ("2", "b")], True)


async def test_two_at_the_same_time_have_one_first(postgres_broker) -> None:
    database = postgres_at(postgres_broker.url)
    async with inbox_of(database) as inbox, Channel(MemoryQueueLayer()) as channel:
        for group in ("a", "b"):
            async with channel.subscribe("t", group=group):
                pass
        await channel.publish("t", 1, id="same")
        await channel.publish("t", 1, id="same")
        async with channel.subscribe("t", group="a") as subscription:
            one, two = await anext(subscription), await anext(subscription)
            answers = []

            async def mark(delivery, *, fails: bool) -> None:
                try:
                    async with database.begin() as connection:
                        answers.append(await inbox.first_time(delivery, connection=connection))
                        if fails:
                            begun.set()
                            await waiting(database)
                            raise Failed
                except Failed:
                    pass

            begun = anyio.Event()
            with anyio.fail_after(20):
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(lambda: mark(one, fails=True))
                    await begun.wait()
                    await mark(two, fails=False)  # waits for the other, which is rolled back
            assert answers == [True, True]
            assert not await first_time(database, inbox, one)
            await one.ack()
            await two.ack()


async def waiting(database: Database) -> None:
    """Return when somebody waits for somebody else's mark."""
    async with connected(database.url) as admin:
        asked = "select count(*) from pg_stat_activity where wait_event = 'transactionid' and strpos(query, $1) > 0"
        while not await admin.fetchval(asked, database.schema):
            await anyio.sleep(0.02)


async def test_what_was_settled_before_its_work_is_refused(database) -> None:
    async with inbox_of(database) as inbox, Channel(MemoryQueueLayer()) as channel:
        await channel.publish("t", 1)
        async with channel.subscribe("t", group="g") as subscription:
            delivery = await anext(subscription)
            await delivery.ack()
            with pytest.raises(AlreadySettled, match="the outer context"):
                await first_time(database, inbox, delivery)


async def test_a_connection_that_commits_by_itself_is_refused(database) -> None:
    is_sqlite = database.url.startswith("sqlite")
    outside = outside_by_sqlite3 if is_sqlite else outside_by_asyncpg
    async with inbox_of(database) as inbox, Channel(MemoryQueueLayer()) as channel:
        await channel.publish("t", 1)
        async for delivery in deliveries(channel, 1):
            async with outside(database.url) as connection:
                with pytest.raises(ConfigurationError, match="in no transaction"):
                    await inbox.first_time(delivery, connection=connection)
            with pytest.raises(ConfigurationError, match="connection= is a str"):
                await inbox.first_time(delivery, connection="none")
            assert await first_time(database, inbox, delivery)


async def test_old_marks_are_purged_in_pages_and_young_ones_kept(database) -> None:
    async with inbox_of(database, keep=0.5) as inbox, Channel(MemoryQueueLayer()) as channel:
        await channel.publish_many("t", range(2500))
        async with channel.subscribe("t", group="g", in_flight=2500) as subscription:
            async for batch in subscription.batches(2500, wait=1.0):
                async with database.begin() as connection:
                    for delivery in batch:
                        assert await inbox.first_time(delivery, connection=connection)
                await batch.ack()
                break
        await channel.publish("t", 1, id="young")
        with anyio.fail_after(20):
            while await count(database):
                await anyio.sleep(0.05)
    async with inbox_of(database, keep=3600.0) as inbox, Channel(MemoryQueueLayer()) as channel:
        await channel.publish("t", 1, id="young")
        async for delivery in deliveries(channel, 1):
            assert await first_time(database, inbox, delivery)
        await inbox.purge()
        assert await count(database) == 1


async def count(database: Database) -> int:
    async with database.begin() as connection:
        if hasattr(connection, "fetchval"):
            return await connection.fetchval(f'select count(*) from "{database.schema}".inbox')
        return connection.execute("select count(*) from acked_inbox").fetchone()[0]


@pytest.mark.parametrize("keep", [0, -1, float("nan"), float("inf"), "a week"])
def test_a_time_to_keep_that_cannot_be_is_refused(keep: object) -> None:
    with pytest.raises(ConfigurationError, match="keep="):
        Inbox("sqlite:///shop.db", keep=keep)  # type: ignore[arg-type]


async def test_a_table_that_is_not_there_is_told_with_what_to_do(database) -> None:
    words = "no such table" if database.url.startswith("sqlite") else "--of inbox"
    async with Channel(MemoryQueueLayer()) as channel:
        await channel.publish("t", 1)
        async for delivery in deliveries(channel, 1):
            with pytest.raises(LayerError, match=words):
                async with inbox_of(database, migrate=False) as inbox:
                    await first_time(database, inbox, delivery)

"""What is peculiar to the queue in PostgreSQL, on a real server."""

import asyncio
import time

import anyio
import asyncpg
import pytest

from acked import Channel, PublishFailed, fire_and_forget
from acked.errors import ConfigurationError, ConnectionLost, LayerError
from acked.layers.postgres_queue import PostgresQueueLayer
from acked.layers.postgres_queue._schema import VERSION
from acked.layers.postgres_queue._store import CLAIM_BYTES
from acked.types import Outcome, Record, Settlement, Start, Verb
from tests.layers.postgres_kit import TransactionPooler, acked_tasks, connected, fresh, until

pytestmark = pytest.mark.anyio

LEASE = 30.0


def make(topic: str, *names: str) -> list[Record]:
    return [Record(topic, name.encode(), name) for name in names]


def joined(layer: PostgresQueueLayer, topic: str, group: str = "g", start: Start = Start.EARLIEST):
    return layer.consume([topic], group, in_flight=100, lease=LEASE, start=start)


async def rows(url: str, topic: str) -> int:
    async with connected(url) as admin:
        return await admin.fetchval(
            "select count(*) from acked.message m join acked.grp g on g.id = m.grp where topic = $1",
            topic,
        )


async def test_each_settled_row_is_gone_and_groups_have_rows_of_their_own(postgres_broker) -> None:
    url, topic = postgres_broker.url, fresh()
    async with PostgresQueueLayer(url) as layer:
        async with joined(layer, topic, "a") as one, joined(layer, topic, "b") as other:
            await layer.publish(make(topic, "1", "2", "3"))
            assert await rows(url, topic) == 6
            batch = await one.receive(10)
            assert [leased.record.id for leased in batch] == ["1", "2", "3"]
            acks = [Settlement(leased.token, Verb.ACK) for leased in batch]
            assert await one.settle(acks) == [Outcome.CONFIRMED] * 3
            assert await rows(url, topic) == 3
            assert len(await other.receive(10)) == 3


async def test_a_group_that_joins_in_mid_transaction_gets_what_commits_after_it(
    postgres_broker,
) -> None:
    """The publisher's statement had not seen the group."""
    url, topic = postgres_broker.url, fresh()
    layer, other = PostgresQueueLayer(url, timeout=5), PostgresQueueLayer(url)
    async with layer, other, connected(url) as mine:
        async with joined(layer, topic, "first"):
            transaction = mine.transaction()
            await transaction.start()
            await layer.publish_in(mine, make(topic, "late"))

            async def join() -> list[str]:
                async with joined(other, topic, "second", Start.LATEST) as feed:
                    await layer.publish(make(topic, "later"))
                    got = await feed.receive(10)
                    return [leased.record.id for leased in got]

            joining = asyncio.create_task(join())
            with anyio.move_on_after(0.5):
                await asyncio.shield(joining)
            assert not joining.done()  # it waits for the transaction
            await transaction.commit()
            assert await joining == ["later"]
            async with joined(layer, topic, "third") as feed:
                got = await feed.receive(10)
                assert [leased.record.id for leased in got] == ["late", "later"]


async def test_who_waits_for_a_publisher_that_never_commits_is_told(postgres_broker) -> None:
    url, topic = postgres_broker.url, fresh()
    async with PostgresQueueLayer(url, timeout=1) as layer, connected(url) as mine:
        async with mine.transaction():
            await layer.publish_in(mine, make(topic, "1"))
            with pytest.raises(LayerError, match="transaction that publishes was open") as caught:
                async with joined(layer, topic):
                    pass
            assert caught.value.may_pass
        await layer.publish(make(topic, "2"))


@pytest.mark.parametrize("isolation", ["repeatable_read", "serializable"])
async def test_a_transaction_with_an_older_snapshot_misses_no_group(
    postgres_broker, isolation: str
) -> None:
    url, topic = postgres_broker.url, fresh()
    async with PostgresQueueLayer(url) as layer, connected(url) as mine:
        transaction = mine.transaction(isolation=isolation)
        await transaction.start()
        await mine.fetchval("select count(*) from acked.grp")  # its snapshot
        async with joined(layer, topic) as feed:
            with pytest.raises(PublishFailed) as caught:
                await layer.publish_in(mine, make(topic, "1"))
            assert isinstance(caught.value.__cause__.__cause__, asyncpg.SerializationError)
            await transaction.rollback()
            async with mine.transaction(isolation=isolation):
                await layer.publish_in(mine, make(topic, "1"))
            (leased,) = await feed.receive(10)
            assert leased.record.id == "1"


async def test_a_waiting_consumer_is_woken_from_another_process_at_once(postgres_broker) -> None:
    url, topic = postgres_broker.url, fresh()
    layer, other = PostgresQueueLayer(url, poll=60), PostgresQueueLayer(url)
    async with layer, other, joined(layer, topic) as feed:
        await until(lambda: layer._wakeups.is_live)
        for wake in (other.publish, None):
            waiting = asyncio.create_task(feed.receive(1))
            await asyncio.sleep(0.3)
            began = time.monotonic()
            if wake is not None:
                await wake(make(topic, "1"))
            else:  # in a transaction
                async with connected(url) as mine, mine.transaction():
                    await other.publish_in(mine, make(topic, "2"))
            await waiting
            assert time.monotonic() - began < 2


async def test_what_a_cancelled_receive_leased_is_free_at_once_and_uncharged(
    postgres_broker,
) -> None:
    topic = fresh()
    async with PostgresQueueLayer(postgres_broker.url) as layer:
        async with joined(layer, topic) as feed, joined(layer, topic) as other:
            for count in range(20):
                await layer.publish(make(topic, str(count)))
                receiving = asyncio.create_task(feed.receive(1))
                await asyncio.sleep(0.0005 * count)
                receiving.cancel()
                await asyncio.wait([receiving])
                if receiving.cancelled():
                    with anyio.fail_after(5):
                        (leased,) = await other.receive(1)
                    who = other
                else:
                    (leased,), who = receiving.result(), feed
                assert (leased.record.id, leased.attempt) == (str(count), 1)
                await who.settle([Settlement(leased.token, Verb.ACK)])


async def test_it_works_through_a_transaction_pooler(postgres_broker) -> None:
    pooler = TransactionPooler(int(postgres_broker.url.rpartition(":")[2].partition("/")[0]))
    topic = fresh()
    async with pooler.running() as url:
        layer = PostgresQueueLayer(url, pooled=True, pool_size=3)
        async with Channel(layer) as channel, channel.subscribe(topic, group="g") as subscription:
            await channel.publish_many(topic, range(50))
            for number in range(50):
                delivery = await anext(subscription)
                assert delivery.body == number
                await delivery.ack()
            assert layer._wakeups._listening is None
    assert await rows(postgres_broker.url, topic) == 0


async def test_a_pooler_that_was_not_told_of_is_found_out_and_consumers_poll(
    postgres_broker, caplog
) -> None:
    """Here every session is one: even statements that stay prepared work, and LISTEN does not."""
    pooler = TransactionPooler(int(postgres_broker.url.rpartition(":")[2].partition("/")[0]))
    topic = fresh()
    async with pooler.running() as url:
        layer = PostgresQueueLayer(url, pooled=True)
        layer._is_pooled = False  # what the option keeps from being tried
        async with layer, PostgresQueueLayer(postgres_broker.url) as other:
            async with joined(layer, topic) as feed:
                waiting = asyncio.create_task(feed.receive(1))
                await until(lambda: layer._wakeups.arrive is False)
                await other.publish(make(topic, "1"))
                with anyio.fail_after(5):
                    assert len(await waiting) == 1
    assert "look for messages more often" in caplog.text


async def test_the_schema_is_by_option_and_two_are_apart(private_broker) -> None:
    url, topic = private_broker("postgres").url, "t"
    async with PostgresQueueLayer(url, schema="Mine") as mine, PostgresQueueLayer(url) as other:
        await mine.publish(make(topic, "1"))
        async with joined(other, topic) as feed, joined(mine, topic) as ours:
            assert len(await ours.receive(1)) == 1
            await other.publish(make(topic, "2"))
            (leased,) = await feed.receive(10)
            assert leased.record.id == "2"
        async with connected(url) as admin:
            found = await admin.fetch("select nspname from pg_namespace where nspname ~* 'mine'")
            assert [row[0] for row in found] == ["Mine"]


async def test_many_that_open_at_once_make_one_set_of_tables(private_broker) -> None:
    url = private_broker("postgres").url
    layers = [PostgresQueueLayer(url, schema="together") for _ in range(8)]
    await asyncio.gather(*(layer.__aenter__() for layer in layers))
    await asyncio.gather(*(layer.publish(make("t", "1")) for layer in layers))
    await asyncio.gather(*(layer.__aexit__(None, None, None) for layer in layers))
    async with connected(url) as admin:
        assert await admin.fetchval("select array_agg(number) from together.version") == [VERSION]
        assert await admin.fetchval("select count(*) from together.message") == 8


async def test_who_migrates_by_hand_gets_the_sql_and_a_word_where_it_is_missing(
    private_broker,
) -> None:
    url = private_broker("postgres").url
    with pytest.raises(LayerError, match="acked schema --since 0"):
        async with PostgresQueueLayer(url, migrate=False):
            pass
    async with connected(url) as admin:
        await admin.execute(PostgresQueueLayer.schema_sql())
        async with PostgresQueueLayer(url, migrate=False) as layer:
            await layer.publish(make("t", "1"))
        await admin.execute("update acked.version set number = number + 1")
    with pytest.raises(LayerError, match="made by a later acked"):
        async with PostgresQueueLayer(url):
            pass


async def test_tables_of_version_1_are_brought_up_to_date_with_all_they_owe(private_broker) -> None:
    """Whoever was alone there when its lease ended has had that once."""
    url = private_broker("postgres").url
    async with PostgresQueueLayer(url) as layer, joined(layer, "t"):
        await layer.publish(make("t", "once", "never"))
    async with connected(url) as admin:
        await admin.execute(
            """drop table acked.schedule;
            alter table acked.message drop column rank, drop column expires;
            drop trigger unpark on acked.message;
            alter table acked.grp drop column in_order;
            alter table acked.message drop column lane, drop column waits;
            alter table acked.message alter column alone drop default,
                alter column alone type boolean using alone = 1,
                alter column alone set default false;
            update acked.message set alone = true where id = 'once';
            update acked.version set number = 1"""
        )
    async with PostgresQueueLayer(url) as layer, joined(layer, "t") as feed:
        found = [(one.record.id, one.ended_alone) for one in await feed.receive(10)]
    assert found == [("once", 1), ("never", 0)]


async def test_tables_of_version_2_are_brought_up_to_date_with_their_indexes(
    private_broker,
) -> None:
    url = private_broker("postgres").url
    indexes = "select indexname, replace(indexdef, $1, '') from pg_indexes where schemaname = $1"
    publish = "(text[], text[], text[], text[], text[], double precision[], bytea[], boolean)"
    async with PostgresQueueLayer(url) as layer, joined(layer, "t"):
        await layer.publish(make("t", "owed"))
    async with connected(url) as admin:
        await admin.execute(
            f"""drop table acked.schedule;
            alter table acked.message drop column rank, drop column expires;
            drop index acked.message_free, acked.message_out;
            create index message_free on acked.message (grp, seq) where due = 0;
            create index message_out on acked.message (grp, lane)
                where lane is not null and due > 0 and due < 'Infinity';
            create function acked.publish{publish} returns bigint[] language sql
                as 'select null::bigint[]';
            update acked.version set number = 2"""
        )
        async with PostgresQueueLayer(url) as layer, PostgresQueueLayer(url, schema="fresh"):
            async with joined(layer, "t") as feed:
                assert [one.record.id for one in await feed.receive(10)] == ["owed"]
        mended, new = [set(await admin.fetch(indexes, name)) for name in ("acked", "fresh")]
        assert mended == new
        publishing = "select count(*) from pg_proc where proname = 'publish' and pronamespace = $1"
        assert await admin.fetchval(publishing.replace("$1", "'acked'::regnamespace")) == 1


async def test_a_role_that_may_not_make_tables_is_told_who_does(private_broker) -> None:
    url = private_broker("postgres").url
    async with connected(url) as admin:
        await admin.execute("create role poor login")
    with pytest.raises(LayerError, match="acked schema"):
        async with PostgresQueueLayer(url.replace("acked@", "poor@")):
            pass


@pytest.mark.parametrize(
    "options",
    [
        {"schema": "no-dash"},
        {"schema": ""},
        {"schema": "x" * 41},
        {"pool_size": 0},
        {"timeout": 0},
        {"poll": float("nan")},
    ],
)
def test_what_cannot_be_is_refused_at_the_call(options: dict) -> None:
    with pytest.raises(ConfigurationError, match=next(iter(options))):
        PostgresQueueLayer("postgresql://localhost", **options)


@pytest.mark.parametrize("query", ["poll=x", "pooled=maybe", "pool_size=-1", "unknown=1"])
def test_what_cannot_be_in_a_url_is_refused_by_its_name(query: str) -> None:
    with pytest.raises(ConfigurationError, match=query.partition("=")[0]):
        PostgresQueueLayer.from_url(f"postgres-queue://localhost/x?{query}")


async def test_nothing_is_left_after_closing(postgres_broker) -> None:
    before = asyncio.all_tasks()
    async with Channel(PostgresQueueLayer(postgres_broker.url)) as channel:
        topic = fresh()
        async with channel.subscribe(topic, group="g") as subscription:
            await asyncio.gather(*(channel.publish(topic, number) for number in range(20)))
            await (await anext(subscription)).ack()
    assert not acked_tasks()
    assert asyncio.all_tasks() == before


async def test_what_utf8_cannot_carry_is_refused_and_spoils_no_neighbour(postgres_broker) -> None:
    topic = fresh()
    async with PostgresQueueLayer(postgres_broker.url) as layer:
        async with joined(layer, topic) as feed:
            records = [*make(topic, "a"), Record(topic, b"", "b", "\ud800"), *make(topic, "c")]
            with pytest.raises(PublishFailed) as caught:
                await layer.publish(records)
            assert set(caught.value.failures) == {1}
            assert not caught.value.indeterminate
            with pytest.raises(PublishFailed, match="UTF-8"):
                await layer.publish_once(records[1], "nightly", time.time(), begins=True)
            batch = await feed.receive(10)
            assert [leased.record.id for leased in batch] == ["a", "c"]
            letter = Record(topic, b"", "x", "\ud800")
            first, second = batch
            replies = await feed.settle(
                [
                    Settlement(first.token, Verb.REJECT, dead_letter=letter),
                    Settlement(second.token, Verb.ACK),
                ]
            )
            assert isinstance(replies[0], LayerError)
            assert replies[1] is Outcome.CONFIRMED


async def test_a_listener_whose_group_was_swept_is_told_that_it_missed_messages(
    postgres_broker,
) -> None:
    url, topic = postgres_broker.url, fresh()
    news = Channel(fire_and_forget(PostgresQueueLayer(url, poll=0.1)))
    async with news as channel, channel.subscribe(topic) as subscription:
        await channel.publish(topic, 1)
        assert (await anext(subscription)).body == 1
        async with connected(url) as admin:
            await admin.execute("delete from acked.grp where topic = $1", topic)
        with pytest.raises(LayerError, match="messages were missed; subscribe again"):
            await anext(subscription)


@pytest.mark.parametrize("text", ["a\0b", "\\", "\\0", "\0\\\\0", "\\\\", "ö\\n"])
async def test_any_text_arrives_as_it_was(postgres_broker, text: str) -> None:
    topic = fresh()
    record = Record(topic, b"\0\xff", text, text, {text: text}, text, 1.5)
    async with PostgresQueueLayer(postgres_broker.url) as layer, joined(layer, topic) as feed:
        await layer.publish([record])
        (leased,) = await feed.receive(1)
        assert leased.record == record


async def test_a_claim_stops_after_enough_bytes(postgres_broker) -> None:
    topic = fresh()
    async with PostgresQueueLayer(postgres_broker.url) as layer, joined(layer, topic) as feed:
        for name in "abcd":
            await layer.publish([Record(topic, bytes(CLAIM_BYTES * 3 // 8), name)])
        first = await feed.receive(100)
        assert [leased.record.id for leased in first] == ["a", "b", "c"]
        assert [leased.record.id for leased in await feed.receive(100)] == ["d"]


async def test_a_connection_given_up_between_two_steps_of_a_statement_is_a_lost_one(
    postgres_broker,
) -> None:
    """After a stall, for instance: asyncpg goes on with what it has no more."""
    async with PostgresQueueLayer(postgres_broker.url, timeout=0.2) as layer:
        with pytest.raises(ConnectionLost), layer._server.translated():
            async with layer._publishing.borrowed() as connection:
                inside = connection._con
                await until(inside.is_closed)
                await inside._protocol.bind_execute()
        await layer.publish(make(fresh(), "by another one"))

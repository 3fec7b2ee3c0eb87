"""LISTEN and NOTIFY on a real PostgreSQL, and what the network and the server may do to them."""

import asyncio
import itertools
import os
import socket
import struct
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from uuid import uuid4

import anyio
import asyncpg
import psutil
import pytest

from acked import (
    CapabilityError,
    Channel,
    ChannelClosed,
    ConfigurationError,
    ConnectionLost,
    Gap,
    GapCause,
    LayerError,
    MessageTooLarge,
    Overflow,
    PublishFailed,
    Topic,
)
from acked.codecs import RAW
from acked.layers._postgres_envelope import LARGEST_BODY, Unpacker, pack
from acked.layers._postgres_listening import PENDING
from acked.layers.postgres_notify import CAPABILITIES, PostgresNotifyLayer
from acked.types import Record

pytestmark = pytest.mark.anyio

RECONNECT = frozenset({GapCause.RECONNECT})
_numbers = itertools.count()


def fresh(word: str = "topic") -> str:
    return f"{word}-{os.getpid()}-{next(_numbers)}"


def raw(name: str) -> Topic[bytes]:
    return Topic(name, bytes, codec=RAW)


def record(topic: str, body: bytes = b"1", **others) -> Record:
    return Record(topic, body, str(uuid4()), content_type="application/json", **others)


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(url)
    try:
        yield connection
    finally:
        await connection.close()


async def until(is_true: Callable[[], bool]) -> None:
    """Return when `is_true`; the test's own timeout bounds it."""
    while not is_true():
        await anyio.sleep(0.01)


async def published_until_gap(channel: Channel, topic: str, subscription) -> Gap:
    """Publish until a message comes behind a gap; return the gap."""
    gaps: list[Gap] = []

    async def read() -> None:
        async for message in subscription:
            if message.gap is not None:
                gaps.append(message.gap)
                return

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(read)
        while not gaps:
            with suppress(PublishFailed):
                await channel.publish(topic, "still there?")
            await anyio.sleep(0.02)
    return gaps[0]


# What arrives, and as what.


async def test_what_is_published_after_entering_arrives(postgres_broker) -> None:
    async with Channel(PostgresNotifyLayer(postgres_broker.url)) as channel:
        for _ in range(30):
            topic = fresh()
            async with channel.subscribe(topic) as subscription:
                await channel.publish(topic, "at once")
                assert (await anext(subscription)).body == "at once"


async def test_of_a_thousand_concurrent_publishes_none_fails(postgres_broker) -> None:
    topic = fresh()
    async with (
        Channel(PostgresNotifyLayer(postgres_broker.url)) as channel,
        channel.subscribe(topic, capacity=1000) as subscription,
    ):
        await asyncio.gather(*(channel.publish(topic, number) for number in range(1000)))
        got = [(await anext(subscription)).body for _ in range(1000)]
        assert sorted(got) == list(range(1000))
        assert subscription.statistics().missed == 0


async def test_identical_bodies_of_one_batch_all_arrive_in_order(postgres_broker) -> None:
    topic = fresh()
    bodies = ["same", "same", "other", "same"] * 50
    async with (
        Channel(PostgresNotifyLayer(postgres_broker.url)) as channel,
        channel.subscribe(topic) as subscription,
    ):
        await channel.publish_many(topic, bodies)
        assert [(await anext(subscription)).body for _ in bodies] == bodies


async def test_a_batch_of_several_topics_keeps_its_order(postgres_broker) -> None:
    topics = [fresh(), fresh()]
    layer = PostgresNotifyLayer(postgres_broker.url)
    records = [record(topics[number % 3 % 2], b"%d" % number) for number in range(20)]
    async with Channel(layer) as channel, channel.subscribe(*topics) as subscription:
        await layer.publish(records)
        got = [await anext(subscription) for _ in records]
        assert [message.id for message in got] == [one.id for one in records]


async def test_an_empty_batch_sends_nothing(postgres_broker) -> None:
    async with Channel(PostgresNotifyLayer(postgres_broker.url)) as channel:
        await channel.publish_many(fresh(), [])


async def test_a_large_batch_does_not_overflow_a_reader_that_keeps_up(postgres_broker) -> None:
    topic = fresh()
    async with (
        Channel(PostgresNotifyLayer(postgres_broker.url)) as channel,
        channel.subscribe(topic, capacity=100) as subscription,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(channel.publish_many, topic, range(10_000))
        assert [(await anext(subscription)).body for _ in range(10_000)] == list(range(10_000))
        assert subscription.statistics().missed == 0


@pytest.mark.parametrize(
    "body",
    [b"", b"\0", b"\xff\xfe", bytes(range(256)), "ünïcödé\n\r\t".encode(), b"acked:t[]\n", b"\n"],
)
async def test_any_bytes_arrive_as_they_were(postgres_broker, body: bytes) -> None:
    topic = raw(fresh())
    async with (
        Channel(PostgresNotifyLayer(postgres_broker.url)) as channel,
        channel.subscribe(topic) as subscription,
    ):
        await channel.publish(topic, body)
        message = await anext(subscription)
        assert message.body == body
        assert message.record.content_type == RAW.content_type


async def test_headers_key_id_and_time_arrive_as_they_were(postgres_broker) -> None:
    topic = fresh()
    layer = PostgresNotifyLayer(postgres_broker.url)
    sent = [
        record(topic, timestamp=0.1 + 0.2),
        record(topic, key="", timestamp=1e9),
        record(topic, key='k"\n\0', timestamp=time.time()),
        record(topic, headers={"": "", "näme\n": 'väl"ue\0'}, timestamp=time.time()),
        Record(topic, b"[]", "id", "key", {"a": "b"}, "text/x", time.time()),
    ]
    async with Channel(layer) as channel, channel.subscribe(topic) as subscription:
        await layer.publish(sent)
        assert [(await anext(subscription)).record for _ in sent] == sent


async def test_what_others_notify_arrives_as_it_is(postgres_broker) -> None:
    topic = fresh('Some Body\'s "channel"')
    # Whatever looks like ours and is not is theirs.
    texts = ["", "plain", "{}", "acked:", 'acked:t["id",1]', "acked:t{}\nx", 'acked:b["i",1]\n!']
    async with (
        Channel(PostgresNotifyLayer(postgres_broker.url)) as channel,
        channel.subscribe(raw(topic)) as subscription,
        connected(postgres_broker.url) as psql,
    ):
        for text in texts:
            await psql.execute("select pg_notify($1, $2)", topic, text)
        got = [await anext(subscription) for _ in texts]
        assert [message.body.decode() for message in got] == texts
        assert len({message.id for message in got}) == len(texts)


async def test_a_plain_notify_reaches_the_topic_in_lower_case(postgres_broker) -> None:
    name = f"case{os.getpid()}"
    async with (
        Channel(PostgresNotifyLayer(postgres_broker.url)) as channel,
        channel.subscribe(raw(name), raw(name.upper())) as subscription,
        connected(postgres_broker.url) as psql,
    ):
        await psql.execute(f"notify {name.upper()}, 'folded'")
        await psql.execute(f"notify \"{name.upper()}\", 'quoted'")
        got = [await anext(subscription) for _ in range(2)]
        assert [(m.topic, m.body) for m in got] == [(name, b"folded"), (name.upper(), b"quoted")]


# Limits.


async def test_a_payload_of_7999_bytes_arrives_and_one_more_is_refused(postgres_broker) -> None:
    topic = fresh()
    layer = PostgresNotifyLayer(postgres_broker.url)
    for character in ("x", "é", "\0"):
        sample = record(topic, character.encode() * 8000)
        with pytest.raises(MessageTooLarge) as caught:
            pack(sample)
        limit = caught.value.limit
        largest = Record(
            topic,
            (character.encode() * 8000)[: limit - limit % len(character.encode())],
            sample.id,
            content_type="application/json",
        )
        async with Channel(layer) as channel, channel.subscribe(raw(topic)) as subscription:
            assert 7996 <= len(pack(largest).encode()) <= 7999
            await layer.publish([largest])
            assert (await anext(subscription)).body == largest.body
            over = Record(
                topic,
                largest.body + character.encode() * 3,
                sample.id,
                content_type="application/json",
            )
            with pytest.raises(MessageTooLarge) as caught:
                await layer.publish([record(topic), over])
            assert (caught.value.size, caught.value.limit) == (len(over.body), limit)


async def test_text_leaves_about_fifty_bytes_to_the_envelope(postgres_broker) -> None:
    topic = Topic(fresh(), str)
    assert CAPABILITIES.max_payload == LARGEST_BODY
    async with (
        Channel(PostgresNotifyLayer(postgres_broker.url)) as channel,
        channel.subscribe(topic) as subscription,
    ):
        await channel.publish(topic, "x" * (7940 - 2))
        assert len((await anext(subscription)).body) == 7938
        with pytest.raises(MessageTooLarge):
            await channel.publish(topic, "x" * 7999)
        with pytest.raises(MessageTooLarge):
            await channel.publish(topic, "x" * 7900, headers={"h": "y" * 100})


async def test_a_name_of_63_bytes_works_and_64_are_refused_by_number(postgres_broker) -> None:
    for name in ("n" * 63, "é" * 31 + "x"):
        async with Channel(PostgresNotifyLayer(postgres_broker.url)) as channel:
            async with channel.subscribe(name) as subscription:
                await channel.publish(name, 1)
                assert (await anext(subscription)).body == 1
            with pytest.raises(ConfigurationError, match="64 bytes"):
                await channel.publish(name + "y", 1)
            with pytest.raises(ConfigurationError, match="64 bytes"):
                async with channel.subscribe(name + "y"):
                    pass


# Transactions.


async def test_published_in_a_transaction_arrives_at_its_commit_only(postgres_broker) -> None:
    topic = fresh()
    layer = PostgresNotifyLayer(postgres_broker.url)
    async with (
        Channel(layer) as channel,
        channel.subscribe(topic) as subscription,
        connected(postgres_broker.url) as own,
    ):
        transaction = own.transaction()
        await transaction.start()
        await layer.publish_in(own, [record(topic, b"1"), record(topic, b"2")])
        await layer.publish_in(own, [record(topic, b"2")])
        await channel.publish(topic, "before the commit")
        assert (await anext(subscription)).body == "before the commit"
        await transaction.commit()
        assert [(await anext(subscription)).body for _ in range(3)] == [1, 2, 2]


async def test_published_in_a_transaction_that_is_rolled_back_never_arrives(
    postgres_broker,
) -> None:
    topic = fresh()
    layer = PostgresNotifyLayer(postgres_broker.url)
    async with (
        Channel(layer) as channel,
        channel.subscribe(topic) as subscription,
        connected(postgres_broker.url) as own,
    ):
        with pytest.raises(ZeroDivisionError):
            async with own.transaction():
                await layer.publish_in(own, [record(topic)])
                raise ZeroDivisionError
        await channel.publish(topic, "the first")
        assert (await anext(subscription)).body == "the first"


async def test_publishing_in_a_failed_transaction_says_so(postgres_broker) -> None:
    layer = PostgresNotifyLayer(postgres_broker.url)
    async with connected(postgres_broker.url) as own:
        transaction = own.transaction()
        await transaction.start()
        with pytest.raises(asyncpg.DivisionByZeroError):
            await own.execute("select 1/0")
        with pytest.raises(PublishFailed, match="none was accepted") as caught:
            await layer.publish_in(own, [record(fresh()), record(fresh())])
        assert not caught.value.indeterminate
        assert caught.value.failures.keys() == {0, 1}
        await transaction.rollback()


# Several subscriptions on one connection.


async def test_the_last_to_leave_a_topic_unlistens_and_the_others_go_on(private_broker) -> None:
    url = private_broker("postgres").url
    layer = PostgresNotifyLayer(url)
    last = "select query from pg_stat_activity where query like '%LISTEN%' and pid <> $1"
    async with Channel(layer) as channel, connected(url) as watcher:

        async def last_statement() -> str:
            return await watcher.fetchval(last, watcher.get_server_pid())

        async with channel.subscribe("kept") as kept:
            async with channel.subscribe("shared") as first:
                async with channel.subscribe("shared", "kept"):
                    assert await last_statement() == 'LISTEN "shared"'
                await channel.publish("shared", 1)
                assert (await anext(first)).body == 1
                assert repr(layer).endswith("subscriptions: 'kept' 1, 'shared' 1>")
            while await last_statement() != 'UNLISTEN "shared"':
                await anyio.sleep(0.01)
            await channel.publish("kept", 2)
            assert (await anext(kept)).body == 2
        async with channel.subscribe("shared") as again:
            await channel.publish("shared", 3)
            assert (await anext(again)).body == 3


async def test_subscribers_that_come_and_go_at_once_are_never_deaf(postgres_broker) -> None:
    topics = [fresh(), fresh()]
    async with Channel(PostgresNotifyLayer(postgres_broker.url)) as channel:

        async def come_and_go(number: int) -> None:
            topic = topics[number % 2]
            for turn in range(10):
                async with channel.subscribe(topic) as subscription:
                    await channel.publish(topic, [number, turn])
                    async for message in subscription:
                        if message.body == [number, turn]:
                            break

        async with anyio.create_task_group() as tasks:
            for number in range(20):
                tasks.start_soon(come_and_go, number)


async def test_a_cancelled_subscriber_leaves_the_others_alone(postgres_broker) -> None:
    topic = fresh()
    async with Channel(PostgresNotifyLayer(postgres_broker.url)) as channel:

        async def subscribe() -> None:
            async with channel.subscribe(topic, fresh()):
                await anyio.sleep_forever()

        async with channel.subscribe(topic) as kept:
            for number in range(20):
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(subscribe)
                    for _ in range(number):
                        await anyio.lowlevel.checkpoint()
                    tasks.cancel_scope.cancel()
            await channel.publish(topic, 1)
            assert (await anext(kept)).body == 1


async def test_a_cancelled_publish_leaves_the_layer_usable(postgres_broker) -> None:
    topic = fresh()
    # One connection, which is there already: asyncpg leaves a future behind, whose exception
    # nobody looks at, where connecting is cancelled in the middle of asking for TLS.
    layer = PostgresNotifyLayer(postgres_broker.url, pool_size=1)
    async with Channel(layer) as channel, channel.subscribe(topic) as subscription:
        for number in range(30):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(channel.publish, topic, number)
                for _ in range(number % 10):
                    await anyio.lowlevel.checkpoint()
                tasks.cancel_scope.cancel()
        await channel.publish(topic, "last")
        got = []
        while not got or got[-1] != "last":
            got.append((await anext(subscription)).body)
        assert len(set(got)) == len(got)
        assert got == [*sorted(got[:-1]), "last"]


async def test_a_stuck_subscription_stops_neither_others_nor_publishers(postgres_broker) -> None:
    topic, total = fresh(), PENDING + 500
    async with (
        Channel(PostgresNotifyLayer(postgres_broker.url)) as channel,
        channel.subscribe(topic, capacity=10, overflow=Overflow.BLOCK) as stuck,
        channel.subscribe(topic, capacity=total) as quick,
    ):
        await channel.publish_many(topic, range(total))
        assert [(await anext(quick)).body for _ in range(total)] == list(range(total))
        assert stuck.statistics().buffered == 10
        kept = [await anext(stuck) for _ in range(10 + PENDING)]
        assert [message.body for message in kept] == list(range(10 + PENDING))
        await channel.publish(topic, "later")
        after = await anext(stuck)
        missed = total - 10 - PENDING
        assert (after.body, after.gap) == ("later", Gap(missed, frozenset({GapCause.OVERFLOW})))
        assert stuck.statistics().missed == missed


async def test_leaving_a_stuck_subscription_does_not_wait(postgres_broker) -> None:
    topic = fresh()
    async with Channel(PostgresNotifyLayer(postgres_broker.url)) as channel:
        async with channel.subscribe(topic) as witness:
            async with channel.subscribe(topic, capacity=1, overflow=Overflow.BLOCK):
                await channel.publish_many(topic, range(50))
                for _ in range(50):
                    await anext(witness)
    assert not acked_tasks()


# Losing the connection.


async def test_a_cut_connection_is_a_gap_and_then_messages_arrive(postgres_broker, proxy) -> None:
    way, topic = proxy(postgres_broker), fresh()
    layer = PostgresNotifyLayer(way.url)
    async with (
        Channel(layer) as channel,
        channel.subscribe(topic) as subscription,
        channel.subscribe(fresh(), topic) as other,
    ):
        await channel.publish(topic, "before")
        assert (await anext(subscription)).gap is None
        assert (await anext(other)).gap is None
        for _ in range(2):
            way.cut()
            assert await published_until_gap(channel, topic, subscription) == Gap(None, RECONNECT)
        assert other.statistics().unknown_gaps == 2


async def test_a_restart_of_the_server_is_a_gap(private_broker) -> None:
    broker, topic = private_broker("postgres"), fresh()
    layer = PostgresNotifyLayer(broker.url)
    async with Channel(layer) as channel, channel.subscribe(topic) as subscription:
        await anyio.to_thread.run_sync(broker.restart)
        assert await published_until_gap(channel, topic, subscription) == Gap(None, RECONNECT)


async def test_a_session_ended_by_an_administrator_is_a_gap(private_broker) -> None:
    url, topic = private_broker("postgres").url, fresh()
    async with (
        Channel(PostgresNotifyLayer(url)) as channel,
        channel.subscribe(topic) as subscription,
        connected(url) as admin,
    ):
        ended = await admin.fetch(
            "select pg_terminate_backend(pid) from pg_stat_activity "
            "where pid <> pg_backend_pid() and backend_type = 'client backend'"
        )
        assert len(ended) >= 2
        assert await published_until_gap(channel, topic, subscription) == Gap(None, RECONNECT)


async def test_a_black_hole_is_noticed_within_the_heartbeat(postgres_broker, proxy) -> None:
    way, topic = proxy(postgres_broker), fresh()
    layer = PostgresNotifyLayer(way.url, heartbeat=0.6, timeout=1.0)
    async with Channel(layer) as channel, channel.subscribe(topic) as subscription:
        before = way.statistics().connections
        way.black_hole()
        began = time.monotonic()
        # Noticed: it tries to connect again.
        await until(lambda: way.statistics().connections > before)
        assert time.monotonic() - began < 0.6 + 0.4
        way.heal()
        assert await published_until_gap(channel, topic, subscription) == Gap(None, RECONNECT)


async def test_a_publish_into_a_black_hole_fails_as_unknown_in_time(postgres_broker, proxy) -> None:
    way, topic = proxy(postgres_broker), fresh()
    async with Channel(PostgresNotifyLayer(way.url, timeout=0.5)) as channel:
        await channel.publish(topic, 1)
        way.black_hole()
        began = time.monotonic()
        with pytest.raises(PublishFailed, match="unknown") as caught:
            await channel.publish(topic, 2)
        assert time.monotonic() - began < 1.5
        assert caught.value.indeterminate
        assert isinstance(caught.value.failures[0], ConnectionLost)
        way.heal()
        await channel.publish(topic, 3)


async def test_a_publish_cut_at_any_byte_is_whole_or_absent_and_never_silent(
    postgres_broker, proxy
) -> None:
    way, topic = proxy(postgres_broker), fresh()
    async with (
        Channel(PostgresNotifyLayer(postgres_broker.url)) as steady,
        steady.subscribe(topic) as subscription,
        Channel(PostgresNotifyLayer(way.url, pool_size=1)) as channel,
    ):
        accepted, unknown = set(), set()
        for number in range(40):
            way.cut_after_bytes(number * 11, "to_client" if number % 2 else "to_server")
            try:
                await channel.publish(topic, number)
                accepted.add(number)
            except PublishFailed as failure:
                if failure.indeterminate:
                    unknown.add(number)
        way.cut_after_bytes(10**9, "to_client")
        way.cut_after_bytes(10**9, "to_server")
        await steady.publish(topic, "last")
        got = []
        while not got or got[-1] != "last":
            got.append((await anext(subscription)).body)
        arrived = set(got[:-1])
        assert len(arrived) == len(got) - 1
        assert accepted <= arrived <= accepted | unknown
        assert unknown


async def test_nobody_is_listened_to_with_a_refused_server_and_the_error_is_raised(
    postgres_broker, proxy
) -> None:
    way, topic = proxy(postgres_broker), fresh()
    layer = PostgresNotifyLayer(way.url, reconnect_timeout=0.2)
    async with Channel(layer) as channel, channel.subscribe(topic) as subscription:
        way.refuse()
        way.cut()
        with pytest.raises(ConnectionLost, match=f"127.0.0.1:{way.port}/postgres"):
            await anext(subscription)
        with pytest.raises(ConnectionLost):
            async with channel.subscribe(topic):
                pass
        with pytest.raises(PublishFailed, match="none was accepted") as caught:
            await channel.publish(topic, 1)
        assert not caught.value.indeterminate
        way.accept()
        async with channel.subscribe(topic) as again:
            await channel.publish(topic, 2)
            assert (await anext(again)).body == 2


async def test_subscribing_while_it_reconnects_waits_for_the_server(postgres_broker, proxy) -> None:
    way, topic = proxy(postgres_broker), fresh()
    layer = PostgresNotifyLayer(way.url)
    async with Channel(layer) as channel:
        async with channel.subscribe(topic), anyio.create_task_group() as tasks:
            way.refuse()
            way.cut()
            await until(lambda: not is_listening(layer))

            async def subscribe() -> None:
                async with channel.subscribe(topic) as late:
                    await channel.publish(topic, "news")
                    message = await anext(late)
                    assert (message.body, message.gap) == ("news", None)

            tasks.start_soon(subscribe)
            await anyio.wait_all_tasks_blocked()
            way.accept()


async def test_subscribing_without_a_connection_fails_in_time(postgres_broker, proxy) -> None:
    way, topic = proxy(postgres_broker), fresh()
    layer = PostgresNotifyLayer(way.url, timeout=0.3)
    async with Channel(layer) as channel, channel.subscribe(topic):
        way.refuse()
        way.cut()
        await until(lambda: not is_listening(layer))
        with pytest.raises(ConnectionLost, match="check that PostgreSQL runs"):
            await channel.subscribe(topic).__aenter__()


async def test_with_on_loss_raise_a_lost_connection_is_an_error(postgres_broker, proxy) -> None:
    way, topic = proxy(postgres_broker), fresh()
    layer = PostgresNotifyLayer(way.url, on_loss="raise")
    async with Channel(layer) as channel:
        async with channel.subscribe(topic) as subscription:
            await channel.publish(topic, "buffered")
            await until(lambda: subscription.statistics().buffered == 1)
            way.cut()
            await until(lambda: "none" in repr(layer))
            assert (await anext(subscription)).body == "buffered"
            with pytest.raises(ConnectionLost, match=str(way.port)):
                await anext(subscription)
        async with channel.subscribe(topic) as again:
            await layer.publish([record(topic)])
            assert (await anext(again)).gap is None


async def test_a_stuck_subscription_is_told_of_gap_and_failure_in_order(
    postgres_broker, proxy
) -> None:
    way, topic = proxy(postgres_broker), fresh()
    layer = PostgresNotifyLayer(way.url, on_loss="raise")
    async with (
        Channel(layer) as channel,
        channel.subscribe(topic, capacity=1, overflow=Overflow.BLOCK) as stuck,
        channel.subscribe(topic) as witness,
    ):
        await channel.publish_many(topic, range(5))
        for _ in range(5):
            await anext(witness)
        way.cut()
        with pytest.raises(ConnectionLost):
            await anext(witness)
        assert [(await anext(stuck)).body for _ in range(5)] == list(range(5))
        with pytest.raises(ConnectionLost):
            await anext(stuck)


# Opening and closing.


async def test_nobody_there_is_a_lost_connection_naming_the_address() -> None:
    layer = PostgresNotifyLayer("postgresql://me:secret@127.0.0.1:1/shop")
    with pytest.raises(ConnectionLost, match=r"127\.0\.0\.1:1/shop") as caught:
        await layer.__aenter__()
    assert_one_line_without_secrets(caught.value)


async def test_an_unknown_database_is_refused_by_name(postgres_broker) -> None:
    url = f"postgresql://acked:secret@127.0.0.1:{postgres_broker.port}/no_such_database"
    with pytest.raises(LayerError, match=f"{postgres_broker.port}/no_such_database") as caught:
        await PostgresNotifyLayer(url).__aenter__()
    assert not isinstance(caught.value, ConnectionLost)
    assert_one_line_without_secrets(caught.value)


async def test_an_unknown_user_is_refused_with_what_to_check(postgres_broker) -> None:
    url = f"postgresql://me:secret@127.0.0.1:{postgres_broker.port}/postgres"
    with pytest.raises(LayerError, match="check user, password") as caught:
        await PostgresNotifyLayer(url).__aenter__()
    assert not isinstance(caught.value, ConnectionLost)
    assert_one_line_without_secrets(caught.value)


def assert_one_line_without_secrets(error: Exception) -> None:
    assert "\n" not in str(error)
    assert "secret" not in str(error)
    assert "me:" not in str(error)


# A wrong password, and a pooler in between.


async def test_a_wrong_password_is_refused_with_what_to_check(private_broker) -> None:
    broker = private_broker("postgres")
    async with connected(broker.url) as admin:
        await admin.execute("create role pigeon login password 'right'")
        rules = await admin.fetchval("show hba_file")
        await admin.execute(
            f"copy (select 'host all pigeon all scram-sha-256' union all "
            f"select 'host all all all trust') to '{rules}'"
        )
        await admin.fetchval("select pg_reload_conf()")
        address = f"127.0.0.1:{broker.port}/postgres"
        while True:
            try:
                async with Channel(PostgresNotifyLayer(f"postgresql://pigeon:secret@{address}")):
                    await anyio.sleep(0.01)  # the rules are not reloaded yet
            except LayerError as error:
                refused = error
                break
        assert not isinstance(refused, ConnectionLost)
        assert f"{address} does not let us in" in str(refused)
        assert "check user, password" in str(refused)
        assert_one_line_without_secrets(refused)
        async with Channel(PostgresNotifyLayer(f"postgresql://pigeon:right@{address}")) as channel:
            await channel.publish(fresh(), 1)


class TransactionPooler:
    """Lets all clients share one session of the server, a transaction at a time."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._turn = asyncio.Lock()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[str]:
        self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port)
        login = b"user\0acked\0database\0postgres\0\0"
        self._writer.write(struct.pack("!ii", 8 + len(login), 196608) + login)
        self._greeting = await self._answer(b"Z")
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        try:
            yield f"postgresql://acked@127.0.0.1:{server.sockets[0].getsockname()[1]}/postgres"
        finally:
            server.close()
            self._writer.close()
            await self._writer.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            (size,) = struct.unpack("!i", await reader.readexactly(4))
            if size == 8:  # TLS?
                await reader.readexactly(4)
                writer.write(b"N")
                (size,) = struct.unpack("!i", await reader.readexactly(4))
            await reader.readexactly(size - 4)
            writer.write(self._greeting)
            while True:
                asked = await self._message(reader)
                if asked[:1] == b"X":
                    break
                async with self._turn:
                    while True:
                        self._writer.write(asked)
                        if asked[:1] == b"H":  # flush: the answer to a prepare
                            writer.write(await self._answer(b"TnE"))
                        elif asked[:1] in b"QS":
                            writer.write(await self._answer(b"Z"))
                            break
                        asked = await self._message(reader)
        writer.close()

    async def _answer(self, last: bytes) -> bytes:
        answer = [await self._message(self._reader)]
        while answer[-1][:1] not in last:
            answer.append(await self._message(self._reader))
        return b"".join(answer)

    async def _message(self, reader: asyncio.StreamReader) -> bytes:
        head = await reader.readexactly(5)
        return head + await reader.readexactly(struct.unpack("!i", head[1:])[0] - 4)


async def test_a_pooler_that_swallows_listen_is_named_before_anybody_waits(
    postgres_broker,
) -> None:
    async with TransactionPooler(postgres_broker.port).running() as url:
        async with Channel(PostgresNotifyLayer(url)) as channel:
            await channel.publish(fresh(), 1)
            with pytest.raises(LayerError, match="pool_mode=session") as caught:
                await channel.subscribe(fresh()).__aenter__()
            assert not isinstance(caught.value, ConnectionLost)
            assert_one_line_without_secrets(caught.value)


async def test_a_session_that_was_swapped_or_does_not_listen_is_named(postgres_broker) -> None:
    topic = fresh()
    layer = PostgresNotifyLayer(postgres_broker.url, heartbeat=0.1)
    async with Channel(layer) as channel, channel.subscribe(topic) as subscription:
        await layer._listening._live.execute("unlisten *")  # type: ignore[union-attr]
        with pytest.raises(LayerError, match="pool_mode=session"):
            await anext(subscription)


async def test_a_defect_of_the_listening_task_is_raised_and_nobody_waits_for_ever(
    postgres_broker, monkeypatch
) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError

    layer = PostgresNotifyLayer(postgres_broker.url)
    async with Channel(layer) as channel, channel.subscribe(fresh()) as subscription:
        monkeypatch.setattr(layer._listening, "_go_live", broken)
        with pytest.raises(LayerError, match="ZeroDivisionError"):
            await channel.subscribe(fresh()).__aenter__()
        with pytest.raises(LayerError, match="report it"):
            await anext(subscription)


async def test_a_burst_beyond_what_waits_is_dropped_by_the_sinks_and_counted(
    postgres_broker, monkeypatch
) -> None:
    monkeypatch.setattr("acked.layers._postgres_listening.MOST_ARRIVALS", 50)
    topic = fresh()
    async with (
        Channel(PostgresNotifyLayer(postgres_broker.url)) as channel,
        channel.subscribe(topic, capacity=10) as small,
        channel.subscribe(topic, capacity=500) as large,
    ):
        await channel.publish_many(topic, range(500))
        assert [(await anext(large)).body for _ in range(500)] == list(range(500))
        statistics = small.statistics()
        assert statistics.missed + statistics.buffered == 500


# Opening and closing, in general.


async def test_the_kernel_watches_every_connection(postgres_broker) -> None:
    layer = PostgresNotifyLayer(postgres_broker.url)
    async with Channel(layer) as channel, channel.subscribe(fresh()):
        listening = layer._listening._live  # type: ignore[union-attr]
        async with layer._pool.acquire() as publishing:  # type: ignore[union-attr]
            for connection in (listening, publishing):
                sock = connection._transport.get_extra_info("socket")
                assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)


async def test_a_malformed_dsn_is_refused_without_showing_it() -> None:
    with pytest.raises(LayerError) as caught:
        await PostgresNotifyLayer("postgresql://me:sec@ret@host:5432/shop").__aenter__()
    assert "sec" not in f"{caught.value} {caught.value.__cause__}"


async def test_the_layer_can_be_opened_again_and_left_by_another_task(postgres_broker) -> None:
    layer = PostgresNotifyLayer(postgres_broker.url)
    topic = fresh()
    for _ in range(2):
        channel = Channel(layer)
        await asyncio.create_task(channel.__aenter__())
        async with channel.subscribe(topic) as subscription:
            await channel.publish(topic, 1)
            assert (await anext(subscription)).body == 1
        await asyncio.create_task(channel.aclose())
    assert not acked_tasks()


async def test_nothing_is_left_after_closing(postgres_broker) -> None:
    before = sockets(), asyncio.all_tasks()
    layer = PostgresNotifyLayer(postgres_broker.url)
    async with Channel(layer) as channel, channel.subscribe(fresh()) as subscription:
        topic = next(iter(layer._listening.topics()))  # type: ignore[union-attr]
        await asyncio.gather(*(channel.publish(topic, number) for number in range(20)))
        await anext(subscription)
        assert sockets() > before[0]
    assert (sockets(), asyncio.all_tasks()) == before


async def test_nothing_is_left_after_closing_in_a_black_hole(postgres_broker, proxy) -> None:
    way = proxy(postgres_broker)
    before = asyncio.all_tasks()
    async with Channel(PostgresNotifyLayer(way.url)) as channel:
        async with channel.subscribe(fresh()):
            way.black_hole()
        began = time.monotonic()
    assert time.monotonic() - began < 5
    assert asyncio.all_tasks() == before
    way.heal()


async def test_nothing_is_left_of_a_cancelled_opening(postgres_broker, proxy) -> None:
    way = proxy(postgres_broker)
    way.black_hole()
    before = asyncio.all_tasks()
    with anyio.move_on_after(0.1):
        await PostgresNotifyLayer(way.url).__aenter__()
    way.heal()
    await until(lambda: way.statistics().open_connections == 0)
    assert asyncio.all_tasks() == before


def is_listening(layer: PostgresNotifyLayer) -> bool:
    return layer._listening is not None and layer._listening._live is not None


def sockets() -> int:
    return len(psutil.Process().net_connections("tcp"))


def acked_tasks() -> set[asyncio.Task]:
    return {one for one in asyncio.all_tasks() if one.get_name().startswith("acked")}


@pytest.mark.parametrize("anyio_backend", ["trio"])
async def test_trio_is_refused_with_what_to_do() -> None:
    with pytest.raises(CapabilityError, match=r"asyncio\.run"):
        await PostgresNotifyLayer("postgresql://localhost/shop").__aenter__()


async def test_a_closed_layer_says_so() -> None:
    layer = PostgresNotifyLayer("postgresql://localhost/shop")
    with pytest.raises(ChannelClosed, match="not open"):
        await layer.publish([record("t")])


# Options.


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("postgres-notify://host/db?color=red", "color"),
        ("postgres-notify://u:secret@host/db?heartbeat=soon", "heartbeat='soon'"),
        ("postgres-notify://host/db?heartbeat=0", "heartbeat"),
        ("postgres-notify://host/db?pool_size=0", "pool_size"),
        ("postgres-notify://host/db?on_loss=panic", "on_loss"),
        ("postgres-notify://host/db?timeout=nan", "timeout"),
    ],
)
def test_a_wrong_option_is_named(url: str, words: str) -> None:
    with pytest.raises(ConfigurationError, match=words) as caught:
        PostgresNotifyLayer.from_url(url)
    assert "secret" not in str(caught.value)


def test_a_dsn_of_another_scheme_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="postgresql://"):
        PostgresNotifyLayer("mysql://host/db")


async def test_a_url_carries_every_option(postgres_broker) -> None:
    url = postgres_broker.url.replace("postgresql://", "postgres-notify://")
    layer = PostgresNotifyLayer.from_url(
        f"{url}?heartbeat=5&pool_size=1&timeout=3&reconnect_timeout=9&on_loss=raise"
        "&application_name=from-a-url&sslmode=disable"
    )
    async with Channel(layer), connected(postgres_broker.url) as watcher:
        named = "select count(*) from pg_stat_activity where application_name = 'from-a-url'"
        assert await watcher.fetchval(named) == 1


def test_the_repr_has_no_credentials() -> None:
    layer = PostgresNotifyLayer("postgresql://me:secret@host:5432/shop?password=secret")
    assert repr(layer) == "<PostgresNotifyLayer postgresql://host:5432/shop, subscriptions: none>"


def test_what_looks_like_ours_without_being_it_is_somebody_elses() -> None:
    for text in ('acked:t["a",1.0]x', 'acked:t["a"]\nx', 'acked:b["a",1.0]\n===='):
        assert Unpacker().unpack("t", text).body == text.encode()

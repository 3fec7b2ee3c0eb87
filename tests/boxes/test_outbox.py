"""An outbox: what commits is published, in order by key, with one id, whatever the broker does."""

import logging
import time
from contextlib import suppress
from importlib import import_module

import anyio
import pytest
from msgspec.structs import replace

from acked import (
    AckUnconfirmed,
    App,
    CapabilityError,
    Channel,
    ChannelClosed,
    ConfigurationError,
    EncodeError,
    LayerError,
    LeaseLost,
    MessageTooLarge,
    PublishFailed,
    Topic,
)
from acked._boxes import sqlite
from acked.conformance import FaultLayer, FaultPlan
from acked.layers.memory_queue import MemoryQueueLayer
from acked.outbox import Outbox
from tests.boxes.kit import (
    Database,
    firsts,
    outside_by_sqlite3,
    postgres_at,
    published,
    sqlite_at,
    until_waiting,
)
from tests.layers.postgres_kit import connected
from tests.layers.postgres_ways import OUTSIDE

pytestmark = pytest.mark.anyio


class Failed(Exception):
    """What a transaction is rolled back for."""


async def put(database: Database, outbox: Outbox, *bodies: object, **options) -> None:
    """Publish `bodies` in a transaction each."""
    for body in bodies:
        async with database.begin() as connection:
            await outbox.publish("t", body, connection=connection, **options)


async def test_what_commits_is_published_as_it_was_and_what_is_rolled_back_never(
    by_each_driver,
) -> None:
    database = by_each_driver
    async with database.outbox() as outbox, Channel(MemoryQueueLayer()) as channel:
        with pytest.raises(Failed):
            async with database.begin() as connection:
                await outbox.publish("t", "rolled back", connection=connection)
                raise Failed
        async with database.begin() as connection:
            receipt = await outbox.publish(
                "t", "committed", key="k\\\0", headers={"a": "b\0"}, id="x\0", connection=connection
            )
            assert (receipt.id, receipt.topic) == ("x\0", "t")
        async with outbox.relaying(channel):
            (got,) = await published(channel, "t", 1)
            await until_waiting(outbox, 0)
        assert (got.body, got.id, got.key, got.headers) == (
            "committed",
            "x\0",
            "k\\\0",
            {"a": "b\0"},
        )


@pytest.mark.parametrize("seed", range(3))
async def test_order_by_key_holds_however_the_broker_fails(database, seed: int) -> None:
    layer = FaultLayer(MemoryQueueLayer(), FaultPlan(seed=seed, rate=0.3, delay=0.01))
    expected = [(f"key {n % 5}", n) for n in range(60)]
    async with database.outbox() as outbox, Channel(layer) as channel:
        for key, number in expected:
            await put(database, outbox, number, key=key)
        async with channel.subscribe("t", group="g") as subscription:
            async with outbox.relaying(channel):
                await until_waiting(outbox, 0)
            got = []
            with anyio.move_on_after(1):
                async for delivery in subscription:
                    got.append(delivery)
                    with suppress(LayerError, AckUnconfirmed, LeaseLost):
                        await delivery.ack()
    failures = {fault.failure for fault in layer.plan.injected if fault.operation == "publish"}
    assert failures == {"refused", "unsent", "unanswered", "delayed"}
    for wanted in {key for key, _ in expected}:
        of_key = [one.body for one in firsts(got) if one.key == wanted]
        assert of_key == [number for key, number in expected if key == wanted]


class Refusing(MemoryQueueLayer):
    """Takes nothing that says so."""

    refuses = True

    async def publish(self, records):
        for record in records:
            if self.refuses and b"refuse" in record.body:
                failure = LayerError("this is against the rules")
                raise PublishFailed(
                    "not taken", dict.fromkeys(range(len(records)), failure), indeterminate=False
                )
        return await super().publish(records)


async def test_what_is_refused_keeps_its_key_waiting_and_no_other(database, caplog) -> None:
    layer = Refusing()
    async with database.outbox() as outbox, Channel(layer) as channel:
        await put(database, outbox, "refuse this", "behind it", key="a")
        await put(database, outbox, "another", key="b")
        await put(database, outbox, "without")
        async with outbox.relaying(channel, give_up_after=3600.0):
            got = await published(channel, "t", 2)
            assert {one.body for one in got} == {"another", "without"}
            await until_waiting(outbox, 2)
            layer.refuses = False
            assert [one.body for one in await published(channel, "t", 2)] == [
                "refuse this",
                "behind it",
            ]
            await until_waiting(outbox, 0)
    assert "is refused: " in caplog.text


async def test_what_is_refused_for_too_long_is_set_aside_and_can_be_tried_again(
    database, caplog
) -> None:
    layer = Refusing()
    async with database.outbox() as outbox, Channel(layer) as channel:
        await put(database, outbox, "refuse this", "behind it", key="a")
        async with outbox.relaying(channel, give_up_after=0.0):
            assert [one.body for one in await published(channel, "t", 1)] == ["behind it"]
            await until_waiting(outbox, 0)
            assert tuple(await outbox.status()) == (0, 0.0, 1)
            errors = [one for one in caplog.records if one.levelno == logging.ERROR]
            assert len(errors) == 1
            assert "set aside" in errors[0].getMessage()
            layer.refuses = False
            assert await outbox.retry() == 1
            assert [one.body for one in await published(channel, "t", 1)] == ["refuse this"]
            await until_waiting(outbox, 0)
        assert await outbox.retry() == 0


async def test_what_the_target_cannot_carry_is_told_and_lets_others_pass(database) -> None:
    class Small(MemoryQueueLayer):
        def __init__(self) -> None:
            super().__init__()
            self.capabilities = replace(self.capabilities, max_payload=10)

    async with database.outbox() as outbox, Channel(Small()) as channel:
        await put(database, outbox, "x" * 100, "small")
        async with outbox.relaying(channel, give_up_after=0.0):
            assert [one.body for one in await published(channel, "t", 1)] == ["small"]
            await until_waiting(outbox, 0)
    assert (await outbox.status()).set_aside == 1


async def test_several_relays_publish_each_message_once_and_in_order(database) -> None:
    async with database.outbox() as outbox, Channel(MemoryQueueLayer()) as channel:
        async with outbox.relaying(channel), outbox.relaying(channel), outbox.relaying(channel):
            for number in range(100):
                await put(database, outbox, number, key=f"key {number % 7}")
            got = await published(channel, "t", 100)
            await until_waiting(outbox, 0)
        for key in {one.key for one in got}:
            of_key = [one.body for one in got if one.key == key]
            assert of_key == sorted(of_key)
        assert len({one.id for one in got}) == 100
        await channel.publish("t", "the next")
        assert [one.body for one in await published(channel, "t", 1)] == ["the next"]


async def test_while_the_broker_is_away_all_waits_and_then_goes_on(database, caplog) -> None:
    class Away(MemoryQueueLayer):
        is_away = True

        async def publish(self, records):
            if self.is_away:
                failure = LayerError("it is being restarted", may_pass=True)
                raise PublishFailed("away", {0: failure}, indeterminate=False)
            return await super().publish(records)

    layer = Away()
    async with database.outbox() as outbox, Channel(layer) as channel:
        await put(database, outbox, *range(5), key="k")
        async with outbox.relaying(channel, give_up_after=0.0):
            with anyio.fail_after(10):
                while "away" not in caplog.text:
                    await anyio.sleep(0.01)
            assert (await outbox.status()).waiting == 5
            layer.is_away = False
            assert [one.body for one in await published(channel, "t", 5)] == [0, 1, 2, 3, 4]
            with anyio.fail_after(10):  # it is told behind the page
                while "published again" not in caplog.text:
                    await anyio.sleep(0.01)
    assert (await outbox.status()).set_aside == 0


async def test_a_message_is_encoded_and_checked_before_anything_is_written(database) -> None:
    number = Topic("numbers", int)
    async with database.outbox() as outbox, database.begin() as connection:
        with pytest.raises(EncodeError):
            await outbox.publish(number, "no number", connection=connection)  # type: ignore[arg-type]
        with pytest.raises(MessageTooLarge):
            await outbox.publish("t", "x" * (17 << 20), connection=connection)
        with pytest.raises(ConfigurationError):
            await outbox.publish("t", 1, key="k" * 5000, connection=connection)
        with pytest.raises(ConfigurationError, match="connection="):
            await outbox.publish("t", 1)  # type: ignore[call-arg]
        with pytest.raises(CapabilityError, match="no option delay="):
            await outbox.publish("t", 1, connection=connection, delay=1)  # type: ignore[call-arg]
        with pytest.raises(ConfigurationError, match="connection= is a "):
            await outbox.publish("t", 1, connection="no connection")
    assert (await outbox.status()).waiting == 0


async def test_a_connection_in_no_transaction_is_refused(database) -> None:
    is_sqlite = database.url.startswith("sqlite")
    outside = [outside_by_sqlite3] if is_sqlite else OUTSIDE
    async with database.outbox() as outbox:
        for one in outside:
            async with one(database.url) as connection:
                with pytest.raises(ConfigurationError, match="in no transaction"):
                    await outbox.publish("t", 1, connection=connection)
        assert (await outbox.status()).waiting == 0


async def test_tables_are_made_once_however_many_begin_at_once(database) -> None:
    begun = []

    async def begin(number: int) -> None:
        async with database.outbox() as outbox:
            await put(database, outbox, number)
            begun.append(number)

    async with anyio.create_task_group() as tasks:
        for number in range(8):
            tasks.start_soon(begin, number)
    assert sorted(begun) == list(range(8))


async def test_an_idle_relay_on_sqlite_looks_no_more_often_than_it_says(
    tmp_path, monkeypatch
) -> None:
    page, looks = sqlite.SQLiteOutboxSource.page, []

    def counted(source):
        looks.append(time.monotonic())
        return page(source)

    monkeypatch.setattr(sqlite.SQLiteOutboxSource, "page", counted)
    database = sqlite_at(tmp_path / "shop.db")
    async with database.outbox() as outbox, Channel(MemoryQueueLayer()) as channel:
        async with outbox.relaying(channel):
            with anyio.fail_after(10):
                while len(looks) < 5:
                    await anyio.sleep(0.01)
    assert looks[4] - looks[1] >= 2 * sqlite.POLL


async def test_tables_that_are_not_there_are_told_with_what_to_do(database) -> None:
    outbox = database.outbox(migrate=False)
    with pytest.raises(LayerError, match=r"does not exist|no such table"):
        async with database.begin() as connection:
            await outbox.publish("t", 1, connection=connection)
    with pytest.raises(LayerError, match="outbox"):
        async with Channel(MemoryQueueLayer()) as channel, outbox.relaying(channel):
            await anyio.sleep(20)


async def test_what_ends_a_relay_is_raised_bare_and_so_is_what_the_block_raises(database) -> None:
    channel = Channel(MemoryQueueLayer())
    async with database.outbox() as outbox:
        with anyio.fail_after(10), pytest.raises(ChannelClosed):
            async with outbox.relaying(channel):
                await put(database, outbox, 1)
                await anyio.sleep(20)
        assert (await outbox.status()).waiting == 1
        async with channel:
            with pytest.raises(Failed):
                async with outbox.relaying(channel):
                    raise Failed


@pytest.mark.parametrize(
    "url",
    ["mysql://me:secret@host/shop", "me:secret@host", "postgresql://me:sec/ret@host", "sqlite://"],
)
def test_what_is_no_database_is_refused_without_its_password(url: str) -> None:
    with pytest.raises(ConfigurationError) as raised:
        Outbox(url)
    assert "sec" not in str(raised.value)
    frames = []
    trace = raised.value.__traceback__
    while trace is not None:
        if "/acked/" in trace.tb_frame.f_code.co_filename:
            frames.append(str(trace.tb_frame.f_locals))
        trace = trace.tb_next
    assert "secret" not in "".join(frames)
    assert "secret" not in repr(Outbox("postgresql://me:secret@host/shop"))


async def test_a_file_that_is_not_there_is_not_made(tmp_path) -> None:
    path = tmp_path / "typo.db"
    with pytest.raises(LayerError, match="must be there"):
        async with Outbox(f"sqlite://{path}"):
            pass
    assert not path.exists()


async def test_an_app_relays_as_long_as_its_consumers_run(database) -> None:
    orders = Topic("orders", int)
    layer = MemoryQueueLayer()
    async with database.outbox() as outbox:
        app = App(lambda: layer, lifespan=outbox.relaying)

        @app.consumer(orders, group="g")
        async def ship(order: int) -> None:
            assert order == 7
            app.stop()

        async with database.begin() as connection:
            await outbox.publish(orders, 7, connection=connection)
        with anyio.fail_after(20):
            await app.run()
        await until_waiting(outbox, 0)


async def test_a_page_has_a_bound_of_bytes(database) -> None:
    body = "x" * (3 << 20)
    async with database.outbox() as outbox, Channel(MemoryQueueLayer()) as channel:
        await put(database, outbox, *[body] * 5, key="k")
        async with outbox._store.relaying() as source, source.page() as rows:
            assert len(rows) == 3
        async with outbox.relaying(channel):
            assert len(await published(channel, "t", 5)) == 5


async def test_a_relay_on_postgres_survives_the_loss_of_its_connection(postgres_broker) -> None:
    database = postgres_at(postgres_broker.url)
    async with database.outbox() as outbox, Channel(MemoryQueueLayer()) as channel:
        async with outbox.relaying(channel):
            await put(database, outbox, 1)
            assert [one.body for one in await published(channel, "t", 1)] == [1]
            await until_waiting(outbox, 0)  # else 1 may rightly come again
            async with connected(database.url) as admin:
                killed = 0
                while not killed:  # its last statement may name no table
                    killed = await admin.fetchval(
                        "select count(pg_terminate_backend(pid)) from pg_stat_activity "
                        "where strpos(query, $1) > 0 and pid <> pg_backend_pid()",
                        f'"{database.schema}".outbox',
                    )
            await put(database, outbox, 2)
            assert [one.body for one in await published(channel, "t", 1)] == [2]


async def test_a_relay_on_postgres_is_woken_by_a_commit(postgres_broker, monkeypatch) -> None:
    monkeypatch.setattr(import_module("acked._boxes.postgres_source"), "POLL", 3600.0)
    database = postgres_at(postgres_broker.url)
    async with database.outbox() as outbox, Channel(MemoryQueueLayer()) as channel:
        async with outbox.relaying(channel):
            for number in range(5):
                await put(database, outbox, number)
                assert [one.body for one in await published(channel, "t", 1)] == [number]


async def test_two_schemas_have_two_outboxes(database, tmp_path) -> None:
    other = database._replace(schema=f"{database.schema}_2")
    async with database.outbox() as one, other.outbox() as two:
        await put(database, one, 1)
        await put(other, two, 2, 3)
        assert ((await one.status()).waiting, (await two.status()).waiting) == (1, 2)

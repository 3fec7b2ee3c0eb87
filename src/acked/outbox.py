"""An outbox: published when your transaction commits, to whatever broker, and never without it."""

from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Any, Final, Required, Self, TypedDict, TypeVar, Unpack, cast, overload

import anyio

from acked._boxes.contracts import OutboxStatus
from acked._boxes.relay import Relay
from acked._boxes.stores import outbox_store, postgres_sql
from acked._core.channel import Channel
from acked._core.options import checked_seconds
from acked._core.publish_options import PublishOptions
from acked._core.publishing import Encoders, as_topic
from acked.codecs import JSON
from acked.errors import CapabilityError, ConfigurationError, hiding_arguments
from acked.types import Capabilities, Codec, Receipt, Topic

__all__ = ("Outbox", "OutboxOptions", "OutboxStatus")

T = TypeVar("T")

CARRIES: Final = Capabilities(keys=True, headers=True, max_payload=16 * 1024 * 1024)


class OutboxOptions(TypedDict, total=False):
    """The options of `Outbox.publish`."""

    connection: Required[object]
    """Your connection to the database of the outbox, in the transaction that decides."""
    key: str | None
    """What groups messages whose order matters."""
    headers: Mapping[str, str] | None
    """Text that travels beside the body."""
    id: str | None
    """The message's identity (drawn anew)."""


class Outbox:
    """A table in the database of your data, whose rows a relay publishes to any channel.

    ```python
    outbox = Outbox("postgresql://shop@db.internal/shop")

    async with connection.transaction():
        await connection.execute("insert into orders values ($1)", order.number)
        await outbox.publish(ORDERS, order, key=order.customer, connection=connection)

    async with Channel.from_url("redis-streams://broker.internal") as channel:
        await outbox.relay(channel)         # here, or in any other process
    ```

    What commits is published, at least once, and always with the same id; what is rolled back
    never is. Messages of one key are published in the order of their transactions, each after the
    broker has confirmed the one before; those without a key in none. Any number of relays share
    the work on PostgreSQL; on SQLite one works and the others stand by.

    `database` is `postgresql://...` or `sqlite:///path`. The table is `outbox` in the schema
    `schema`, in SQLite `acked_outbox`; entering the outbox makes it unless `migrate` is false, as a
    relay does (`acked schema --of outbox` prints it). `codec` serves every topic that names none.
    """

    @hiding_arguments
    def __init__(
        self, database: str, *, schema: str = "acked", migrate: bool = True, codec: Codec = JSON
    ) -> None:
        self._store: Final = outbox_store(database, schema=schema, migrate=migrate)
        self._encoders = Encoders(codec, CARRIES, verify=True)

    def __repr__(self) -> str:
        return f"<Outbox in {self._store!r}>"

    @staticmethod
    def schema_sql(schema: str = "acked") -> str:
        """Return the SQL that makes the table in PostgreSQL; run it in one transaction."""
        return postgres_sql("outbox", schema)

    async def __aenter__(self) -> Self:
        """Make the table, or see that it is there. Raises `LayerError` where that cannot be."""
        await self._store.prepare()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Do nothing: there is nothing to close."""

    @overload
    async def publish(
        self, topic: Topic[T], body: T, **options: Unpack[OutboxOptions]
    ) -> Receipt: ...
    @overload
    async def publish(
        self, topic: str, body: object, **options: Unpack[OutboxOptions]
    ) -> Receipt: ...
    async def publish(
        self, topic: Topic[Any] | str, body: object, **options: Unpack[OutboxOptions]
    ) -> Receipt:
        """Publish one message if, and once, the transaction that `connection` is in commits.

        `connection` is to the database of the outbox, and in a transaction: of asyncpg, psycopg
        (`AsyncConnection`), sqlite3, aiosqlite or SQLAlchemy (`AsyncSession`, `AsyncConnection`).
        The receipt's position is the number in the table. Raises as `Channel.publish` does for a
        body, key, header or id that cannot be; `ConfigurationError` for a connection that is none
        or in no transaction, and nothing was done; `LayerError` where the database refuses, and
        then the transaction cannot commit.
        """
        strange = sorted(options.keys() - OutboxOptions.__annotations__.keys())
        if strange:
            raise CapabilityError(f"an outbox has no option {strange[0]}=: give it to the broker")
        if options.get("connection") is None:
            raise ConfigurationError("publish needs connection=, in whose transaction it is")
        record = self._encoders.record(as_topic(topic), body, cast("PublishOptions", options))
        number = await self._store.put(options["connection"], record)
        return Receipt(record.id, record.topic, str(number))

    async def relay(self, channel: Channel[Any], *, give_up_after: float = 300.0) -> None:
        """Publish to `channel`, which is open, what is committed, until cancelled.

        A row is deleted once the broker has confirmed it. While the broker or the database is away
        all waits, and goes on by itself. What the broker refuses (too large, no rights) keeps those
        of its key waiting for `give_up_after` seconds; then it is set aside, and logged as an
        error. Cancelled, it ends the page that it is at. Raises `LayerError` for what does not pass
        by itself in the database, `ChannelClosed` if the channel is closed.
        """
        patience = checked_seconds("give_up_after", give_up_after, least=0.0)
        await Relay(self._store, channel, patience).run()

    @asynccontextmanager
    async def relaying(
        self, channel: Channel[Any], *, give_up_after: float = 300.0
    ) -> AsyncGenerator[None]:
        """Relay in the background while entered: `App(url, lifespan=outbox.relaying)`.

        What ends the relay cancels the block, and is raised behind it.
        """
        failures: list[Exception] = []

        async def work() -> None:
            try:
                await self.relay(channel, give_up_after=give_up_after)
            except Exception as error:  # noqa: BLE001 - raised below, and bare
                failures.append(error)
                tasks.cancel_scope.cancel()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(work)
            try:
                yield
            except Exception as error:  # noqa: BLE001 - as above
                failures.append(error)
            tasks.cancel_scope.cancel()
        if failures:
            raise failures[0]

    async def status(self) -> OutboxStatus:
        """Return how many messages wait, for how long the oldest has, and how many are aside."""
        return await self._store.status()

    async def retry(self) -> int:
        """Let what was set aside be published again, in its place; return how many that are."""
        return await self._store.retry()

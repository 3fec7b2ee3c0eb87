"""Debts in PostgreSQL: a queue in tables, beside the data that its messages are about.

**Semantics** — At-least-once, between any number of processes that reach the database; effects
exactly once where the ack is in the transaction of the effect (`delivery.ack(connection=...)`).
`channel.publish(..., connection=...)` publishes in your transaction: delivered when it commits,
never if it is rolled back, which is what others call an outbox. Each group of a topic owes rows of
its own: to settle is to delete one, and groups wait for no lock of each other's. Before a topic has
a group, everything is kept. A group that is new begins with whatever is kept, also for others
(`Start.EARLIEST`), with that from a time on (`Start.at`, by the record's timestamp), or with what
comes next (`Start.LATEST`). A group that nobody consumes any more still owes until it is removed; a
listener of `fire_and_forget` that was killed is removed after five minutes of silence.

**Ordering** — Total within a topic, by numbers that are given while a publish runs: what one
publisher publishes in turn is in that order. A transaction that commits late puts its messages in
their place among what is not delivered yet. What is delivered again comes in its original place
among what is ready; what was published with a priority comes before what has a lower one. Several
topics in one subscription get equal shares of every batch. With `ordered_by="key"` one message of a
key is leased in a group at a time, the earliest; what comes after it is parked in its row and costs
nobody else, and claims of one group are made one after the other. An ack in a transaction frees the
next when that commits; with a snapshot (`REPEATABLE READ`) it may fail to serialize, and is to be
tried again.

**Acknowledgement** — Confirmed means committed, as durable as `synchronous_commit` says. A claim is
one statement with `FOR UPDATE SKIP LOCKED`; a lease is a deadline for one message by the server's
clock: when it is over, the next look of another consumer of the group takes the message away, and a
settlement that comes after is LOST. When that clock is set forward, what is held may be another's
before its time; when it is set back, what waits for the end of a lease or of a delay waits for as
much longer. Let the server's clock be slewed, not stepped. A nack (with or without a delay) and a
lease that was taken away count as an attempt, a release does not. A dead letter is published in the
transaction that gives up the original. Waiting consumers are woken by NOTIFY, within milliseconds;
one look in `poll` seconds is for all of a layer, and each looks five times a second where no
notifications arrive.

**Loses messages when** — The database does: with `synchronous_commit=off` a crash of the server may
undo what was accepted in the last second, and acks (then it is delivered again). Claims are never
waited for to be on disk: an attempt that was just begun may be forgotten in a crash.

**Native handle** — The tables in `schema` (`acked` unless you say otherwise): look into them with
SQL, read-only. `acked.publish(...)` in it may be called from triggers.

**Requires** — PostgreSQL 12 or later with a UTF8 database, the primary. The tables are made by the
first layer that is opened, or by hand from what `acked schema` prints (`migrate=false`). Works
through PgBouncer's `pool_mode=transaction` with `pooled=true`, a little slower: each statement is
parsed again, and nobody is woken, for such a pooler swallows LISTEN. TLS as for `postgres-notify`.
`pip install 'acked[postgres]'` for asyncpg; asyncio, not trio. Bodies have at most 16 MiB.

Longer than 300 lines: a third is what it promises, what its options mean, and how it is entered.
"""

from importlib import import_module

try:
    import_module("asyncpg")
except ImportError as _absent:
    raise ImportError(
        "acked.layers.postgres_queue needs asyncpg: pip install 'acked[postgres]'",
        name=_absent.name,
    ) from _absent

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from types import TracebackType
from typing import Any, Final, Self, cast
from urllib.parse import parse_qsl, urlencode, urlsplit

from acked.abc import AckFeed
from acked.errors import (
    ChannelClosed,
    ConfigurationError,
    ConnectionLost,
    LayerError,
)
from acked.layers._postgres.findings import WayThere
from acked.layers._postgres.pool import LendingPool
from acked.layers._postgres.schema import quoted
from acked.layers._postgres.server import Password, PostgresServer, close, dead_after
from acked.layers._postgres.tls import TLS_OPTIONS
from acked.layers._postgres.transactions import call_in
from acked.layers._shared.runtime import require_asyncio
from acked.layers._shared.schema import checked_schema
from acked.layers._shared.urls import number, switch, url_options, whole_number
from acked.layers.postgres_queue._browsing import QueueBrowser
from acked.layers.postgres_queue._feed import PostgresQueueFeed
from acked.layers.postgres_queue._findings import QueueSituation, queue_facts, queue_findings
from acked.layers.postgres_queue._functions import QueueFunctions
from acked.layers.postgres_queue._patrol import Patrol
from acked.layers.postgres_queue._publishing import (
    not_published,
    not_taken,
    receipts_of,
    taken_of,
)
from acked.layers.postgres_queue._records import alike, columns, placing_of
from acked.layers.postgres_queue._schema import (
    channel_of,
    check_version,
    migrate,
    script,
)
from acked.layers.postgres_queue._store import QueueStore
from acked.layers.postgres_queue._wakeups import Wakeups
from acked.types import Capabilities, Finding, KeptRecord, Receipt, Record, Start

__all__ = ("PostgresQueueLayer",)

CAPABILITIES: Final = Capabilities(
    confirmed_ack=True,
    nack=True,
    nack_delay=True,
    reject=True,
    dead_letter=True,
    extend=True,
    release=True,
    attempts=True,
    persistent=True,
    groups=True,
    competing=True,
    lag=True,
    remove_group=True,
    browse=True,
    replay=True,
    batch_publish=True,
    coalesced_publish=True,
    publish_delay=True,
    publish_expiry=True,
    publish_priority=True,
    publish_once=True,
    publish_confirm=True,
    out_of_order_ack=True,
    headers=True,
    keys=True,
    order_after_nack=True,
    key_order=True,
    last_chance=True,
    order="total",
    lease="timer",
    max_payload=16 * 1024 * 1024,
)

PARSERS: Final[Mapping[str, Callable[[str, str], Any]]] = {
    "pool_size": whole_number,
    "timeout": number,
    "poll": number,
    "pooled": switch,
    "migrate": switch,
    "schema": lambda _, text: text,
}
PASSED_ON: Final = frozenset({*TLS_OPTIONS, "application_name", "target_session_attrs", "passfile"})


class PostgresQueueLayer:
    """An ack-capable queue in the tables of one schema of a PostgreSQL database.

    ```python
    layer = PostgresQueueLayer("postgresql://shop@db.internal/shop")
    layer = PostgresQueueLayer.from_url("postgres-queue://shop@db.internal/shop?schema=queue")
    ```

    `schema` is where the tables are, made when the layer is opened unless `migrate` is false.
    `pool_size` is the most connections that publish, and the most that consume; one more listens.
    Durations are seconds: connecting and each statement wait up to `timeout`; a consumer that waits
    looks by itself every `poll`. `pooled` says that the way there leads through a pooler that
    shares sessions between transactions. `password`, or what the function of that name returns
    (also async), is given instead of the dsn's, and asked for each connection. Raises
    `ConfigurationError` for values that cannot be.
    """

    def __init__(
        self,
        dsn: str,
        *,
        schema: str = "acked",
        migrate: bool = True,
        pooled: bool = False,
        pool_size: int = 4,
        timeout: float = 10.0,
        poll: float = 5.0,
        password: Password | None = None,
    ) -> None:
        self.capabilities: Final = CAPABILITIES
        if pool_size < 1:
            raise ConfigurationError(f"pool_size={pool_size}: needs to be at least 1")
        for name, given in {"timeout": timeout, "poll": poll}.items():
            if not given > 0:
                raise ConfigurationError(f"{name}={given}: needs to be above 0")
        self._schema = checked_schema(schema)
        self._server = server = PostgresServer(dsn, timeout, password, prepares=not pooled)
        self._migrates = migrate
        self._is_pooled = pooled
        # Apart, so that no burst of publishes keeps a lease from being renewed.
        self._publishing = LendingPool(server, pool_size)
        self._consuming = LendingPool(server, pool_size)
        self._functions = QueueFunctions(quoted(schema))
        self._store = QueueStore(server, self._consuming, self._functions)
        self._patrol = Patrol(self._store, every=poll)
        self._browser = QueueBrowser(self._store, quoted(schema))
        self._wakeups: Wakeups | None = None

    def __repr__(self) -> str:
        return f"<PostgresQueueLayer {self._server.address}, schema {self._schema!r}>"

    @classmethod
    def from_url(cls, url: str) -> "PostgresQueueLayer":
        """Return a layer for `postgres-queue://user:password@host:port/database?option=value`.

        Options: `schema`, `migrate`, `pooled`, `pool_size`, `timeout`, `poll`, and some of
        PostgreSQL's own: `sslmode` and its kind, `application_name`, `target_session_attrs`.
        """
        options = url_options(url, PASSED_ON | PARSERS.keys())
        parts = urlsplit(url)
        passed_on = [one for one in parse_qsl(parts.query) if one[0] in PASSED_ON]
        dsn = parts._replace(scheme="postgresql", query=urlencode(passed_on)).geturl()
        given: dict[str, Any] = {
            name: PARSERS[name](name, text) for name, text in options.items() if name in PARSERS
        }
        return cls(dsn, **given)

    @staticmethod
    def schema_sql(schema: str = "acked", *, since: int = 0) -> str:
        """Return the SQL that makes the tables, or brings those of version `since` up to date.

        Run it in one transaction. What `migrate` does when the layer is opened is the same.
        """
        return script(checked_schema(schema), since=since)

    async def __aenter__(self) -> Self:
        """Connect, and make the tables or see that they are there."""
        require_asyncio("asyncpg")
        try:
            await self._publishing.open()
            await self._consuming.open()
            await self._prepare()
        except BaseException:
            await self._close_pools()
            raise
        self._wakeups = Wakeups(self._server, self._consuming, channel_of(self._schema))
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close all connections."""
        wakeups, self._wakeups = self._wakeups, None
        if wakeups is not None:
            await wakeups.aclose()
        await self._close_pools()

    async def publish(self, records: Sequence[Record]) -> Sequence[Receipt]:
        """Commit `records` in one transaction; a receipt's position is the number in the table.

        Raises `PublishFailed` naming those that UTF-8 cannot carry (the others are accepted), or
        all of them if the transaction failed; `indeterminate` when the answer never came.
        """
        wakeups = self._opened()
        if not records:
            return []
        taken, failures = taken_of(records)
        numbers: Sequence[int] = await self._commit(taken, len(records)) if taken else ()
        wakeups.announce({record.topic for record in taken})
        if failures:
            raise not_taken(records, failures)
        return receipts_of(records, numbers)

    async def publish_once(
        self, record: Record, schedule: str, moment: float, /, *, begins: bool
    ) -> float | None:
        """Commit `record` and its note in one transaction; see `acked.abc.PublishesOnce`."""
        self._opened()
        taken, failures = taken_of([record])
        if failures:
            raise not_taken([record], failures)
        arguments = (schedule, moment, begins, *columns(taken))
        statement = self._functions.publish_once.numbered()
        before: float | None = await self._committed(statement, arguments, 1)
        return before

    async def publish_in(self, connection: object, records: Sequence[Record]) -> Sequence[Receipt]:
        """Publish `records` in the transaction that `connection` is in; consumers get them then.

        As `acked.abc.TransactionalLayer` says; `channel.publish(..., connection=)` calls it. The
        layer need not be open. Raises `PublishFailed`, after which the transaction cannot commit,
        and `ConfigurationError` for a connection in no transaction, with nothing published.
        """
        if not records:
            return []
        taken, failures = taken_of(records)
        if failures:
            raise not_taken(records, failures)
        arguments = (*columns(taken), True, *placing_of(taken))
        try:
            numbers = await call_in(
                connection, self._functions.publish, arguments, self._server.address
            )
        except LayerError as error:
            is_unknown = isinstance(error, ConnectionLost)
            raise not_published(len(records), error, indeterminate=is_unknown) from error
        return receipts_of(records, cast("Sequence[int]", numbers))

    def consume(
        self,
        topics: Sequence[str],
        group: str,
        *,
        in_flight: int,  # noqa: ARG002 - nothing is fetched ahead
        lease: float,
        start: Start,
    ) -> AbstractAsyncContextManager[AckFeed]:
        """Join `group`; what is held on leaving is free at once, its attempt charged."""
        return self._joined(topics, group, start, lease=lease)

    def consume_in_key_order(
        self,
        topics: Sequence[str],
        group: str,
        /,
        *,
        in_flight: int,  # noqa: ARG002 - as above
        lease: float,
        start: Start,
    ) -> AbstractAsyncContextManager[AckFeed]:
        """Join `group` as `consume` does, for each key in its order; see `KeyOrderedLayer`."""
        return self._joined(topics, group, start, lease=lease, in_key_order=True)

    @asynccontextmanager
    async def _joined(
        self, topics: Sequence[str], group: str, start: Start, **options: Any
    ) -> AsyncGenerator[AckFeed, None]:
        wakeups = self._opened()
        if not self._is_pooled:
            wakeups.listen()
        names = [*dict.fromkeys(topics)]
        feed = PostgresQueueFeed(self._store, wakeups, self._patrol, names, group, **options)
        try:
            await feed.join(start)
            yield feed
        finally:
            await feed.leave()

    async def remove_group(self, topics: Sequence[str], group: str) -> None:
        """Forget `group` of `topics`; see `acked.abc.RemovesGroups`.

        It owes nothing more, or nothing was changed, after one transaction. What it alone owed is
        deleted in pages then; cancelled meanwhile, the rest is by whoever consumes next.
        """
        self._opened()
        await self._store.remove(topics, group)
        while await self._store.sweep():
            pass

    def browse(self, topic: str) -> AsyncGenerator[Sequence[KeptRecord], None]:
        """Show what `topic` keeps; see `acked.abc.BrowsableLayer`."""
        self._opened()
        return self._browser.browse(topic)

    async def remove(self, topic: str, positions: Sequence[str]) -> Sequence[bool]:
        """Let no group owe what is at `positions`; see `acked.abc.BrowsableLayer`."""
        self._opened()
        return await self._browser.remove(topic, positions)

    async def check(self) -> Sequence[Finding]:
        """Return what matters for the queue's safety and speed; see `acked.abc.Inspectable`."""
        wakeups = self._opened()
        connection = await self._server.connection()
        try:
            with self._server.translated(), dead_after(self._server.timeout, connection):
                facts = await queue_facts(connection, quoted(self._schema))
            way = WayThere.of(self._server, connection, facts["tls"])
        finally:
            await close(connection)
        here = QueueSituation(wakeups.arrive, is_pooled=self._is_pooled, way=way)
        return queue_findings(facts, here)

    async def _prepare(self) -> None:
        address = self._server.address
        with self._server.translated():
            async with self._consuming.borrowed() as connection:
                if self._migrates:
                    await migrate(connection, self._schema, address)
                await check_version(connection, self._schema, address)

    async def _commit(self, records: Sequence[Record], asked: int) -> Sequence[int]:
        functions, arguments = self._functions, alike(records)
        statement = functions.publish_alike
        if arguments is None:
            statement = functions.publish.numbered()
            arguments = (*columns(records), False, *placing_of(records))
        numbers: Sequence[int] = await self._committed(statement, arguments, asked)
        return numbers

    async def _committed(self, statement: str, arguments: Sequence[object], asked: int) -> Any:
        """Return the value of `statement`, which publishes so many."""
        is_sent = False
        try:
            with self._server.translated():
                async with self._publishing.borrowed() as connection:
                    is_sent = True
                    return await connection.fetchval(statement, *arguments)
        except LayerError as error:
            is_unknown = is_sent and isinstance(error, ConnectionLost)
            raise not_published(asked, error, indeterminate=is_unknown) from error

    def _opened(self) -> Wakeups:
        if self._wakeups is None:
            raise ChannelClosed("this PostgresQueueLayer is not open; enter it first")
        return self._wakeups

    async def _close_pools(self) -> None:
        await self._publishing.aclose()
        await self._consuming.aclose()

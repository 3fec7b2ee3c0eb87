"""News through PostgreSQL's LISTEN and NOTIFY: what the database says reaches whoever listens.

**Semantics** — Fire-and-forget. One connection listens for all subscriptions of the layer; a pool
of others publishes, each `publish` in a transaction of its own: all of its records or none. A
subscription is entered once the server has confirmed LISTEN. A topic is a channel of that name, in
one database: a name has at most 63 bytes and case counts (a plain `NOTIFY Orders` goes to
`orders`). A payload has at most 7999 bytes, of which about 50 are ours: id, time, and the content
type where it is not JSON. Text goes as it is, so up to about 7950 bytes; a body that is not UTF-8
or has a NUL in it goes as base64, up to about 5960; `publish` raises `MessageTooLarge` with the
exact limit, and then nothing of it was sent (`capabilities.max_payload` is what the shortest id
leaves to text). Any other text that arrives, as of `NOTIFY orders, '{"id": 1}'` by a trigger or
psql, is a message too: the text is the body, the id is made up by the process that got it, the
time is when it arrived.

**Ordering** — Total: every subscription gets the messages in the order of the commits, those of
one `publish` in their order, topics mixed.

**Acknowledgement** — None: a message has no `ack()`. `publish` returns when the server has
committed; it does not say whether anybody listened, and retries nothing.

**Loses messages when** — Nobody listens; the connection is lost (the layer reconnects, listens
again, and tells every subscription by a gap of unknown size; with `on_loss="raise"` the reader
gets `ConnectionLost` instead), which is noticed within `heartbeat` seconds also where the network
is silent; a subscription is slower than its overflow policy allows (counted in a gap). The server
cannot be made to wait: behind a full subscription with `Overflow.BLOCK` 32 MiB more wait, and the
rest is counted in a gap. No other subscription notices.

**Native handle** — `publish_in(connection, records)` publishes within your own transaction on your
own asyncpg connection: delivered when it commits, never if it is rolled back.

**Requires** — PostgreSQL 12 or later, with a UTF8 database, reached directly or through a pool of
sessions: PgBouncer's `pool_mode=transaction` swallows LISTEN, and the first subscription says so.
The primary, since a standby can do neither. `channel.check()` tells what on the server would make
messages be missed. TLS that is asked for is verified: any `ssl...` option, and any `sslmode` but
`disable`, means a certificate that is trusted by `sslrootcert` (else by `~/.postgresql/root.crt`,
else by this machine) and has the host's name; `verify-ca` lets the name go. Without any of them
TLS is used where the server has it, and not verified. `pip install 'acked[postgres]'` for asyncpg;
asyncio, not trio.

Longer than 300 lines: a third is what its options mean and when it loses messages.
"""

from importlib import import_module

try:
    import_module("asyncpg")
except ImportError as _absent:
    raise ImportError(
        "acked.layers.postgres_notify needs asyncpg: pip install 'acked[postgres]'",
        name=_absent.name,
    ) from _absent

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Any, Final, Self
from urllib.parse import parse_qsl, urlencode, urlsplit

import msgspec

from acked.abc import Sink
from acked.errors import (
    ChannelClosed,
    ConfigurationError,
    ConnectionLost,
    LayerError,
    hiding_arguments,
)
from acked.layers._postgres.arguments import dsn_of
from acked.layers._postgres.findings import WayThere
from acked.layers._postgres.pool import LendingPool
from acked.layers._postgres.server import (
    AnyConnection,
    Password,
    PostgresServer,
    close,
    dead_after,
)
from acked.layers._postgres.tls import TLS_OPTIONS
from acked.layers._postgres.transactions import require_transaction
from acked.layers._shared.reconnect import OnLoss, reconnects
from acked.layers._shared.runtime import require_asyncio
from acked.layers._shared.urls import HIDDEN, number, url_options, whole_number
from acked.layers.postgres_notify._envelope import (
    LARGEST_BODY,
    MAX_PAYLOAD,
    check_names,
    pack,
    pack_bare,
)
from acked.layers.postgres_notify._findings import FACTS, NUMBERS, Situation, findings
from acked.layers.postgres_notify._listener import NotifyListener
from acked.layers.postgres_notify._listening import ListenConnection
from acked.layers.postgres_notify._statements import not_published, statement
from acked.types import Capabilities, Finding, Record

__all__ = ("PostgresNotifyLayer", "dsn_of")

CAPABILITIES: Final = Capabilities(
    batch_publish=True,
    coalesced_publish=True,
    publish_confirm=True,
    headers=True,
    keys=True,
    lossy=True,
    order="total",
    max_payload=LARGEST_BODY,
)

# What travels bare travels by itself.
BARE_CAPABILITIES: Final = msgspec.structs.replace(
    CAPABILITIES, max_payload=MAX_PAYLOAD, coalesced_publish=False
)

NUMERIC: Final[Mapping[str, Callable[[str, str], float]]] = {
    "heartbeat": number,
    "pool_size": whole_number,
    "timeout": number,
    "reconnect_timeout": number,
}
PASSED_ON: Final = frozenset(
    {
        *TLS_OPTIONS,
        *("application_name", "target_session_attrs", "passfile"),
    }
)
SHORTLY: Final = 1.0
"""Seconds that who publishes waits for those that shall hear again."""


class PostgresNotifyLayer:
    """Carries news from publishers to subscriptions through a PostgreSQL server.

    `dsn` is `postgresql://user:password@host:port/database`. `on_loss` says what a subscription
    gets when the connection is lost: a gap once it was made again, or an error. Durations are
    seconds: a silent loss is noticed within `heartbeat`; connecting, the server's answer to a
    publish, and a subscription that enters while there is no connection wait up to `timeout`;
    after `reconnect_timeout` without a connection readers get `ConnectionLost`. `pool_size` is
    the most connections that publish. With `bare` a text without key and headers that is published
    by itself travels alone, all 7999 bytes of it, so that others need not know of `acked`; who
    receives it makes up id and time. `password`, or what the function of that name returns (also
    async), is given instead of the dsn's, and asked for each connection: it may change. Raises
    `ConfigurationError` for values that cannot be.
    """

    @hiding_arguments
    def __init__(
        self,
        dsn: str,
        *,
        on_loss: OnLoss = "reconnect",
        heartbeat: float = 10.0,
        pool_size: int = 4,
        timeout: float = 10.0,
        reconnect_timeout: float = 300.0,
        bare: bool = False,
        password: Password | None = None,
    ) -> None:
        self.capabilities: Final = BARE_CAPABILITIES if bare else CAPABILITIES
        self._listening: ListenConnection | None = None
        self._shown = HIDDEN
        self._server = PostgresServer(dsn, timeout, password)
        self._shown = self._server.address
        del dsn  # what follows may raise
        self._reconnects = reconnects(on_loss)
        if pool_size < 1:
            raise ConfigurationError(f"pool_size={pool_size}: needs to be at least 1")
        seconds = {"heartbeat": heartbeat, "timeout": timeout}
        for name, given in {**seconds, "reconnect_timeout": reconnect_timeout}.items():
            if not given > 0:
                raise ConfigurationError(f"{name}={given}: needs to be above 0")
        self._timeout = timeout
        self._pool_size = pool_size
        self._heartbeat = heartbeat
        self._patience = reconnect_timeout
        self._bare = bare
        self._pool = LendingPool(self._server, pool_size)

    def __repr__(self) -> str:
        listened = self._listening.topics() if self._listening is not None else {}
        counts = (f"{topic!r} {count}" for topic, count in sorted(listened.items()))
        found = ", ".join(counts) or "none"
        return f"<PostgresNotifyLayer {self._shown}, subscriptions: {found}>"

    @classmethod
    @hiding_arguments
    def from_url(cls, url: str) -> "PostgresNotifyLayer":
        """Return a layer for `postgres-notify://user:password@host:port/database?option=value`.

        Options: `on_loss`, `heartbeat`, `pool_size`, `timeout`, `reconnect_timeout`, and some of
        PostgreSQL's own: `sslmode` and its kind, `application_name`, `target_session_attrs`.
        """
        options = url_options(url, PASSED_ON | NUMERIC.keys() | {"on_loss"})
        parts = urlsplit(url)
        passed_on = [one for one in parse_qsl(parts.query) if one[0] in PASSED_ON]
        dsn = parts._replace(scheme="postgresql", query=urlencode(passed_on)).geturl()
        given: dict[str, Any] = {}
        for name, parsed in NUMERIC.items():
            if name in options:
                given[name] = parsed(name, options[name])
        if "on_loss" in options:
            given["on_loss"] = options["on_loss"]
        return cls(dsn, **given)

    async def __aenter__(self) -> Self:
        """Make the first connection that publishes; the one that listens waits for `listen`."""
        require_asyncio("asyncpg")
        await self._pool.open()
        self._listening = ListenConnection(
            self._server,
            self._pool,
            heartbeat=self._heartbeat,
            patience=self._patience,
            reconnects=self._reconnects,
        )
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close all connections."""
        listening, self._listening = self._listening, None
        if listening is not None:
            await listening.aclose()
        await self._pool.aclose()

    async def publish(self, records: Sequence[Record]) -> None:
        """Publish `records` in one transaction; see `acked.abc.FireAndForgetLayer`.

        Raises `PublishFailed` for all of them or none; `indeterminate` when the connection broke,
        or `timeout` seconds were over, before the server answered. After a loss, who listens to
        this layer is waited for, shortly.
        """
        listening = self._opened()
        if not records:
            return
        await listening.hear(SHORTLY)
        # Not several: of identical texts in one transaction PostgreSQL delivers one.
        bare = self._bare and len(records) == 1
        query, arguments = statement(records, pack_bare if bare else pack)
        sent = False
        try:
            with self._server.translated():
                async with self._pool.borrowed() as connection:
                    sent = True
                    await connection.execute(query, *arguments)
        except LayerError as error:
            unknown = sent and isinstance(error, ConnectionLost)
            raise not_published(records, error, indeterminate=unknown) from error

    async def publish_in(self, connection: AnyConnection, records: Sequence[Record]) -> None:
        """Publish `records` in the transaction that `connection` is in, on the same database.

        ```python
        async with connection.transaction():
            await connection.execute("insert into orders values (1)")
            await channel.layer.publish_in(connection, [Record("orders", b"1", str(uuid4()))])
        ```

        They are delivered when it commits, in that order, and never if it is rolled back. The
        layer need not be open. Raises `MessageTooLarge` with nothing sent, `ConfigurationError` for
        a connection in no transaction, and `PublishFailed`, after which it cannot commit.
        """
        if records:
            query, arguments = statement(records)
            require_transaction(connection)
            try:
                with self._server.translated():
                    await connection.execute(query, *arguments)
            except LayerError as error:
                raise not_published(records, error, indeterminate=False) from error

    @asynccontextmanager
    async def listen(self, topics: Sequence[str], sink: Sink) -> AsyncGenerator[None]:
        """Feed everything published to `topics` into `sink` for as long as this is entered."""
        listening = self._opened()
        check_names(frozenset(topics))
        listener = NotifyListener(topics, sink)
        try:
            listening.add(listener)
            await listener.wait_to_enter(self._timeout, self._server.address)
            yield
        finally:
            listening.remove(listener)
            await listener.leave()

    async def check(self) -> Sequence[Finding]:
        """Return what matters for safety on the server; see `acked.abc.Inspectable`.

        Warns of what makes messages be missed without end: a transaction pooler, a standby,
        sessions that are ended when idle, a queue of notifications that fills, too few connections.
        """
        connection = await self._server.connection()
        try:
            with self._server.translated(), dead_after(self._timeout, connection):
                row = await connection.fetchrow(FACTS)
                numbers = await connection.fetch(NUMBERS)
                other = await self._pool.session()
            facts = {**(row or {}), **{one["name"]: one["number"] for one in numbers}}
            here = Situation(
                pooled=facts["session"] == other.number,
                rest=self._heartbeat / 2,
                pool_size=self._pool_size,
                way=WayThere.of(self._server, connection, facts["tls"]),
            )
        finally:
            await close(connection)
        return findings(facts, here)

    def _opened(self) -> ListenConnection:
        if self._listening is None:
            raise ChannelClosed("this PostgresNotifyLayer is not open; enter it first")
        return self._listening

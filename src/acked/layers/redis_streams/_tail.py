"""What is appended to streams from now on, for whoever listens: one connection reads them all.

No group is made and nothing is acknowledged, so nothing is left behind. A stream is read on from
the last entry that was seen, also on a new connection: unless entries were trimmed meanwhile,
nothing is missed.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Final, Self, TypeAlias, cast

from msgspec.structs import replace
from redis.asyncio import Redis

from acked.abc import Sink
from acked.errors import ChannelClosed, ConnectionLost, LayerError, PublishFailed
from acked.layers._redis.connection import Command, Connection
from acked.layers._redis.errors import is_denied, says
from acked.layers._redis.reader import Reader
from acked.layers._redis.refusals import RefusalBudget
from acked.layers._redis.urls import read_url, readable
from acked.layers._shared.blocked_sink import BlockedSink
from acked.layers._shared.reconnect import OnLoss, pause_before, reconnects
from acked.layers._shared.runtime import require_asyncio
from acked.layers.redis_streams._publisher import send
from acked.layers.redis_streams._records import Fields, fields_of, leased_first
from acked.types import Capabilities, Record

__all__ = ("RedisStreamsTail",)

logger = logging.getLogger("acked.layers.redis_streams")

Entries: TypeAlias = Sequence[tuple[bytes, Fields]]

CAPABILITIES: Final = Capabilities(
    batch_publish=True, publish_confirm=True, headers=True, keys=True, order="total"
)
TIMEOUT: Final = 10.0
"""Seconds within which the server must answer."""
BLOCK: Final = 1000
"""Milliseconds that a read waits for an entry; a new listener ends it."""
MOST: Final = 256
"""Entries of one stream in a read."""


class RedisStreamsTail:
    """A fire-and-forget layer over streams.

    `on_loss` says what a lost connection is: it is made again ("reconnect"), and nothing is missed
    but what was trimmed meanwhile, or whoever listens gets `ConnectionLost` ("raise").
    With `field` an entry is a body in that field and nothing beside it, as others write them; what
    has no such field is read as usual.
    """

    def __init__(
        self, url: str, *, on_loss: OnLoss = "reconnect", field: str | None = None
    ) -> None:
        self.capabilities: Final = CAPABILITIES
        self._url = readable(read_url(url))
        self._reconnects = reconnects(on_loss)
        self._field = field
        self._link: Connection | None = None
        self._task: asyncio.Task[None] | None = None
        self._sinks: dict[str, dict[BlockedSink, None]] = {}
        self._seen: dict[str, bytes] = {}
        """Up to where each stream was read."""
        self._session = b""

    def __repr__(self) -> str:
        return f"<RedisStreamsTail {self._url.shown}, {len(self._sinks)} streams>"

    @property
    def client(self) -> Redis:
        """The client that publishes; raises `ChannelClosed` while this is not entered."""
        return self._entered().client

    async def __aenter__(self) -> Self:
        """Connect once; reading connects when somebody listens."""
        require_asyncio("redis-py")
        link = Connection(self._url, timeout=TIMEOUT, connections=16)
        try:
            await link.ask(b"PING")
        except BaseException:
            await link.aclose()
            raise
        self._link = link
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close every connection."""
        link, self._link = self._link, None
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        if link is not None:
            await link.aclose()

    async def publish(self, records: Sequence[Record]) -> None:
        """Append `records`; raise `PublishFailed` for those that the server did not accept."""
        commands = [(b"XADD", one.topic.encode(), b"*", *self._fields(one)) for one in records]
        replies, indeterminate = await send(self._entered(), commands)
        failures = {n: one for n, one in enumerate(replies) if isinstance(one, LayerError)}
        if failures:
            first = next(iter(failures.values()))
            raise PublishFailed(str(first), failures, indeterminate=indeterminate) from first

    @asynccontextmanager
    async def listen(self, topics: Sequence[str], sink: Sink) -> AsyncGenerator[None]:
        """Feed what is appended to `topics` into `sink` for as long as this is entered."""
        fresh = [topic for topic in topics if topic not in self._seen]
        ends = await self._ends(fresh)
        own = BlockedSink(sink)
        try:
            for topic in topics:
                self._seen.setdefault(topic, ends.get(topic, b"0-0"))
                self._sinks.setdefault(topic, {})[own] = None
            if fresh:
                await self._look_again()
            yield
        finally:
            for topic in topics:
                self._leave(topic, own)
            await own.aclose()

    async def _ends(self, topics: Sequence[str]) -> Mapping[str, bytes]:
        """Return where each of `topics` ends now, in one request."""
        if not topics:
            return {}
        asked = [(b"XINFO", b"STREAM", topic.encode()) for topic in topics]
        replies = await self._entered().exchange(asked)
        if any(isinstance(reply, ConnectionLost) for reply in replies):
            replies = await self._entered().exchange(asked)  # it was cut while nobody used it
        ends: dict[str, bytes] = {}
        for topic, reply in zip(topics, replies, strict=True):
            if says(reply, "no such key"):
                ends[topic] = b"0-0"
            elif isinstance(reply, LayerError):
                raise reply
            else:
                told = cast("list[bytes]", reply)
                ends[topic] = told[told.index(b"last-generated-id") + 1]
        return ends

    async def _look_again(self) -> None:
        """Let the read that waits end, since it does not know of a stream."""
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run(), name="acked: XREAD")
        elif self._session:
            # Race: between two reads there is nothing to end, and the next one knows.
            await self._entered().exchange([(b"CLIENT", b"UNBLOCK", self._session)])

    def _leave(self, topic: str, sink: BlockedSink) -> None:
        sinks = self._sinks.get(topic, {})
        sinks.pop(sink, None)
        if not sinks and self._sinks.pop(topic, None) is not None:
            del self._seen[topic]

    async def _run(self) -> None:
        """Read for as long as somebody listens; who does is told what ends it."""
        link = self._entered()

        async def home() -> Connection:
            return link

        reader = Reader(home)
        try:
            await self._keep_reading(reader)
        except LayerError as error:
            self._fail(error, tuple(self._sinks))
        except Exception as error:  # noqa: BLE001 - nobody awaits this task; subscribers must know
            self._fail(LayerError(f"listening ended by {error!r}"), tuple(self._sinks))
        finally:
            self._session = b""
            await reader.close()

    async def _keep_reading(self, reader: Reader) -> None:
        """Read, and go on after what passes; raise what does not."""
        tries, refusals = 0, RefusalBudget(logger)
        while self._seen:
            try:
                await self._read(reader)
            except LayerError as error:
                if not self._reconnects:
                    raise
                refusals.note(error)
                tries += 1
                if tries == 1 and isinstance(error, ConnectionLost):
                    logger.warning("%s; reconnecting", error)
                await reader.close()  # what refuses us now may let another connection in
                await pause_before(tries)
            else:
                refusals.note(None)
                tries = 0

    async def _read(self, reader: Reader) -> None:
        if not reader.is_open:
            await reader.open()
            (told,) = await reader.exchange([(b"CLIENT", b"ID")])
            self._session = b"%d" % told if isinstance(told, int) else b""
        (reply,) = await reader.exchange([_xread(self._seen, BLOCK)], wait=BLOCK / 1000)
        if isinstance(reply, LayerError):
            if reply.may_pass and not is_denied(reply):
                raise reply
            await self._fail_those_hurt(reader)
            return
        for name, entries in cast("Sequence[tuple[bytes, Entries]]", reply or ()):
            topic = name.decode(errors="surrogateescape")
            if topic in self._seen:  # Race: left while it was read.
                self._seen[topic] = entries[-1][0]
                for leased in leased_first(topic, entries):
                    for sink in tuple(self._sinks[topic]):
                        sink.offer(self._read_out(leased.record))

    def _fields(self, record: Record) -> Iterable[bytes]:
        return fields_of(record) if self._field is None else (self._field.encode(), record.body)

    def _read_out(self, record: Record) -> Record:
        """Return `record` with the body that is in our field, if there is one."""
        text = None if self._field is None else record.headers.get(self._field)
        # Bytes that are no UTF-8 were kept as surrogates.
        return (
            record if text is None else replace(record, body=text.encode(errors="surrogateescape"))
        )

    async def _fail_those_hurt(self, reader: Reader) -> None:
        """Ask for each stream by itself: one that is refused spoils the read of all."""
        topics = tuple(self._seen)
        replies = await reader.exchange([_xread({one: self._seen[one]}) for one in topics])
        for topic, reply in zip(topics, replies, strict=True):
            if isinstance(reply, LayerError) and not isinstance(reply, ConnectionLost):
                self._fail(reply, [topic])

    def _fail(self, error: LayerError, topics: Sequence[str]) -> None:
        for topic in topics:
            self._seen.pop(topic, None)
            for sink in self._sinks.pop(topic, {}):
                sink.fail(error)

    def _entered(self) -> Connection:
        if self._link is None:
            raise ChannelClosed(f"{self!r} is not connected; enter it first")
        return self._link


def _xread(seen: Mapping[str, bytes], block: int | None = None) -> Command:
    wait = () if block is None else (b"BLOCK", b"%d" % block)
    names = [topic.encode(errors="surrogateescape") for topic in seen]
    return (b"XREAD", b"COUNT", b"%d" % MOST, *wait, b"STREAMS", *names, *seen.values())

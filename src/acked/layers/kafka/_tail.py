"""What is produced to topics from now on, for whoever listens: one consumer reads them all.

No group is made and nothing is committed, so nothing is left behind. A partition is read on behind
the last record that was seen, also after a lost connection: unless records were deleted meanwhile,
nothing is missed.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, Collection, Iterable, Sequence
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Final, Self, cast

import anyio

from acked.abc import Sink
from acked.errors import ChannelClosed, ConnectionLost, LayerError, hiding_arguments
from acked.layers._shared.blocked_sink import BlockedSink
from acked.layers._shared.reconnect import OnLoss, reconnects
from acked.layers.kafka._client import connected, make_consumer, stopped, topic_partition, within
from acked.layers.kafka._custody import NOBODY
from acked.layers.kafka._errors import lost_position, translated
from acked.layers.kafka._lenient import LenientParsing
from acked.layers.kafka._options import KafkaOptions, arguments_of, check_options, server_list
from acked.layers.kafka._partition import Partition, Position
from acked.layers.kafka._protocols import (
    ConsumerClient,
    LoneConsumerClient,
    ProducerClient,
    TopicPartition,
)
from acked.layers.kafka._publisher import KafkaPublisher, open_publisher
from acked.layers.kafka._records import Fetched, leased_first
from acked.layers.kafka._topic_ids import TopicIds
from acked.types import Capabilities, Gap, GapCause, Record

__all__ = ("KafkaTail",)

logger: Final = logging.getLogger("acked.layers.kafka")

MOST: Final = 250
"""Records taken at once, so that other tasks have their turn."""
WAIT: Final = 200
"""Milliseconds for which one read waits for records."""
LINGER: Final = 50
"""Milliseconds for which a broker waits for records: who begins to listen waits as long."""
LOOK: Final = 1.0
"""Seconds between two looks for partitions that topics were given."""
DELETED: Final = frozenset({GapCause.BROKER})


class KafkaTail:
    """A fire-and-forget layer over topics, made by `from_url`.

    `on_loss` says what a connection is that is lost for long: it is tried again ("reconnect"), or
    whoever listens gets `ConnectionLost` ("raise"). One task may enter `listen`, another leave it.
    """

    def __init__(
        self,
        options: KafkaOptions,
        *,
        create_topics: int | None = None,
        replicas: int = 1,
        on_loss: OnLoss = "reconnect",
    ) -> None:
        check_options(options, create_topics=create_topics, replicas=replicas)
        self.capabilities: Final = Capabilities(
            batch_publish=True,
            publish_confirm=True,
            headers=True,
            keys=True,
            order="partition",
            max_payload=options.max_payload,
            topic_pattern=r"[a-zA-Z0-9._-]+",
        )
        self._options = options
        self._create_topics, self._replicas = create_topics, replicas
        self._reconnects = reconnects(on_loss)
        self._publisher: KafkaPublisher | None = None
        self._task: asyncio.Task[None] | None = None
        self._consumer: LoneConsumerClient | None = None
        self._ids: TopicIds
        """Of what the consumer reads."""
        self._changing = asyncio.Lock()
        self._sinks: dict[str, dict[BlockedSink, None]] = {}
        self._next: dict[TopicPartition, int] = {}
        """The offset from which each partition is read on."""

    def __repr__(self) -> str:
        return f"<KafkaTail {self._options.where}, {len(self._sinks)} topics>"

    @classmethod
    @hiding_arguments
    def from_url(cls, url: str, *, on_loss: OnLoss = "reconnect") -> "KafkaTail":
        """Return a layer for a URL as `KafkaLayer` takes it; what is about groups has no effect."""
        given = arguments_of(url)
        given.pop("group_instance_id", None)
        topics = {name: given.pop(name) for name in ("create_topics", "replicas") if name in given}
        options = KafkaOptions(server_list(given.pop("servers")), **given)
        return cls(options, on_loss=on_loss, **topics)

    @property
    def producer(self) -> ProducerClient:
        """The `AIOKafkaProducer` of this layer; raises `ChannelClosed` while it is closed."""
        return self._opened().producer

    async def __aenter__(self) -> Self:
        """Connect the producer; reading connects when somebody listens."""
        self._publisher = await open_publisher(
            self._options, partitions=self._create_topics, replicas=self._replicas
        )
        self._changing = asyncio.Lock()  # of this event loop
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close every connection."""
        publisher, self._publisher = self._publisher, None
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        if publisher is not None:
            await publisher.close()

    async def publish(self, records: Sequence[Record]) -> None:
        """Produce `records`, all at once; what was not answered may be there all the same."""
        published = await self._opened().publish(records)
        if published.failures:
            raise published.failure(len(records))

    @asynccontextmanager
    async def listen(self, topics: Sequence[str], sink: Sink) -> AsyncGenerator[None]:
        """Feed what is produced to `topics` into `sink` for as long as this is entered."""
        await self._begin([topic for topic in topics if topic not in self._sinks])
        own = BlockedSink(sink)
        try:
            for topic in topics:
                self._sinks.setdefault(topic, {})[own] = None
            yield
        finally:
            self._leave(topics, own)
            await own.aclose()

    async def _begin(self, topics: Sequence[str]) -> None:
        """Read `topics` from where they end now."""
        known = self._opened().topics
        await known.ensure(topics)
        places = known.places(topics)
        async with self._changing:
            if self._consumer is None:
                if self._task is not None:
                    await asyncio.wait([self._task])
                made = make_consumer(self._options, None, linger=LINGER)
                consumer = cast("LoneConsumerClient", made)
                await connected(consumer, self._options)
                self._consumer, self._ids = consumer, TopicIds(consumer)
                self._task = asyncio.create_task(self._run(consumer), name="acked: Kafka's tail")
            if places:
                asked = self._consumer.end_offsets(list(map(topic_partition, places)))
                ends = await within(self._options.timeout, asked, self._options, "looking up ends")
                await self._ids.made_anew(topics)  # those we begin with
                self._read_also({TopicPartition(*place): end for place, end in ends.items()})

    def _read_also(self, beginnings: dict[TopicPartition, int]) -> None:
        self._next = beginnings | self._next
        self._assign()

    def _assign(self) -> None:
        """Let aiokafka read what is to be read; it forgets its positions, and is told them."""
        if self._consumer is not None:
            self._consumer.assign([topic_partition(place) for place in self._next])
            for place, offset in self._next.items():
                self._consumer.seek(topic_partition(place), offset)

    def _leave(self, topics: Iterable[str], sink: BlockedSink) -> None:
        for topic in topics:
            sinks = self._sinks.get(topic, {})
            sinks.pop(sink, None)
            if not sinks and self._sinks.pop(topic, None) is not None:
                self._next = {at: n for at, n in self._next.items() if at.topic != topic}
                self._assign()

    async def _run(self, consumer: ConsumerClient) -> None:
        """Read until nobody listens, or it cannot go on: those who listen are told."""
        clock = asyncio.get_running_loop().time
        parsing = LenientParsing(consumer)
        parsing.start()
        heard = looked = clock()
        try:
            while self._sinks or self._changing.locked():
                parsing.end_if_due(clock())
                if await self._read(consumer, parsing):
                    heard = clock()
                if clock() - looked >= LOOK:
                    looked = clock()
                    self._look_for_partitions(consumer)
                    self._begin_anew(await self._ids.made_anew(tuple(self._sinks)))
                if clock() - heard >= self._options.timeout:
                    await self._ask_for_life(consumer)
                    heard = clock()
        except Exception as error:  # noqa: BLE001 - whatever it is, those who listen must know
            self._fail(translated(error, self._options, "reading"))
        finally:
            self._consumer = None
            with anyio.CancelScope(shield=True):
                await stopped(consumer)

    async def _read(self, consumer: ConsumerClient, parsing: LenientParsing) -> bool:
        """Hand out what is there, after a little; return whether there was anything."""
        try:
            found = await consumer.getmany(timeout_ms=WAIT, max_records=MOST)
        except UnicodeDecodeError:  # aiokafka takes the names of headers for UTF-8
            parsing.begin(asyncio.get_running_loop().time())
            self._assign()
            return True
        except Exception as error:
            lost = lost_position(error)
            if lost is None:
                raise
            for place, offset in lost.items():
                await self._find_again(consumer, TopicPartition(*place), offset)
            return True
        for place, records in found.items():
            self._arrived(TopicPartition(*place), records)
        return bool(found)

    def _arrived(self, place: TopicPartition, records: Sequence[Fetched]) -> None:
        begin = self._next.get(place)
        if begin is None:
            return  # Race: left while it was read.
        # Race: read once more where the consumer was told its positions meanwhile.
        fresh = [record for record in records if record.offset >= begin]
        if fresh:
            self._next[place] = fresh[-1].offset + 1
            partition = Partition(place, Position(begin, ""), NOBODY)
            for leased in leased_first(partition, fresh):
                for sink in tuple(self._sinks.get(place.topic, ())):
                    sink.offer(leased.record)

    async def _find_again(self, consumer: ConsumerClient, place: TopicPartition, at: int) -> None:
        """Go on with the oldest record of a log that has nothing at `at`, and tell of it."""
        if self._next.get(place) is None:
            return
        asked = consumer.beginning_offsets([topic_partition(place)])
        found = await within(self._options.timeout, asked, self._options, "looking up offsets")
        first = found[place]
        self._go_to(place, first, Gap(first - at if first > at else None, DELETED))

    def _go_to(self, place: TopicPartition, offset: int, gap: Gap) -> None:
        """Read `place` from `offset` on, and tell of what was missed."""
        self._next[place] = offset
        self._assign()
        for sink in tuple(self._sinks.get(place.topic, ())):
            sink.gap(gap)

    def _look_for_partitions(self, consumer: ConsumerClient) -> None:
        """Read partitions that a topic was given since then from their first record."""
        new = {
            TopicPartition(topic, n): 0
            for topic in self._sinks
            for n in consumer.partitions_for_topic(topic) or ()
            if TopicPartition(topic, n) not in self._next
        }
        if new:
            self._read_also(new)

    def _begin_anew(self, topics: Collection[str]) -> None:
        """Read `topics` from their first record; what was left of the old ones nobody knows."""
        for place in [place for place in self._next if place.topic in topics]:
            self._go_to(place, 0, Gap(None, DELETED))

    async def _ask_for_life(self, consumer: ConsumerClient) -> None:
        """After a long silence ask for an answer: aiokafka retries for ever without a word."""
        try:
            asked = consumer.end_offsets(list(map(topic_partition, self._next)))
            await within(self._options.timeout, asked, self._options, "asking for an answer")
        except ConnectionLost as error:
            if not self._reconnects:
                raise
            logger.warning("%s; it is tried again", error)

    def _fail(self, error: LayerError) -> None:
        sinks, self._sinks, self._next = self._sinks, {}, {}
        for sink in {sink: None for some in sinks.values() for sink in some}:
            sink.fail(error)

    def _opened(self) -> KafkaPublisher:
        if self._publisher is None:
            raise ChannelClosed(f"{self!r} is not open; enter it first")
        return self._publisher

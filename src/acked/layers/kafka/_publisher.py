"""Publishing: producers shared by all publishers and by dead letters, and what became of each."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple, TypeAlias

import anyio

from acked.errors import ConnectionLost, LayerError, PublishFailed
from acked.layers._shared.runtime import require_asyncio
from acked.layers.kafka._dead_letters import encodable
from acked.layers.kafka._errors import is_out_of_order, is_too_large, may_be_gone, translated
from acked.layers.kafka._options import KafkaOptions
from acked.layers.kafka._producer import Producer
from acked.layers.kafka._protocols import ProducerClient, RecordMetadata
from acked.layers.kafka._records import headers_of, key_of, size_of, value_of
from acked.layers.kafka._topics import Topics
from acked.types import Receipt, Record

__all__ = ("KafkaPublisher", "Published", "open_publisher")

Sending: TypeAlias = "asyncio.Future[RecordMetadata]"

BATCHES: Final = (256 * 1024, 16 * 1024, 1024, 1)
"""Bytes of a batch, and what is tried in turn where a topic takes no such batch: the last is a
record alone."""


class Published(NamedTuple):
    """What became of a publish: receipts and failures by the positions of the records."""

    receipts: Mapping[int, Receipt]
    failures: Mapping[int, LayerError]
    is_indeterminate: bool = False
    """Whether the broker may have accepted some of the failed ones all the same."""

    def failure(self, count: int) -> PublishFailed:
        """Return what to raise where some of `count` records were not accepted."""
        first = next(iter(self.failures.values()))
        words = f"{len(self.failures)} of {count} record(s) were not accepted: {first}"
        if self.is_indeterminate:
            words += "; those that were sent may be accepted all the same, even later"
        error = PublishFailed(words, self.failures, indeterminate=self.is_indeterminate)
        error.__cause__ = first
        return error


class KafkaPublisher:
    """Sends records and says what became of each."""

    def __init__(self, options: KafkaOptions, *, partitions: int | None, replicas: int) -> None:
        self._options = options
        self._producers: dict[int, Producer] = {0: Producer(options, BATCHES[0])}
        self._batch_of: dict[str, int] = {}
        """By topic, which of `BATCHES` it takes, where that is not the first."""
        self.topics: Final = Topics(self, options, partitions=partitions, replicas=replicas)

    @property
    def producer(self) -> ProducerClient:
        """The producer that most records go through."""
        return self._producers[0].client

    async def open(self) -> None:
        """Connect the producer that most records go through."""
        await self._producers[0].connect()

    async def close(self) -> None:
        """Send what is queued, for a short while, and close."""
        with anyio.CancelScope(shield=True):
            await asyncio.gather(*(producer.close() for producer in self._producers.values()))

    async def publish(self, records: Sequence[Record]) -> Published:
        """Send `records`, all at once, and wait for the answers.

        What was refused for its neighbours alone is sent again: a batch that is too large in
        smaller ones, and what came after a refused one by a producer that refused nothing.
        """
        loop = asyncio.get_running_loop()
        given_up = loop.time() + self._options.timeout
        receipts: dict[int, Receipt] = {}
        failures: dict[int, LayerError] = {}
        unclear, waiting = False, [*range(len(records))]
        while waiting:
            sent = await self._send(records, waiting, failures)
            waiting = list[int]()
            for i, (producer, sending) in sent.items():
                outcome = self._outcome(records[i], sending)
                if isinstance(outcome, Receipt):
                    receipts[i] = outcome
                    continue
                if sending.done():
                    producer.spoil()
                if loop.time() < given_up and self._may_fit(records[i], producer, outcome):
                    waiting.append(i)
                    continue
                failures[i] = outcome
                unclear |= isinstance(outcome, ConnectionLost)
        for i, failure in failures.items():
            if may_be_gone(failure.__cause__):
                self.topics.forget(records[i].topic)
        return Published(receipts, dict(sorted(failures.items())), is_indeterminate=unclear)

    async def publish_dead_letters(self, letters: Sequence[Record]) -> Mapping[int, LayerError]:
        """Publish `letters` and return what failed, by position."""
        return (await self.publish(list(map(encodable, letters)))).failures

    def _may_fit(self, record: Record, producer: Producer, failure: LayerError) -> bool:
        """Return whether `record` was refused for what it was sent with; smaller batches then."""
        if is_out_of_order(failure.__cause__):
            return True
        batch = producer.batch
        is_alone = batch == BATCHES[-1] or size_of(record) >= batch
        if is_alone or not is_too_large(failure.__cause__):
            return False
        smaller = BATCHES.index(batch) + 1
        self._batch_of[record.topic] = max(smaller, self._batch_of.get(record.topic, 0))
        return True

    async def _send(
        self,
        records: Sequence[Record],
        waiting: Sequence[int],
        failures: dict[int, LayerError],
    ) -> Mapping[int, tuple[Producer, Sending]]:
        """Send those of `records` that are `waiting`, and wait for answers; note what fails."""
        sent: dict[int, tuple[Producer, Sending]] = {}
        for i in waiting:
            record = records[i]
            try:
                if not self.topics.is_known(record.topic):
                    await self.topics.ensure((record.topic,))
                producer = self._producer_for(record.topic)
                sent[i] = producer, await _begun(await producer.ready(), record)
            except UnicodeEncodeError:
                failures[i] = LayerError(
                    f"message {i} of the batch: its key, id or a header is no Unicode text (a lone "
                    "surrogate), and a name of a header must be UTF-8: it was not sent"
                )
            except Exception as error:  # noqa: BLE001 - each member fails by itself
                failures[i] = translated(error, self._options, "publishing")
        if sent:
            sendings = [sending for _, sending in sent.values()]
            # aiokafka gives up by itself after `timeout`; a little longer, to hear of that.
            await asyncio.wait(sendings, timeout=self._options.timeout + 1.0)
        return sent

    def _producer_for(self, topic: str) -> Producer:
        batch = self._batch_of.get(topic)
        if batch is None:
            batch = self._batch_of[topic] = self._batch_for(self.topics.limit_of(topic))
        if batch not in self._producers:
            self._producers[batch] = Producer(self._options, BATCHES[batch])
        return self._producers[batch]

    def _batch_for(self, limit: int | None) -> int:
        """Return which of `BATCHES` a topic takes: of one that does not tell we learn it."""
        sizes = enumerate(BATCHES)
        return next((n for n, size in sizes if limit is None or size <= limit), len(BATCHES) - 1)

    def _outcome(self, record: Record, sending: Sending) -> Receipt | LayerError:
        if not sending.done() or sending.cancelled():
            return translated(TimeoutError(), self._options, "publishing")
        error = sending.exception()
        if isinstance(error, Exception):
            return translated(error, self._options, "publishing")
        where = sending.result()
        return Receipt(record.id, record.topic, f"{where.partition}:{where.offset}")


async def open_publisher(
    options: KafkaOptions, *, partitions: int | None, replicas: int
) -> KafkaPublisher:
    """Return a publisher that is connected; see `Layer.__aenter__`."""
    require_asyncio("aiokafka")
    publisher = KafkaPublisher(options, partitions=partitions, replicas=replicas)
    await publisher.open()
    return publisher


async def _begun(client: ProducerClient, record: Record) -> Sending:
    sending = await client.send(
        record.topic, value_of(record), key_of(record), headers=headers_of(record)
    )
    sending.add_done_callback(_seen)
    return sending


def _seen(sending: Sending) -> None:
    """Look at the error of what nobody waits for any more, so that the loop does not report it."""
    if not sending.cancelled():
        sending.exception()

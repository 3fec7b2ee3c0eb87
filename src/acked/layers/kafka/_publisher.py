"""Publishing: one idempotent producer, shared by all publishers and by dead letters."""

import asyncio
from collections.abc import Coroutine, Mapping, Sequence
from typing import Any, Final, NamedTuple, TypeAlias

import anyio

from acked.errors import ConnectionLost, LayerError
from acked.layers.kafka._client import (
    connected,
    is_out_of_order,
    make_producer,
    stopped,
    translated,
)
from acked.layers.kafka._options import KafkaOptions
from acked.layers.kafka._protocols import RecordMetadata
from acked.layers.kafka._records import headers_of, key_of
from acked.layers.kafka._topics import Topics
from acked.types import Receipt, Record

__all__ = ("MAX_REQUEST", "KafkaPublisher", "Published")

Sending: TypeAlias = "asyncio.Future[RecordMetadata]"
MAX_REQUEST: Final = 1_048_000
"""Bytes of one record with its headers: what a broker takes by default."""


class Published(NamedTuple):
    """What became of a publish: receipts and failures by the positions of the records."""

    receipts: Mapping[int, Receipt]
    failures: Mapping[int, Exception]
    is_indeterminate: bool = False
    """Whether the broker may have accepted some of the failed ones all the same."""


class KafkaPublisher:
    """Sends records and says what became of each."""

    def __init__(self, options: KafkaOptions, *, partitions: int | None, replicas: int) -> None:
        self.producer = make_producer(options, MAX_REQUEST)
        self.topics: Final = Topics(
            self.producer, options, partitions=partitions, replicas=replicas
        )
        self._options = options
        self._is_spoilt = False
        self._renewing = asyncio.Lock()

    async def open(self) -> None:
        """Connect; see `Layer.__aenter__`."""
        await connected(self.producer, self._options)

    async def close(self) -> None:
        """Send what is queued, for a short while, and close."""
        await self.shielded(stopped(self.producer))

    async def shielded(self, work: Coroutine[Any, Any, None]) -> None:
        """Do `work` to its end, cancelled or not; it is bounded by itself."""
        with anyio.CancelScope(shield=True):
            await work

    async def publish(self, records: Sequence[Record]) -> Published:
        """Send `records`, all at once, and wait for the answers."""
        if self._is_spoilt:
            try:
                await self._renew()
            except LayerError as error:
                return Published({}, dict.fromkeys(range(len(records)), error))
        failures: dict[int, Exception] = {}
        sent: dict[int, Sending] = {}
        for i, record in enumerate(records):
            try:
                if not self.topics.is_known(record.topic):
                    await self.topics.places((record.topic,))
                sent[i] = await self._send(record)
            except Exception as error:  # noqa: BLE001 - each member fails by itself
                failures[i] = translated(error, self._options, "publishing")
        if sent:
            # aiokafka gives up by itself after `timeout`; a little longer, to hear of that.
            await asyncio.wait(sent.values(), timeout=self._options.timeout + 1.0)
        receipts: dict[int, Receipt] = {}
        unclear: list[int] = []
        for i, sending in sent.items():
            outcome = self._outcome(records[i], sending)
            if isinstance(outcome, Receipt):
                receipts[i] = outcome
            else:
                failures[i] = outcome
                if isinstance(outcome, ConnectionLost) and not was_refused(sending):
                    unclear.append(i)
        return Published(receipts, dict(sorted(failures.items())), is_indeterminate=bool(unclear))

    async def _renew(self) -> None:
        """Go on with a new producer; the old one sends what others have queued, and closes."""
        async with self._renewing:
            if not self._is_spoilt:
                return
            fresh = make_producer(self._options, MAX_REQUEST)
            await connected(fresh, self._options)
            old, self.producer = self.producer, fresh
            self.topics.producer = fresh
            self._is_spoilt = False
            await self.shielded(stopped(old))

    async def _send(self, record: Record) -> Sending:
        sending = await self.producer.send(
            record.topic, record.body, key_of(record), headers=headers_of(record)
        )
        sending.add_done_callback(_seen)
        return sending

    def _outcome(self, record: Record, sending: Sending) -> Receipt | LayerError:
        if not sending.done() or sending.cancelled():
            return translated(TimeoutError(), self._options, "publishing")
        error = sending.exception()
        if isinstance(error, Exception):
            # A refused record leaves a gap in the producer's sequence numbers: aiokafka does not
            # close it, and the broker then refuses whatever else it sends to that partition.
            self._is_spoilt = True
            return translated(error, self._options, "publishing")
        where = sending.result()
        return Receipt(record.id, record.topic, f"{where.partition}:{where.offset}")


def was_refused(sending: Sending) -> bool:
    """Return whether the broker did not take it only because it had refused an earlier one."""
    return sending.done() and not sending.cancelled() and is_out_of_order(sending.exception())


def _seen(sending: Sending) -> None:
    """Look at the error of what nobody waits for any more, so that the loop does not report it."""
    if not sending.cancelled():
        sending.exception()

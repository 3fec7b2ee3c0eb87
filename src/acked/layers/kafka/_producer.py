"""One idempotent producer: started when it is first needed, and made anew when it is spoilt."""

import asyncio
from typing import Final

import anyio

from acked.errors import ConnectionLost
from acked.layers.kafka._client import (
    AGAIN,
    begin_sending,
    connected,
    make_producer,
    stopped,
    within,
)
from acked.layers.kafka._options import KafkaOptions
from acked.layers.kafka._protocols import ProducerClient

__all__ = ("Producer",)


class Producer:
    """A producer whose batches have at most so many bytes, or a single record.

    A principal that may only read can connect it: rights to write are asked for with the first
    record.
    """

    def __init__(self, options: KafkaOptions, batch: int) -> None:
        self._options = options
        self.batch: Final = batch
        self.client = make_producer(options, batch)
        self._is_sending = False
        self._is_connected = False
        self._is_spoilt = False
        self._preparing = asyncio.Lock()

    async def connect(self) -> None:
        """Log in, and learn of the brokers."""
        await connected(self.client, self._options, begin=self.client.client.bootstrap)
        self._is_connected = True

    def spoil(self) -> None:
        """Note that something was refused: it leaves a gap in the producer's sequence numbers.

        aiokafka does not close it, and the broker then refuses whatever else it sends to that
        partition.
        """
        self._is_spoilt = True

    async def ready(self) -> ProducerClient:
        """Return a client that can send; the old one, if spoilt, sends what others queued."""
        if self._is_sending and not self._is_spoilt:
            return self.client
        async with self._preparing:
            if self._is_spoilt or not self._is_connected:
                await self._renew()
            if not self._is_sending:
                sending = begin_sending(self.client)
                await within(self._options.timeout, sending, self._options, "asking to publish")
                self._is_sending = True
        return self.client

    async def _renew(self) -> None:
        """Connect another client, as soon as somebody answers, and close the one before."""
        old, given_up = self.client, asyncio.get_running_loop().time() + self._options.timeout
        while True:
            fresh = make_producer(self._options, self.batch)
            try:
                await connected(fresh, self._options, begin=fresh.client.bootstrap)
                break
            except ConnectionLost:
                if asyncio.get_running_loop().time() >= given_up:
                    raise
                await asyncio.sleep(AGAIN)
        self.client, self._is_connected = fresh, True
        self._is_sending = self._is_spoilt = False
        with anyio.CancelScope(shield=True):
            await stopped(old)

    async def close(self) -> None:
        """Send what is queued, for a short while, and close."""
        await stopped(self.client)

"""The order of keys in memory is what a machine counts it to be."""

from typing import Any

from hypothesis import settings

from acked.layers.memory_queue._group import Holder, StoredTopic
from acked.types import Record, Start
from tests.layers.key_order_kit import CONSUMERS, LEASE, KeyOrderMachine


class MemoryKeyOrder(KeyOrderMachine):
    def begin(self) -> None:
        self.topic = StoredTopic()
        self.queue = self.topic.join("g", Start.EARLIEST)
        self.holders: list[Holder] = [{} for _ in range(CONSUMERS)]

    def publish(self, key: str | None) -> int:
        return self.topic.add(Record("t", b"", "id", key), self.now).number

    def claim(self, consumer: int, limit: int) -> list[tuple[int, Any]]:
        holder = self.holders[consumer]
        self.queue.tick(self.now, holder)
        taken = self.queue.lease(limit, self.now + LEASE, holder, in_key_order=True)
        return [(int(one.position), one.token) for one in taken]

    def ack(self, consumer: int, token: Any) -> None:
        self.queue.settled(self.holders[consumer].pop(token))

    def nack(self, consumer: int, token: Any, delay: float) -> None:
        lease = self.holders[consumer].pop(token)
        if delay:
            self.queue.delay(lease, self.now + delay)
        else:
            self.queue.give_back(lease, charge=True)

    def release(self, consumer: int, token: Any) -> None:
        self.queue.give_back(self.holders[consumer].pop(token), charge=False)

    def lag(self) -> int:
        return self.queue.lag


TestMemoryKeyOrder = MemoryKeyOrder.TestCase
TestMemoryKeyOrder.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)

"""Broken looks: that take, that show too little, that remove too much or too little."""

# pyright: reportPrivateUsage=false

from collections.abc import AsyncGenerator, Sequence

import msgspec

from acked.layers.memory_queue._group import Holder
from acked.layers.memory_queue._topic_set import NEVER
from acked.types import KeptRecord
from tests.broken_layers.catalogue import broken
from tests.broken_layers.planted import Queue

__all__ = ()


@broken("test_what_is_looked_at_is_taken_from_nobody")
class LooksByTaking(Queue):
    """Who looks at a queue receives its messages, and gives them back: a delivery is counted."""

    async def browse(self, topic: str) -> AsyncGenerator[Sequence[KeptRecord], None]:
        async for page in super().browse(topic):
            yield page
        for queue in self._broker.topic(topic).groups.values():
            holder: Holder = {}
            queue.lease(queue.ready, NEVER, holder)
            for lease in list(holder.values()):
                del holder[lease.token]
                queue.give_back(lease, charge=True)


@broken("test_what_is_looked_at_is_taken_from_nobody")
class ShowsOnePage(Queue):
    """What is behind the first page is not asked for: hundreds of letters are not seen."""

    async def browse(self, topic: str) -> AsyncGenerator[Sequence[KeptRecord], None]:
        async for page in super().browse(topic):
            yield page[:100]
            return


@broken("test_what_is_removed_is_shown_no_more_and_the_rest_is")
class RemovesUpToIt(Queue):
    """A log can only be cut: what is before the last one removed goes, too."""

    async def remove(self, topic: str, positions: Sequence[str]) -> Sequence[bool]:
        last = max(int(position) for position in positions)
        kept = self._broker.topic(topic).kept
        await super().remove(topic, [str(number) for number in kept if number <= last])
        return [True] * len(positions)


@broken("test_what_is_removed_is_owed_to_no_group")
class RemovesForOneGroup(Queue):
    """It is removed for the group that comes first, and stays owed to the others."""

    async def remove(self, topic: str, positions: Sequence[str]) -> Sequence[bool]:
        stored = self._broker.topic(topic)
        others = dict(list(stored.groups.items())[1:])
        for name in others:
            del stored.groups[name]
        try:
            return await super().remove(topic, positions)
        finally:
            stored.groups |= others


@broken("test_what_a_consumer_holds_is_its_own")
class RemovesWhatIsHeld(Queue):
    """Whoever has it in hand is not asked: the work is done, and its ack comes too late."""

    async def remove(self, topic: str, positions: Sequence[str]) -> Sequence[bool]:
        for queue in self._broker.topic(topic).groups.values():
            queue.discard(frozenset(map(int, positions)))
        return await super().remove(topic, positions)


@broken("test_what_the_dead_held_may_be_removed")
class KeepsWhatTheDeadHeld(Queue):
    """What was in hand once counts as held until somebody consumes: the tool cannot be rid of it."""

    async def browse(self, topic: str) -> AsyncGenerator[Sequence[KeptRecord], None]:
        async for page in super().browse(topic):
            leased = {
                lease.kept.position
                for queue in self._broker.topic(topic).groups.values()
                for lease in queue._leases()
            }
            yield [msgspec.structs.replace(one, is_held=one.position in leased) for one in page]


@broken("test_what_is_replayed_is_what_was_published")
class ShowsNoKeys(Queue):
    """A look shows body and headers, and what is replayed has lost its key."""

    async def browse(self, topic: str) -> AsyncGenerator[Sequence[KeptRecord], None]:
        async for page in super().browse(topic):
            yield [
                KeptRecord(msgspec.structs.replace(one.record, key=None), one.position, one.is_held)
                for one in page
            ]


@broken("test_a_dry_run_changes_nothing_and_a_filter_leaves_the_rest")
class RemovesWhatWasShown(Queue):
    """Once a page was looked at to its end it counts as dealt with, chosen or not."""

    async def browse(self, topic: str) -> AsyncGenerator[Sequence[KeptRecord], None]:
        shown: list[str] = []
        async for page in super().browse(topic):
            shown += [one.position for one in page]
            yield page
        if "dead" in topic:
            await self.remove(topic, shown)

"""The receiving half of a feed that keeps each key in its order.

An entry may be handed out when it has entered its lane and is the first there, which a script says
(`scripts/admit.lua`): the one that reads what is new sees to it at once. A read that blocks cannot,
so what it brings is ours and is not handed out. Whoever looks next, of all consumers, lets it enter
before anything that is later, and parks what is not the first; what is still ours then is found as
whatever we own and do not know of.
"""

from collections.abc import Sequence
from typing import cast

from acked.layers.redis_streams._receiver import LARGEST_CLAIM, LARGEST_LOOK, Receiver
from acked.layers.redis_streams._records import Fields, leased_first
from acked.layers.redis_streams._scripts import READ_IN_ORDER
from acked.types import Leased

__all__ = ("ReceiverInOrder",)


class ReceiverInOrder(Receiver):
    """Receives of each key one message at a time, the earliest that the group owes."""

    async def _recover(self, limit: int) -> list[Leased]:
        is_more = True
        while is_more:
            _, is_more = await self._read_by_script(0)
        self._unsure = True
        return await super()._recover(limit)

    async def _read(self, limit: int, wait: float) -> list[Leased]:
        found, is_more = await self._read_by_script(min(limit, LARGEST_CLAIM))
        may_wait = wait and not found and not is_more
        if may_wait and await self._read_group(self._topics, 1, wait):
            self._unsure = True
        return found

    async def _read_by_script(self, limit: int) -> tuple[list[Leased], bool]:
        """Return up to `limit` new messages, and whether there may be more at once.

        With a limit of 0 only what was read otherwise enters its lanes.
        """
        found: list[Leased] = []
        is_more = False
        self._unsure = True
        self.leased_at = self._seat.clock.time()
        topics = tuple(self._topics)
        for start in range(0, len(topics), LARGEST_LOOK):
            some = topics[start : start + LARGEST_LOOK]
            room = b"%d" % (limit - len(found))
            reply = await self._run(self._seat.call_for_all(READ_IN_ORDER, some, room))
            if reply is None:
                return found, True
            more, told = cast("tuple[int, Sequence[tuple[int, list[tuple[bytes, Fields]]]]]", reply)
            for position, entries in told:
                found += leased_first(some[position - 1], entries)
            is_more = is_more or bool(more)
            if found and len(found) == limit:
                break
        self._unsure = False
        if found:
            self._turn()
        return found, is_more

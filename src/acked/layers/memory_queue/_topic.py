"""One topic of a memory queue: what it keeps, and for whom. Pure state, as `_group` is."""

from collections.abc import Iterator
from itertools import count

from acked.layers.memory_queue._group import GroupQueue, Kept
from acked.types import Record, Start

__all__ = ("StoredTopic",)


class StoredTopic:
    """The kept records of one topic, in the order of publishing, and the groups that it knows."""

    def __init__(self) -> None:
        self.kept: dict[int, Kept] = {}
        self.groups: dict[str, GroupQueue] = {}
        self._numbers = count(1)

    def add(self, record: Record) -> Kept:
        """Keep `record` and let every group owe it."""
        number = next(self._numbers)
        kept = Kept(number, record, str(number), len(self.groups))
        self.kept[number] = kept
        for queue in self.groups.values():
            queue.add(kept)
        return kept

    def join(self, group: str, start: Start) -> GroupQueue:
        """Return what `group` owes; a group that is new begins at `start`."""
        if group not in self.groups:
            self.groups[group] = GroupQueue(self, self._owed_from(start))
        return self.groups[group]

    def has_consumers(self, group: str) -> bool:
        """Say whether somebody consumes as `group`."""
        return group in self.groups and self.groups[group].consumers > 0

    def remove(self, group: str) -> None:
        """Forget `group`, if there is one; it has no consumers."""
        queue = self.groups.pop(group, None)
        if queue is not None:
            queue.forget()

    def nudge(self) -> None:
        """Wake whom there is a reason to wake, in every group."""
        for queue in self.groups.values():
            queue.nudge()

    def _owed_from(self, start: Start) -> Iterator[Kept]:
        if start.kind == "latest":
            return
        for kept in self.kept.values():
            if start.kind == "earliest" or kept.record.timestamp >= start.time:
                kept.owed += 1
                yield kept

"""All topics of a memory queue, and the bound of what each keeps. Pure state, as `_group` is."""

from collections.abc import Sequence

from acked.errors import LayerError
from acked.layers.memory_queue._group import GroupQueue, StoredTopic
from acked.layers.memory_queue._kept import Kept
from acked.layers.memory_queue._topic_set import TopicSet
from acked.types import Record, Start

__all__ = ("Broker",)


class Broker:
    """All topics; what the layers of one name share."""

    def __init__(self, max_backlog: int | None) -> None:
        self.max_backlog: int | None = max_backlog
        self.topics: dict[str, StoredTopic] = {}
        self._sets: dict[tuple[str, frozenset[str]], TopicSet[GroupQueue]] = {}
        self.noted: dict[str, float] = {}
        """Of each schedule the moment for which it published last."""

    def __repr__(self) -> str:
        lines = [_described(name, topic) for name, topic in sorted(self.topics.items())]
        return "; ".join(lines) or "no topics"

    def topic(self, name: str) -> StoredTopic:
        """Return the topic called `name`, from now on a known one."""
        found = self.topics.get(name)
        if found is None:
            found = self.topics[name] = StoredTopic()
        return found

    def join(self, group: str, topics: Sequence[str], start: Start) -> TopicSet[GroupQueue]:
        """Return what `group` owes of `topics`, for one consumer more; `leave` it afterwards."""
        queues = [self.topic(name).join(group, start) for name in dict.fromkeys(topics)]
        place = group, frozenset(topics)
        found = self._sets.get(place)
        if found is None:
            found = self._sets[place] = TopicSet(queues)
            for queue in queues:
                queue.sets[found] = None
        found.consumers += 1
        return found

    def leave(self, group: str, topics: Sequence[str]) -> None:
        """Note that a consumer of `topics` is gone."""
        place = group, frozenset(topics)
        found = self._sets[place]
        found.consumers -= 1
        if not found.consumers:
            del self._sets[place]
            for queue in found.queues:
                del queue.sets[found]

    def publish(self, record: Record, now: float) -> Kept | None:
        """Keep `record`, or return None if its topic is full; `nudge` the topic afterwards."""
        topic = self.topic(record.topic)
        if self.max_backlog is not None and len(topic.kept) >= self.max_backlog:
            return None
        return topic.add(record, now)

    def refusal(self, topics: Sequence[str]) -> LayerError:
        """Return why a record of `topics` is not kept, and what to do."""
        return LayerError(
            f"topic {', '.join(map(repr, topics))} keeps {self.max_backlog} that a group has not "
            "settled; let every group of it consume, publish slower, or give the layer a higher "
            "max_backlog",
            may_pass=True,
        )


def _described(name: str, topic: StoredTopic) -> str:
    groups = (f"{group} ({queue!r})" for group, queue in sorted(topic.groups.items()))
    return f"{name!r} keeps {len(topic.kept)} for {', '.join(groups) or 'no group yet'}"

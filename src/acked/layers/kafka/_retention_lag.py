"""Whether what a group has not settled is about to be deleted: its lag against the retention."""

import time
from collections.abc import Iterable, Mapping
from typing import Final

import anyio

from acked.layers.kafka._client import connected, make_consumer, stopped, topic_partition, within
from acked.layers.kafka._options import KafkaOptions
from acked.layers.kafka._protocols import ConsumerClient, TopicPartition
from acked.layers.kafka._topics import committed_of, offsets_at

__all__ = ("count_overdue",)

SHARE: Final = 0.5
"""Of the retention: what is older has less time left than it has waited already."""


async def count_overdue(
    options: KafkaOptions,
    group: str,
    places: Iterable[TopicPartition],
    retention: Mapping[str, int],
) -> int:
    """Return how many records, at most, `group` has not settled in half of the time they are kept.

    `retention` has the seconds of each topic that deletes by age.
    """
    now = time.time()
    times = {
        topic_partition(place): now - SHARE * retention[place.topic]
        for place in places
        if place.topic in retention
    }
    if not times:
        return 0
    consumer = make_consumer(options, group)
    await connected(consumer, options)
    try:
        doing = f"comparing the lag of group {group!r} with the retention"
        return await within(options.timeout, _count(consumer, times), options, doing)
    finally:
        with anyio.CancelScope(shield=True):
            await stopped(consumer)


async def _count(consumer: ConsumerClient, times: Mapping[object, float]) -> int:
    committed = await committed_of(consumer, list(times))
    younger = await offsets_at(consumer, times)
    begun = {place: found.offset for place, found in committed.items() if found.offset >= 0}
    return sum(max(0, younger[place] - offset) for place, offset in begun.items())

"""Broken names: one is taken for another one, for a pattern, or for two put together."""

# pyright: reportPrivateUsage=false

import re
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import Final

import msgspec

from acked.types import Leased, Receipt, Record, Start
from tests.broken_layers.catalogue import broken
from tests.broken_layers.planted import Feed, Queue

__all__ = ()

LONGEST: Final = 40


class Renames(Queue):
    """Topics and groups have other names on the broker."""

    def topic_name(self, name: str) -> str:
        """Return what a topic is called."""
        return name

    def group_name(self, name: str) -> str:
        """Return what a group is called."""
        return name

    async def publish(self, records: Sequence[Record]) -> Sequence[Receipt]:
        renamed = [
            msgspec.structs.replace(one, topic=self.topic_name(one.topic)) for one in records
        ]
        receipts = await super().publish(renamed)
        return [
            msgspec.structs.replace(receipt, topic=one.topic)
            for receipt, one in zip(receipts, records, strict=True)
        ]

    @asynccontextmanager
    async def consume(
        self, topics: Sequence[str], group: str, *, in_flight: int, lease: float, start: Start
    ) -> AsyncGenerator[Feed]:
        names = [self.topic_name(name) for name in topics]
        right = super().consume(
            names, self.group_name(group), in_flight=in_flight, lease=lease, start=start
        )
        async with right as feed:
            feed.notes.append(dict(zip(names, topics, strict=True)))
            yield feed

    def take(self, feed: Feed, limit: int) -> list[Leased]:
        names = feed.notes[0]
        return [
            msgspec.structs.replace(
                one, record=msgspec.structs.replace(one.record, topic=names[one.record.topic])
            )
            for one in super().take(feed, limit)
        ]


@broken("test_names_that_are_nearly_the_same_are_not")
class LowersTopics(Renames):
    """Queues are in lower case, so two types that differ in case share one.

    https://github.com/NimbusAPI/Nimbus/issues/13
    """

    def topic_name(self, name: str) -> str:
        return name.lower()


@broken("test_names_that_are_nearly_the_same_are_not")
class CutsTopics(Renames):
    """Names of tables are cut by the server, and nobody compares them.

    https://github.com/blehnen/DotNetWorkQueue/issues/339
    """

    def topic_name(self, name: str) -> str:
        return name[:LONGEST]


@broken("test_groups_of_nearly_the_same_name_are_not_the_same")
class CutsGroups(Renames):
    """The durable name of a group is cut to what fits.

    https://github.com/cloudamqp/lavinmq/pull/627
    """

    def group_name(self, name: str) -> str:
        return name[:LONGEST]


@broken("test_names_put_together_are_not_taken_apart_elsewhere")
class JoinsNames(Queue):
    """A topic and a group are one name with a dash in between, and so are two others.

    https://github.com/frappe/frappe/pull/40822
    """

    @asynccontextmanager
    async def consume(
        self, topics: Sequence[str], group: str, *, in_flight: int, lease: float, start: Start
    ) -> AsyncGenerator[Feed]:
        known = {
            f"{name}-{one}": queue
            for name, topic in self._broker.topics.items()
            for one, queue in topic.groups.items()
        }
        for name in topics:
            if (queue := known.get(f"{name}-{group}")) is not None:
                self._broker.topic(name).groups.setdefault(group, queue)
        right = super().consume(topics, group, in_flight=in_flight, lease=lease, start=start)
        async with right as feed:
            yield feed


@broken("test_a_name_is_no_pattern")
class LooksForNamesByLike(Queue):
    """A topic is looked up by LIKE, where an underscore is any letter.

    https://github.com/salesforce/refocus/pull/464
    """

    async def publish(self, records: Sequence[Record]) -> Sequence[Receipt]:
        receipts = await super().publish(records)
        for record in records:
            for name in list(self._broker.topics):
                pattern = re.escape(name).replace("_", ".")
                if name != record.topic and re.fullmatch(pattern, record.topic):
                    await super().publish([msgspec.structs.replace(record, topic=name)])
        return receipts

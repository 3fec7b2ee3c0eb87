"""Laws A3, A4, D1: what comes again equals what went, whichever delivery of it it is."""

from collections.abc import Sequence
from typing import Final

from acked import Record
from acked.conformance.harness import Harness
from acked.conformance.law import law
from acked.conformance.laws.owed import nothing_is_owed
from acked.conformance.laws.steps import LONG, Place, introduce, lease, place, silent
from acked.types import Capabilities, Leased, Settlement, Verb

__all__ = ("AgainLaws",)

LARGE: Final = 65_536
"""Bytes of a body that takes more than one packet, where so many are allowed."""

NAMES: Final = (
    *("id", "key", "body", "topic", "headers", "timestamp", "content_type", "content-type"),
    *("data", "payload", "attempt", "attempts", "group", "token", "position", "priority"),
    *("delay", "expires", "_id", "__id", "acked", "h:id", "h.id", "x-death", "deliveries"),
)
"""Headers whose names a layer may have for fields of its own."""


class AgainLaws:
    """A copy is a copy: the first, the second, the third, and the one in the dead letters."""

    @law("A3", "A4", "A1")
    async def test_what_comes_again_equals_what_went(self, harness: Harness) -> None:
        """A3, A4, A1: at first, after each of four nacks, released, and after its holder left."""
        async with place(harness) as here:
            can = here.channel.layer.capabilities
            records = originals(here.topic, harness, can)
            await here.channel.layer.publish(records)
            async with silent(here, harness, len(records)) as feed:
                held = await equal(await lease(feed, len(records)), records)
                for _ in range(4 if can.nack else 0):
                    await feed.settle([Settlement(one.token, Verb.NACK) for one in held])
                    held = await equal(await lease(feed, len(records)), records)
                if can.release:
                    await feed.release([one.token for one in held])
                    held = await equal(await lease(feed, len(records)), records)
            async with silent(here, harness, len(records)) as feed:
                held = await equal(await lease(feed, len(records)), records)
                await feed.settle([Settlement(one.token, Verb.ACK) for one in held])
            await nothing_is_owed(here.channel, here.topic, here.group)

    @law("A3", "A4", "C2", needs=("lease=timer", "competing"))
    async def test_what_comes_again_after_its_lease_equals_what_went(
        self, harness: Harness
    ) -> None:
        """A3, A4, C2: recovered by another from a holder that fell silent.

        By another: a consumer takes nothing from itself.
        """
        async with place(harness) as here:
            records = originals(here.topic, harness, here.channel.layer.capabilities)
            await here.channel.layer.publish(records)
            async with (
                silent(here, harness, len(records)) as gone,
                silent(here, harness, len(records)) as feed,
            ):
                await equal(await lease(gone, len(records)), records)
                await harness.pass_time(harness.lease * 1.5)
                held = await equal(await lease(feed, len(records)), records)
                await feed.settle([Settlement(one.token, Verb.ACK) for one in held])
            await nothing_is_owed(here.channel, here.topic, here.group)

    @law("D1", "A4", needs=("dead_letter", "reject"))
    async def test_a_dead_letter_arrives_as_it_was_written(self, harness: Harness) -> None:
        """D1, A4: id, key, headers, content type, timestamp and body, though it has others' id."""
        dead = harness.topic("dead")
        async with place(harness) as here:
            can = here.channel.layer.capabilities
            await introduce(here.channel, dead, group=here.group)
            records = originals(here.topic, harness, can)
            letters = [
                Record(
                    *(dead, one.body, one.id, one.key, one.headers),
                    *(one.content_type, one.timestamp),
                )
                for one in records
            ]
            by_id = {letter.id: letter for letter in letters}
            await here.channel.layer.publish(records)
            async with silent(here, harness, len(records)) as feed:
                held = await lease(feed, len(records))
                await feed.settle(
                    [
                        Settlement(one.token, Verb.REJECT, dead_letter=by_id[one.record.id])
                        for one in held
                    ]
                )
            async with silent(Place(here.channel, dead, here.group), harness, 10) as feed:
                found = await equal(await lease(feed, len(letters)), letters)
                await feed.settle([Settlement(one.token, Verb.ACK) for one in found])
            await nothing_is_owed(here.channel, dead, here.group)
            await nothing_is_owed(here.channel, here.topic, here.group)

    @law("A13")
    async def test_what_was_taken_for_publishing_arrives_equal(self, harness: Harness) -> None:
        """A13: a body is refused at the call, or it is the same on the other side."""
        bodies: Sequence[object] = (
            *(None, True, 0, -1, 2**53 + 1, 2**64 - 1, -(2**63), 0.1, -1e-300, 1e300),
            *("", "\x00", "\u2028 \U0001f388", "</script>", [], {}, [[], [None]], {"": {"a": [1]}}),
        )
        async with place(harness) as (channel, topic, group):
            receipts = await channel.publish_many(topic, bodies)
            sent = {one.id: body for one, body in zip(receipts, bodies, strict=True)}
            async with channel.subscribe(topic, group=group, lease=LONG) as sub:
                for _ in bodies:
                    delivery = await anext(sub)
                    wanted = sent.pop(delivery.id)
                    assert delivery.body == wanted
                    assert type(delivery.body) is type(wanted)
                    await delivery.ack()
            await nothing_is_owed(channel, topic, group)


def originals(topic: str, harness: Harness, can: Capabilities) -> list[Record]:
    """Return records of all kinds, as far as `can` allows them."""
    largest = min(can.max_payload or LARGE, LARGE)
    many = {name: f"own {name}" for name in NAMES}
    many |= {f"h{number}": "x" * 50 for number in range(30)}
    odd = {"empty": "", "long": "ä" * 700, "umlaut-ü": "雨 🎈", "line": "a\r\nb", "UP": "low"}
    kinds: Sequence[tuple[bytes, str | None, dict[str, str], str, float]] = (
        (bytes(range(256)), "a-key", many, "application/x-law", 1_700_000_000.123456),
        (b"", None, {}, "application/octet-stream", 0.0),
        (b"\xff\x00" * (largest // 2), "ключ : 7", odd, "text/plain; charset=latin-1", 1.5e9),
    )
    return [
        Record(
            *(topic, body[:largest], harness.topic("id")),
            key if can.keys else None,
            headers if can.headers else {},
            *(content_type, timestamp),
        )
        for body, key, headers, content_type, timestamp in kinds
    ]


async def equal(held: list[Leased], records: Sequence[Record]) -> list[Leased]:
    """Return `held`, which must be `records`, each equal in every field."""
    found = {one.record.id: one.record for one in held}
    for record in records:
        assert record.id in found, "it did not come"
        for field in record.__struct_fields__:
            assert getattr(found[record.id], field) == getattr(record, field), field
    return held

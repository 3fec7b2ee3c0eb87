"""Laws A1, A3, A4 of values that are easily taken for others: each arrives as the one that it is.

Empty is not missing, long is not too long, `7` is not `007`, and two that look alike are two.
"""

from collections.abc import Mapping, Sequence
from typing import Final

from acked import Record
from acked.conformance.harness import Harness
from acked.conformance.law import law
from acked.conformance.laws.again import equal
from acked.conformance.laws.owed import nothing_is_owed
from acked.conformance.laws.steps import Place, lease, place, silent
from acked.types import Settlement, Verb

__all__ = ("LikenessLaws",)

LOOKALIKES: Final = (
    *("007", "7", "1e3", "0x1f", "-0", "1_000", "NaN", "true", "null", "None", "undefined"),
    *(
        " ",
        " both ends ",
        "\ttab",
        "e\u0301",
        "\u00e9",
        "\u212b",
        "\u00c5",
        "SS",
        "ß",
        "\u0131",
        "I",
    ),
    *("a:b", "a|b", "a,b", "a/b", "a.b", "a;q=1", '{"a": 1}', "%20", "a+b", "b'a'", "\\n", "$1"),
    *("\U0001f388" * 3, "\u200b", "\ufeff", "../x", "' OR 1=1 --", "*", "#"),
)
"""Texts that a parser, a normalisation, a template or a join makes others of."""

HEADERS: Final[Sequence[Mapping[str, str]]] = (
    {"Name": "1", "name": "2", "NAME": "3"},
    {text: text for text in LOOKALIKES},
    {f"header-{number}": str(number) for number in range(120)},
    {"long": "ä" * 5_000 + "end", "n" * 200: "a long name"},
    {"": "a name that is empty"},
)
"""Headers that collide without their case, look like others, are many, or are long."""

BODIES: Final = (
    *(b"null", b"None", b"\n", b" \r\n\t ", b"0", b"false", b"[]", b"\x00\x00\x00\x00"),
    *(b"\x1f\x8b\x08\x00not gzip", b"\x78\x9cnot zlib", b"\x28\xb5\x2f\xfdnot zstd"),
    *(b"\xef\xbb\xbfmark", b"data: x\n\n", b"\r\n.\r\n", b"+OK\r\n", b"%s %d {}", b"b'x'"),
    *(b"aGVsbG8=", b"\x80\x04\x95pickle", b"\xc1", b"end\x1a", b"sentinel"),
)
"""Bodies that begin or end like something else: nothing, an archive, a frame, a template."""

PAGES: Final = (255, 256, 1023, 1024, 4095, 4096, 4097, 16_384, 32_767, 32_768, 65_535, 65_536)
"""Sizes about which buffers and counters of lengths end."""


class LikenessLaws:
    """What looks like another value, or like none, is itself when it arrives."""

    @law("A4", needs=("keys",))
    async def test_a_key_is_not_taken_for_another_one(self, harness: Harness) -> None:
        """A4: empty, long, with blanks about it, like a number; and none is none."""
        keys: Sequence[str | None] = ("", None, *LOOKALIKES, "k" * 300, "ü" * 500, "k" * 1000)
        async with place(harness) as here:
            await arrive(here, harness, [made(here, harness, key=key) for key in keys])

    @law("A3", needs=("headers",))
    async def test_a_header_is_not_taken_for_another_one(self, harness: Harness) -> None:
        """A3: many, long, nameless, alike but for their case or their composition."""
        async with place(harness) as here:
            records = [made(here, harness, headers=headers) for headers in HEADERS]
            await arrive(here, harness, records)

    @law("A4")
    async def test_an_id_is_not_taken_for_another_one(self, harness: Harness) -> None:
        """A4: like a number, long, alike but for its case."""
        stem = harness.topic("Id")
        ids = [*LOOKALIKES, stem, stem.lower(), stem.upper(), stem + "x" * 250, stem + "x" * 251]
        async with place(harness) as here:
            await arrive(here, harness, [made(here, harness, id=one) for one in ids])

    @law("A4")
    async def test_types_and_times_are_kept_as_they_are(self, harness: Harness) -> None:
        """A4: a type in capitals, a long one; before 1970, and a day that is far off."""
        types = ("Text/Plain", 'a/b; x="y; z"', "application/vnd.x+json", "t/" + "y" * 300)
        times = (0.000_001, -1.5, 1.0, 1_700_000_000.999_999, 4_102_444_800.25)
        async with place(harness) as here:
            records = [made(here, harness, content_type=kind) for kind in types]
            records += [made(here, harness, timestamp=time) for time in times]
            await arrive(here, harness, records)

    @law("A1")
    async def test_a_body_is_not_taken_for_something_else(self, harness: Harness) -> None:
        """A1: for nothing, an archive, the end of a frame; and of every size about a page."""
        async with place(harness) as here:
            limit = here.channel.layer.capabilities.max_payload or 1 << 20
            sized = (b"ab\x00\xff" * (size // 4 + 1) for size in PAGES)
            bodies = [*BODIES, *(b[:size] for b, size in zip(sized, PAGES, strict=True))]
            records = [made(here, harness, body=one) for one in bodies if len(one) <= limit]
            await arrive(here, harness, records)

    @law("A1", "A7")
    async def test_equal_bodies_are_each_delivered(self, harness: Harness) -> None:
        """A1, A7: the same body ten times in one request, and once more alone, is eleven."""
        async with place(harness) as here:
            records = [made(here, harness, body=b'"same"') for _ in range(11)]
            await here.channel.layer.publish(records[:10])
            await arrive(here, harness, records, published=10)

    @law("A1", "A8")
    async def test_a_batch_of_megabytes_is_whole(self, harness: Harness) -> None:
        """A1, A8: as much as one request of many a broker does not take."""
        async with place(harness) as here:
            size = min(here.channel.layer.capabilities.max_payload or 60_000, 60_000)
            records = [made(here, harness, body=bytes([n]) * size) for n in range(48)]
            await arrive(here, harness, records)


def made(
    here: Place,
    harness: Harness,
    *,
    body: bytes = b"body",
    id: str | None = None,  # noqa: A002 - a record's word
    key: str | None = None,
    headers: Mapping[str, str] | None = None,
    content_type: str = "text/plain",
    timestamp: float = 1.5e9,
) -> Record:
    """Return a record to the topic of `here` in which all but what is given is plain."""
    name = harness.topic("id") if id is None else id
    return Record(here.topic, body, name, key, headers or {}, content_type, timestamp)


async def arrive(
    here: Place, harness: Harness, records: Sequence[Record], *, published: int = 0
) -> None:
    """Publish `records` from that number on; see each arrive, again if it is nacked, and no more.

    The receipts are in the order of the records, whatever these look like.
    """
    rest = records[published:]
    receipts = await here.channel.layer.publish(rest)
    assert [one.id for one in receipts] == [one.id for one in rest]
    async with silent(here, harness, len(records)) as feed:
        held = await equal(await lease(feed, len(records)), records)
        if here.channel.layer.capabilities.nack:
            await feed.settle([Settlement(one.token, Verb.NACK) for one in held])
            held = await equal(await lease(feed, len(records)), records)
        await feed.settle([Settlement(one.token, Verb.ACK) for one in held])
    await nothing_is_owed(here.channel, here.topic, here.group)

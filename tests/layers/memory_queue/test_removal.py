"""The memory queue: what is removed comes no more, and holds back nothing any more."""

import anyio
import pytest

from acked.abc import AckFeed
from acked.layers.memory_queue import MemoryQueueLayer
from acked.types import Record, Settlement, Start, Verb

pytestmark = pytest.mark.anyio


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def record(name: str, key: str | None = None, delay: float = 0.0) -> Record:
    return Record("t", b"", name, key, delay=delay)


async def published(layer: MemoryQueueLayer, *records: Record) -> dict[str, str]:
    """Return the position of each, by its id."""
    return {one.id: one.position for one in await layer.publish(records)}


def in_order(layer: MemoryQueueLayer):
    options = {"in_flight": 100, "lease": 30.0, "start": Start.EARLIEST}
    return layer.consume_in_key_order(["t"], "g", **options)


async def taken(feed: AckFeed) -> list[str]:
    """Take what is there, settle it, and return the ids; nothing, if nobody may have any now."""
    with anyio.move_on_after(0.02):
        got = await feed.receive(100)
        await feed.settle([Settlement(one.token, Verb.ACK) for one in got])
        return [one.record.id for one in got]
    return []


async def test_one_in_the_middle_of_what_is_new() -> None:
    layer = MemoryQueueLayer()
    async with layer, in_order(layer) as feed:
        at = await published(layer, *map(record, "abcde"))
        assert await layer.remove("t", [at["c"], at["d"]]) == [True, True]
        assert await taken(feed) == ["a", "b", "e"]


async def test_one_that_waits_for_an_earlier_one_of_its_key() -> None:
    layer = MemoryQueueLayer()
    async with layer, in_order(layer) as feed:
        at = await published(layer, *(record(name, "key") for name in "abcd"))
        (first,) = await feed.receive(100)
        assert await layer.remove("t", [at["b"]]) == [True]
        assert await taken(feed) == []
        await feed.settle([Settlement(first.token, Verb.ACK)])
        assert await taken(feed) == ["c"]
        assert await taken(feed) == ["d"]


async def test_those_that_were_published_with_a_delay_and_kept_their_key() -> None:
    layer = MemoryQueueLayer()
    async with layer, in_order(layer) as feed:
        late = [record(name, "key", delay=60.0) for name in "ab"]
        at = await published(layer, *late, record("c", "key"), record("other"))
        assert await taken(feed) == ["other"]
        assert await layer.remove("t", [at["a"]]) == [True]
        assert await taken(feed) == []
        assert await layer.remove("t", [at["b"]]) == [True]
        assert await taken(feed) == ["c"]

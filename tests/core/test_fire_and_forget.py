"""An ack-capable layer used as news."""

from collections.abc import Sequence
from pathlib import Path

import anyio
import msgspec
import pytest
from anyio import wait_all_tasks_blocked

from acked import (
    CapabilityError,
    Channel,
    ConnectionLost,
    LayerError,
    Overflow,
    Start,
    fire_and_forget,
)
from acked.abc import AckLayer
from acked.layers.memory_queue import MemoryQueueLayer
from acked.layers.sqlite_queue import SQLiteQueueLayer
from acked.types import Outcome, Record

pytestmark = pytest.mark.anyio


@pytest.fixture(params=["memory", "sqlite"])
def layer(request: pytest.FixtureRequest, tmp_path: Path) -> AckLayer:
    return MemoryQueueLayer() if request.param == "memory" else SQLiteQueueLayer(tmp_path / "q.db")


async def receive(subscription, count: int) -> list[object]:
    with anyio.fail_after(10):
        return [(await anext(subscription)).body for _ in range(count)]


async def test_every_listener_gets_everything_from_its_entering_on(layer: AckLayer) -> None:
    async with Channel(fire_and_forget(layer)) as channel:
        assert await channel.publish("t", 0) is None
        async with channel.subscribe("t") as one, channel.subscribe("t", "u") as two:
            for number in range(1, 6):
                await channel.publish("t", number)
            await channel.publish("u", 6)
            assert await receive(one, 5) == [1, 2, 3, 4, 5]
            assert sorted(await receive(two, 6)) == [1, 2, 3, 4, 5, 6]


async def test_overflow_policies_apply_and_losses_are_told(layer: AckLayer) -> None:
    async with Channel(fire_and_forget(layer)) as channel:
        options = {"capacity": 2, "overflow": Overflow.DROP_OLDEST}
        async with channel.subscribe("t", **options) as news, channel.subscribe("t") as witness:
            for number in range(5):
                await channel.publish("t", number)
            await receive(witness, 5)
            with anyio.fail_after(10):
                while news.statistics().missed < 3:
                    await anyio.sleep(0.001)
                first = await anext(news)
            assert (first.body, first.gap.missed) == (3, 3)


async def test_what_only_a_group_can_is_not_claimed_for_news(layer: AckLayer) -> None:
    news = fire_and_forget(layer)
    claims = msgspec.structs.asdict(news.capabilities)
    assert {name for name, claimed in claims.items() if claimed is True} == {
        name
        for name in (
            *("batch_publish", "coalesced_publish", "headers", "keys", "lossy"),
            *("publish_confirm", "publish_delay"),
        )
        if name == "lossy" or getattr(layer.capabilities, name)
    }
    async with Channel(news) as channel:
        with pytest.raises(CapabilityError, match="cannot show what a topic keeps"):
            channel.dead_letters("t")


async def test_a_listeners_group_is_removed_on_leaving() -> None:
    layer = MemoryQueueLayer()
    async with Channel(fire_and_forget(layer)) as channel:
        for _ in range(3):
            async with channel.subscribe("t"):
                await channel.publish("t", "unread")
        assert "no group" in repr(layer)
        assert "keeps 0" in repr(layer)  # what only the listener was owed went with it


async def test_cancelling_a_listener_removes_its_group_too() -> None:
    layer = MemoryQueueLayer()
    async with Channel(fire_and_forget(layer)) as channel:
        with anyio.move_on_after(0.01):
            async with channel.subscribe("t") as news:
                await anext(news)
        assert "no group" in repr(layer)


class Breaking(MemoryQueueLayer):
    """Loses its connection where a test says so."""

    lose_receives = 0
    unknown_settlements = 0

    def consume(self, topics: Sequence[str], group: str, **options):
        context, layer = super().consume(topics, group, **options), self

        class Entered:
            async def __aenter__(self):
                feed = await context.__aenter__()
                receive, settle = feed.receive, feed.settle

                async def breaking_receive(limit: int):
                    if layer.lose_receives:
                        layer.lose_receives -= 1
                        raise ConnectionLost("cut")
                    return await receive(limit)

                async def breaking_settle(batch):
                    if layer.unknown_settlements:
                        layer.unknown_settlements -= 1
                        await feed.release([settlement.token for settlement in batch])
                        return [Outcome.UNKNOWN] * len(batch)
                    return await settle(batch)

                feed.receive, feed.settle = breaking_receive, breaking_settle
                return feed

            async def __aexit__(self, *exc: object):
                return await context.__aexit__(*exc)

        return Entered()


async def test_what_may_come_twice_is_handed_over_once() -> None:
    """B9: an ack that nobody answered makes the broker deliver again; the reader has it already."""
    layer = Breaking()
    layer.lose_receives, layer.unknown_settlements = 2, 2
    async with Channel(fire_and_forget(layer)) as channel, channel.subscribe("t") as news:
        for number in range(5):
            await channel.publish("t", number)
        assert await receive(news, 5) == [0, 1, 2, 3, 4]
        await wait_all_tasks_blocked()
        assert news.statistics().buffered == 0
        assert layer.unknown_settlements == 0


async def test_a_broker_that_stays_away_is_told() -> None:
    layer = Breaking()
    layer.lose_receives = 10**9
    channel = Channel(fire_and_forget(layer, reconnect_timeout=0.05))
    async with channel, channel.subscribe("t") as news:
        with pytest.raises(ConnectionLost, match="cut"), anyio.fail_after(10):
            await anext(news)


async def test_a_layer_that_cannot_is_refused() -> None:
    layer = MemoryQueueLayer()
    layer.capabilities = msgspec.structs.replace(layer.capabilities, groups=False)  # type: ignore[misc]
    with pytest.raises(CapabilityError, match="one group"):
        fire_and_forget(layer)


async def test_its_kind_is_that_of_news() -> None:
    channel = Channel(fire_and_forget(MemoryQueueLayer()))
    with pytest.raises(CapabilityError, match="group="):
        channel.subscribe("t", group="g")  # type: ignore[call-arg]


async def test_a_removed_group_is_owed_nothing_and_begins_anew(layer: AckLayer) -> None:
    async with Channel(layer) as channel:
        await channel.publish_many("t", range(4))
        for group in ("kept", "removed"):
            async with channel.subscribe("t", group=group) as sub:
                await (await anext(sub)).ack()
        await channel.remove_group("t", "unknown topic", group="removed")
        await channel.remove_group("t", group="removed")  # again: a no-op
        async with channel.subscribe("t", group="removed", start=Start.LATEST) as sub:
            await channel.publish("t", 4)
            delivery = await anext(sub)
            assert delivery.body == 4
            await delivery.ack()
        async with channel.subscribe("t", group="kept") as sub:
            for number in (1, 2, 3, 4):  # another group's entries are untouched
                delivery = await anext(sub)
                assert delivery.body == number
                await delivery.ack()


async def test_a_group_that_holds_messages_is_not_removed(layer: AckLayer) -> None:
    async with Channel(layer) as channel:
        await channel.publish_many("t", range(2))
        async with channel.subscribe("t", group="g") as sub:
            held = await anext(sub)
            with pytest.raises(LayerError, match="close its consumers"):
                await channel.remove_group("t", group="g")
            await held.ack()


async def test_removing_the_last_group_frees_what_it_owed(tmp_path: Path) -> None:
    layer = SQLiteQueueLayer(tmp_path / "q.db")
    async with Channel(layer) as channel:
        async with channel.subscribe("t", group="g"):
            pass
        await channel.publish_many("t", range(3))
        await channel.remove_group("t", group="g")
        async with channel.subscribe("t", group="new", start=Start.EARLIEST) as sub:
            await channel.publish("t", "after")
            delivery = await anext(sub)
            assert delivery.body == "after"
            await delivery.ack()


async def test_the_wrapper_shows_what_it_wraps() -> None:
    layer = MemoryQueueLayer()
    news = fire_and_forget(layer)
    assert repr(news) == f"fire_and_forget({layer!r})"
    await layer.publish([Record("t", b"1", "id")])
    async with Channel(news) as channel:
        assert [finding.name for finding in await channel.check()] == ["persistence"]

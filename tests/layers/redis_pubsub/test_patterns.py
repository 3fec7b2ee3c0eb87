"""Redis pub/sub: several topics and patterns in one subscription, on the one connection."""

import random

import anyio
import pytest
from anyio import fail_after, to_thread

from acked import Channel, LayerError, Topic
from acked._machines.glob import glob
from acked.codecs import RAW
from acked.layers.redis_pubsub import RedisPubSubLayer
from acked.types import Record
from tests.layers.redis_pubsub_kit import (
    RECONNECTED,
    SOON,
    Recorder,
    client_of,
    connections_to,
    fresh,
    tasks,
    until,
)

pytestmark = pytest.mark.anyio


@pytest.fixture
def root() -> str:
    """What all names of one test begin with."""
    return fresh().name


def raw(name: str) -> Topic[bytes]:
    return Topic(name, bytes, codec=RAW)


def news(topic: str, body: bytes = b"x") -> Record:
    return Record(topic, body, "id")


class Namer(Recorder):
    """A recorder that also keeps the topics' names."""

    def offer(self, record: Record) -> bool:
        self.told.append((record.topic, record.body))
        return True


async def numsub(broker, *names: str) -> list[int]:
    async with client_of(broker) as stranger:
        return [count for _, count in await stranger.pubsub_numsub(*names)]


async def patterns_of(broker) -> int:
    async with client_of(broker) as stranger:
        return await stranger.pubsub_numpat()


async def test_several_topics_are_one_subscription_on_one_connection(private_redis, root) -> None:
    broker = private_redis()
    one, two = raw(root + "-1"), raw(root + "-2")
    async with Channel(RedisPubSubLayer(broker.url)) as channel:
        before = connections_to(broker.port)
        async with channel.subscribe(one, two) as both, channel.subscribe(two) as second:
            assert connections_to(broker.port) == before + 1
            assert await numsub(broker, one.name, two.name) == [1, 1]
            await channel.publish(one, b"1")
            await channel.publish(two, b"2")
            with fail_after(SOON):
                found = [await anext(both), await anext(both)]
                assert [(m.topic, m.body) for m in found] == [(one.name, b"1"), (two.name, b"2")]
                assert (await anext(second)).body == b"2"


async def test_what_matches_several_patterns_comes_once_and_to_each_subscription(
    redis_broker, root
) -> None:
    overlapping, other, plain = Namer(), Namer(), Namer()
    async with RedisPubSubLayer(redis_broker.url) as layer:
        async with (
            layer.listen_patterns([root + "*", root + "*b", root + "a?"], overlapping),
            layer.listen_patterns([root + "a*"], other),
            layer.listen([root + "ab"], plain),
        ):
            for end in ("ab", "c", "ax"):
                await layer.publish([news(root + end)])
            await layer.publish([news(root + "end"), news(root + "a-end"), news(root + "ab")])
            await until(lambda: len(plain.told) == 2)
    names = [name.removeprefix(root) for name, _ in overlapping.told]
    assert names == ["ab", "c", "ax", "end", "a-end", "ab"]
    names = [name.removeprefix(root) for name, _ in other.told]
    assert names == ["ab", "ax", "a-end", "ab"]
    assert plain.told == [(root + "ab", b"x")] * 2


@pytest.mark.parametrize("seed", range(5))
async def test_any_patterns_at_all_bring_each_match_exactly_once(redis_broker, root, seed) -> None:
    dice = random.Random(seed)

    def some(letters: str) -> str:
        return "".join(dice.choices(letters, k=dice.randint(0, 4)))

    names = sorted({root + some("ab-ü") for _ in range(60)})
    wanted = [[root + some("ab*?[-]ü\\^") for _ in range(dice.randint(1, 4))] for _ in range(12)]
    sinks = [Namer() for _ in wanted]
    last = Namer()
    async with RedisPubSubLayer(redis_broker.url) as layer:
        async with anyio.create_task_group() as group, layer.listen([names[-1]], last):
            entered = [anyio.Event() for _ in wanted]

            async def listen(number: int) -> None:
                async with layer.listen_patterns(wanted[number], sinks[number]):
                    entered[number].set()
                    await anyio.sleep_forever()

            for number in range(len(wanted)):
                group.start_soon(listen, number)
            for one in entered:
                await one.wait()
            await layer.publish([news(name) for name in names])
            await until(lambda: bool(last.told))
            await layer.publish([news(names[-1])])  # in order: whatever came before has been told
            await until(lambda: len(last.told) == 2)
            group.cancel_scope.cancel()
    for patterns, sink in zip(wanted, sinks, strict=True):
        matching = [name for name in names if any(glob(one)(name) for one in patterns)]
        assert [name for name, _ in sink.told][: len(matching)] == matching, patterns


async def test_names_and_bodies_of_any_bytes_come_by_a_pattern(redis_broker, root) -> None:
    sink = Namer()
    body = bytes(range(256))
    async with RedisPubSubLayer(redis_broker.url) as layer, client_of(redis_broker) as stranger:
        async with layer.listen_patterns([root + "*", root + "é?"], sink):
            await layer.publish([news(root + "é\N{SNOWMAN}\n ", body)])
            await stranger.publish(root.encode() + b"\xff\xfe", body)
            await stranger.publish(root, body)
            await until(lambda: len(sink.told) == 3)
    foreign = (root.encode() + b"\xff\xfe").decode("utf-8", "surrogateescape")
    assert sink.told == [(root + "é\N{SNOWMAN}\n ", body), (foreign, body), (root, body)]


async def test_headers_travel_by_a_pattern_too(redis_broker, root) -> None:
    sent = Record(root, b"\0body", "the-id", "k", {"a": "ü"}, "text/plain", 12.5)
    async with Channel(RedisPubSubLayer(redis_broker.url)) as channel:
        async with channel.subscribe(raw(root + "*"), patterns=True) as sub:
            await channel.layer.publish([sent])
            with fail_after(SOON):
                message = await anext(sub)
    assert (message.topic, message.id, message.key, message.headers) == (
        *(root, "the-id", "k"),
        {"a": "ü"},
    )


async def test_the_last_one_that_leaves_unsubscribes(private_redis, root) -> None:
    broker = private_redis()
    async with RedisPubSubLayer(broker.url) as layer:
        before = tasks()
        async with layer.listen_patterns([root + "*", "other*", root + "*"], Namer()):
            async with layer.listen_patterns([root + "*"], Namer()):
                assert await patterns_of(broker) == 2
            assert await patterns_of(broker) == 2
        with fail_after(SOON):
            while await patterns_of(broker):
                await anyio.sleep(0.01)
        await until(lambda: tasks() <= before or connections_to(broker.port) <= 2)
        async with layer.listen_patterns([root + "*"], sink := Namer()):
            await layer.publish([news(root)])
            await until(lambda: sink.told == [(root, b"x")])


async def test_pattern_subscribers_that_come_and_go_are_never_deaf(redis_broker, root) -> None:
    async with Channel(RedisPubSubLayer(redis_broker.url)) as channel:

        async def come_and_go(number: int) -> None:
            for turn in range(10):
                mine = f"{root}-{number}-{turn}"
                async with channel.subscribe(
                    raw(root + "*"), raw(mine + "*"), patterns=True, capacity=5000
                ) as sub:
                    await channel.publish(raw(mine), b"mine")
                    async for message in sub:
                        assert message.gap is None
                        if message.topic == mine:
                            break

        with fail_after(SOON):
            async with anyio.create_task_group() as group:
                for number in range(20):
                    group.start_soon(come_and_go, number)


async def test_after_a_cut_patterns_come_back_with_a_gap(redis_broker, proxy, root) -> None:
    between = proxy(redis_broker)
    by_pattern, by_name = Namer(), Namer()
    async with RedisPubSubLayer(between.url) as layer:
        async with (
            layer.listen_patterns([root + "*", root + "?"], by_pattern),
            layer.listen([root + "1"], by_name),
        ):
            for turn in range(3):
                await layer.publish([news(root + "1")])
                await until(lambda t=turn: len(by_pattern.told) == len(by_name.told) == 2 * t + 1)
                await to_thread.run_sync(between.cut)
                await until(lambda t=turn: len(by_pattern.told) == len(by_name.told) == 2 * t + 2)
    assert by_pattern.told == by_name.told == [(root + "1", b"x"), RECONNECTED] * 3


async def test_a_forbidden_pattern_ends_only_its_subscription(private_redis, root) -> None:
    broker = private_redis()
    async with client_of(broker) as admin:
        await admin.execute_command("ACL", "SETUSER", "u", "on", ">pw", "+@all", f"&{root}*")
        async with RedisPubSubLayer(broker.url.replace("://", "://u:pw@")) as layer:
            async with layer.listen_patterns([root + "*"], sink := Namer()):
                with pytest.raises(LayerError, match="refuses 'other"):
                    async with layer.listen_patterns(["other*"], Namer()):
                        pass
                await layer.publish([news(root)])
                await until(lambda: sink.told == [(root, b"x")])

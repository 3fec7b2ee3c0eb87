"""Redis pub/sub: a loss is told, and listening goes on."""

import asyncio

import anyio
import pytest
from anyio import fail_after, to_thread

from acked import (
    Channel,
    ConnectionLost,
    LayerError,
    PublishFailed,
    Topic,
)
from acked.codecs import RAW
from acked.layers._redis import refusals
from acked.layers.redis_pubsub import RedisPubSubLayer, _slot_listener
from compose.native.process import free_ports
from tests.layers.redis_pubsub_kit import (
    RECONNECTED,
    SOON,
    Recorder,
    client_of,
    fresh,
    tasks,
    until,
)

pytestmark = pytest.mark.anyio


async def test_a_cut_is_told_by_a_gap_and_later_messages_arrive(redis_broker, proxy, topic) -> None:
    between = proxy(redis_broker)
    async with Channel(RedisPubSubLayer(between.url)) as channel:
        async with channel.subscribe(topic) as one, channel.subscribe(topic, fresh()) as two:
            await channel.publish(topic, b"before")
            await until(lambda: all(sub.statistics().buffered == 1 for sub in (one, two)))
            await to_thread.run_sync(between.cut)
            await until(lambda: all(sub.statistics().unknown_gaps == 1 for sub in (one, two)))
            await channel.publish(topic, b"after")
            for sub in (one, two):
                with fail_after(SOON):
                    told = [((m := await anext(sub)).body, m.gap) for _ in range(2)]
                assert told == [(b"before", None), (b"after", RECONNECTED)]


async def test_a_killed_server_that_comes_back_is_a_gap(private_redis, topic) -> None:
    broker = private_redis()
    async with Channel(RedisPubSubLayer(broker.url)) as channel:
        async with channel.subscribe(topic) as sub:
            await to_thread.run_sync(broker.kill)
            with pytest.raises(PublishFailed):
                await channel.publish(topic, b"to nobody")
            await to_thread.run_sync(broker.start)
            await until(lambda: sub.statistics().unknown_gaps == 1)
            await channel.publish(topic, b"after")
            with fail_after(SOON):
                message = await anext(sub)
    assert (message.body, message.gap) == (b"after", RECONNECTED)


async def test_the_loss_of_a_steady_connection_is_met_at_once(
    redis_broker, proxy, topic, monkeypatch
) -> None:
    waits: list[int] = []
    monkeypatch.setattr(_slot_listener, "pause", lambda failures: waits.append(failures) or 0.0)
    between = proxy(redis_broker)
    async with Channel(RedisPubSubLayer(between.url)) as channel:
        async with channel.subscribe(topic) as sub:
            for losses in range(1, 4):
                for _ in range(_slot_listener.STEADY):
                    await channel.publish(topic, b"a piece")
                    with fail_after(SOON):
                        await anext(sub)
                await to_thread.run_sync(between.cut)
                await until(lambda: sub.statistics().unknown_gaps == losses)  # noqa: B023
    assert waits == []


async def test_a_connection_the_server_kills_is_a_gap(redis_broker, topic) -> None:
    async with Channel(RedisPubSubLayer(redis_broker.url)) as channel:
        async with client_of(redis_broker) as stranger, channel.subscribe(topic) as sub:
            await stranger.execute_command("CLIENT", "KILL", "TYPE", "pubsub")
            await until(lambda: sub.statistics().unknown_gaps == 1)
            await channel.publish(topic, b"after")
            with fail_after(SOON):
                assert (await anext(sub)).gap == RECONNECTED


async def test_a_silent_connection_is_noticed_by_the_heartbeat(redis_broker, proxy, topic) -> None:
    between = proxy(redis_broker)
    layer = RedisPubSubLayer(between.url, heartbeat=0.2, on_loss="raise")
    async with Channel(layer) as channel, channel.subscribe(topic) as sub:
        await to_thread.run_sync(between.black_hole)
        with pytest.raises(ConnectionLost, match=r"127\.0\.0\.1:\d+ \(no answer for 0.2 s\)"):
            with fail_after(5):
                await anext(sub)


async def test_a_silence_that_ends_is_a_gap(redis_broker, proxy, topic) -> None:
    between = proxy(redis_broker)
    layer = RedisPubSubLayer(between.url, heartbeat=0.2, timeout=0.5)
    async with Channel(layer) as channel, channel.subscribe(topic) as sub:
        await to_thread.run_sync(between.black_hole)
        with pytest.raises(PublishFailed) as caught:
            await channel.publish(topic, b"into the hole")
        assert caught.value.indeterminate
        await to_thread.run_sync(between.heal)
        await until(lambda: sub.statistics().unknown_gaps == 1)
        await channel.publish(topic, b"after")
        with fail_after(SOON):
            message = await anext(sub)
            while message.body == b"into the hole":  # it was written before the network healed
                message = await anext(sub)
        assert message.body == b"after"


async def test_a_loss_is_raised_where_that_was_asked_for_and_listening_goes_on_anew(
    redis_broker, proxy, topic
) -> None:
    between = proxy(redis_broker)
    async with Channel(RedisPubSubLayer(between.url, on_loss="raise")) as channel:
        async with channel.subscribe(topic) as sub:
            await channel.publish(topic, b"before")
            await until(lambda: sub.statistics().buffered == 1)
            await to_thread.run_sync(between.cut)
            with fail_after(SOON):
                assert (await anext(sub)).body == b"before"
                with pytest.raises(ConnectionLost, match=r"127\.0\.0\.1") as caught:
                    await anext(sub)
                assert "no answer" not in str(caught.value)
        async with channel.subscribe(topic) as sub:
            await channel.publish(topic, b"after")
            with fail_after(SOON):
                message = await anext(sub)
    assert (message.body, message.gap) == (b"after", None)


async def test_subscribing_while_nobody_answers_is_refused_at_once(
    redis_broker, proxy, topic
) -> None:
    between = proxy(redis_broker)
    async with Channel(RedisPubSubLayer(between.url)) as channel:
        async with channel.subscribe(topic) as sub:
            await to_thread.run_sync(between.refuse)
            await to_thread.run_sync(between.cut)
            with pytest.raises(ConnectionLost, match="check that the server runs"):
                with fail_after(SOON):
                    async with channel.subscribe(fresh()):
                        pass
            await to_thread.run_sync(between.accept)
            await until(lambda: sub.statistics().unknown_gaps == 1)
            async with channel.subscribe(topic) as late:
                await channel.publish(topic, b"after")
                with fail_after(SOON):
                    assert (await anext(sub)).gap == RECONNECTED
                    assert (await anext(late)).gap is None


async def test_a_password_changed_meanwhile_ends_the_subscriptions(
    private_redis, topic, monkeypatch
) -> None:
    monkeypatch.setattr(refusals, "REFUSED_FOR", 0.5)
    broker = private_redis()
    async with Channel(RedisPubSubLayer(broker.url)) as channel:
        async with client_of(broker) as stranger, channel.subscribe(topic) as sub:
            await stranger.config_set("requirepass", "new")
            await stranger.execute_command("CLIENT", "KILL", "TYPE", "pubsub")
            with pytest.raises(LayerError, match="check the user and the password"):
                with fail_after(SOON):
                    await anext(sub)


async def test_a_password_that_is_changed_and_changed_back_is_a_gap_each_time(
    private_redis, topic, caplog
) -> None:
    broker = private_redis()
    async with Channel(RedisPubSubLayer(broker.url)) as channel:
        async with client_of(broker) as admin, channel.subscribe(topic) as sub:
            for times in (1, 2):
                await admin.config_set("requirepass", "new")
                await admin.execute_command("CLIENT", "KILL", "TYPE", "pubsub")
                await until(lambda: caplog.text.count("refused for now") == times)  # noqa: B023
                with pytest.raises(LayerError, match="refuses us") as newcomer:
                    async with channel.subscribe(fresh()):
                        pass
                assert newcomer.value.may_pass
                await admin.config_set("requirepass", "")
                await until(lambda: sub.statistics().unknown_gaps == times)  # noqa: B023
                await channel.publish(topic, b"after")
                assert (await anext(sub)).body == b"after"
    for lost, refused in (caplog.messages[:2], caplog.messages[2:]):
        assert lost.endswith("; reconnecting")
        assert refused.startswith("refused for now")


async def test_one_forbidden_topic_ends_only_its_subscription(private_redis, topic) -> None:
    broker, secret = private_redis(), Topic("secret", bytes, codec=RAW)
    async with client_of(broker) as admin:
        await admin.execute_command("ACL", "SETUSER", "u", "on", ">pw", "+@all", "&*")
        url = broker.url.replace("://", "://u:pw@")
        async with Channel(RedisPubSubLayer(url)) as channel:
            async with channel.subscribe(topic) as sub, channel.subscribe(secret) as forbidden:
                await admin.execute_command("ACL", "SETUSER", "u", "resetchannels", "&news*")
                with fail_after(SOON):
                    with pytest.raises(LayerError, match="refuses 'secret'"):
                        await anext(forbidden)
                    await until(lambda: sub.statistics().unknown_gaps == 1)
                    await channel.publish(topic, b"after")
                    assert (await anext(sub)).body == b"after"
                with pytest.raises(LayerError, match="refuses 'secret'"):
                    async with channel.subscribe(secret):
                        pass
                with pytest.raises(PublishFailed) as caught:
                    await channel.publish(secret, b"x")
                assert not caught.value.indeterminate


async def test_a_refusal_that_comes_after_its_listener_has_left_is_nobody_s(
    private_redis, proxy
) -> None:
    broker = private_redis()
    way = proxy(broker)
    async with client_of(broker) as admin:
        await admin.execute_command("ACL", "SETUSER", "u", "on", ">pw", "+@all", "&news*")
        url = way.url.replace("://", "://u:pw@")
        async with RedisPubSubLayer(url) as layer:
            async with layer.listen(["news"], heard := Recorder()):
                with anyio.CancelScope() as scope:
                    async with anyio.create_task_group() as joining:
                        joining.start_soon(layer.listen(["secret"], Recorder()).__aenter__)
                        await anyio.wait_all_tasks_blocked()
                        scope.cancel()
                await admin.publish("news", b"after")
                await until(lambda: heard.told == [b"after"])


async def test_rights_that_were_taken_away_since_are_said_to_who_listens(private_redis) -> None:
    broker = private_redis()
    async with client_of(broker) as admin:
        await admin.execute_command("ACL", "SETUSER", "u", "on", ">pw", "+@all", "&*")
        async with RedisPubSubLayer(broker.url.replace("://", "://u:pw@")) as layer:
            await admin.execute_command("ACL", "SETUSER", "u", "-ping")
            with pytest.raises(LayerError, match="refuses us") as caught:
                async with layer.listen(["news"], Recorder()):
                    pass
    assert caught.value.may_pass


async def test_subscribing_into_silence_ends_by_the_deadline(redis_broker, proxy, topic) -> None:
    between = proxy(redis_broker)
    async with Channel(RedisPubSubLayer(between.url, timeout=0.3)) as channel:
        async with channel.subscribe(topic):
            await to_thread.run_sync(between.black_hole)
            with pytest.raises(ConnectionLost, match=r"no confirmation within 0\.3 s"):
                async with channel.subscribe(fresh()):
                    pass


@pytest.mark.parametrize("nonsense", [b"?nonsense\r\n", b"+unasked\r\n" * 9 + b":1\r\n", b"*0\r\n"])
async def test_a_server_that_talks_nonsense_is_a_lost_connection(nonsense) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while words := await reader.read(1000):
            subscribes = b"SUBSCRIBE" in words
            writer.write(nonsense if subscribes else b"+OK\r\n" * words.count(b"*"))
        writer.close()

    (port,) = free_ports(1)
    server = await asyncio.start_server(serve, "127.0.0.1", port)
    layer, before = RedisPubSubLayer(f"redis://127.0.0.1:{port}", on_loss="raise"), tasks()
    async with server:
        async with Channel(layer) as channel:
            with pytest.raises(ConnectionLost), fail_after(SOON):
                async with channel.subscribe("t"):
                    pass
        await until(lambda: tasks() == before)

"""Redis Streams as news: one connection reads on where it was, whatever happens to it."""

import anyio
import pytest
import redis
from anyio import to_thread

from acked import ConnectionLost, LayerError
from acked.errors import CapabilityError, ChannelClosed, ConfigurationError, PublishFailed
from acked.layers._redis import refusals
from acked.layers.redis_streams import RedisStreamsTail, _tail
from acked.types import Record
from compose.lifecycle import Broker
from tests.fix_proxy import Proxies
from tests.layers.redis_pubsub_kit import Recorder, client_of, connections_to, until
from tests.layers.redis_streams.kit import SOON, Oracle, fresh, records

pytestmark = pytest.mark.anyio


async def test_who_listens_hears_what_comes_from_then_on_and_all_on_one_connection(
    redis_broker: Broker, proxy: Proxies
) -> None:
    way = proxy(redis_broker)
    topics = [fresh("stream") for _ in range(3)]
    heard = {topic: Recorder() for topic in topics}
    async with RedisStreamsTail(way.url) as tail:
        await tail.publish([record for topic in topics for record in records(topic, "before")])
        async with (
            tail.listen(topics[:1], heard[topics[0]]),
            tail.listen(topics[1:2], heard[topics[1]]),
            tail.listen(topics[2:], heard[topics[2]]),
        ):
            with anyio.fail_after(SOON):
                await tail.publish([one for topic in topics for one in records(topic, "after")])
            await until(lambda: all(one.told == [b"after"] for one in heard.values()))
            assert way.statistics().open_connections == 2
        assert repr(tail).endswith(", 0 streams>")
        async with (
            tail.listen(topics, late := Recorder()),
            tail.listen(topics[1:2], last := Recorder()),
        ):
            await tail.publish(records(topics[1], "late"))
            await until(lambda: late.told == last.told == [b"late"])
        await until(tail._task.done)  # nobody listens, so nothing is read
        async with tail.listen(topics[:1], again := Recorder()):
            await tail.publish(records(topics[0], "again"))
            await until(lambda: again.told == [b"again"])


async def test_nothing_is_missed_over_a_lost_connection(
    redis_broker: Broker, proxy: Proxies, topic: str, caplog: pytest.LogCaptureFixture
) -> None:
    way = proxy(redis_broker)
    async with (
        RedisStreamsTail(way.url) as tail,
        RedisStreamsTail(redis_broker.url) as other,
        tail.listen([topic], heard := Recorder()),
    ):
        await other.publish(records(topic, 1))
        await until(lambda: heard.told == [b"1"])
        way.refuse()
        way.cut()
        await until(lambda: "reconnecting" in caplog.text)
        await other.publish(records(topic, 2, 3))
        way.accept()
        await until(lambda: heard.told == [b"1", b"2", b"3"])
    (said,) = caplog.messages
    assert said.endswith("; reconnecting")


async def test_a_lost_connection_may_be_the_end_and_the_next_who_listens_hears(
    redis_broker: Broker, proxy: Proxies, topic: str
) -> None:
    way = proxy(redis_broker)
    async with RedisStreamsTail(way.url, on_loss="raise") as tail:
        async with tail.listen([topic], ended := Recorder()):
            await until(lambda: way.statistics().open_connections == 2)
            way.cut()
            await until(lambda: bool(ended.told))
            assert [type(one) for one in ended.told] == [ConnectionLost]
            async with tail.listen([topic], again := Recorder()):
                await tail.publish(records(topic, "again"))
                await until(lambda: again.told == [b"again"])
    assert len(ended.told) == 1


async def test_a_password_changed_meanwhile_is_told_to_who_listens(
    private_redis, proxy: Proxies, topic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(refusals, "REFUSED_FOR", 0.2)
    broker = private_redis()
    way = proxy(broker)
    async with RedisStreamsTail(way.url) as tail, client_of(broker) as admin:
        async with tail.listen([topic], heard := Recorder()):
            await until(lambda: way.statistics().open_connections == 2)
            await admin.config_set("requirepass", "new")
            way.cut()
            await until(lambda: bool(heard.told))
    (told,) = heard.told
    assert "check the user and the password" in str(told)


async def test_a_server_that_is_busy_for_a_while_ends_nobody(
    private_redis, proxy: Proxies, topic: str, caplog: pytest.LogCaptureFixture
) -> None:
    broker = private_redis()
    way = proxy(broker)

    def keep_busy() -> None:
        with redis.Redis.from_url(broker.url) as client, pytest.raises(redis.ResponseError):
            client.eval("while true do end", 0)

    async with RedisStreamsTail(way.url) as tail, client_of(broker) as admin:
        await admin.config_set("lua-time-limit", 10)
        async with tail.listen([topic], heard := Recorder()):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(to_thread.run_sync, keep_busy)
                with anyio.fail_after(SOON), pytest.raises(redis.ResponseError, match="BUSY"):
                    while await admin.ping():
                        pass
                way.cut()
                await until(lambda: "refused for now" in caplog.text)
                await admin.script_kill()
            await admin.xadd(topic, {"body": "after"})
            await until(lambda: heard.told == [b"after"])


async def test_a_refusal_that_has_passed_does_not_count_for_the_next_one(
    private_redis, topic: str, caplog: pytest.LogCaptureFixture
) -> None:
    broker = private_redis()

    def publish_and_keep_busy() -> None:  # so that who listens asks for more of a busy server
        with redis.Redis.from_url(broker.url) as client, client.pipeline(transaction=False) as both:
            both.xadd(topic, {"body": "before"}).eval("while true do end", 0)
            with pytest.raises(redis.ResponseError):
                both.execute()

    async with RedisStreamsTail(broker.url) as tail, client_of(broker) as admin:
        await admin.config_set("lua-time-limit", 10)
        async with tail.listen([topic], heard := Recorder()):
            for times in (1, 2):
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(to_thread.run_sync, publish_and_keep_busy)
                    await until(lambda: caplog.text.count("refused for now") == times)  # noqa: B023
                    await admin.script_kill()
                await admin.xadd(topic, {"body": "after"})
                await until(lambda: heard.told == [b"before", b"after"] * times)  # noqa: B023


async def test_what_is_no_stream_ends_only_who_listens_to_it(
    redis_broker: Broker, topic: str, oracle: Oracle
) -> None:
    spoiled = fresh("stream")
    async with (
        RedisStreamsTail(redis_broker.url) as tail,
        tail.listen([topic], heard := Recorder()),
        tail.listen([spoiled], ended := Recorder()),
    ):
        oracle.set(spoiled, "no stream")
        await until(lambda: bool(ended.told))
        assert "WRONGTYPE" in str(ended.told[0])
        await tail.publish(records(topic, "after"))
        await until(lambda: heard.told == [b"after"])
        with pytest.raises(LayerError, match="WRONGTYPE"):
            async with tail.listen([spoiled], Recorder()):
                pass
        with pytest.raises(PublishFailed, match="WRONGTYPE") as caught:
            await tail.publish([*records(spoiled, 1), *records(topic, 2)])
        assert list(caught.value.failures) == [0]
        assert not caught.value.indeterminate


async def test_a_defect_is_told_to_who_listens(
    redis_broker: Broker, topic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError

    async with RedisStreamsTail(redis_broker.url) as tail:
        async with tail.listen([topic], heard := Recorder()):
            monkeypatch.setattr(_tail, "leased_first", broken)
            await tail.publish(records(topic, 1))
            await until(lambda: bool(heard.told))
    (told,) = heard.told
    assert isinstance(told, LayerError)
    assert "listening ended by ZeroDivisionError" in str(told)


async def test_a_body_in_a_field_of_its_own_is_written_and_read(
    redis_broker: Broker, topic: str, oracle: Oracle
) -> None:
    async with RedisStreamsTail(redis_broker.url, field="message") as tail:
        async with tail.listen([topic], heard := Recorder()):
            await tail.publish([Record(topic, b"\xff", "id", "key", {"header": "x"})])
            oracle.xadd(topic, {"body": "without"})
            await until(lambda: heard.told == [b"\xff", b"without"])
    (_, fields), _ = oracle.xrange(topic)
    assert fields == {b"message": b"\xff"}


async def test_publishing_over_a_lost_connection_says_whether_it_may_have_worked(
    redis_broker: Broker, proxy: Proxies, topic: str
) -> None:
    way = proxy(redis_broker)
    async with RedisStreamsTail(way.url) as tail:
        way.cut()
        async with tail.listen([topic], heard := Recorder()):  # which finds it cut, and asks again
            await tail.publish(records(topic, 0))
            await until(lambda: heard.told == [b"0"])
        await until(tail._task.done)
        way.cut_after_bytes(1, "to_client")
        with pytest.raises(PublishFailed) as caught:
            await tail.publish(records(topic, 1, 2))
        assert caught.value.indeterminate
        way.refuse()
        with pytest.raises(PublishFailed) as caught:
            await tail.publish(records(topic, 3, 4))
        assert list(caught.value.failures) == [0, 1]
        assert not caught.value.indeterminate


async def test_what_cannot_be_is_said(redis_broker: Broker, topic: str) -> None:
    with pytest.raises(ConfigurationError, match="on_loss"):
        RedisStreamsTail(redis_broker.url, on_loss="never")  # type: ignore[arg-type]
    tail = RedisStreamsTail(redis_broker.url)
    for _ in range(2):
        with pytest.raises(ChannelClosed, match="enter it first"):
            await tail.publish(records(topic, 1))
        async with tail:
            assert await tail.client.ping()
    nobody = RedisStreamsTail("redis://127.0.0.1:1")
    with pytest.raises(ConnectionLost):
        await nobody.__aenter__()


@pytest.mark.parametrize("anyio_backend", ["trio"])
async def test_on_trio_it_is_refused_at_once(anyio_backend: str) -> None:
    with pytest.raises(CapabilityError, match="asyncio only"):
        await RedisStreamsTail("redis://127.0.0.1:1").__aenter__()


async def test_nothing_is_left_after_closing(private_redis, topic: str) -> None:
    broker = private_redis()
    async with RedisStreamsTail(broker.url) as tail:
        async with tail.listen([topic], Recorder()):
            await until(lambda: connections_to(broker.port) == 2)
            await tail.__aexit__(None, None, None)
            await until(lambda: connections_to(broker.port) == 0)

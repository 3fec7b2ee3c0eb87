"""One translation: what a real server says means the same on both layers, and says so."""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import anyio
import pytest
import redis

from acked.errors import ConnectionLost, LayerError, PublishFailed
from acked.layers._redis.connection import Connection
from acked.layers._redis.scripts import Script, ScriptCall, run_scripts
from acked.layers._redis.urls import RedisUrl
from acked.layers.redis_pubsub import RedisPubSubLayer
from acked.layers.redis_streams import RedisStreamsLayer
from acked.types import Record
from compose.lifecycle import Broker
from tests.layers.redis_streams.kit import fresh, port_of_nobody

pytestmark = pytest.mark.anyio

Admin = redis.Redis
SPIN = "local n = 0 while true do n = n + 1 end"


@contextmanager
def read_only(broker: Broker, admin: Admin) -> Iterator[None]:
    admin.replicaof("127.0.0.1", str(port_of_nobody()))
    yield
    admin.replicaof("NO", "ONE")


@contextmanager
def full(broker: Broker, admin: Admin) -> Iterator[None]:
    admin.config_set("maxmemory", 1)
    yield
    admin.config_set("maxmemory", 0)


@contextmanager
def without_replicas(broker: Broker, admin: Admin) -> Iterator[None]:
    admin.config_set("min-replicas-to-write", 1)
    yield
    admin.config_set("min-replicas-to-write", 0)


@contextmanager
def without_rights(broker: Broker, admin: Admin) -> Iterator[None]:
    admin.execute_command("ACL", "SETUSER", "default", "-@write", "-publish")
    yield
    admin.execute_command("ACL", "SETUSER", "default", "+@all")


@contextmanager
def signed_out(broker: Broker, admin: Admin) -> Iterator[None]:
    admin.config_set("requirepass", "another")
    for one in admin.client_list():
        if one["id"] != str(admin.client_id()):
            admin.client_kill_filter(_id=one["id"])
    while len(admin.client_list()) > 1:
        pass
    yield
    admin.config_set("requirepass", "")


@contextmanager
def busy(broker: Broker, admin: Admin) -> Iterator[None]:
    admin.config_set("lua-time-limit", 10)

    def spin() -> None:
        with pytest.raises(redis.ResponseError), redis.Redis.from_url(broker.url) as other:
            other.eval(SPIN, 0)

    spinning = threading.Thread(target=spin)
    spinning.start()
    while not is_busy(admin):
        pass
    yield
    admin.script_kill()
    spinning.join()


def is_busy(admin: Admin) -> bool:
    try:
        admin.ping()
    except redis.ResponseError:
        return True
    return False


PASSING = [
    (read_only, ConnectionLost, "does not serve now"),
    (full, LayerError, "its memory is full"),
    (without_replicas, LayerError, "fewer replicas"),
    (without_rights, LayerError, "refuses us"),
    (signed_out, LayerError, "refuses us"),
    (busy, LayerError, "SCRIPT KILL"),
]


@pytest.mark.parametrize(
    ("trouble", "kind", "words"), PASSING, ids=[t[0].__name__ for t in PASSING]
)
@pytest.mark.parametrize("by", ["command", "script"])
async def test_what_may_pass_is_told_by_its_own_words(
    private_redis, trouble, kind, words, by
) -> None:
    broker = private_redis()
    server = Connection(RedisUrl(broker.url, {}), timeout=5.0, connections=1)
    adds = Script({"adds.lua": "\nreturn redis.call('XADD', KEYS[1], '*', 'a', 'b')\n"})
    call = ScriptCall(adds, (fresh("s").encode(),), ())
    with redis.Redis.from_url(broker.url) as admin:
        await server.run([call])
        with trouble(broker, admin):
            await told(server.exchange([(b"PING",)]))  # finds out which connections have ended
            if by == "command":
                (reply,) = await told(server.exchange([(b"XADD", b"s", b"*", b"a", b"b")]))
            else:
                (reply,) = await told(server.run([call]))
    assert type(reply) is kind
    assert reply.may_pass
    assert words in str(reply)
    assert f"127.0.0.1:{broker.port}" in str(reply)
    assert reply.__cause__ is not None
    assert kind is ConnectionLost or "no connection" not in str(reply)
    assert isinstance((await server.exchange([(b"PING",)]))[0], bytes)
    await server.aclose()


async def told(exchange) -> list[object]:
    try:
        return await exchange
    except LayerError as error:
        return [error]


async def test_a_server_that_loads_its_data_is_told_by_both_layers(private_redis) -> None:
    broker = private_redis()
    with redis.Redis.from_url(broker.url) as admin:
        admin.config_set("key-load-delay", 1000)  # microseconds for each key
        admin.config_set("loading-process-events-interval-bytes", 1024)
        with admin.pipeline() as filling:
            for number in range(1500):
                filling.set(f"k{number}", "v" * 100)
            filling.execute()
        admin.bgrewriteaof()  # as one snapshot, between whose keys the server answers
        while admin.info("persistence")["aof_rewrite_in_progress"]:
            pass
        admin.config_rewrite()
    broker.kill()
    starting = threading.Thread(target=broker.start)
    starting.start()
    said: dict[type, list[str]] = {RedisStreamsLayer: [], RedisPubSubLayer: []}
    while starting.is_alive():
        for kind, found in said.items():
            try:
                async with kind(broker.url):
                    pass
            except ConnectionLost as error:
                found.append(str(error))
        await anyio.sleep(0.01)
    starting.join()
    for found in said.values():
        assert any("does not serve now" in one and "has just started" in one for one in found)


async def test_a_slot_that_nobody_serves_is_the_same_on_both_layers(redis_cluster) -> None:
    node = redis_cluster.nodes[0]
    name = "{a}stream"
    with redis.Redis.from_url(node.url) as admin:
        (first, last, *_), *_ = [
            row for row in admin.execute_command("CLUSTER", "SLOTS") if row[2][1] == node.port
        ]
        while not first <= redis.crc.key_slot(name.encode()) <= last:
            name = f"{{{fresh('a')}}}stream"
        slot = redis.crc.key_slot(name.encode())
        admin.execute_command("CLUSTER", "DELSLOTS", slot)
        try:
            async with RedisStreamsLayer(node.url) as streams:
                with pytest.raises(PublishFailed, match="does not serve now") as one:
                    await streams.publish([Record(name, b"x", "id")])
            server = Connection(RedisUrl(node.url, {}), timeout=5.0, connections=1, is_node=True)
            (other,) = await server.exchange([(b"SPUBLISH", name.encode(), b"x")])
            await server.aclose()
            assert type(one.value.failures[0]) is type(other) is ConnectionLost
            assert str(one.value.failures[0]) == str(other)
            assert not one.value.indeterminate
        finally:
            admin.execute_command("CLUSTER", "ADDSLOTS", slot)


async def test_what_a_script_that_was_forgotten_meets_is_told_of_it_alone() -> None:
    """Sent again with its source, it may find no connection: others that were known had theirs."""
    unknown = LayerError("NOSCRIPT")
    unknown.__cause__ = redis.exceptions.NoScriptError()
    lost = ConnectionLost("gone")

    async def exchange(commands: Sequence[Sequence[bytes]]) -> list[object]:
        if commands[0][0] == b"EVALSHA":
            return [b"one", unknown]
        raise lost

    script = Script({"a.lua": "return 1\n"})
    replies = await run_scripts(exchange, [ScriptCall(script, (), ())] * 2)
    assert replies == [b"one", lost]


def test_a_line_that_no_file_has_is_told_as_the_server_does() -> None:
    script = Script({"a.lua": "one\ntwo\n", "b.lua": "three\n"})
    told = [script.located(f"at @user_script:{n}") for n in (2, 3, 9)]
    assert told == ["at a.lua:2", "at b.lua:1", "at line 6 behind the script"]


async def test_an_error_in_a_script_names_its_file_and_line(redis_broker) -> None:
    server = Connection(RedisUrl(redis_broker.url, {}), timeout=5.0, connections=1)
    script = Script(
        {"constants": "local A = '1'\n", "one.lua": "local b\n", "two.lua": "\nreturn A .. b\n"}
    )
    for _ in range(2):  # by its source, then by its digest
        (reply,) = await server.run([ScriptCall(script, (), ())])
        assert isinstance(reply, LayerError)
        assert "two.lua:2:" in str(reply)
        assert "user_script" not in str(reply)
    await server.aclose()

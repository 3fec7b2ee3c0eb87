"""What the tests on a Redis Cluster share: names on each of its nodes, and slots that move."""

import redis
from redis.crc import key_slot

from compose.native.server import NativeBroker
from compose.redis.cluster import RedisCluster
from tests.layers.redis_streams.kit import fresh

SLOTS = 16384


def owner_of(cluster: RedisCluster, name: str) -> NativeBroker:
    """Return the node that serves `name`, as the first node believes."""
    slot = key_slot(name.encode())
    with redis.Redis.from_url(cluster.nodes[0].url) as client:
        for first, last, (_, port, *_), *_ in client.execute_command("CLUSTER", "SLOTS"):
            if first <= slot <= last:
                return next(node for node in cluster.nodes if node.port == port)
    raise AssertionError(f"slot {slot} is not served")


def name_on(cluster: RedisCluster, node: NativeBroker) -> str:
    """Return a fresh name that `node` serves."""
    while owner_of(cluster, name := fresh("stream")) is not node:
        pass
    return name


def names(cluster: RedisCluster) -> list[str]:
    """Return a fresh name on each node."""
    return [name_on(cluster, node) for node in cluster.nodes]


def oracle_of(cluster: RedisCluster) -> redis.RedisCluster:
    return redis.RedisCluster("127.0.0.1", cluster.nodes[0].port)


def move(cluster: RedisCluster, name: str, target: NativeBroker) -> None:
    """Move the slot of `name`, with all that is in it, to `target`."""
    slot, source = key_slot(name.encode()), owner_of(cluster, name)
    links = {node: redis.Redis.from_url(node.url) for node in cluster.nodes}
    ids = {node: one.execute_command("CLUSTER", "MYID") for node, one in links.items()}

    def setslot(node: NativeBroker, state: str, of: NativeBroker) -> None:
        links[node].execute_command("CLUSTER", "SETSLOT", slot, state, ids[of])

    setslot(target, "IMPORTING", source)
    setslot(source, "MIGRATING", target)
    while keys := links[source].execute_command("CLUSTER", "GETKEYSINSLOT", slot, 10):
        words = ("127.0.0.1", target.port, "", 0, 5000, "KEYS", *keys)
        links[source].execute_command("MIGRATE", *words)
    for node in (target, source, *(set(cluster.nodes) - {target, source})):
        setslot(node, "NODE", target)
    for one in links.values():
        one.close()

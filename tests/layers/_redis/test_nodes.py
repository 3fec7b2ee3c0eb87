"""Which node serves which slot: the map, asked for when it is needed, of whoever answers."""

from typing import cast

import pytest

from acked.errors import ConfigurationError, ConnectionLost
from acked.layers._redis.nodes import Nodes, slot_of
from acked.layers._redis.urls import RedisUrl

pytestmark = pytest.mark.anyio

MAP = [[0, 8000, [b"10.0.0.1", 1]], [8001, 9000, [b"::1", 2]], [9002, 16383, [None, 3]]]


class Told:
    """A node that has a map to give, or is gone."""

    def __init__(self, url: RedisUrl, reply: object) -> None:
        self.where = url.where
        self.reply = reply

    async def slots(self) -> object:
        if self.reply is None:
            raise ConnectionLost(f"{self.where} is gone")
        return self.reply

    async def aclose(self) -> None:
        """Do nothing."""


def nodes_with(*gone: str) -> Nodes[Told]:
    url = RedisUrl("redis://first:7", {})
    return Nodes(url, lambda one: Told(one, None if one.where in gone else MAP))


async def test_each_slot_is_its_masters_and_each_master_is_named_once() -> None:
    nodes = nodes_with()
    assert (await nodes.serving(8000)).where == "10.0.0.1:1"
    assert (await nodes.serving(8001)).where == "::1:2"
    assert (await nodes.serving(16383)).where == "first:3"  # a node without a name of its own
    assert [node.where for node in await nodes_with().masters()] == [
        "10.0.0.1:1",
        "::1:2",
        "first:3",
    ]
    assert slot_of(b"{a}b") == slot_of(b"a")


async def test_a_slot_that_no_range_has_is_a_lost_connection() -> None:
    with pytest.raises(ConnectionLost, match="serves slot 9001 at the moment"):
        await nodes_with().serving(9001)


async def test_another_node_is_asked_where_one_is_gone_and_the_last_says_why_none_answers() -> None:
    nodes = nodes_with()
    await nodes.look()
    cast("Told", nodes.first).reply = None
    await nodes.look()
    assert (await nodes.any()).where == "10.0.0.1:1"
    with pytest.raises(ConnectionLost, match="first:7 is gone"):
        await nodes_with("first:7").any()


def test_a_cluster_is_not_reached_by_a_path() -> None:
    with pytest.raises(ConfigurationError, match="not reached by a socket's path"):
        Nodes(RedisUrl("unix:///run/redis.sock", {}), lambda one: Told(one, MAP))

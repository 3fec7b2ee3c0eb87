"""One connection to Redis: what answers it, late, too often or not at all."""

import asyncio
import time

import pytest
from redis.exceptions import InvalidResponse, ResponseError

from acked.layers._redis.connection import Connection
from acked.layers._redis.urls import RedisUrl
from acked.layers._redis.wire import RedisWire, packed

pytestmark = pytest.mark.anyio

PING = packed((b"PING",))


@pytest.fixture
async def wire(redis_broker):
    link = Connection(RedisUrl(redis_broker.url, {}), timeout=10.0, connections=1)
    wire, _ = await link.opened([(b"PING",)])
    yield wire
    await wire.aclose()
    await link.aclose()


async def asked(wire: RedisWire, *requests: bytes, within: float = 10.0) -> list[object]:
    replies: list[object] = []
    await wire.ask(requests, replies, asyncio.get_running_loop().time() + within)
    return replies


async def test_replies_come_in_order_and_errors_are_replies(wire) -> None:
    first, wrong, last = await asked(wire, packed((b"ECHO", b"1")), packed((b"NO",)), PING)
    assert (first, last) == (b"1", b"PONG")
    assert isinstance(wrong, ResponseError)
    assert wire.is_open


async def test_a_reply_in_the_turn_of_its_deadline_is_an_answer(wire) -> None:
    """A loop that is blocked finds both at once."""
    asyncio.get_running_loop().call_soon(time.sleep, 0.3)
    assert await asked(wire, PING, within=0.1) == [b"PONG"]
    assert wire.is_open
    assert await asked(wire, PING) == [b"PONG"]


async def test_nothing_is_asked_any_more_once_an_answer_came_late(wire) -> None:
    with pytest.raises(TimeoutError):
        await asked(wire, packed((b"BLPOP", b"nothing", b"10")), within=0.1)
    assert not wire.is_open
    with pytest.raises(TimeoutError):
        await asked(wire, PING)


@pytest.mark.parametrize("extra", [PING, packed((b"BLPOP", b"nothing", b"0.1"))])
async def test_an_answer_to_nothing_that_was_asked_is_not_the_answer_to_the_next(
    wire, extra
) -> None:
    assert await asked(wire, PING + extra) == [b"PONG"]
    async with asyncio.timeout(10.0):
        while wire.is_open:
            await asyncio.sleep(0.01)
    with pytest.raises(InvalidResponse):
        await asked(wire, PING)


async def test_who_was_cancelled_leaves_no_reply_to_another(wire) -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1):
            await asked(wire, packed((b"BLPOP", b"nothing", b"0.3")))
    async with asyncio.timeout(10.0):
        while wire.is_open:
            await asyncio.sleep(0.01)
    with pytest.raises(InvalidResponse):
        await asked(wire, PING)

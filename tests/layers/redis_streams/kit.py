"""What the tests of Redis Streams share: records, words for a feed's answers, an oracle."""

import itertools
import os
from collections.abc import Sequence
from typing import Any

import anyio
import redis

from acked.errors import ConnectionLost
from acked.types import Leased, Outcome, Record, Reply, Settlement, Start, Verb
from compose.native.process import free_ports

SOON = 10.0
LONG = 60.0
GROUP = "group"
CONFIRMED, LOST, UNKNOWN = Outcome.CONFIRMED, Outcome.LOST, Outcome.UNKNOWN
Oracle = redis.Redis


_numbers = itertools.count()


def fresh(word: str) -> str:
    """Return a name that no other test uses."""
    return f"{word}-{os.getpid()}-{next(_numbers)}"


def records(topic: str, *bodies: object, **more: Any) -> list[Record]:
    return [Record(topic, str(body).encode(), f"id-{body}", **more) for body in bodies]


def consuming(layer, *topics: str, group=GROUP, lease=LONG, start=Start.EARLIEST):
    return layer.consume(topics, group, in_flight=1000, lease=lease, start=start)


async def receive(feed, count: int) -> list[Leased]:
    got: list[Leased] = []
    with anyio.fail_after(SOON):
        while len(got) < count:
            got += await feed.receive(count - len(got))
    return got


def bodies(leased: Sequence[Leased]) -> list[str]:
    return [one.record.body.decode() for one in leased]


def settlements(leased: Sequence[Leased], verb: Verb, **more: Any) -> list[Settlement]:
    return [Settlement(one.token, verb, **more) for one in leased]


def acks(leased: Sequence[Leased]) -> list[Settlement]:
    return settlements(leased, Verb.ACK)


def kinds(replies: Sequence[Reply]) -> list[Outcome]:
    """Return `replies` with UNKNOWN for each lost connection; refusals stay what they are."""
    return [UNKNOWN if isinstance(one, ConnectionLost) else one for one in replies]


def nacks(leased: Sequence[Leased], delay: float = 0.0) -> list[Settlement]:
    return settlements(leased, Verb.NACK, delay=delay)


def pending(oracle: Oracle, topic: str) -> dict[str, tuple[bytes, int]]:
    """Return owner and delivery count of each pending entry, as Redis tells them."""
    rows = oracle.xpending_range(topic, GROUP, "-", "+", 100_000)
    return {r["message_id"].decode(): (r["consumer"], r["times_delivered"]) for r in rows}


def let_leases_end(oracle: Oracle, topic: str) -> None:
    """Make the server believe that every holder has been silent for a day."""
    for row in oracle.xpending_range(topic, GROUP, "-", "+", 1000):
        at = row["message_id"]
        oracle.xclaim(topic, GROUP, row["consumer"], 0, [at], idle=86_400_000, justid=True)


def scripts_run(oracle: Oracle) -> int:
    """Return how often the server was asked to run a script."""
    told = oracle.info("commandstats")
    return sum(told.get(f"cmdstat_{one}", {"calls": 0})["calls"] for one in ("eval", "evalsha"))


async def only_a_sentinel_comes(layer, feed, topic: str) -> None:
    await layer.publish(records(topic, "sentinel"))
    (only,) = await feed.receive(10)
    assert bodies([only]) == ["sentinel"]
    assert await feed.settle(acks([only])) == [CONFIRMED]


def port_of_nobody() -> int:
    return free_ports(1)[0]

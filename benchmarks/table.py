"""The table: what is asked of acked, row by row, and whom it is measured beside.

A row names contenders of a contest. `asked` bounds the ratio of acked to the best loop written by
hand, or to `against` where a row says so, or where there is no loop by hand.
"""

from typing import Final, NamedTuple

from benchmarks import (
    engine,
    fan_out,
    kafka,
    memory,
    mqtt,
    postgres_notify,
    postgres_queue,
    redis_publish,
    redis_pubsub,
    redis_streams,
)
from benchmarks.report import Report

__all__ = ("CONTESTS", "ROWS", "Row", "lines")


class Row(NamedTuple):
    """One kind of work, and who does it."""

    work: str
    contest: str
    acked: str
    best: str | None
    asked: float
    against: str | None = None
    naive: str | None = None
    """What one would write first, where that is not the best."""
    peers: tuple[str, ...] = ()

    @property
    def other(self) -> str:
        """Whom acked is compared with."""
        found = self.against or self.best
        if found is None:
            raise ValueError(f"{self.work}: compared with nobody")
        return found


MEMORY = (memory.ACKED, memory.DEQUE)


def _fan_out(who: str) -> Row:
    peer = "broadcaster, messages/s"
    work = f"Redis pub/sub, one message to 10,000 (quick: 1,000), {who}"
    return Row(work, fan_out.NAME, f"{who}, messages/s", None, 1.0, peer, peers=(peer,))


ROWS: Final = (
    Row(
        *("memory, 1 subscriber", "memory.1", *MEMORY, 2.5, memory.BROADCASTER, memory.QUEUE),
        memory.PEERS,
    ),
    Row(
        *("memory, 100 subscribers", "memory.100", *MEMORY, 1.5, memory.BROADCASTER, memory.QUEUE),
        memory.PEERS,
    ),
    Row(
        "Redis Streams, drain, pipelined acks",
        *("redis_streams", redis_streams.PIPELINED, redis_streams.HAND, 0.85),
        naive=redis_streams.HAND_ONE,
    ),
    Row(
        "Redis Streams, batches of 500, confirmed",
        *("redis_streams", redis_streams.BATCHES, redis_streams.HAND, 0.95),
    ),
    Row(
        "the same, beside the bare protocol",
        *("redis_streams", redis_streams.BATCHES, redis_streams.BARE, 0.9),
    ),
    Row(
        "Redis Streams, one task, each ack confirmed",
        *("redis_streams", redis_streams.ONE, redis_streams.HAND_ONE, 1.0),
        peers=redis_streams.PEERS,
    ),
    Row(
        "Redis Streams, 64 tasks, each ack confirmed",
        *("redis_streams", redis_streams.TASKS, redis_streams.HAND, 0.4),
        peers=redis_streams.PEERS_64,
    ),
    Row(
        "Redis Streams, publish, awaited",
        *("redis_publish", redis_publish.ONE, redis_publish.HAND_ONE, 0.95),
        peers=(redis_publish.PEER_ONE,),
    ),
    Row(
        "Redis Streams, publish, 64 at once",
        *("redis_publish", redis_publish.TASKS, redis_publish.HAND_TASKS, 1.5),
        peers=(redis_publish.PEER_TASKS,),
    ),
    Row(
        "Redis Streams, publish_many(500)",
        *("redis_publish", redis_publish.ADD_MANY, redis_publish.HAND_MANY, 2.0),
    ),
    Row(
        "Redis pub/sub, receive",
        *("redis_pubsub", redis_pubsub.ACKED, redis_pubsub.HAND, 2.5),
        peers=redis_pubsub.PEERS,
    ),
    Row(
        "PostgreSQL notify, end to end",
        *("postgres_notify", postgres_notify.ACKED, postgres_notify.HAND, 0.75),
    ),
    Row(
        "PostgreSQL queue, by 100",
        *("postgres_queue", postgres_queue.ACKED, postgres_queue.HAND, 0.8),
        peers=postgres_queue.PEERS_MANY,
    ),
    Row(
        "PostgreSQL queue, one by one",
        *("postgres_queue", postgres_queue.ONE, postgres_queue.HAND_ONE, 0.8),
        peers=postgres_queue.PEERS_ONE,
    ),
    Row(
        "PostgreSQL queue, one at a time",
        *("postgres_queue.lone", postgres_queue.LONE, postgres_queue.HAND_LONE, 0.8),
        peers=postgres_queue.PEERS_LONE,
    ),
    Row(
        "Kafka, drain, one by one",
        *("kafka", kafka.PIPELINED, kafka.HAND, 0.7),
        peers=(kafka.CONFLUENT, kafka.FASTSTREAM),
    ),
    Row(
        "Kafka, drain, batches of 500",
        *("kafka", kafka.BATCHES, kafka.HAND, 0.8),
        peers=(kafka.CONFLUENT_500, kafka.FASTSTREAM_500),
    ),
    Row(
        "the same, beside confluent-kafka",
        *("kafka", kafka.BATCHES, kafka.HAND, 2.0, kafka.CONFLUENT_500),
        peers=(kafka.CONFLUENT_500,),
    ),
    Row(
        "MQTT at QoS 1, drain, manual acks",
        *("mqtt", mqtt.PIPELINED, mqtt.BY_HAND_3, 0.8),
        naive=mqtt.BY_HAND,
        peers=(mqtt.AIOMQTT,),
    ),
    _fan_out("acked"),
    _fan_out("compat"),
    Row("engine, `async for`, raw bodies", "engine", engine.RAW_FOR, engine.QUEUE, 1.2),
    Row("engine, pipelined acks, raw bodies", "engine", engine.RAW_ACK, engine.QUEUE, 0.9),
)

PACES: Final = ("pace.redis", "pace.postgres", "pace.kafka")
CONTESTS: Final = (*dict.fromkeys(row.contest for row in ROWS), *PACES)
"""The contests that the rows need, and those whose result is a time, not a rate."""

HEAD: Final = ("work", "raw best", "raw naive", "acked", "peers", "ratio", "by CPU", "asked", "")


def lines(reports: dict[str, Report], failed: dict[str, str]) -> list[str]:
    """Return the table in Markdown, of the rows whose contest was run."""
    rows = [row for row in ROWS if row.contest in reports or row.contest in failed]
    marks = ["|".join(("", *(" --- " for _ in HEAD), ""))]
    return [
        _line(HEAD),
        *marks,
        *(
            _line(_cells(row, reports[row.contest]))
            if row.contest in reports
            else _line((row.work, f"failed: {failed[row.contest]}", *[""] * (len(HEAD) - 2)))
            for row in rows
        ),
    ]


def _cells(row: Row, report: Report) -> tuple[str, ...]:
    ratio, by_cpu = (of(row.acked, row.other) for of in (report.over, report.over_by_cpu))
    return (
        row.work,
        *(_rate(report, one) if one else "" for one in (row.best, row.naive)),
        _rate(report, row.acked, is_named=False),
        "; ".join(_rate(report, peer) for peer in row.peers),
        *("—" if one is None else f"{one:.2f}" for one in (ratio, by_cpu)),
        f"{row.asked:g}" + (f" of {row.against}" if row.against else ""),
        "" if ratio is None else "yes" if ratio >= row.asked else "**no**",
    )


def _rate(report: Report, contender: str, *, is_named: bool = True) -> str:
    rate = report.rate(contender)
    words = "—" if rate is None else f"{rate:,.0f}"
    return f"{words} ({contender})" if is_named else words


def _line(cells: tuple[str, ...]) -> str:
    return f"| {' | '.join(cells)} |"

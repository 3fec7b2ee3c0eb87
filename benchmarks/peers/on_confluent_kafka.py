"""confluent-kafka: librdkafka's consumer, whose own threads fetch, in a loop that blocks.

The clock begins when it has its partition: by its first message it would have fetched a hundred
thousand.
"""

import json
from functools import partial
from importlib import import_module
from typing import Any

from benchmarks.clock import Work, play
from benchmarks.peers.reading import Countdown

BATCH = 500


def consumer_of(work: Work, group: str, **options: Any) -> Any:
    """Return a consumer of the topic."""
    consumer: Any = import_module("confluent_kafka").Consumer(
        {
            "bootstrap.servers": work.url.removeprefix("kafka://"),
            "group.id": group,
            "auto.offset.reset": "earliest",
            **options,
        }
    )

    def begin(*_: object) -> None:
        work.clock.begin()

    consumer.subscribe([work.topic], on_assign=begin)
    return consumer


async def one_by_one(work: Work) -> None:
    """Poll, with the commits that it does by itself every five seconds."""
    consumer, countdown = consumer_of(work, "one-by-one"), Countdown(work)
    while not countdown.over.is_set():
        if (message := consumer.poll(1.0)) is not None:
            json.loads(message.value())
            countdown.passed()
    consumer.close()


async def by_batches(work: Work, size: int) -> None:
    """Take `size`, decode them, and commit them without waiting for it."""
    consumer = consumer_of(work, f"by-{size}", **{"enable.auto.commit": False})
    countdown = Countdown(work)
    while not countdown.over.is_set():
        if messages := consumer.consume(size, 0.1):
            for message in messages:
                json.loads(message.value())
            consumer.commit(message=messages[-1], asynchronous=True)
            countdown.passed(len(messages))
    consumer.close()


WAYS = {"one": one_by_one, "500": partial(by_batches, size=BATCH)}

if __name__ == "__main__":
    play(WAYS)

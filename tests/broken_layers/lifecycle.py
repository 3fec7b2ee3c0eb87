"""Broken lifecycles: what opening, cancelling and closing leave behind."""

# pyright: reportPrivateUsage=false

import asyncio
import threading
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from acked.abc import Clock
from acked.types import Record, Start
from tests.broken_layers.catalogue import broken
from tests.broken_layers.planted import Feed, Queue

__all__ = ()


class Leaves(Queue):
    """What is done on leaving is said by `closed`."""

    async def closed(self) -> None:
        """Close."""

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.closed()


@broken("test_a_group_is_owed_what_is_published_while_nobody_consumes")
class ForgetsEverythingOnClosing(Leaves):
    """What is owed is kept by the connection: closing it is losing it."""

    async def closed(self) -> None:
        self._broker.topics.clear()


@broken("test_a_closed_channel_leaves_no_task_socket_thread_or_file")
class LeavesATask(Queue):
    """A consumer's heartbeat goes on when the consumer has left."""

    @asynccontextmanager
    async def consume(
        self, topics: Sequence[str], group: str, *, in_flight: int, lease: float, start: Start
    ) -> AsyncGenerator[Feed]:
        beating = asyncio.create_task(asyncio.sleep(3600))
        right = super().consume(topics, group, in_flight=in_flight, lease=lease, start=start)
        async with right as feed:
            feed.notes.append(beating)
            yield feed


@broken("test_a_closed_channel_leaves_no_task_socket_thread_or_file")
class LeavesAThread(Queue):
    """The client's thread is started on opening, and nobody ends it."""

    async def __aenter__(self) -> Self:
        waiting = threading.Event()
        threading.Thread(target=waiting.wait, args=(60,), daemon=True, name="client").start()
        return await super().__aenter__()


@broken("test_a_closed_channel_leaves_no_task_socket_thread_or_file")
class LeavesAFileOpen(Queue):
    """Each opening opens the file of the log, and closing does not close it."""

    def __init__(self, *, clock: Clock | None = None) -> None:
        super().__init__(clock=clock)
        self._logs: list[IO[str]] = []

    async def __aenter__(self) -> Self:
        self._logs.append(Path(__file__).open(encoding="utf-8"))  # noqa: SIM115
        return await super().__aenter__()


@broken("test_joining_and_leaving_at_once_makes_nobody_deaf")
class TheFirstToLeaveEndsTheTopic(Queue):
    """Who leaves a topic unsubscribes the connection, and every other group with it."""

    def leave(self, feed: Feed) -> None:
        super().leave(feed)
        for name, topic in self._broker.topics.items():
            if any(queue._topic is topic for queue in feed._queues):
                own = {n: q for n, q in topic.groups.items() if q in feed._queues}
                self._broker.topics[name].groups = own


@broken("test_a_payload_is_never_in_a_log_or_a_repr")
class ShowsPayloads(Queue):
    """The layer's repr shows what it keeps, as a dataclass does."""

    def __repr__(self) -> str:
        topics = self._broker.topics.values()
        bodies = [_shown(kept.record) for topic in topics for kept in topic.kept.values()]
        return f"<ShowsPayloads: {bodies}>"


def _shown(record: Record) -> str:
    return repr(record.body)

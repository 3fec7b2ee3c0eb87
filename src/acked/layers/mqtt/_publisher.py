"""Publishing at QoS 1: each record awaits the broker's PUBACK, and nothing is ever sent later."""

from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

import anyio

from acked.errors import ConnectionLost, LayerError, NoSubscribers, PublishFailed
from acked.layers.mqtt._connection import MQTTConnection
from acked.layers.mqtt._packets import read_properties
from acked.layers.mqtt._records import properties_of
from acked.layers.mqtt._refusals import FAILURE, publish_refused, timed_out
from acked.types import Record

__all__ = ("MQTTPublisher", "PublishResults", "publish_failed")

RECORDS_AT_ONCE: Final = 500
"""Of one publish, before others have a turn."""
BYTES_AT_ONCE: Final = 65_536
"""Of packets that are put together for one call of the socket."""
BYTES_UNANSWERED: Final = 1024 * 1024
"""Of packets on their way at once, beside the one that makes it more: they are kept until sent."""

NOBODY: Final = (
    "no session subscribes to its topic, so the MQTT broker kept it for nobody; publish it again "
    "when a group has subscribed, or make the layer with mandatory=False if that is as it should be"
)

_NO_MATCHING_SUBSCRIBERS: Final = 0x10


class PublishResults:
    """What became of the records of one publish, by their positions in it."""

    def __init__(self) -> None:
        self.failures: dict[int, LayerError] = {}
        self.is_indeterminate = False
        """Whether a failed one may have been accepted all the same."""
        self.awaited = 0
        """How many were handed on, and have no answer yet."""
        self._complete: anyio.Event | None = None

    def accept(self) -> None:
        """Note that the broker accepted one more."""
        self._answer()

    def fail(self, at: int, error: LayerError, *, unanswered: bool = False) -> None:
        """Note that the record at `at` was refused, or is `unanswered`."""
        self.failures[at] = error
        self.is_indeterminate |= unanswered
        self._answer()

    def forgive_nobody(self) -> None:
        """Take what was kept for nobody as accepted."""
        self.failures = {
            at: why for at, why in self.failures.items() if not isinstance(why, NoSubscribers)
        }

    async def wait(self) -> None:
        """Return when the last of those that are awaited has its answer; for one caller."""
        self._complete = anyio.Event()
        await self._complete.wait()

    def _answer(self) -> None:
        self.awaited -= 1
        if not self.awaited and self._complete is not None:
            self._complete.set()


class MQTTPublisher:
    """Publishes on a connection of its own, which is thrown away when an answer stays out.

    So nothing that was reported as failed lies in a queue of paho, to be sent later.
    """

    def __init__(
        self,
        make_connection: Callable[
            [Callable[[int, int, bytes], bool], Callable[[], None]], MQTTConnection
        ],
        *,
        timeout: float,
    ) -> None:
        self._make_connection = make_connection
        self._timeout = timeout
        self._connecting = anyio.Lock()
        self._current: _PublishConnection | None = None
        self._is_closed = False

    async def open(self) -> MQTTConnection:
        """Return a connection that works as far as we know, making it where there is none."""
        return (await self._connected()).connection

    async def close(self) -> None:
        """Close the connection."""
        self._is_closed = True
        current, self._current = self._current, None
        if current is not None:
            await current.connection.close()

    async def publish(self, records: Sequence[Record]) -> PublishResults:
        """Publish `records` in their order and return when each is answered, or never will be.

        After a lost connection nothing more is sent: what comes later must not overtake.
        """
        answers = PublishResults()
        for start in range(0, len(records), RECORDS_AT_ONCE):
            part = records[start : start + RECORDS_AT_ONCE]
            try:
                current = await self._connected()
            except LayerError as error:
                _fail_from(start, records, answers, error)
                break
            current.send(part, answers, start)
            await self._answered(current, answers)
            if current.connection.broken is not None:
                _fail_from(start + len(part), records, answers, current.connection.broken)
                break
        return answers

    async def _answered(self, current: "_PublishConnection", answers: PublishResults) -> None:
        while answers.awaited:
            before = current.answers
            with anyio.move_on_after(self._timeout):
                await answers.wait()
            if current.answers == before and answers.awaited:
                await self._discard(current)

    async def _discard(self, current: "_PublishConnection") -> None:
        self._current = None
        current.give_up(timed_out(current.connection.where, self._timeout))
        await current.connection.close(gently=False)

    def _check_open(self) -> None:
        if self._is_closed:
            raise LayerError("the connection for publishing was closed")

    async def _connected(self) -> "_PublishConnection":
        self._check_open()
        if self._current is not None and self._current.connection.broken is None:
            return self._current
        async with self._connecting:
            self._check_open()
            current = self._current
            if current is not None and current.connection.broken is None:
                return current
            self._current = None
            if current is not None:
                await current.connection.close()
            current = _PublishConnection(self._make_connection)
            await current.connection.open()
            try:
                self._check_open()  # it may have been closed meanwhile
            except LayerError:
                await current.connection.close()
                raise
            self._current = current
            return current


class _PublishConnection:
    """A connection, and the answers that are awaited on it."""

    def __init__(
        self,
        make_connection: Callable[
            [Callable[[int, int, bytes], bool], Callable[[], None]], MQTTConnection
        ],
    ) -> None:
        self.connection: Final = make_connection(self._answered, self._broken)
        self.answers = 0
        """How many PUBACKs came so far."""
        self._refused: LayerError | None = None
        self._awaited: dict[int, tuple[PublishResults, int, int, int]] = {}
        """By number: whose, which of his, the bytes of its body and of its packet."""
        self._bytes_awaited = 0
        self._unsent: deque[tuple[Record, PublishResults, int]] = deque()

    def send(self, records: Sequence[Record], answers: PublishResults, start: int) -> None:
        """Send `records` as the broker's window allows, or note in `answers` why not.

        The first of them is noted there as `start`.
        """
        answers.awaited += len(records)
        self._unsent.extend((record, answers, at) for at, record in enumerate(records, start))
        self._send_more()

    def give_up(self, reason: LayerError) -> None:
        """Answer that there will be no answer to whatever is awaited still."""
        awaited, self._awaited, self._bytes_awaited = self._awaited, {}, 0
        for answers, at, _, _ in awaited.values():
            answers.fail(at, reason, unanswered=True)
        while self._unsent:
            _, answers, at = self._unsent.popleft()
            answers.fail(at, reason)

    def _send_more(self) -> None:
        """Send what the window allows, small packets by one call of the socket."""
        packets: list[bytes] = []
        waiting = 0
        while self._unsent and self._may_send(self.connection.publish_window, BYTES_UNANSWERED):
            record, answers, at = self._unsent.popleft()
            try:
                packet = self._packet(at, record, answers)
            except LayerError as error:
                answers.fail(at, error)
                continue
            packets.append(packet)
            waiting += len(packet)
            if waiting >= BYTES_AT_ONCE:
                self._send(packets)
                waiting = 0
        self._send(packets)

    def _packet(self, at: int, record: Record, answers: PublishResults) -> bytes:
        connection = self.connection
        beside = properties_of(record) if connection.version == 5 else b""
        mid, packet = connection.client.send_publish(record.topic.encode(), beside, record.body)
        largest = connection.largest_packet
        if largest is not None and len(packet) > largest:
            raise LayerError(
                f"the MQTT broker at {connection.where} takes packets of up to {largest} bytes; "
                f"that of record {record.id[:40]!r} has {len(packet)}: raise its limit, or publish "
                "a reference to where the content is stored"
            )
        self._awaited[mid] = (answers, at, len(record.body), len(packet))
        self._bytes_awaited += len(packet)
        return packet

    def _may_send(self, window: int, most_bytes: int) -> bool:
        return len(self._awaited) < window and self._bytes_awaited < most_bytes

    def _send(self, packets: list[bytes]) -> None:
        if packets:
            # Found broken over it, whatever is awaited is told so by `_broken`.
            self.connection.client.send_packets(
                packets[0] if len(packets) == 1 else b"".join(packets)
            )
            packets.clear()
            self.connection.send_rest()

    def _answered(self, mid: int, code: int, properties: bytes) -> bool:
        awaited = self._awaited.pop(mid, None)
        if awaited is None:
            return False
        self.answers += 1
        answers, at, size, packet_size = awaited
        self._bytes_awaited -= packet_size
        if code >= FAILURE:
            reason = read_properties(properties).reason
            self._refused = publish_refused(self.connection.where, size, code, reason)
            answers.fail(at, self._refused)
        elif code == _NO_MATCHING_SUBSCRIBERS:
            answers.fail(at, NoSubscribers(NOBODY))
        else:
            answers.accept()
        # When half of the window is free, so that those on their way go together.
        half = self.connection.publish_window // 2 + 1, BYTES_UNANSWERED // 2
        if self._unsent and self._may_send(*half):
            self._send_more()
        return True

    def _broken(self) -> None:
        reason = self.connection.broken or ConnectionLost("the connection broke")
        if self._refused is not None:
            # Mosquitto hangs up over a message that is too large; its neighbours are told why.
            reason = ConnectionLost(f"{reason}, after a message had been refused: {self._refused}")
            reason.__cause__ = self._refused
        self.give_up(reason)


def _fail_from(
    start: int, records: Sequence[Record], answers: PublishResults, error: LayerError
) -> None:
    """Note in `answers` that the records from `start` on are not sent."""
    for at in range(start, len(records)):
        answers.failures[at] = error


def publish_failed(answers: PublishResults, count: int) -> PublishFailed:
    """Return the error for a publish of `count` records, not all of which were accepted."""
    first = answers.failures[min(answers.failures)]
    words = f"{len(answers.failures)} of {count} record(s) were not accepted: {first}"
    if answers.is_indeterminate:
        words += "; those that were sent may have been accepted all the same"
    error = PublishFailed(words, answers.failures, indeterminate=answers.is_indeterminate)
    error.__cause__ = first
    return error

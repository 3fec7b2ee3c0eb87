"""Publishing at QoS 1: each record awaits the broker's PUBACK, and nothing is ever sent later."""

from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

import anyio
from paho.mqtt.client import MQTT_ERR_SUCCESS
from paho.mqtt.reasoncodes import ReasonCode

from acked.errors import ConnectionLost, LayerError, NoSubscribers
from acked.layers.mqtt._connection import MQTTConnection
from acked.layers.mqtt._records import PackedProperties, properties_of
from acked.types import Record

__all__ = ("MQTTPublisher", "PublishResults")

RECORDS_AT_ONCE: Final = 500
"""Of one publish, before others have a turn."""

NOBODY: Final = (
    "no session subscribes to its topic, so the MQTT broker kept it for nobody; publish it again "
    "when a group has subscribed, or make the layer with mandatory=False if that is as it should be"
)

_FAILURE: Final = 0x80
_NO_MATCHING_SUBSCRIBERS: Final = 0x10


class PublishResults:
    """What became of the records of one publish, by their positions in it."""

    def __init__(self) -> None:
        self.failures: dict[int, Exception] = {}
        self.is_indeterminate = False
        """Whether a failed one may have been accepted all the same."""
        self.awaited = 0
        """How many were handed on, and have no answer yet."""
        self._complete: anyio.Event | None = None

    def accept(self) -> None:
        """Note that the broker accepted one more."""
        self._answer()

    def fail(self, at: int, error: Exception, *, unanswered: bool = False) -> None:
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
        """Return when each record that was handed on has its answer; for one caller."""
        if self.awaited:
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
        make_link: Callable[
            [Callable[[int, ReasonCode], None], Callable[[], None]], MQTTConnection
        ],
        *,
        timeout: float,
    ) -> None:
        self._make_link = make_link
        self._timeout = timeout
        self._connecting = anyio.Lock()
        self._line: _PublishConnection | None = None
        self._is_closed = False

    async def open(self) -> MQTTConnection:
        """Return a connection that works as far as we know, making it where there is none."""
        return (await self._connected()).link

    async def close(self) -> None:
        """Close the connection."""
        self._is_closed = True
        line, self._line = self._line, None
        if line is not None:
            await line.link.close()

    async def publish(self, records: Sequence[Record]) -> PublishResults:
        """Publish `records` in their order and return when each is answered, or never will be.

        After a lost connection nothing more is sent: what comes later must not overtake.
        """
        answers = PublishResults()
        for start in range(0, len(records), RECORDS_AT_ONCE):
            part = records[start : start + RECORDS_AT_ONCE]
            try:
                line = await self._connected()
            except LayerError as error:
                _fail_from(start, records, answers, error)
                break
            line.send(part, answers, start)
            await self._answered(line, answers)
            if line.link.broken is not None:
                _fail_from(start + len(part), records, answers, line.link.broken)
                break
        return answers

    async def _answered(self, line: "_PublishConnection", answers: PublishResults) -> None:
        while answers.awaited:
            before = line.answers
            with anyio.move_on_after(self._timeout):
                await answers.wait()
            if line.answers == before and answers.awaited:
                await self._discard(line)

    async def _discard(self, line: "_PublishConnection") -> None:
        if self._line is line:
            self._line = None
        line.give_up(
            ConnectionLost(
                f"the MQTT broker at {line.link.where} did not answer within {self._timeout:g} s"
            )
        )
        await line.link.close(gently=False)

    def _check_open(self) -> None:
        if self._is_closed:
            raise LayerError("the connection for publishing was closed")

    async def _connected(self) -> "_PublishConnection":
        self._check_open()
        if self._line is not None and self._line.link.broken is None:
            return self._line
        async with self._connecting:
            self._check_open()
            line = self._line
            if line is not None and line.link.broken is None:
                return line
            self._line = None
            if line is not None:
                await line.link.close()
            line = _PublishConnection(self._make_link)
            await line.link.open()
            try:
                self._check_open()  # it may have been closed meanwhile
            except LayerError:
                await line.link.close()
                raise
            self._line = line
            return line


class _PublishConnection:
    """A connection, and the answers that are awaited on it."""

    def __init__(
        self,
        make_link: Callable[
            [Callable[[int, ReasonCode], None], Callable[[], None]], MQTTConnection
        ],
    ) -> None:
        self.link: Final = make_link(self._answered, self._broken)
        self.answers = 0
        """How many PUBACKs came so far."""
        self._awaited: dict[int, tuple[PublishResults, int]] = {}
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
        awaited, self._awaited = self._awaited, {}
        for answers, at in awaited.values():
            answers.fail(at, reason, unanswered=True)
        while self._unsent:
            _, answers, at = self._unsent.popleft()
            answers.fail(at, reason)

    def _send_more(self) -> None:
        while self._unsent and len(self._awaited) < self.link.publish_window:
            record, answers, at = self._unsent.popleft()
            try:
                self._send(at, record, answers)
            except LayerError as error:
                answers.fail(at, error)
        self.link.send_rest()

    def _send(self, at: int, record: Record, answers: PublishResults) -> None:
        link = self.link
        if link.broken is not None:
            raise link.broken
        properties = properties_of(record)
        largest = link.largest_packet
        if largest is not None and _size(record, properties) > largest:
            raise LayerError(
                f"the MQTT broker at {link.where} takes packets of up to {largest} bytes"
            )
        sent = link.client.publish(record.topic, record.body, qos=1, properties=properties)
        if self.link.broken is not None:  # found while sending; part of it may have left
            answers.fail(at, self.link.broken, unanswered=True)
        elif sent.rc != MQTT_ERR_SUCCESS:
            raise LayerError(f"record {record.id[:40]!r} was not sent: {sent.rc.name}")
        else:
            self._awaited[sent.mid] = (answers, at)

    def _answered(self, mid: int, code: ReasonCode) -> None:
        self.answers += 1
        awaited = self._awaited.pop(mid, None)
        if awaited is None:
            return
        answers, at = awaited
        if code.value >= _FAILURE:
            answers.fail(at, LayerError(f"the MQTT broker at {self.link.where} refused: {code}"))
        elif code.value == _NO_MATCHING_SUBSCRIBERS:
            answers.fail(at, NoSubscribers(NOBODY))
        else:
            answers.accept()
        self._send_more()

    def _broken(self) -> None:
        self.give_up(self.link.broken or ConnectionLost("the connection broke"))


def _size(record: Record, properties: PackedProperties) -> int:
    """Return the bytes of a publication; 16 is more than its fixed parts have."""
    return len(record.topic.encode()) + len(record.body) + len(properties.pack()) + 16


def _fail_from(
    start: int, records: Sequence[Record], answers: PublishResults, error: LayerError
) -> None:
    """Note in `answers` that the records from `start` on are not sent."""
    for at in range(start, len(records)):
        answers.failures[at] = error

"""One MQTT 5 connection, from dialling to hanging up.

Rules:

1. A connection connects once. It never reconnects and never repeats: whoever wants to go on makes a
   new one, with a new client, so that nothing of the old connection can be sent on the new one.
2. Callbacks only note; they are called within the connection's task, or within a call of ours that
   finds the connection broken.
3. Where `is_full`, nothing is read until `go_on`. An answer may be behind what is not read: whoever
   asks is told so instead, makes room, asks the same again, and it is not sent twice.

Longer than 300 lines: one connection is one thing, and all that is done with it is here.
"""

import ssl
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final

import anyio
from paho.mqtt.client import Client, ConnectFlags, DisconnectFlags
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from acked.errors import ConnectionLost, LayerError
from acked.layers.mqtt._address import Address
from acked.layers.mqtt._client import MQTTClient
from acked.layers.mqtt._dial import dial, hang_up
from acked.layers.mqtt._packet_loop import PacketLoop
from acked.layers.mqtt._packets import Arrival
from acked.layers.mqtt._refusals import (
    broken_off,
    check_granted,
    no_answer,
    taken_over,
    timed_out,
)
from acked.layers.mqtt._session import Session, reason_in, refusal

__all__ = ("MQTTConnection",)

FLUSH_SECONDS: Final = 2.0
"""What closing gives the broker to take what was sent."""
TAKE_BACK_SECONDS: Final = 0.5
"""What cancelling a connect waits for the broker's answer to it."""
MOST_UNANSWERED: Final = 200
"""Publications on their way at once, if the broker allows as many."""
NOTHING: Final = "acked/nothing"
"""What nobody subscribes to, so that to unsubscribe from it changes nothing."""


class MQTTConnection:
    """One connection, from `open` to `close`; `broken` says why it ended, if it has."""

    def __init__(
        self,
        address: Address,
        session: Session,
        *,
        tls: ssl.SSLContext | None,
        keepalive: int,
        timeout: float,
        on_arrival: Callable[[Arrival], None] | None = None,
        on_puback: Callable[[int, int, bytes], bool] | None = None,
        on_broken: Callable[[], None] | None = None,
        is_full: Callable[[], bool] = bool,  # never
    ) -> None:
        self.broken: LayerError | None = None
        self.session_present = False
        self.largest_packet: int | None = None
        self.granted: Properties | None = None
        """What CONNACK said of the broker, as far as that is not the default."""
        self.publish_window = 1
        """How many publications may be on their way at once."""
        self.where: Final = address.where
        self.version: Final = session.version
        self._address = address
        self._session = session
        self._keepalive = keepalive
        self._timeout = timeout
        self._on_broken = on_broken
        self.client: Final = MQTTClient(session.client_id, session.version)
        self.client.connect_timeout = timeout
        self.client.on_arrival, self.client.on_puback = on_arrival, on_puback
        self.client.is_full = is_full
        if tls is not None:
            self.client.tls_set_context(tls)  # pyright: ignore[reportUnknownMemberType] - unannotated
        self._loop = PacketLoop(self.client, address.where, keepalive, self._ended, self._wake)
        self._refusal: LayerError | None = None
        self._changed = anyio.Event()
        self._is_connected = False
        self._is_under_way = False
        self._asked: dict[tuple[str, ...], int | None] = {}
        """What is to be asked again, and under which number it is on its way."""
        self._answers: dict[int, Sequence[ReasonCode]] = {}

    async def open(self) -> None:
        """Connect; raise `ConnectionLost` when nobody answers, `LayerError` when refused."""
        try:
            if self._address.user is not None:
                self.client.username_pw_set(self._address.user, self._address.secret())
            await dial(self.client, self._address, self._session, self._keepalive)
            self._listen()
            self._loop.start()
            self._is_under_way = True
            await self._admission()
            self._is_under_way = False
        except BaseException:
            await self._take_back()
            raise

    async def _take_back(self) -> None:
        """Close after a CONNECT that nobody waits for: the broker may yet take it, and a session.

        So it is answered first, if that does not take long, and ended by a DISCONNECT.
        """
        with anyio.move_on_after(TAKE_BACK_SECONDS, shield=True):
            while self._is_under_way and not (self._is_connected or self.broken or self._refusal):
                await self._changed.wait()
        await self.close()

    async def subscribe(
        self, filters: Sequence[str], *, also: Sequence[str] = (), retained: int | None = None
    ) -> bool:
        """Subscribe to `filters` with QoS 1; raise `LayerError` where one is refused.

        And, with QoS 0, to those of `also` which the broker allows. What is retained comes as the
        `retained` handling says, by default not at all. False: there is no room for the answer.
        """
        handling = SubscribeOptions.RETAIN_DO_NOT_SEND if retained is None else retained
        owed = SubscribeOptions(qos=1, retainHandling=handling)
        others = SubscribeOptions(qos=0, retainHandling=handling)
        asked = [(one, owed) for one in filters] + [(one, others) for one in also]
        # MQTT 3.1.1 has no options.
        plain = [(one, 1) for one in filters] + [(one, 0) for one in also]
        topics = asked if self.version == 5 else plain
        asking = ("subscribe", *filters, *also)
        codes = await self._ask(asking, lambda: self.client.subscribe(topics)[1])
        if codes is not None:
            check_granted(self.where, filters, [one.value for one in codes])
        return codes is not None

    async def unsubscribe(self, filters: Sequence[str]) -> list[str] | None:
        """Unsubscribe from `filters`; return those to which the session was subscribed.

        HiveMQ says so of each, and returns none. None itself: there is no room for the answer.
        """
        asked = [*filters, NOTHING]
        codes = await self._ask(("unsubscribe", *asked), lambda: self.client.unsubscribe(asked)[1])
        if codes is None:
            return None
        if len(codes) != len(filters) + 1 or codes[-1].value == 0:
            return []
        return [one for one, code in zip(filters, codes, strict=False) if code.value == 0]

    async def barrier(self) -> bool:
        """Return when the broker has read all that was sent so far, PUBACKs too.

        It answers packets in their order, so an answer to one that changes nothing says so. What it
        sent before has arrived, too. False: there is no room for the answer.
        """
        return await self._answer(self.client.unsubscribe([NOTHING])[1]) is not None

    def taken_over(self) -> LayerError:
        """Return the error of a consumer whose session another one has."""
        return taken_over(self.where, self._session.client_id)

    def acknowledge(self, mids: list[int]) -> LayerError | None:
        """PUBACK `mids`, in their order; return what broke the connection over it."""
        self.client.send_pubacks(mids)
        self._loop.send_rest()
        return self.broken

    def send_rest(self) -> None:
        """Let the task send what the socket did not take at once."""
        self._loop.send_rest()

    def go_on(self) -> None:
        """Read on: there may be room again."""
        self._loop.go_on()

    async def close(self, *, gently: bool = True) -> None:
        """End the connection, `gently` with a DISCONNECT; nothing of it is left."""
        with anyio.CancelScope(shield=True):
            if gently and self._is_connected and self.broken is None:
                if self.client.on_arrival is not None:  # so there may be PUBACKs on their way
                    self._hear_nothing_more()
                    with anyio.move_on_after(FLUSH_SECONDS), suppress(LayerError):
                        await self.barrier()
                self.client.disconnect(properties=self._session.farewell())
            await self._loop.stop()
            hang_up(self.client)

    def _hear_nothing_more(self) -> None:
        """Let what arrives pass: the broker keeps it."""
        self.client.on_arrival = lambda _: None
        self.client.is_full = bool
        self.go_on()

    async def _ask(
        self, question: tuple[str, ...], send: Callable[[], int | None]
    ) -> Sequence[ReasonCode] | None:
        """Send what asks `question`, unless that is on its way, and return the answer."""
        mid = self._asked.pop(question, None) or send()
        codes = await self._answer(mid)
        if codes is None:
            self._asked[question] = mid
        return codes

    async def _answer(self, mid: int | None) -> Sequence[ReasonCode] | None:
        """Return the answer to `mid`, or None where it is behind what there is no room for."""
        self.send_rest()
        with anyio.move_on_after(self._timeout):
            while mid not in self._answers and self.broken is None:
                if self.client.is_full():
                    return None
                await self._changed.wait()
        if mid in self._answers:
            return self._answers.pop(mid)
        raise self.broken or timed_out(self.where, self._timeout)

    async def _admission(self) -> None:
        """Wait for CONNACK; raise what it says, or that it never came."""
        with anyio.move_on_after(self._timeout):
            while not (self._is_connected or self.broken or self._refusal):
                await self._changed.wait()
        problem = self._refusal or self.broken
        if problem is not None:
            raise problem
        if not self._is_connected:
            words = timed_out(self.where, self._timeout)
            raise ConnectionLost(f"{words}; perhaps what listens there is no MQTT broker")

    def _listen(self) -> None:
        client = self.client
        if client.socket() is None:
            raise self._no_answer()
        client.on_connect = self._connected
        client.on_disconnect = self._disconnected
        client.on_subscribe = self._answered
        client.on_unsubscribe = self._answered
        client.on_socket_close = lambda _client, _data, sock: anyio.notify_closing(sock)

    def _connected(
        self,
        _client: Client,
        _data: object,
        flags: ConnectFlags,
        code: ReasonCode,
        properties: Properties | None,
    ) -> None:
        self._refusal = refusal(self._session, self.where, code, properties)
        if self._refusal is None:
            allowed: int = getattr(properties, "ReceiveMaximum", 65_535)
            self.publish_window = min(allowed, MOST_UNANSWERED)
            self.largest_packet = getattr(properties, "MaximumPacketSize", None)
            self.granted = properties
            self.session_present = flags.session_present
            self._is_connected = True
            self._loop.admit()
        self._wake()

    def _disconnected(
        self,
        _client: Client,
        _data: object,
        flags: DisconnectFlags,
        code: ReasonCode,
        properties: Properties | None,
    ) -> None:
        told = reason_in(properties) if flags.is_disconnect_packet_from_server else None
        why = broken_off(self.where, self._session.client_id, code.value, told)
        is_refused = told is None and not self._is_connected and isinstance(why, ConnectionLost)
        self._break(self._no_answer() if is_refused else why)

    def _no_answer(self) -> ConnectionLost:
        return no_answer(self.where, has_tls=self._address.scheme == "mqtts")

    def _answered(
        self,
        _client: Client,
        _data: object,
        mid: int,
        codes: Sequence[ReasonCode],
        _properties: Properties | None,
    ) -> None:
        self._answers[mid] = codes
        self._wake()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = anyio.Event()

    def _ended(self, reason: LayerError) -> None:
        self._break(reason)
        hang_up(self.client)

    def _break(self, reason: LayerError) -> None:
        if self.broken is None:
            self.broken = reason
            self._loop.interrupt()
            if self._on_broken is not None:
                self._on_broken()
        self._wake()

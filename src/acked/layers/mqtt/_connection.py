"""One MQTT 5 connection: paho-mqtt's protocol, moved by a task of ours on asyncio or trio.

Rules:

1. A link connects once. It never reconnects and never repeats: whoever wants to go on makes a new
   one, with a new paho client, so that nothing of the old connection can be sent on the new one.
2. Only the task reads. Whoever has something to send writes what the socket takes at once, the
   task sends the rest. Callbacks only note; they are called within the task, or within a call of
   `client.publish` and its like that finds the connection broken.
3. The task belongs to no task group of a caller, since connections are opened and closed by
   different tasks: asyncio runs it as a task, trio as a system task. It ends with `close`.
"""

import asyncio
import select
import ssl
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final

import anyio
import anyio.to_thread
from paho.mqtt.client import (
    Client,
    ConnectFlags,
    DisconnectFlags,
    MQTTMessage,
)
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from acked.errors import ConnectionLost, LayerError
from acked.layers.mqtt._address import Address
from acked.layers.mqtt._session import Session, client_of, refusal

__all__ = ("MQTTConnection",)

BURST: Final = 200
"""Packets read before others have a turn."""
FLUSH_SECONDS: Final = 2.0
"""What closing gives the broker to take what was sent."""
MOST_UNANSWERED: Final = 200
"""Publications on their way at once, if the broker allows as many."""

_FAILURE: Final = 0x80
_PROTOCOL_ERROR: Final = 0x82
_SESSION_TAKEN_OVER: Final = 0x8E


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
        on_message: Callable[[MQTTMessage], None] | None = None,
        on_publish: Callable[[int, ReasonCode], None] | None = None,
        on_broken: Callable[[], None] | None = None,
    ) -> None:
        self.broken: LayerError | None = None
        self.session_present = False
        self.largest_packet: int | None = None
        self.granted: Properties | None = None
        """What CONNACK said of the broker, as far as that is not the default."""
        self.publish_window = 1
        """How many publications may be on their way at once."""
        self.where: Final = address.where
        self._address = address
        self._session = session
        self._keepalive = keepalive
        self._timeout = timeout
        self._on_message = on_message
        self._on_publish = on_publish
        self._on_broken = on_broken
        self.client: Final = client_of(address, session, tls, timeout)
        self._guard = threading.Lock()
        self._is_abandoned = False
        self._refusal: LayerError | None = None
        self._changed = anyio.Event()
        self._to_write = anyio.Event()
        self._is_connected = False
        self._answers: dict[int, Sequence[ReasonCode]] = {}
        self._scope = anyio.CancelScope()
        self._ended: anyio.Event | None = None
        self._task: object = None

    async def open(self) -> None:
        """Connect; raise `ConnectionLost` when nobody answers, `LayerError` when refused."""
        try:
            await self._dial()
            self._listen()
            self._start()
            await self._admission()
        except BaseException:
            await self.close(gently=False)
            raise

    async def subscribe(
        self, filters: Sequence[str], *, also: Sequence[str] = (), with_retained: bool = False
    ) -> None:
        """Subscribe to `filters` with QoS 1; raise `LayerError` where one is refused.

        And to those of `also` which the broker allows. Without what is retained by default.
        """
        handling = SubscribeOptions.RETAIN_SEND_ON_SUBSCRIBE
        if not with_retained:
            handling = SubscribeOptions.RETAIN_DO_NOT_SEND
        options = SubscribeOptions(qos=1, retainHandling=handling)
        _, mid = self.client.subscribe([(one, options) for one in (*filters, *also)])
        codes = await self._answer(mid)
        refused = [
            f"{one!r} ({code})"
            for one, code in zip(filters, codes, strict=False)
            if code.value >= _FAILURE
        ]
        if refused:
            raise LayerError(
                f"the MQTT broker at {self.where} refused to subscribe to {', '.join(refused)}; "
                "check what this user may read"
            )

    async def unsubscribe(self, filters: Sequence[str]) -> list[str]:
        """Unsubscribe from `filters`; return those to which the session was subscribed."""
        _, mid = self.client.unsubscribe(list(filters))
        codes = await self._answer(mid)
        return [one for one, code in zip(filters, codes, strict=False) if code.value == 0]

    async def barrier(self) -> None:
        """Return when the broker has read all that was sent so far, PUBACKs too.

        It answers packets in their order, so an answer to one that changes nothing says so. What it
        sent before has arrived, too.
        """
        await self.unsubscribe(["acked/nothing"])

    def taken_over(self) -> LayerError:
        """Return the error of a consumer whose session another one has."""
        return LayerError(
            f"the session {self._session.client_id!r} at {self.where} was taken over by another "
            "consumer, of another process perhaps: a session has one. For several consumers in a "
            "group make each layer with shared=True and a client_id= of its own"
        )

    def send_rest(self) -> None:
        """Let the task send what the socket did not take at once."""
        if self.client.want_write():
            self._to_write.set()

    async def close(self, *, gently: bool = True) -> None:
        """End the connection, `gently` with a DISCONNECT; nothing of it is left."""
        with anyio.CancelScope(shield=True):
            if gently and self._is_connected and self.broken is None:
                if self._on_message is not None:  # so there may be PUBACKs on their way
                    with anyio.move_on_after(FLUSH_SECONDS), suppress(LayerError):
                        await self.barrier()
                self.client.disconnect(properties=self._session.farewell())
            self._scope.cancel()
            if self._ended is not None:
                await self._ended.wait()
            self._hang_up()

    async def _answer(self, mid: int | None) -> Sequence[ReasonCode]:
        self.send_rest()
        with anyio.move_on_after(self._timeout):
            while mid not in self._answers and self.broken is None:
                await self._changed.wait()
        if mid in self._answers:
            return self._answers.pop(mid)
        raise self.broken or self._timed_out()

    async def _admission(self) -> None:
        """Wait for CONNACK; raise what it says, or that it never came."""
        with anyio.move_on_after(self._timeout):
            while not (self._is_connected or self.broken or self._refusal):
                await self._changed.wait()
        problem = self._refusal or self.broken
        if problem is not None:
            raise problem
        if not self._is_connected:
            raise self._timed_out()

    def _timed_out(self) -> ConnectionLost:
        return ConnectionLost(
            f"the MQTT broker at {self.where} did not answer within {self._timeout:g} s"
        )

    # Dialling blocks, so it has a thread; what a cancelled caller leaves behind closes itself.

    async def _dial(self) -> None:
        try:
            await anyio.to_thread.run_sync(self._dial_blocking, abandon_on_cancel=True)
        except ssl.SSLCertVerificationError as error:
            raise LayerError(
                f"the certificate of the MQTT broker at {self.where} was refused: "
                f"{error.verify_message}; give the authority that signed it in ca_certs="
            ) from error
        except (OSError, ValueError) as error:
            raise ConnectionLost(
                f"cannot connect to the MQTT broker at {self.where}: {error}"
            ) from error
        except BaseException:
            with self._guard:
                self._is_abandoned = True
                self._hang_up()
            raise
        if self.client.socket() is None:
            raise self._connection_refused()

    def _dial_blocking(self) -> None:
        self.client.connect(
            self._address.host,
            self._address.port,
            keepalive=self._keepalive,
            clean_start=self._session.expiry == 0,
            properties=self._session.properties(),
        )
        with self._guard:
            if self._is_abandoned:
                self._hang_up()

    def _hang_up(self) -> None:
        client = self.client
        client.on_socket_close = client.on_disconnect = None
        sock = client.socket()
        if sock is not None:
            with suppress(OSError):
                sock.close()

    def _listen(self) -> None:
        client = self.client
        client.on_connect = self._connected
        client.on_disconnect = self._disconnected
        client.on_subscribe = self._answered
        client.on_unsubscribe = self._answered
        client.on_socket_close = lambda _client, _data, sock: anyio.notify_closing(sock)
        on_message, on_publish = self._on_message, self._on_publish
        if on_message is not None:
            client.on_message = lambda _client, _data, message: on_message(message)
        if on_publish is not None:
            client.on_publish = lambda _client, _data, mid, code, _properties: on_publish(mid, code)

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
        self._wake()

    def _disconnected(
        self,
        _client: Client,
        _data: object,
        flags: DisconnectFlags,
        code: ReasonCode,
        _properties: Properties | None,
    ) -> None:
        self._break(self._reason(code, is_told=flags.is_disconnect_packet_from_server))

    def _reason(self, code: ReasonCode, *, is_told: bool) -> LayerError:
        """Return what `code` means, which the broker told or paho found."""
        if is_told and code.value == _SESSION_TAKEN_OVER:
            return self.taken_over()
        if not is_told and code.value == _PROTOCOL_ERROR:
            # Not a lost connection: the same packet would come again, for ever.
            return LayerError(
                f"the MQTT broker at {self.where} sent a packet that paho-mqtt cannot read; if it "
                "comes again, take it with another client, or delete the session "
                f"{self._session.client_id!r}: a user property with U+FEFF is one"
            )
        if not self._is_connected:
            return self._connection_refused()
        return ConnectionLost(f"the connection to the MQTT broker at {self.where} broke: {code}")

    def _connection_refused(self) -> ConnectionLost:
        has_tls = self._address.scheme == "mqtts"
        hint = "; perhaps it wants a certificate of ours: certfile=" if has_tls else ""
        return ConnectionLost(
            f"the MQTT broker at {self.where} closed the connection without an answer{hint}"
        )

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

    def _break(self, reason: LayerError) -> None:
        if self.broken is None:
            self.broken = reason
            self._scope.cancel()
            if self._on_broken is not None:
                self._on_broken()
        self._wake()

    # The task.

    def _start(self) -> None:
        self._ended = anyio.Event()
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            import trio.lowlevel  # noqa: PLC0415 - only where trio runs is it installed

            self._task = trio.lowlevel.spawn_system_task(self._run, self._ended)
        else:
            self._task = loop.create_task(self._run(self._ended))

    async def _run(self, ended: anyio.Event) -> None:
        words = f"the connection to the MQTT broker at {self.where} "
        reason: LayerError = ConnectionLost(words + "was closed")
        try:
            with self._scope:
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(self._write)
                    tasks.start_soon(self._keep_alive)
                    await self._read()
        except* (OSError, anyio.ClosedResourceError) as errors:
            reason.__cause__ = errors
        except* Exception as errors:  # noqa: BLE001 - whatever it is, it must not be a hang
            # Over what arrived, so it would come again over each new connection.
            reason = LayerError(words + f"failed: {type(errors.exceptions[0]).__name__}")
            reason.__cause__ = errors
        finally:
            self._break(reason)
            self._hang_up()
            ended.set()

    async def _read(self) -> None:
        client = self.client
        while (sock := client.socket()) is not None:
            await anyio.wait_readable(sock)
            waiting = select.poll()
            waiting.register(sock.fileno(), select.POLLIN)
            for _ in range(BURST):
                client.loop_read()
                if client.socket() is None:
                    return
                if not waiting.poll(0) and not _is_buffered(sock):
                    break
            self.send_rest()

    async def _write(self) -> None:
        client = self.client
        while True:
            await self._to_write.wait()
            self._to_write = anyio.Event()
            while client.want_write() and (sock := client.socket()) is not None:
                await anyio.wait_writable(sock)
                client.loop_write()

    async def _keep_alive(self) -> None:
        while not self._is_connected:
            await self._changed.wait()
        # The broker may have set another interval; zero of it would be never to notice a loss.
        interval = self.client.keepalive or self._keepalive
        while True:
            await anyio.sleep(interval / 4)
            self.client.loop_misc()
            self.send_rest()


def _is_buffered(sock: object) -> bool:
    """Whether TLS has decrypted more than was read: the socket below does not show it."""
    return isinstance(sock, ssl.SSLSocket) and sock.pending() > 0

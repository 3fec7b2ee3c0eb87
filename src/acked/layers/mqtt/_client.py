"""paho-mqtt's client, reading ahead, and without the packets that there are many of.

paho reads a packet by at least three calls of the socket, builds objects with tables of their own
for its properties, and ends the connection over a user property with U+FEFF in it, or a reason code
that it does not know. So PUBLISH and PUBACK are read here, as bytes; all else is paho's.

Of paho's inside `_sock_recv`, `_packet_handle` and `_send_connect` are replaced, `_in_packet`,
`_packet_queue`, `_mid_generate` and `_loop_rc_handle` are called, `_ping_t` is set: every test of
the layer fails where a version of paho is without them.
"""

import ssl
import threading
from collections.abc import Callable
from typing import Final

from paho.mqtt.client import MQTT_ERR_SUCCESS, Client
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion

from acked.layers.mqtt._packets import (
    PUBACK,
    PUBLISH,
    Arrival,
    header_of,
    pack_pubacks,
    pack_publish,
    read_puback,
    read_publish,
)

__all__ = ("MQTTClient",)

READ_AHEAD: Final = 65_536
"""Bytes asked of the socket at once."""


class MQTTClient(Client):
    """A client that sends nothing by itself and reads when it is told to."""

    def __init__(self, client_id: str, version: int = 5) -> None:
        super().__init__(
            CallbackAPIVersion.VERSION2,
            client_id=client_id,
            protocol=MQTTProtocolVersion(version),
            clean_session=None if version == 5 else True,
            reconnect_on_failure=False,
            manual_ack=True,
        )
        self.max_inflight_messages_set(0)  # no queue of its own: the publisher keeps to the window
        self._has_properties = version == 5
        self.on_arrival: Callable[[Arrival], None] | None = None
        self.is_full: Callable[[], bool] = bool  # never
        """Whether to read no further for now: what arrived has to be taken first."""
        self.on_puback: Callable[[int, int, bytes], bool] | None = None
        """Takes a number, its reason code and properties; False if that number is not known."""
        self._connecting = threading.Lock()
        self._is_abandoned = False
        self._ahead = b""
        self._at = 0
        self._is_drained = True
        self._has_heard = False

    def read_packets(self, count: int) -> bool:
        """Handle up to `count` packets of what has come; return whether there may be more."""
        for _ in range(count):
            if self.is_full():
                return True
            if self._in_packet["command"] or not self._take_whole_packet():
                self.loop_read()
            if self.socket() is None:
                return False
            if self._is_drained and self._at == len(self._ahead):
                return False
        return True

    def keep_alive(self) -> None:
        """Ping where it is time to, and hang up where nothing has answered the one before.

        Whatever came is an answer: that to the ping may be behind much else. And nothing comes
        while nothing is read.
        """
        if self._has_heard or self.is_full():
            self._ping_t = 0.0
        self._has_heard = False
        self.loop_misc()

    def send_publish(self, topic: bytes, properties: bytes, payload: bytes) -> tuple[int, bytes]:
        """Return the number of a publication at QoS 1, and its packet for `send_packets`."""
        mid = self._mid_generate()
        return mid, pack_publish(mid, topic, properties, payload)

    def send_packets(self, packets: bytes) -> None:
        """Send whole packets, or what the socket takes of them now."""
        # A view: what the socket does not take at once would be copied for each part.
        view: bytes = memoryview(packets)  # type: ignore[assignment] # pyright: ignore[reportAssignmentType]
        self._packet_queue(PUBACK, view, 0, 1)

    def send_pubacks(self, mids: list[int]) -> None:
        """PUBACK `mids` in their order."""
        self.send_packets(pack_pubacks(mids))

    def abandon(self) -> None:
        """Let no CONNECT be sent any more: it would take the session from whoever comes next."""
        with self._connecting:
            self._is_abandoned = True

    @property
    def is_abandoned(self) -> bool:
        """Whether nobody waits for the connection any more."""
        return self._is_abandoned

    def _send_connect(self, keepalive: int) -> MQTTErrorCode:
        # Race: the caller may be cancelled while a thread of its own is here.
        with self._connecting:
            if self._is_abandoned:
                raise ConnectionAbortedError("nobody waits for it any more")
            return super()._send_connect(keepalive)

    def _take_whole_packet(self) -> bool:
        """Handle the next packet if all of it was read ahead, and it is one of ours."""
        ahead, at = self._ahead, self._at
        if at == len(ahead) or ahead[at] & 0xF0 not in (PUBLISH, PUBACK):
            return False
        try:
            found = header_of(ahead, at)
        except ValueError:
            return False  # paho has its words for it
        if found is None:
            return False
        begin, self._at = found
        return self._take(ahead[at], ahead[begin : self._at])

    def _take(self, command: int, content: bytes) -> bool:
        """Handle one packet; False if it is paho's."""
        try:
            if command & 0xF0 == PUBLISH:
                if self.on_arrival is not None:
                    self.on_arrival(
                        read_publish(command, content, has_properties=self._has_properties)
                    )
                return True
            if self.on_puback is not None and self.on_puback(*read_puback(content)):
                return True
        except ValueError:
            self._loop_rc_handle(MQTTErrorCode.MQTT_ERR_PROTOCOL)
            return True
        self._in_packet["command"], self._in_packet["packet"] = command, bytearray(content)
        super()._packet_handle()
        self._in_packet["command"], self._in_packet["packet"] = 0, bytearray()
        return True

    def _packet_handle(self) -> MQTTErrorCode:
        """Handle a packet that paho read, for it came in parts."""
        command = self._in_packet["command"]
        if command & 0xF0 in (PUBLISH, PUBACK):
            content = bytes(self._in_packet["packet"])
            self._in_packet["packet"] = bytearray()  # a large one is not kept twice meanwhile
            self._take(command, content)
            return MQTT_ERR_SUCCESS
        return super()._packet_handle()

    def _sock_recv(self, bufsize: int) -> bytes:
        if self._at == len(self._ahead):
            try:
                self._ahead = super()._sock_recv(READ_AHEAD)
            except BlockingIOError:
                self._is_drained = True
                raise
            self._at = 0
            self._has_heard = True
            self._is_drained = len(self._ahead) < READ_AHEAD and not _is_buffered(self.socket())
        begin = self._at
        self._at = min(len(self._ahead), begin + bufsize)
        return self._ahead[begin : self._at]


def _is_buffered(sock: object) -> bool:
    """Whether TLS has decrypted more than was read: the socket below does not show it."""
    return isinstance(sock, ssl.SSLSocket) and sock.pending() > 0

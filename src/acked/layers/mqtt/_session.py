"""What a connection is made with, and what the broker must grant: the two halves of a handshake."""

import logging
import ssl
from typing import Final

from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from acked.errors import ConnectionLost, LayerError
from acked.layers.mqtt._address import Address
from acked.layers.mqtt._records import new_properties

__all__ = ("Session", "client_of", "refusal")

logger = logging.getLogger("acked.layers.mqtt")

_FAILURE: Final = 0x80
# Server unavailable, server busy, quota exceeded, use another server, connection rate exceeded.
_TEMPORARY: Final = frozenset({0x88, 0x89, 0x97, 0x9C, 0x9F})


class Session:
    """What a connection is made with, apart from where to: whose it is and what it outlives.

    One with `is_kept=False` ends with its DISCONNECT, whatever its expiry.
    """

    def __init__(
        self,
        client_id: str,
        *,
        expiry: int = 0,
        receive_maximum: int = 65_535,
        is_kept: bool = True,
    ) -> None:
        self.client_id: Final = client_id
        self.expiry: Final = expiry
        self.receive_maximum: Final = receive_maximum
        self._is_kept: Final = is_kept

    def properties(self) -> Properties:
        """Return the properties of CONNECT."""
        found = new_properties(PacketTypes.CONNECT)
        found.SessionExpiryInterval = self.expiry
        found.ReceiveMaximum = self.receive_maximum
        return found

    def farewell(self) -> Properties | None:
        """Return the properties of DISCONNECT, if it has any."""
        if self._is_kept:
            return None
        found = new_properties(PacketTypes.DISCONNECT)
        found.SessionExpiryInterval = 0
        return found


def client_of(
    address: Address, session: Session, tls: ssl.SSLContext | None, timeout: float
) -> Client:
    """Return a paho client that sends nothing by itself, not yet connected."""
    client = Client(
        CallbackAPIVersion.VERSION2,
        client_id=session.client_id,
        protocol=MQTTProtocolVersion.MQTTv5,
        reconnect_on_failure=False,
        manual_ack=True,
    )
    client.connect_timeout = timeout
    client.max_inflight_messages_set(0)  # no queue of its own: the publisher keeps to the window
    if address.user is not None:
        client.username_pw_set(address.user, address.password)
    if tls is not None:
        client.tls_set_context(tls)  # pyright: ignore[reportUnknownMemberType] - unannotated
    return client


def refusal(
    session: Session, where: str, code: ReasonCode, granted: Properties | None
) -> LayerError | None:
    """Return why a CONNACK is no admission to what `session` needs, or None if it is one."""
    if code.value >= _FAILURE:
        kind = ConnectionLost if code.value in _TEMPORARY else LayerError
        return kind(
            f"the MQTT broker at {where} refused the connection: {code}; check user, password and "
            "client_id"
        )
    if getattr(granted, "MaximumQoS", 1) < 1:
        return LayerError(f"the MQTT broker at {where} has no QoS 1, so it confirms nothing")
    expiry: int = getattr(granted, "SessionExpiryInterval", session.expiry)
    if session.expiry and not expiry:
        return LayerError(
            f"the MQTT broker at {where} keeps no sessions: what is owed would be lost"
        )
    if expiry < session.expiry:
        logger.warning(
            "the MQTT broker at %s keeps sessions for %d s, not for %d s",
            *(where, expiry, session.expiry),
        )
    return None

"""What a connection is made with, and what the broker must grant: the two halves of a handshake."""

import logging
from typing import Final

from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from acked.errors import LayerError
from acked.layers.mqtt._refusals import FAILURE, connection_refused

__all__ = ("Session", "reason_in", "refusal")

logger = logging.getLogger("acked.layers.mqtt")


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
        version: int = 5,
    ) -> None:
        self.client_id: Final = client_id
        self.expiry: Final = expiry
        self.receive_maximum: Final = receive_maximum
        self.version: Final = version
        """Of the protocol, as CONNECT has it: 4 is MQTT 3.1.1."""
        self._is_kept: Final = is_kept

    def properties(self) -> Properties:
        """Return the properties of CONNECT."""
        found = _new_properties(PacketTypes.CONNECT)
        found.SessionExpiryInterval = self.expiry
        found.ReceiveMaximum = self.receive_maximum
        return found

    def farewell(self) -> Properties | None:
        """Return the properties of DISCONNECT, if it has any."""
        if self._is_kept or self.version < 5:
            return None
        found = _new_properties(PacketTypes.DISCONNECT)
        found.SessionExpiryInterval = 0
        return found


def _new_properties(kind: int) -> Properties:
    return Properties(kind)  # type: ignore[no-untyped-call]


def refusal(
    session: Session, where: str, code: ReasonCode, granted: Properties | None
) -> LayerError | None:
    """Return why a CONNACK is no admission to what `session` needs, or None if it is one."""
    if code.value >= FAILURE:
        return connection_refused(where, code.value, reason_in(granted))
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


def reason_in(properties: Properties | None) -> str:
    """Return what the broker says beside a reason code; empty for nothing."""
    found: str = getattr(properties, "ReasonString", "")
    return found

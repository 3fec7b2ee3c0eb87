"""What a broker's reason codes mean here: words that name the cause, and whether it may pass.

The codes are those of MQTT 5, 2.4. A broker may add a reason string of its own.
"""

from collections.abc import Sequence
from typing import Final

from acked.errors import ConnectionLost, LayerError

__all__ = (
    "FAILURE",
    "broken_off",
    "check_granted",
    "connection_refused",
    "in_words",
    "no_answer",
    "publish_refused",
    "taken_over",
    "timed_out",
)

FAILURE: Final = 0x80
"""Reason codes from here on are refusals."""
_SESSION_TAKEN_OVER: Final = 0x8E
_PROTOCOL_ERROR: Final = 0x82
_KEEP_ALIVE_TIMEOUT: Final = 0x8D

_NAMES: Final = {
    0x80: "Unspecified error",
    0x81: "Malformed packet",
    0x82: "Protocol error",
    0x83: "Implementation specific error",
    0x84: "Unsupported protocol version",
    0x85: "Client identifier not valid",
    0x86: "Bad user name or password",
    0x87: "Not authorized",
    0x88: "Server unavailable",
    0x89: "Server busy",
    0x8A: "Banned",
    0x8B: "Server shutting down",
    0x8C: "Bad authentication method",
    0x8D: "Keep alive timeout",
    0x8E: "Session taken over",
    0x8F: "Topic filter invalid",
    0x90: "Topic name invalid",
    0x93: "Receive maximum exceeded",
    0x94: "Topic alias invalid",
    0x95: "Packet too large",
    0x96: "Message rate too high",
    0x97: "Quota exceeded",
    0x98: "Administrative action",
    0x99: "Payload format invalid",
    0x9A: "Retain not supported",
    0x9B: "QoS not supported",
    0x9C: "Use another server",
    0x9D: "Server moved",
    0x9E: "Shared subscriptions not supported",
    0x9F: "Connection rate exceeded",
    0xA0: "Maximum connect time",
    0xA1: "Subscription identifiers not supported",
    0xA2: "Wildcard subscriptions not supported",
}
_MAY_PASS: Final = frozenset({0x88, 0x89, 0x8B, 0x8D, 0x96, 0x97, 0x98, 0x9C, 0x9F, 0xA0})

_CREDENTIALS: Final = "check user, password and client_id"
_ADVICE_ON_CONNECT: Final = {
    0x84: "the layer needs MQTT 5, which Mosquitto has from 1.6, HiveMQ from 4 and ActiveMQ "
    "Artemis from 2.21 on",
    0x85: "give another client_id=, or a shorter one",
    0x95: "its limit on packets is smaller than a CONNECT",
    0x9C: "give the other server's address",
    0x9D: "give the new server's address",
}
_ADVICE_ON_PUBLISH: Final = {
    0x87: "check what this user may write",
    0x90: "its rules for topics are stricter than MQTT's",
    0x95: "raise its limit (Mosquitto's message_size_limit, HiveMQ's max-packet-size), or publish "
    "a reference to where the content is stored",
    0x97: "its queues are full, or this user's share of them",
    0x99: "it checks payloads",
}
_LONGEST_REASON: Final = 200


def in_words(code: int, reason: str = "") -> str:
    """Return the name of reason `code`, and what the broker says beside it."""
    name = _NAMES.get(code, f"reason code 0x{code:02X}")
    return f"{name} ({reason[:_LONGEST_REASON]!r})" if reason else name


def connection_refused(where: str, code: int, reason: str) -> LayerError:
    """Return the error for a CONNACK with `code`."""
    message = (
        f"the MQTT broker at {where} refused the connection: {in_words(code, reason)}; "
        f"{_ADVICE_ON_CONNECT.get(code, _CREDENTIALS)}"
    )
    return _error(message, code)


def _connection_ended(where: str, code: int, reason: str) -> LayerError:
    """Return the error for a DISCONNECT of the broker's with `code`."""
    message = f"the MQTT broker at {where} ended the connection: {in_words(code, reason)}"
    if code < FAILURE:
        return ConnectionLost(message)
    return _error(message, code)


def broken_off(where: str, client_id: str, code: int, told: str | None) -> LayerError:
    """Return why a connection ended: what the broker `told` beside `code`, or what paho found."""
    if told is not None and code == _SESSION_TAKEN_OVER:
        return taken_over(where, client_id)
    if told is not None:
        return _connection_ended(where, code, told)
    if code == _PROTOCOL_ERROR:
        # Not a lost connection: the same packet would come again, for ever.
        return LayerError(
            f"the MQTT broker at {where} sent what is no packet of MQTT 5; if it comes again, "
            f"delete the session {client_id!r}"
        )
    words = "fell silent" if code == _KEEP_ALIVE_TIMEOUT else "broke"
    return ConnectionLost(f"the connection to the MQTT broker at {where} {words}")


def taken_over(where: str, client_id: str) -> LayerError:
    """Return the error of a consumer whose session another one has."""
    return LayerError(
        f"the session {client_id!r} at {where} was taken over by another consumer, of another "
        "process perhaps: a session has one. For several consumers in a group make each layer with "
        "shared=True and a client_id= of its own"
    )


def check_granted(where: str, filters: Sequence[str], codes: Sequence[int]) -> None:
    """Raise `LayerError` where a SUBACK with `codes` refuses one of `filters`."""
    pairs = zip(filters, codes, strict=False)
    refused = [f"{one!r} ({in_words(code)})" for one, code in pairs if code >= FAILURE]
    if not refused:
        return
    words = ", ".join(refused)
    raise LayerError(
        f"the MQTT broker at {where} refused to subscribe to {words}; check what this user may read"
    )


def timed_out(where: str, seconds: float) -> ConnectionLost:
    """Return the error for a broker that says nothing."""
    return ConnectionLost(f"the MQTT broker at {where} did not answer within {seconds:g} s")


def no_answer(where: str, *, has_tls: bool) -> ConnectionLost:
    """Return the error for a server that hangs up on a CONNECT."""
    hint = "perhaps it speaks no MQTT 5, or expects TLS there (mqtts://)"
    if has_tls:
        hint = "perhaps it wants a certificate of ours (certfile=), or speaks no MQTT 5"
    return ConnectionLost(
        f"the MQTT broker at {where} closed the connection without an answer; {hint}"
    )


def publish_refused(where: str, size: int, code: int, reason: str) -> LayerError:
    """Return the error for the PUBACK of a publication with `size` bytes of body."""
    message = (
        f"the MQTT broker at {where} refused a message of {size} bytes: {in_words(code, reason)}"
    )
    advice = _ADVICE_ON_PUBLISH.get(code)
    if advice is not None:
        message += f"; {advice}"
    return LayerError(message, may_pass=code in _MAY_PASS)


def _error(message: str, code: int) -> LayerError:
    return ConnectionLost(message) if code in _MAY_PASS else LayerError(message)

"""What the broker says of itself: its CONNACK, and the `$SYS` topics of those that have them."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from paho.mqtt.properties import Properties

from acked.layers._shared.findings import names_this_machine, password_in_clear
from acked.layers.mqtt._address import Address
from acked.types import Finding, Severity

__all__ = ("DROPPED", "VERSION", "findings")

VERSION: Final = "$SYS/broker/version"
DROPPED: Final = "$SYS/broker/publish/messages/dropped"

_LARGEST_PACKET: Final = 268_435_455
_SLOW_WINDOW: Final = 20


def findings(
    granted: Properties | None,
    told: Mapping[str, str],
    address: Address,
    *,
    session_expiry: int,
    keepalive: int,
    is_shared: bool,
    unheard: Sequence[str],
) -> list[Finding]:
    """Return what CONNACK `granted` to a session and what `$SYS` `told`, beside what was asked."""
    return [
        _version(told.get(VERSION)),
        _tls(address),
        password_in_clear(is_exposed=_is_exposed(address), cure="use mqtts://"),
        _session_expiry(_said(granted, "SessionExpiryInterval", session_expiry), session_expiry),
        _UNKNOWN_PERSISTENCE,
        _UNKNOWN_QUEUE_LIMIT,
        _dropped(told.get(DROPPED)),
        _receive_maximum(_said(granted, "ReceiveMaximum", 65_535)),
        _packet_size(_said(granted, "MaximumPacketSize", _LARGEST_PACKET)),
        _maximum_qos(_said(granted, "MaximumQoS", 2)),
        _retain(is_available=bool(_said(granted, "RetainAvailable", 1))),
        _shared(
            is_available=bool(_said(granted, "SharedSubscriptionAvailable", 1)), is_used=is_shared
        ),
        _keep_alive(_said(granted, "ServerKeepAlive", keepalive), keepalive),
        _readable(unheard),
    ]


_UNKNOWN_PERSISTENCE: Final = Finding(
    "persistence",
    value=None,
    severity=Severity.NOTICE,
    message="no MQTT broker tells whether sessions survive its restart; Mosquitto keeps them with "
    "`persistence true`, and when it is killed loses what came after the last save, every half "
    "hour unless `autosave_interval` says otherwise",
)

_UNKNOWN_QUEUE_LIMIT: Final = Finding(
    "queue_limit",
    value=None,
    severity=Severity.NOTICE,
    message="no MQTT broker tells how much it queues for a session; Mosquitto keeps 1000 messages "
    "by default and drops the newest beyond, which it has accepted: set "
    "`max_queued_messages 0`, and no `max_queued_bytes`",
)


def _said(granted: Properties | None, name: str, default: int) -> int:
    properties: Any = granted  # its attributes are made at run time
    found: int = getattr(properties, name, default)
    return found


def _version(text: str | None) -> Finding:
    if text is None:
        message = f"the broker has no {VERSION}, or this user may not read it"
        return Finding("server_version", value=None, severity=Severity.NOTICE, message=message)
    message = "the layer is tried with Mosquitto 2.0, HiveMQ CE 2024 and ActiveMQ Artemis 2.44"
    return Finding("server_version", value=text, severity=Severity.OK, message=message)


def _is_exposed(address: Address) -> bool:
    return address.password is not None and _tls(address).severity is not Severity.OK


def _tls(address: Address) -> Finding:
    if address.scheme == "mqtts":
        return Finding("tls", "verified", Severity.OK, "the broker has to prove who it is")
    if names_this_machine(address.host):
        return Finding("tls", "off", Severity.OK, "what is sent does not leave this machine")
    message = "anybody on the way reads what is sent: use mqtts://"
    return Finding("tls", "off", Severity.NOTICE, message)


def _session_expiry(granted: int, asked: int) -> Finding:
    if granted < asked:
        severity = Severity.WARNING
        message = (
            f"the broker keeps a session for {granted} s without its consumer, not for the {asked} "
            "s that were asked for; what a group is owed is lost after that: raise the broker's "
            "limit, or be back sooner"
        )
    else:
        severity = Severity.OK
        message = (
            "for as many seconds the broker keeps what it owes to a group that is not connected, "
            "unless its configuration says less: Mosquitto's `persistent_client_expiration`"
        )
    return Finding("session_expiry", value=granted, severity=severity, message=message)


def _dropped(text: str | None) -> Finding:
    if text is None or not text.isdecimal():
        return Finding(
            "dropped",
            value=None,
            severity=Severity.NOTICE,
            message=f"the broker has no {DROPPED}, or this user may not read it: what it drops, it "
            "drops in silence",
        )
    return Finding(
        "dropped",
        value=int(text),
        severity=Severity.WARNING if int(text) else Severity.OK,
        message="messages that the broker dropped since it started, of all clients and also of QoS "
        "0: of QoS 1 each is one lost, for a queue was full (see queue_limit)",
    )


def _receive_maximum(value: int) -> Finding:
    return Finding(
        "receive_maximum",
        value=value,
        severity=Severity.OK if value >= _SLOW_WINDOW else Severity.NOTICE,
        message="publications that may be on their way to the broker at once; Mosquitto's "
        "`max_inflight_messages`, which also bounds what is on its way to a consumer, whatever its "
        "in_flight",
    )


def _packet_size(value: int) -> Finding:
    return Finding(
        "maximum_packet_size",
        value=value,
        severity=Severity.OK if value == _LARGEST_PACKET else Severity.NOTICE,
        message="bytes of the largest publication, headers included; publishing a larger one fails",
    )


def _maximum_qos(value: int) -> Finding:
    message = "1 is what the layer needs; a broker with less is refused"
    return Finding("maximum_qos", value=value, severity=Severity.OK, message=message)


def _retain(*, is_available: bool) -> Finding:
    message = "what is retained is received with retained=True only; without it $SYS says nothing"
    return Finding("retain_available", value=is_available, severity=Severity.OK, message=message)


def _shared(*, is_available: bool, is_used: bool) -> Finding:
    severity = Severity.OK
    message = (
        "several consumers can share a group, with shared=True; Mosquitto 2.0.11 forgets at a "
        "restart who does, until one is back: what is published before is refused (NoSubscribers)"
    )
    if not is_available:
        severity = Severity.WARNING if is_used else Severity.NOTICE
        message = "the broker lets no group have several consumers: shared=True is refused there"
    return Finding("shared_subscriptions", value=is_available, severity=severity, message=message)


def _readable(unheard: Sequence[str]) -> Finding:
    if unheard:
        return Finding(
            "unheard_topics",
            value=", ".join(map(repr, unheard)),
            severity=Severity.WARNING,
            message="the broker accepts what this process publishes to them, and delivers nothing "
            "of it: this user may not read them, perhaps; Mosquitto grants such a subscription",
        )
    return Finding(
        "unheard_topics",
        value="",
        severity=Severity.OK,
        message="of each topic that this process publishes to and consumes it has heard; whether "
        "others may be read, Mosquitto does not tell",
    )


def _keep_alive(value: int, asked: int) -> Finding:
    severity, message = (
        Severity.OK,
        "after twice as many seconds without an answer a connection ends",
    )
    if not value:
        severity = Severity.WARNING
        message = (
            "the broker wants no keep-alive, so a connection that fell silent is never noticed"
        )
    elif value > asked:
        severity = Severity.NOTICE
        message = f"the broker wants it instead of {asked}; a silent connection is noticed later"
    return Finding("keep_alive", value=value, severity=severity, message=message)

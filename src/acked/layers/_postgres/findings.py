"""What layers on PostgreSQL say of their server and the way there in the same words."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

from acked.layers._postgres.server import OLDEST, Connection, PostgresServer, has_password, is_local
from acked.layers._shared.findings import password_in_clear
from acked.types import Finding, Severity

__all__ = ("Facts", "WayThere", "encoding", "on_the_way", "version", "warn_if")

Facts: TypeAlias = Mapping[str, Any]
"""What the server was asked, by name."""


class WayThere(NamedTuple):
    """What this side knows of the way to the server, if there is TLS on it."""

    is_verified: bool
    """The server would show a certificate that is verified."""
    is_local: bool
    """It is on this machine."""
    has_password: bool
    """It would be given a password, if it asked."""

    @classmethod
    def of(cls, server: PostgresServer, connection: Connection, tls: object) -> "WayThere":
        """Return the way of `connection`."""
        is_verified = bool(tls) and server.tls.is_verified
        return cls(is_verified, is_local(connection), has_password(connection))


def on_the_way(facts: Facts, way: WayThere) -> Sequence[Finding]:
    """Return what follows from how the server is reached."""
    return (
        _tls(facts, way),
        password_in_clear(
            is_exposed=way.has_password and not (way.is_verified or way.is_local),
            cure="add ?sslmode=verify-full, and sslrootcert= for an authority of your own",
        ),
    )


def warn_if(is_bad: object) -> Severity:
    """Return how much it matters."""
    return Severity.WARNING if is_bad else Severity.OK


def version(facts: Facts) -> Finding:
    """Return whether it is new enough."""
    severity = warn_if(facts["server_version_num"] < OLDEST * 10_000)
    message = f"acked needs PostgreSQL {OLDEST} or later"
    return Finding("server_version", facts["server_version"], severity, message)


def encoding(facts: Facts) -> Finding:
    """Return whether it can have every text."""
    named = facts["encoding"]
    message = "a database that is not UTF8 refuses messages with characters its encoding has not"
    return Finding("encoding", named, warn_if(named != "UTF8"), message)


def _tls(facts: Facts, way: WayThere) -> Finding:
    if not facts["tls"]:
        severity = Severity.OK if way.is_local else Severity.NOTICE
        message = "without TLS whoever is on the way reads what is said; add ?sslmode=verify-full"
        return Finding("tls", facts["tls"], severity, message)
    if way.is_verified:
        return Finding("tls", value=True, severity=Severity.OK, message="the server was verified")
    message = (
        "there is TLS, but nobody verified whose: whoever is on the way can be the server; add "
        "?sslmode=verify-full, and sslrootcert= for an authority of your own"
    )
    return Finding("tls", "unverified", Severity.NOTICE, message)

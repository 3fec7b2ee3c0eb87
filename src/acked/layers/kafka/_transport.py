"""Who can read or change what is sent to the brokers, as `channel.check()` tells it."""

import ssl
from collections.abc import Iterable, Sequence

from acked.layers._shared.findings import names_this_machine, password_in_clear
from acked.layers.kafka._options import KafkaOptions
from acked.types import Finding, Severity

__all__ = ("transport",)

_CURE = "use tls=true (and ssl_ca_certs= for an authority of your own)"


def transport(options: KafkaOptions, hosts: Iterable[str]) -> Sequence[Finding]:
    """Return what follows from `options` for the way to `hosts`, which the brokers call themselves.

    Clients speak to those, wherever the servers are that they asked first.
    """
    asked = (server.rpartition(":")[0] for server in options.servers)
    is_local = all(names_this_machine(host) for host in (*asked, *hosts))
    is_exposed = options.sends_secret and not (is_local or _is_verified(options.tls))
    return (
        _tls(options.tls, is_local=is_local),
        password_in_clear(is_exposed=is_exposed, cure=_CURE),
    )


def _is_verified(tls: ssl.SSLContext | None) -> bool:
    return tls is not None and tls.verify_mode is ssl.CERT_REQUIRED and tls.check_hostname


def _tls(tls: ssl.SSLContext | None, *, is_local: bool) -> Finding:
    if _is_verified(tls):
        return Finding("tls", "verified", Severity.OK, "each broker has to prove who it is")
    if tls is not None:
        message = (
            "anybody on the way can pose as a broker: leave verify_mode and check_hostname of the "
            "context as ssl.create_default_context() has them"
        )
        return Finding("tls", "unverified", Severity.WARNING, message)
    if is_local:
        return Finding("tls", "off", Severity.OK, "what is sent does not leave this machine")
    message = f"anybody on the way reads what is sent: {_CURE}"
    return Finding("tls", "off", Severity.NOTICE, message)

"""What `check()` says in the same words on several layers."""

import ipaddress

from acked.types import Finding, Severity

__all__ = ("in_this_process", "is_loopback", "names_this_machine", "password_in_clear")


def in_this_process() -> Finding:
    """Return what `check()` has to say of a layer that keeps messages in the process's memory."""
    return Finding(
        "persistence",
        value=False,
        severity=Severity.NOTICE,
        message="messages live in this process's memory and end with it; where they must survive "
        "it, choose sqlite-queue, postgres-queue, redis-streams, kafka or mqtt",
    )


def password_in_clear(*, is_exposed: bool, cure: str) -> Finding:
    """Return whether a password goes over the network to whoever answers there.

    `is_exposed`: there is one, the server is on another machine, and no certificate of it was
    verified. `cure` is the option that changes that.
    """
    message = (
        "the password goes over the network, and whoever is on the way, or answers instead of the "
        f"server, can have it; {cure}"
        if is_exposed
        else "no password goes over the network to a server that was not verified"
    )
    severity = Severity.WARNING if is_exposed else Severity.OK
    return Finding("password_in_clear", is_exposed, severity, message)


def names_this_machine(host: str) -> bool:
    """Say whether `host`, as a URL has it, is this machine for certain: nobody is asked."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


def is_loopback(address: str) -> bool:
    """Say whether `address`, as a connected socket tells it, is of this machine itself."""
    try:
        return ipaddress.ip_address(address.partition("%")[0]).is_loopback
    except ValueError:  # a socket of the file system
        return True

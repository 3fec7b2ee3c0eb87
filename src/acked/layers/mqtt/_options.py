"""What the layer can promise, and what it can be told."""

import math
from typing import Final

from acked.errors import ConfigurationError
from acked.types import Capabilities

__all__ = ("CAPABILITIES", "LARGEST_WINDOW", "OWN_OPTIONS", "WEEK", "check_numbers")

CAPABILITIES: Final = Capabilities(
    nack=True,
    nack_delay=True,
    reject=True,
    dead_letter=True,
    persistent=True,
    groups=True,
    remove_group=True,
    publish_confirm=True,
    headers=True,
    keys=True,
    patterns=True,
    order_after_nack=True,
    order="total",
    lease="connection",
    # A packet has up to 256 MiB; one MiB of it is left for the properties.
    max_payload=255 * 1024 * 1024,
    topic_pattern=r"(?!\$)[^+#\x00-\x1f\x7f-\x9f\ufdd0-\ufdef\ufffe\uffff]+",
)

WEEK: Final = 7 * 24 * 3600
LARGEST_WINDOW: Final = 65_535
NEVER_EXPIRES: Final = 0xFFFF_FFFF

OWN_OPTIONS: Final = frozenset(
    {"client_id", "keepalive", "mandatory", "retained", "session_expiry", "shared", "timeout"}
)


def check_numbers(session_expiry: int, keepalive: int, timeout: float) -> None:
    """Raise `ConfigurationError` for what a connection cannot be made with."""
    if not 0 < session_expiry <= NEVER_EXPIRES:
        raise ConfigurationError(
            f"session_expiry is {session_expiry}; it must be from 1 to {NEVER_EXPIRES}"
        )
    if not 0 < keepalive <= LARGEST_WINDOW:
        raise ConfigurationError(f"keepalive is {keepalive}; it must be from 1 to {LARGEST_WINDOW}")
    if not 0 < timeout < math.inf:
        raise ConfigurationError(f"timeout is {timeout}; it must be above 0, and finite")

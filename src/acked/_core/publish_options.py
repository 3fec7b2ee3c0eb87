"""What a publisher may choose, and when, or before what, a message is handed out by that."""

import time
from collections.abc import Mapping
from datetime import datetime
from typing import Final, TypedDict

import msgspec

from acked._core.options import checked_seconds
from acked.errors import CapabilityError, ConfigurationError
from acked.types import Capabilities, Record

__all__ = ("PLACING", "PublishOptions", "placed")

PLACING: Final = frozenset({"delay", "at", "expires", "priority"})
"""The options that say when, or before what, a message is handed out."""
MAX_PRIORITY: Final = 255


class PublishOptions(TypedDict, total=False):
    """The options of `publish`."""

    key: str | None
    """What groups messages whose order matters."""
    headers: Mapping[str, str] | None
    """Text that travels beside the body."""
    id: str | None
    """The message's identity; the same again for a second try of one publish (drawn anew)."""
    delay: float
    """Seconds for which nobody is handed the message (0)."""
    at: datetime | float
    """The moment from which it is handed out, instead of `delay`: an aware datetime, or seconds
    since the epoch; one that is past is now."""
    expires: float
    """Seconds from now after which nobody is handed it any more: it goes to the dead letters of the
    subscription that comes to it, or, without a topic for them, is acknowledged and counted (it is
    kept until somebody settles it)."""
    priority: int
    """From 0 to 255, the higher the earlier among what is free (0). A message with a key has its
    place behind the earlier ones of it, so it takes no other."""
    connection: object
    """Your connection to the database that the layer is in: published when its transaction commits,
    never if that is rolled back."""


def placed(record: Record, options: PublishOptions, can: Capabilities) -> Record:
    """Return `record` with its place by `options`; raise `CapabilityError` for what cannot be."""
    delay = _checked_delay(options)
    if not can.publish_delay and ("delay" in options or "at" in options):
        raise CapabilityError("this layer cannot keep a message back; publish it when it is due")
    if not can.publish_expiry and "expires" in options:
        raise CapabilityError(
            "this layer does not know when a message has expired; publish without expires=, "
            "with the moment in the body"
        )
    if not can.publish_priority and "priority" in options:
        raise CapabilityError(
            "this layer hands out in its own order; publish without priority=, or to a topic "
            "that has consumers of its own"
        )
    expires, priority = _checked_expiry(options, delay), _checked_priority(options)
    return msgspec.structs.replace(record, delay=delay, expires=expires, priority=priority)


def _checked_delay(options: PublishOptions) -> float:
    """Return for how many seconds a message is to be kept back; raise `ConfigurationError`."""
    if "at" not in options:
        return checked_seconds("delay", options.get("delay", 0.0), least=0.0)
    if "delay" in options:
        raise ConfigurationError("delay= and at= both say when: give one of them")
    at: object = options["at"]
    if isinstance(at, datetime):
        if at.tzinfo is None:
            raise ConfigurationError("at= is a datetime without a time zone; give an aware one")
        at = at.timestamp()
    return max(0.0, checked_seconds("at", at, least=0.0) - time.time())


def _checked_expiry(options: PublishOptions, delay: float) -> float:
    """Return after how many seconds a message is nobody's any more; 0 for never."""
    if "expires" not in options:
        return 0.0
    expires = checked_seconds("expires", options["expires"], above=0.0)
    if expires <= delay:
        raise ConfigurationError(
            f"expires={expires:g} is not after its delay of {delay:g} seconds: nobody would ever "
            "be handed it"
        )
    return expires


def _checked_priority(options: PublishOptions) -> int:
    """Return the priority of a message; raise `ConfigurationError` for what is none."""
    priority: object = options.get("priority", 0)
    if type(priority) is not int or not 0 <= priority <= MAX_PRIORITY:
        raise ConfigurationError(
            f"priority={priority!r}: needs to be a whole number from 0 to {MAX_PRIORITY}"
        )
    if priority and options.get("key") is not None:
        raise ConfigurationError(
            "priority= would put a message before earlier ones of its key=: give one of them"
        )
    return priority

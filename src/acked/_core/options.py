"""What a subscriber may choose, checked once, before anything is opened."""

import math
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from typing import Any, Final, Literal, Required, TypedDict, TypeVar

import msgspec

from acked._machines.backoff import Backoff
from acked.errors import CapabilityError, ConfigurationError
from acked.types import Capabilities, Overflow, Start, checked_topic_name

__all__ = (
    "AckOptions",
    "AckSettings",
    "ConsumerOptions",
    "FireAndForgetOptions",
    "FireAndForgetSettings",
    "Redelivery",
    "checked_count",
    "checked_options",
    "checked_seconds",
)

MEBIBYTE: Final = 1024 * 1024
NO_KEY_ORDER: Final = (
    "this layer does not keep the order of a key among the consumers of a group; memory-queue, "
    "sqlite-queue, postgres-queue and redis-streams do. Within one process any worker does: "
    "process(..., ordered_by=lambda delivery: delivery.key)"
)
NO_PATTERNS: Final = "this layer cannot subscribe by pattern; name each topic: subscribe('a', 'b')"


class Redelivery(msgspec.Struct, frozen=True, kw_only=True):
    """What happens to a message that fails.

    After `max_deliveries` deliveries a message is copied to the topic `dead_letter` and settled,
    instead of being delivered once more. `delivery.reject()` and bodies that do not decode go to
    `dead_letter` too. `backoff` is the delay of the nack that `async with delivery` makes when
    its block raises, by attempt; a layer that cannot delay gets it at once.

    Raises `ConfigurationError` for `max_deliveries` below 1, or without a `dead_letter`: giving
    up a message with nowhere to put it would be a silent loss.
    """

    max_deliveries: int | None = None
    dead_letter: str | None = None
    backoff: Backoff = Backoff(initial=0.5, factor=2.0, maximum=60.0, spread=0.0)

    def __post_init__(self) -> None:
        if self.dead_letter is not None:
            checked_topic_name(self.dead_letter)
        if self.max_deliveries is None:
            return
        if type(self.max_deliveries) is not int or self.max_deliveries < 1:
            raise ConfigurationError(f"max_deliveries={self.max_deliveries}: needs at least 1")
        if self.dead_letter is None:
            raise ConfigurationError(
                "max_deliveries= needs dead_letter=: name the topic that keeps what was given up"
            )


class AckSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Options of a subscription to an ack-capable layer; durations are seconds."""

    group: str
    in_flight: int = 256
    in_flight_bytes: int = 64 * MEBIBYTE
    lease: float = 30.0
    max_lease: float | None = 3600.0
    start: Start = Start.EARLIEST
    ordered_by: Literal["key"] | None = None
    patterns: bool = False
    redelivery: Redelivery = Redelivery()
    confirm_acks: bool = True
    reconnect: Backoff = Backoff(initial=0.05, factor=2.0, maximum=5.0)
    reconnect_timeout: float | None = 300.0
    close_timeout: float = 10.0

    def __post_init__(self) -> None:
        checked_topic_name(self.group)
        checked_count("in_flight", self.in_flight)
        checked_count("in_flight_bytes", self.in_flight_bytes)
        checked_seconds("lease", self.lease, above=0.0)
        checked_seconds("close_timeout", self.close_timeout, above=0.0)
        if self.max_lease is not None:
            checked_seconds("max_lease", self.max_lease, above=0.0)
        if self.reconnect_timeout is not None:
            checked_seconds("reconnect_timeout", self.reconnect_timeout, least=0.0)

    def check(self, capabilities: Capabilities) -> None:
        """Raise `CapabilityError` for what the layer cannot do."""
        if self.redelivery.dead_letter is not None and not capabilities.dead_letter:
            raise CapabilityError("this layer has no dead letters; subscribe without dead_letter=")
        if self.patterns and not capabilities.patterns:
            raise CapabilityError(NO_PATTERNS)
        if self.ordered_by is not None and not capabilities.key_order:
            raise CapabilityError(NO_KEY_ORDER)
        if self.start.kind != "earliest" and not capabilities.replay:
            raise CapabilityError("this layer cannot choose where a group starts; leave start= out")

    def check_dead_letter(self, topics: Iterable[Callable[[str], bool]]) -> None:
        """Raise `ConfigurationError` where dead letters are of what one of `topics` matches."""
        topic = self.redelivery.dead_letter
        if topic is not None and any(matches(topic) for matches in topics):
            raise ConfigurationError(
                f"dead_letter={topic!r} is a topic of this subscription: what is rejected would "
                "come again for ever; name another topic"
            )


class ConsumerOptions(TypedDict, total=False):
    """What `subscribe` and `process` have in common on an ack-capable layer."""

    group: Required[str]
    """Consumers of one group share each message; two groups each get it."""
    in_flight: int
    """The most messages that are fetched and unsettled at a time (256)."""
    in_flight_bytes: int
    """The same in bytes of memory, about (64 MiB); a single message may be larger."""
    lease: float
    """How long a message stays ours if we are not heard of; renewed while it is held (30)."""
    max_lease: float | None
    """After how long a held message is no longer renewed; None is never (3600)."""
    start: Start
    """Where a group begins that is new (`Start.EARLIEST`)."""
    patterns: bool
    """The names are patterns as the broker has them, MQTT's `a/+/b` and `a/#`; a delivery's `topic`
    is its own name (False)."""
    redelivery: Redelivery
    """What happens to a message that fails (delivered again, without end)."""
    confirm_acks: bool
    """False: `ack()` returns when the settlement is queued; what became of it is raised by the
    next read or on leaving (True)."""
    reconnect: Backoff
    """The waits between tries after the connection was lost (0.05 s, doubling, to 5 s)."""
    reconnect_timeout: float | None
    """After how long without a connection the reader gets `ConnectionLost`; None is never (300)."""
    close_timeout: float
    """How long leaving may take (10)."""


class AckOptions(ConsumerOptions, total=False):
    """The options of `subscribe` over an ack-capable layer; durations are seconds."""

    ordered_by: Literal["key"] | None
    """"key": no consumer of the group that says so, in any process, is handed a message before all
    earlier ones of its key are settled; without a key it waits for nobody (None)."""


class FireAndForgetOptions(TypedDict, total=False):
    """The options of `subscribe` over a fire-and-forget layer; durations are seconds."""

    capacity: int
    """The most messages that wait to be read (1024)."""
    overflow: Overflow
    """What happens to one message more (`Overflow.DROP_OLDEST`)."""
    patterns: bool
    """The names are patterns: `*`, `?`, `[a-z]`; a message's `topic` is its own name (False)."""
    on_undecodable: Literal["skip", "raise"]
    """A body that does not decode as its topic says is skipped, counted and logged, or raises
    `DecodeError` ("skip")."""
    close_timeout: float
    """How long leaving may take (10)."""


class FireAndForgetSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Options of a subscription to a fire-and-forget layer; durations are seconds."""

    capacity: int = 1024
    overflow: Overflow = Overflow.DROP_OLDEST
    patterns: bool = False
    on_undecodable: Literal["skip", "raise"] = "skip"
    close_timeout: float = 10.0

    def __post_init__(self) -> None:
        checked_count("capacity", self.capacity)
        checked_seconds("close_timeout", self.close_timeout, above=0.0)

    def check(self, capabilities: Capabilities) -> None:
        """Raise `CapabilityError` for what the layer cannot do."""
        if self.patterns and not capabilities.patterns:
            raise CapabilityError(NO_PATTERNS)


def checked_count(name: str, given: object) -> int:
    """Return `given` as a number of things, from 1; raise `ConfigurationError` naming it."""
    if type(given) is not int or given < 1:
        raise ConfigurationError(f"{name}={given!r}: needs to be at least 1, a whole number")
    return given


def checked_seconds(
    name: str, given: object, *, least: float | None = None, above: float | None = None
) -> float:
    """Return `given` as seconds; raise `ConfigurationError` for what is none, naming it."""
    bound = f"at least {least:g}" if least is not None else f"above {above:g}"
    if isinstance(given, bool) or not isinstance(given, int | float) or not math.isfinite(given):
        raise ConfigurationError(f"{name}={given!r}: needs to be a number of seconds, {bound}")
    if (least is not None and given < least) or (above is not None and given <= above):
        raise ConfigurationError(f"{name}={given!r}: needs to be {bound} seconds")
    return float(given)


Settings = TypeVar("Settings", AckSettings, FireAndForgetSettings)

_WRITE: Final[dict[str, str]] = {
    "ordered_by": "'key' or None",
    "start": "Start.EARLIEST, Start.LATEST or Start.at(time)",
    "redelivery": "Redelivery(max_deliveries=..., dead_letter=...)",
    "reconnect": "Backoff(initial=..., factor=..., maximum=...)",
    "on_undecodable": "'skip' or 'raise'",
    "overflow": "Overflow.BLOCK, DROP_OLDEST, DROP_NEWEST or FAIL",
}


@cache
def _fields(kind: type[msgspec.Struct]) -> Mapping[str, msgspec.structs.FieldInfo]:
    return {field.name: field for field in msgspec.structs.fields(kind)}


def checked_options(kind: type[Settings], article: str, options: dict[str, Any]) -> Settings:
    """Return `options` of `subscribe` with all defaults, checked for what each may be.

    Raises `CapabilityError` for an option of the other kind, `ConfigurationError` for a missing
    one or a value that cannot be, with what to write.
    """
    known = _fields(kind)
    strange = sorted(options.keys() - known.keys())
    if strange:
        raise CapabilityError(
            f"{article} layer has no option {strange[0]}=; it has {', '.join(known)}"
        )
    missing = [name for name, field in known.items() if field.required and name not in options]
    if missing:
        raise ConfigurationError(f"{article} layer needs {missing[0]}=")
    try:
        return msgspec.convert(options, kind)
    except msgspec.ValidationError as error:
        if isinstance(error.__cause__, ConfigurationError):
            raise error.__cause__ from None
        why, _, path = str(error).partition(" - at `$.")
        name = path.rstrip("`").partition(".")[0]
        write = f"; write {_WRITE[name]}" if name in _WRITE else ""
        raise ConfigurationError(f"{name}={options.get(name)!r}: {why}{write}") from error

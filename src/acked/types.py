"""The words of `acked` as data: frozen, slotted, cheap to make by the million.

They are msgspec structs, which cost a tenth of a frozen dataclass to create: a delivery needs
several of them. Nothing here does I/O or knows a layer.

Longer than 300 lines: all of them are here, and a third are docstrings.
"""

import enum
import re
from collections.abc import Callable, Hashable, Mapping
from types import MappingProxyType, UnionType
from typing import Any, ClassVar, Final, Generic, Literal, Protocol, TypeAlias, TypeVar, overload

import msgspec

from acked.errors import ConfigurationError, LayerError

__all__ = (
    "AckStatistics",
    "Capabilities",
    "Codec",
    "Finding",
    "FireAndForgetStatistics",
    "Gap",
    "GapCause",
    "KeptRecord",
    "LeaseKind",
    "Leased",
    "Order",
    "Outcome",
    "Overflow",
    "Receipt",
    "Record",
    "Reply",
    "Settlement",
    "Severity",
    "Start",
    "Token",
    "Topic",
    "Verb",
)

T = TypeVar("T")

NO_HEADERS: Final[Mapping[str, str]] = MappingProxyType({})

Token: TypeAlias = Hashable
"""What a layer recognises one lease by. Opaque above the layer; unique within a feed."""

Order: TypeAlias = Literal["none", "key", "partition", "total"]
"""Within what the order of publishing is kept."""

LeaseKind: TypeAlias = Literal["none", "timer", "connection"]
"""What ends a lease: nothing, the passing of time, or the loss of the connection."""


class Codec(Protocol):
    """Turns bodies into bytes and back; one object may serve every topic.

    `encoder` and `decoder` are called once for each topic and payload type; what they return is
    called for every message and should be as fast as it can be. A decoder raises whatever its
    library raises: the engine turns any exception of it into `DecodeError`.
    """

    @property
    def content_type(self) -> str:
        """The media type that travels with each record, for example `application/json`."""
        ...

    def encoder(self, payload: type[T]) -> Callable[[T], bytes]:
        """Return the function that encodes one body of the type `payload`."""
        ...

    def decoder(self, payload: type[T]) -> Callable[[bytes], T]:
        """Return the function that decodes one body into the type `payload`."""
        ...


class Topic(Generic[T]):
    """A name and the type of what is published under it.

    ```python
    ORDERS = Topic("orders", Order)                      # JSON, checked on both sides
    FRAMES = Topic("frames", bytes, codec=RAW)           # the bytes as they are
    ```

    A topic is a constant: make it once, at import time, beside the payload's class. `codec` is
    the channel's when None. A union is written `EVENTS: Topic[A | B] = Topic("events", A | B)`: a
    type checker may not see the type without that. What a codec cannot do is a
    `ConfigurationError` where the topic is first used; here, a name that no layer could carry:
    empty, over 249 bytes of UTF-8, or with control characters in it; a layer may be stricter.
    """

    __slots__ = ("codec", "name", "payload")

    @overload
    def __init__(self, name: str, payload: type[T], *, codec: Codec | None = None) -> None: ...
    @overload
    def __init__(
        self: "Topic[Any]", name: str, payload: UnionType, *, codec: Codec | None = None
    ) -> None: ...
    def __init__(self, name: str, payload: Any, *, codec: Codec | None = None) -> None:
        self.name: Final = checked_topic_name(name)
        self.payload: Final[type[T]] = payload
        self.codec: Final = codec

    def __repr__(self) -> str:
        return f"Topic({self.name!r}, {getattr(self.payload, '__name__', self.payload)})"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Topic):
            return NotImplemented
        return self._parts() == other._parts()

    def __hash__(self) -> int:
        return hash(self.name)

    def _parts(self) -> tuple[object, ...]:
        return (self.name, self.payload, self.codec)


MAX_TOPIC_BYTES: Final = 249
_ILLEGAL_IN_TOPIC = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")


def checked_topic_name(name: str) -> str:
    """Return `name` if a topic can be called so, else raise `ConfigurationError` saying why not."""
    if not name:
        raise ConfigurationError("a topic needs a name; this one is empty")
    illegal = _ILLEGAL_IN_TOPIC.search(name)
    if illegal:
        raise ConfigurationError(
            f"topic {name!r} has the illegal character {illegal.group()!r} at position "
            f"{illegal.start()}; use printable characters only"
        )
    size = len(name.encode())
    if size > MAX_TOPIC_BYTES:
        raise ConfigurationError(
            f"topic {name[:40]!r}... has {size} bytes; {MAX_TOPIC_BYTES} is the limit"
        )
    return name


class Record(msgspec.Struct, frozen=True, gc=False):
    """Bytes and metadata as they travel; what layers carry and never look into.

    `id` is given by the publisher and unique among all messages; `timestamp` is when it was
    published, in seconds since the epoch; `key` groups messages whose order matters. `delay`, where
    the layer claims `publish_delay`, is for how many seconds from the publish on nobody is handed
    it; `expires`, with `publish_expiry`, after how many nobody is any more, 0 for never. Of what is
    free the higher `priority` is handed out first, with `publish_priority`. What is handed out has
    none of the three.
    """

    topic: str
    body: bytes
    id: str
    key: str | None = None
    headers: Mapping[str, str] = NO_HEADERS
    content_type: str = "application/octet-stream"
    timestamp: float = 0.0
    delay: float = 0.0
    expires: float = 0.0
    priority: int = 0

    def __repr__(self) -> str:
        return f"<Record {self.id!r} of {self.topic!r}, {len(self.body)} bytes>"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        """Show no more than `repr` does; msgspec's own would show body, key and headers."""
        return [("id", self.id), ("topic", self.topic), ("bytes", len(self.body))]


class Leased(msgspec.Struct, frozen=True, gc=False):
    """One record as a layer hands it to the engine: ours until the lease ends.

    `attempt` counts deliveries of the record to this group, from 1. `position` is where the
    broker keeps it (a stream entry's id, `partition:offset`), for people to read. With the
    capability `last_chance`, `failures` is how many of the earlier ones ended by a nack, and
    `ended_alone` how many since the last nack were noted as handled alone when their leases ended
    by themselves; without it they are None and 0. `is_expired`: its time was over when it was
    leased, so nobody is to be handed it.
    """

    record: Record
    token: Token
    attempt: int = 1
    position: str = ""
    failures: int | None = None
    ended_alone: int = 0
    is_expired: bool = False


class KeptRecord(msgspec.Struct, frozen=True, gc=False):
    """One record as a topic keeps it, seen by who takes nothing.

    `is_held` says that a consumer has it at the moment, as far as the layer can know.
    """

    record: Record
    position: str
    is_held: bool = False


class Verb(enum.IntEnum):
    """The three ways to settle."""

    ACK = 0
    NACK = 1
    REJECT = 2


class Settlement(msgspec.Struct, frozen=True, gc=False):
    """One settlement on its way to the broker.

    `delay` is in seconds and only with NACK; `dead_letter`, only with REJECT, is the record to
    publish *before* the original is given up (a crash between makes a duplicate, not a loss).
    """

    token: Token
    verb: Verb
    delay: float = 0.0
    dead_letter: Record | None = None


class Outcome(enum.IntEnum):
    """What became of one settlement or extension."""

    CONFIRMED = 0
    """The broker said yes."""
    SENT = 1
    """On its way; this protocol has no answer to it."""
    LOST = 2
    """The lease is no longer ours: nothing was changed."""
    UNKNOWN = 3
    """The connection broke before the answer."""


Reply: TypeAlias = Outcome | LayerError
"""What a layer says of one settlement or extension.

A `LayerError` says why there is no outcome: a `ConnectionLost` is UNKNOWN with its cause; any other
is a refusal of the broker's: nothing was changed, and the message is still owed to its holder.
"""


class Receipt(msgspec.Struct, frozen=True, gc=False):
    """The broker has accepted a record: its `id`, its topic, and where the broker keeps it."""

    id: str
    topic: str
    position: str = ""


class Overflow(enum.Enum):
    """What a full fire-and-forget subscription does with one message more."""

    BLOCK = "block"
    """Whoever feeds the subscription waits until there is room; nothing is dropped here."""
    DROP_OLDEST = "drop_oldest"
    """The message that waited longest is dropped, and counted."""
    DROP_NEWEST = "drop_newest"
    """The message that just arrived is dropped, and counted."""
    FAIL = "fail"
    """What waits is still read, then the subscriber gets `StreamOverflow`."""


class GapCause(enum.Enum):
    """Why a fire-and-forget subscription may have missed messages."""

    OVERFLOW = "overflow"
    """The subscriber was slower than its overflow policy allows."""
    RECONNECT = "reconnect"
    """The connection to the broker was lost and made again."""
    BROKER = "broker"
    """The broker says that it dropped messages."""


class Gap(msgspec.Struct, frozen=True):
    """Messages a subscription knows it may have missed, just before the one it comes with.

    `missed` is their number, or None where nobody can know it.
    """

    missed: int | None
    causes: frozenset[GapCause]

    def merge(self, other: "Gap") -> "Gap":
        """Return the gap that covers both; unknown plus anything is unknown."""
        known = self.missed is not None and other.missed is not None
        total = (self.missed or 0) + (other.missed or 0) if known else None
        return Gap(total, self.causes | other.causes)


class Start(msgspec.Struct, frozen=True):
    """Where a group begins that the broker does not know yet; a known group goes on where it was.

    `Start.EARLIEST` (everything kept: the default, for it loses nothing), `Start.LATEST`
    (what is published from now on), `Start.at(time)` (seconds since the epoch).
    """

    kind: Literal["earliest", "latest", "time"]
    time: float = 0.0

    EARLIEST: ClassVar["Start"]
    LATEST: ClassVar["Start"]

    @classmethod
    def at(cls, time: float) -> "Start":
        """Begin with the first message published at `time` or later."""
        return cls("time", time)


Start.EARLIEST = Start("earliest")
Start.LATEST = Start("latest")


class Capabilities(msgspec.Struct, frozen=True, kw_only=True):
    """What a layer can promise, as data: the engine, the laws and the docs read the same flags.

    An ability that is off is refused with `CapabilityError`; it is never a silent no-op.
    """

    confirmed_ack: bool = False
    """`settle` answers CONFIRMED only after the broker has; else SENT."""
    nack: bool = False
    """A message can be asked for again without waiting for its lease to end."""
    nack_delay: bool = False
    """And not before a delay is over."""
    reject: bool = False
    """A message can be settled as never to be delivered again."""
    dead_letter: bool = False
    """A rejected message can be copied to a dead-letter topic first."""
    extend: bool = False
    """A lease can be renewed."""
    release: bool = False
    """A message that nobody saw can be given back without an attempt being charged."""
    attempts: bool = False
    """`Leased.attempt` is the group's count, kept by the broker."""
    last_chance: bool = False
    """And it keeps nacks apart from leases that ended, and who was handled alone."""
    persistent: bool = False
    """What was accepted survives a restart of the broker (or of the process that embeds it)."""
    groups: bool = False
    """Several groups each get every message."""
    competing: bool = False
    """Consumers of one group share its messages one by one: what one cannot hold, another gets."""
    remove_group: bool = False
    """A group can be forgotten, with what is owed to it."""
    browse: bool = False
    """What a topic keeps can be looked at without being taken, and removed record by record."""
    replay: bool = False
    """A new group can start in the past."""
    batch_publish: bool = False
    """A publish of several records is one request."""
    coalesced_publish: bool = False
    """Publishes that wait at the same time go in one request, in order: one server takes all."""
    publish_delay: bool = False
    """A record can be published that nobody is handed before a delay is over."""
    publish_expiry: bool = False
    """And one that nobody is handed after its time is over."""
    publish_priority: bool = False
    """And one that is handed out before what is free and has a lower priority."""
    publish_once: bool = False
    """What all processes of a schedule want published when it is due is published for one."""
    publish_confirm: bool = False
    """`publish` returns after the broker has accepted the records."""
    out_of_order_ack: bool = False
    """Messages can be settled in any order."""
    headers: bool = False
    """Headers travel with a record."""
    keys: bool = False
    """A key travels with a record."""
    patterns: bool = False
    """A subscription can name topics by pattern."""
    lossy: bool = False
    """Messages may be missed: fire-and-forget."""
    lag: bool = False
    """A subscription's statistics say how far its group is behind."""
    order_after_nack: bool = False
    """And a nacked message, its delay over, comes before what was not delivered yet."""
    key_order: bool = False
    """A group that asks is handed no message of a key before the earlier ones of it are settled."""
    order: Order = "none"
    """Within what part of a topic the order of publishing is kept, redelivery apart."""
    lease: LeaseKind = "none"
    """What ends a lease."""
    max_payload: int | None = None
    """The largest body in bytes, or None where only memory bounds it."""
    topic_pattern: str | None = None
    """A regular expression that a whole topic name must match, or None."""


class AckStatistics(msgspec.Struct, frozen=True, kw_only=True):
    """What an ack-capable subscription did so far, and what it holds now, in messages.

    At rest `delivered == acked + nacked + rejected + lost + released + held`.
    """

    delivered: int
    """Handed to the user."""
    acked: int
    nacked: int
    rejected: int
    lost: int
    """Leases that ended before the settlement arrived."""
    released: int
    """Given back unsettled."""
    dead_lettered: int
    """Moved to the dead letters by the engine, and not delivered."""
    held: int
    """Handed to the user and not settled."""
    buffered: int
    """Fetched and not yet handed to the user."""
    open_bytes: int
    """What all that is held or buffered takes in memory, in bytes, about."""
    set_aside: int = 0
    """Acknowledged and not delivered: they came with more beside the body than can be published,
    and there is no topic for dead letters."""
    expired: int = 0
    """Acknowledged and not delivered: their time was over, and there is no topic for dead
    letters."""
    lag: int | None = None
    """Published and not yet fetched, as the broker last told this consumer; None if it did not."""


class FireAndForgetStatistics(msgspec.Struct, frozen=True):
    """What a fire-and-forget subscription did so far, in messages."""

    delivered: int
    missed: int
    """Known to be missed, by overflow or because the broker said how many."""
    unknown_gaps: int
    """Gaps whose size nobody can know."""
    buffered: int
    undecodable: int = 0
    """Skipped, or raised as `DecodeError`: the body did not decode as its topic says."""


class Severity(enum.IntEnum):
    """How much a finding matters; the higher, the worse."""

    OK = 0
    """As it should be, or a fact without a verdict."""
    NOTICE = 1
    """Worth knowing: a bound that you may meet."""
    WARNING = 2
    """Messages can be lost, late or repeated in a situation that the message names."""


class Finding(msgspec.Struct, frozen=True):
    """One fact about the server that matters for safety, as `channel.check()` reads it.

    `name` is stable, for programs (`persistence`, `eviction`, `server_version`); `value` is what
    the server said, None where it would not say; `message` says what follows, and what to do.
    """

    name: str
    value: str | int | float | bool | None
    severity: Severity
    message: str

"""Everything `acked` raises, named by the situation it happened in.

```text
AckedError
├── CapabilityError        this layer cannot do what was asked of it
├── ConfigurationError     an option, a topic's name or a URL is wrong
├── MessageTooLarge        the broker would not take it; nothing was sent
├── EncodeError            the body does not fit the topic's type; nothing was sent
├── DecodeError            a body that arrived does not fit the topic's type; still owed
├── AlreadySettled         a second, contradicting settlement
├── LeaseLost              settled too late: the message is no longer ours
├── AckUnconfirmed         the answer never came: it may be settled, it may come again
├── ChannelClosed          used before it was opened or after it was closed
├── StreamOverflow         a subscription with Overflow.FAIL was too slow
└── LayerError             the broker, or the way to it
    ├── ConnectionLost     the connection broke or could not be made; trying again may help
    ├── NoSubscribers      nobody is subscribed, and the broker keeps nothing for nobody
    └── PublishFailed      some records of a publish were not accepted, or we cannot know
UnsettledWarning           (a ResourceWarning) a delivery was forgotten without being settled
```

No message, repr or argument of these holds a payload, a header's value or a password.
"""

from collections.abc import Callable, Iterator, Mapping
from functools import wraps
from typing import Any, Final, Protocol, TypeVar, cast

__all__ = (
    "Accepted",
    "AckUnconfirmed",
    "AckedError",
    "AlreadySettled",
    "CapabilityError",
    "ChannelClosed",
    "ConfigurationError",
    "ConnectionLost",
    "DecodeError",
    "EncodeError",
    "LayerError",
    "LeaseLost",
    "MessageTooLarge",
    "NoSubscribers",
    "Owed",
    "PublishFailed",
    "StreamOverflow",
    "UnsettledWarning",
    "hiding_arguments",
    "layer_failure",
    "without_frames",
)

F = TypeVar("F", bound=Callable[..., Any])
E = TypeVar("E", bound=BaseException)


class Owed(Protocol):
    """A delivery as an error carries it: enough to settle it."""

    async def ack(self) -> None:
        """Settle it as done."""
        ...

    async def nack(self, *, delay: float = 0.0) -> None:
        """Ask for it again, after `delay` seconds."""
        ...

    async def reject(self, reason: str = "") -> None:
        """Settle it as never to be delivered again."""
        ...


class Accepted(Protocol):
    """A receipt as an error carries it."""

    @property
    def id(self) -> str:
        """The record's."""
        ...

    @property
    def topic(self) -> str:
        """The record's."""
        ...

    @property
    def position(self) -> str:
        """Where the broker keeps it."""
        ...


class AckedError(Exception):
    """Whatever `acked` raises on purpose is one of these."""


class CapabilityError(AckedError):
    """The layer cannot do this, and says so instead of pretending; nothing was changed."""


class ConfigurationError(AckedError, ValueError):
    """An argument, option, topic name or URL is wrong; nothing was done."""


class MessageTooLarge(AckedError, ValueError):
    """A record is larger than the layer can carry; nothing of its publish was sent.

    `size` and `limit` are bytes of the encoded body.
    """

    def __init__(self, topic: str, size: int, limit: int) -> None:
        super().__init__(
            f"a message of {size} bytes for topic {topic!r} is over this layer's limit of {limit} "
            "bytes; publish a smaller one, or a reference to where the content is stored"
        )
        self.topic: Final = topic
        self.size: Final = size
        self.limit: Final = limit


class EncodeError(AckedError, ValueError):
    """A body cannot be encoded as its topic's type says; nothing was sent."""


class DecodeError(AckedError, ValueError):
    """A body that arrived does not decode as its topic's type says.

    On an ack-capable layer `delivery` is the message, still owed: settle it (`reject()` to be
    rid of it) or leave the subscription to have it delivered again. On a fire-and-forget layer
    `delivery` is None. The undecoded bytes are in `raw`, never in its message.
    """

    def __init__(self, message: str, *, raw: bytes = b"", delivery: Owed | None = None) -> None:
        super().__init__(message)
        self.raw: Final = raw
        self.delivery: Final = delivery


class AlreadySettled(AckedError):
    """The delivery was settled in another way before; the first settlement stands."""


class LeaseLost(AckedError):
    """The lease ended before the settlement arrived: the message may be another consumer's now.

    The settlement changed nothing. What was done for the message may be done a second time.
    """


class AckUnconfirmed(AckedError):
    """The connection broke, or the subscription was left, before the broker answered a settlement.

    It may or may not have taken effect: either the message is settled, or it comes again, also to
    a reader that goes on and holds the delivery. Settling again is allowed, and decides it unless
    it is tried later than a third of the lease: then it may be `LeaseLost`.
    """


class ChannelClosed(AckedError):
    """The channel or subscription was used before it was opened or after it was closed."""


class StreamOverflow(AckedError):
    """A fire-and-forget subscription with `Overflow.FAIL` fell behind; `missed` were dropped."""

    def __init__(self, missed: int, capacity: int) -> None:
        super().__init__(
            f"{missed} message(s) arrived while {capacity} were waiting to be read; read faster, "
            "give more capacity=, or choose an overflow policy that drops"
        )
        self.missed: Final = missed
        self.capacity: Final = capacity


class LayerError(AckedError):
    """The broker refused, or answered in a way that cannot be right.

    `may_pass` says whether the same may work after a while: the broker is busy, full, read-only,
    without replicas. What receives is tried again then, as after a lost connection.
    """

    def __init__(self, message: str, *, may_pass: bool = False) -> None:
        super().__init__(message)
        self.may_pass: Final = may_pass


class ConnectionLost(LayerError):
    """The connection broke or could not be made; trying again may help."""

    def __init__(self, message: str) -> None:
        super().__init__(message, may_pass=True)


class NoSubscribers(LayerError):
    """Nobody is subscribed to the topic of a record, so the broker took it and kept it for nobody.

    Found among the `failures` of a `PublishFailed`: publish it again once a group has subscribed.
    """


class PublishFailed(LayerError):
    """Not every record of a publish was accepted.

    `failures` maps the position of a record in the batch (0-based) to what happened to it; every
    other record was accepted. `indeterminate` is True when the broker may have accepted some of
    the failed ones all the same, because the connection broke before it answered. `receipts` has
    those of the others by their positions, where the layer keeps them apart.
    """

    def __init__(
        self,
        message: str,
        failures: Mapping[int, Exception],
        *,
        indeterminate: bool,
        receipts: Mapping[int, Accepted] | None = None,
    ) -> None:
        super().__init__(message)
        self.receipts: Final[Mapping[int, Accepted]] = dict(receipts or {})
        self.failures: Final[Mapping[int, Exception]] = dict(failures)
        self.indeterminate: Final = indeterminate


class UnsettledWarning(ResourceWarning):
    """A delivery was garbage-collected unsettled; it will be delivered again."""


def layer_failure(error: Exception, doing: str) -> LayerError:
    """Return `error` if it is a `LayerError`, else one that names it: a bug must not be a hang."""
    if isinstance(error, LayerError):
        return error
    failure = LayerError(f"the layer failed while {doing}: {type(error).__name__}")
    failure.__cause__ = error
    return failure


def without_frames(error: E) -> E:
    """Return `error` without the frames it came through, nor those of what it was caused by.

    Some loggers show the variables of frames: a URL, the arguments of a client, what it sent to be
    let in. The words of all of them stay.
    """
    for one in _chain(error):
        one.__traceback__ = None
        if one.__suppress_context__ and one.__cause__ is None:
            one.__context__ = None  # hidden for what it quotes, and a debugger would find it
    return error


def hiding_arguments(make: F) -> F:
    """Return `make`, whose errors of ours come without frames: an argument of it is a secret."""

    @wraps(make)
    def made(*args: Any, **kwargs: Any) -> Any:
        try:
            return make(*args, **kwargs)
        except AckedError as error:
            failed = without_frames(error)
        del args, kwargs
        raise failed

    return cast("F", made)  # checkers bind a function as a method, and not whatever is callable


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        if error.__context__ is not error.__cause__:
            yield from _chain(error.__context__)
        error = error.__cause__

"""Acknowledgement-first messaging: when `ack()` returned, the broker has said yes."""

from acked._core.as_news import fire_and_forget
from acked._core.channel import Channel
from acked._core.debts import DebtSubscription
from acked._core.delivery import Batch, Delivery
from acked._core.message import Message
from acked._core.news import NewsSubscription
from acked._core.options import Redelivery, SubscribeDebts, SubscribeNews
from acked._core.subscription import Subscription
from acked._machines.backoff import Backoff
from acked.clocks import SystemClock, VirtualClock
from acked.codecs import JSON, MSGPACK, RAW
from acked.errors import (
    AckedError,
    AckUnconfirmed,
    AlreadySettled,
    CapabilityError,
    ChannelClosed,
    ConfigurationError,
    ConnectionLost,
    DecodeError,
    EncodeError,
    LayerError,
    LeaseLost,
    MessageTooLarge,
    NoSubscribers,
    PublishFailed,
    StreamOverflow,
    UnsettledWarning,
)
from acked.types import (
    Capabilities,
    Codec,
    Finding,
    Gap,
    GapCause,
    NewsStatistics,
    Overflow,
    Receipt,
    Record,
    Severity,
    Start,
    SubscriptionStatistics,
    Topic,
)

__all__ = (
    "JSON",
    "MSGPACK",
    "RAW",
    "AckUnconfirmed",
    "AckedError",
    "AlreadySettled",
    "Backoff",
    "Batch",
    "Capabilities",
    "CapabilityError",
    "Channel",
    "ChannelClosed",
    "Codec",
    "ConfigurationError",
    "ConnectionLost",
    "DebtSubscription",
    "DecodeError",
    "Delivery",
    "EncodeError",
    "Finding",
    "Gap",
    "GapCause",
    "LayerError",
    "LeaseLost",
    "Message",
    "MessageTooLarge",
    "NewsStatistics",
    "NewsSubscription",
    "NoSubscribers",
    "Overflow",
    "PublishFailed",
    "Receipt",
    "Record",
    "Redelivery",
    "Severity",
    "Start",
    "StreamOverflow",
    "SubscribeDebts",
    "SubscribeNews",
    "Subscription",
    "SubscriptionStatistics",
    "SystemClock",
    "Topic",
    "UnsettledWarning",
    "VirtualClock",
    "fire_and_forget",
)


# What a user sees in a traceback or a repr is the name they import.
def _show_public_paths() -> None:
    for name in __all__:
        thing = globals()[name]
        if getattr(thing, "__module__", "").startswith("acked._"):
            thing.__module__ = "acked"


_show_public_paths()

"""Acknowledgement-first messaging: when `ack()` returned, the broker has said yes."""

from importlib.metadata import version as _version

from acked._app.app import App
from acked._app.router import Router
from acked._core.ack.batch import Batch
from acked._core.ack.dead_letter import DeadLetter
from acked._core.ack.dead_letter_topic import DeadLetterTopic, PurgeResult, ReplayResult
from acked._core.ack.delivery import Delivery
from acked._core.ack.subscription import AckSubscription
from acked._core.channel import Channel
from acked._core.observer import Observer
from acked._core.options import AckOptions, FireAndForgetOptions, Redelivery
from acked._core.publish_options import PublishOptions
from acked._core.stream.adapter import fire_and_forget
from acked._core.stream.buffer import Stream
from acked._core.stream.gaps import MessagesAndGaps
from acked._core.stream.message import Message
from acked._core.stream.subscription import FireAndForgetSubscription
from acked._core.subscription import Subscription
from acked._core.worker.answers import Publish, Reject, Release, Retry
from acked._core.worker.options import BatchOptions, ProcessOptions
from acked._machines.backoff import Backoff
from acked.clocks import SystemClock, VirtualClock
from acked.codecs import JSON, MSGPACK, RAW, TEXT
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
    AckStatistics,
    Capabilities,
    Codec,
    Finding,
    FireAndForgetStatistics,
    Gap,
    GapCause,
    Overflow,
    Receipt,
    Record,
    Severity,
    Start,
    Topic,
)

__all__ = (
    "JSON",
    "MSGPACK",
    "RAW",
    "TEXT",
    "AckOptions",
    "AckStatistics",
    "AckSubscription",
    "AckUnconfirmed",
    "AckedError",
    "AlreadySettled",
    "App",
    "Backoff",
    "Batch",
    "BatchOptions",
    "Capabilities",
    "CapabilityError",
    "Channel",
    "ChannelClosed",
    "Codec",
    "ConfigurationError",
    "ConnectionLost",
    "DeadLetter",
    "DeadLetterTopic",
    "DecodeError",
    "Delivery",
    "EncodeError",
    "Finding",
    "FireAndForgetOptions",
    "FireAndForgetStatistics",
    "FireAndForgetSubscription",
    "Gap",
    "GapCause",
    "LayerError",
    "LeaseLost",
    "Message",
    "MessageTooLarge",
    "MessagesAndGaps",
    "NoSubscribers",
    "Observer",
    "Overflow",
    "ProcessOptions",
    "Publish",
    "PublishFailed",
    "PublishOptions",
    "PurgeResult",
    "Receipt",
    "Record",
    "Redelivery",
    "Reject",
    "Release",
    "ReplayResult",
    "Retry",
    "Router",
    "Severity",
    "Start",
    "Stream",
    "StreamOverflow",
    "Subscription",
    "SystemClock",
    "Topic",
    "UnsettledWarning",
    "VirtualClock",
    "fire_and_forget",
)


__version__ = _version("acked")


# What a user sees in a traceback or a repr is the name they import.
def _show_public_paths() -> None:
    for name in __all__:
        thing = globals()[name]
        if getattr(thing, "__module__", "").startswith("acked._"):
            thing.__module__ = "acked"


_show_public_paths()

"""aiokafka's errors, told apart and translated."""

import ssl
from collections.abc import Mapping
from importlib import import_module
from typing import Any, Final, TypeAlias, cast

from acked.errors import ConnectionLost, LayerError, without_frames
from acked.layers.kafka._options import KafkaOptions
from acked.layers.kafka._protocols import TopicPartition

__all__ = (
    "is_answer",
    "is_metadata_too_large",
    "is_not_ours",
    "is_out_of_order",
    "is_too_large",
    "lost_position",
    "may_be_gone",
    "refusal_name",
    "translated",
)

Kinds: TypeAlias = tuple[type[Exception], ...]

_errors: Final = cast("Any", import_module("aiokafka.errors"))


def _kinds(*names: str) -> Kinds:
    return tuple(getattr(_errors, name) for name in names)


_KAFKA: Final = _kinds("KafkaError")
_ANSWERED: Final = _kinds("BrokerResponseError")
_NOT_OURS: Final = _kinds("CommitFailedError", "IllegalStateError")
_NO_OFFSET: Final = _kinds("NoOffsetForPartitionError")
_OUT_OF_RANGE: Final = _kinds("OffsetOutOfRangeError")
_OUT_OF_ORDER: Final = _kinds("OutOfOrderSequenceNumber")
_METADATA: Final = _kinds("OffsetMetadataTooLargeError", "InvalidCommitOffsetSizeError")
_TOO_LARGE: Final = _kinds("MessageSizeTooLargeError", "RecordListTooLargeError")
_NOT_THERE: Final = _kinds(
    "UnknownTopicOrPartitionError", "NotLeaderForPartitionError", "LeaderNotAvailableError"
)
"""The last two are what aiokafka says, in the end, of what it has sent to a deleted topic."""
_LOGIN: Final = _kinds(
    *("SaslAuthenticationFailed", "AuthenticationFailedError"),
    *("UnsupportedSaslMechanismError", "IllegalSaslStateError"),
)
_RIGHTS: Final = _kinds(
    *("TopicAuthorizationFailedError", "GroupAuthorizationFailedError"),
    *("ClusterAuthorizationFailedError", "TransactionalIdAuthorizationFailed"),
)
_CORRUPT: Final = _kinds("CorruptRecordException")
_CODEC: Final = _kinds("UnsupportedCodecError")
_REFUSED_HERE: Final = _kinds("AuthenticationMethodNotSupported", "RecordTooLargeError")
"""Refusals that aiokafka does not take for an answer of the broker's."""


def is_not_ours(error: BaseException) -> bool:
    """Return whether `error`, of a commit, says that the membership or partition is not ours."""
    return isinstance(error, _NOT_OURS)


def is_answer(error: BaseException) -> bool:
    """Return whether `error` is the broker's own, and not one of the way to it."""
    return isinstance(error, _ANSWERED)


def is_metadata_too_large(error: BaseException | None) -> bool:
    """Return whether the broker keeps less beside an offset than a commit had."""
    return isinstance(error, _METADATA)


def is_out_of_order(error: BaseException | None) -> bool:
    """Return whether the broker refused a batch since one before it is missing."""
    return isinstance(error, _OUT_OF_ORDER)


def may_be_gone(error: BaseException | None) -> bool:
    """Return whether the topic, or the partition, may not be there any more."""
    return isinstance(error, _NOT_THERE)


def is_too_large(error: BaseException | None) -> bool:
    """Return whether the broker refused a record, or a batch of several, for its size."""
    return isinstance(error, _TOO_LARGE)


def lost_position(error: Exception) -> Mapping[TopicPartition, int] | None:
    """Return the positions that the log does not have, if `error`, of a read, is about that.

    Empty where there was no position yet, for the group has none.
    """
    if isinstance(error, _NO_OFFSET):
        return {}
    if not isinstance(error, _OUT_OF_RANGE):
        return None
    return cast("Mapping[TopicPartition, int]", error.args[0])


def refusal_name(code: int) -> str | None:
    """Return the name of the broker's error number `code`, or None for success."""
    return _errors.for_code(code).__name__ if code else None


def translated(error: Exception, options: KafkaOptions, doing: str) -> LayerError:
    """Return `error` as ours: `ConnectionLost` unless the broker has answered, or the client."""
    for known in (error, error.__cause__):  # ours, or what aiokafka was told instead of it
        if isinstance(known, LayerError):
            return known
    kind = type(error).__name__
    words = f"Kafka at {options.where}: {doing} failed ({kind})"
    if isinstance(error, ssl.SSLError):
        # Its words tell of certificates only.
        failure = LayerError(
            f"{words}: {error}; check the TLS options and the server's certificate"
        )
    elif isinstance(error, _CODEC):
        failure = LayerError(f"{words}: {error}; install acked[kafka], which can read it")
    elif isinstance(error, (*_LOGIN, *_RIGHTS)):
        # Rights and passwords are changed while clients run.
        check = (
            "user or password (or token), and sasl_mechanism"
            if isinstance(error, _LOGIN)
            else "rights"
        )
        failure = LayerError(f"{words}; the broker refused it: check the {check}", may_pass=True)
    elif isinstance(error, (*_REFUSED_HERE, *_CORRUPT)) or _is_refusal(error):
        failure = LayerError(f"{words}; the broker refused it: check names, limits and the topic")
    elif isinstance(error, (*_KAFKA, TimeoutError, OSError, AssertionError)):
        # aiokafka asserts that there are nodes; a broker that has just come back names none.
        # One that wants a certificate hangs up without a word.
        hint = ", and whether they want a certificate of ours" if options.tls else ""
        failure = ConnectionLost(f"{words}; check that the brokers run and are reachable{hint}")
    else:
        failure = LayerError(f"{words}; this is not an answer of Kafka, please report it")
    failure.__cause__ = without_frames(error)
    return failure


def _is_refusal(error: Exception) -> bool:
    return isinstance(error, _ANSWERED) and not getattr(error, "retriable", False)

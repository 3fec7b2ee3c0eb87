"""Bodies to records and back: one encoder and one decoder for each topic, built once."""

import itertools
import os
import re
import secrets
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, TypeVar, cast

import msgspec

from acked._core.body_check import arrives_equal
from acked._core.bounds import MAX_ID, beyond_bounds
from acked._core.publish_options import PLACING, PublishOptions, placed
from acked._core.without_values import without_values
from acked._machines.glob import glob
from acked.errors import CapabilityError, ConfigurationError, EncodeError, MessageTooLarge
from acked.types import NO_HEADERS, Capabilities, Codec, Record, Topic

__all__ = ("Decoders", "Encoders", "as_topic", "decoders", "is_named", "pattern_decoders")

T = TypeVar("T")

Decoders = dict[str, Callable[[bytes], Any]]

_KNOWN: Final = PublishOptions.__annotations__.keys()
MAX_TOPICS_REMEMBERED: Final = 4096
"""Topics that are published to, or match a pattern: a long run may have any number of them."""


def as_topic(topic: Topic[Any] | str) -> Topic[Any]:
    """Return `topic`, or the untyped topic of that name: any JSON value."""
    return Topic(topic, object) if isinstance(topic, str) else topic


class _Ids:
    """Ids that no two processes share: a random prefix, drawn anew after a fork, and a number."""

    def __init__(self) -> None:
        self.renew()
        os.register_at_fork(after_in_child=self.renew)

    def renew(self) -> None:
        self._prefix = secrets.token_hex(8)
        self._numbers = itertools.count(1)

    def next(self) -> str:
        return f"{self._prefix}-{next(self._numbers)}"


_ids = _Ids()


class _Encoding(msgspec.Struct, frozen=True):
    """How the bodies of one topic become bytes; `decode` where what was encoded is verified."""

    topic: Topic[Any]
    payload: type[Any]
    name: str
    encode: Callable[[Any], bytes]
    decode: Callable[[bytes], Any] | None
    content_type: str


class Encoders:
    """Makes records of bodies, and refuses what the layer could not carry, before it is sent."""

    def __init__(self, codec: Codec, capabilities: Capabilities, *, verify: bool) -> None:
        self._codec = codec
        self._verify = verify
        self._capabilities = capabilities
        self._most = capabilities.max_payload
        pattern = capabilities.topic_pattern
        self._topic_pattern = re.compile(pattern) if pattern is not None else None
        self._encodings: dict[Topic[Any] | str, _Encoding] = {}

    def record(self, topic: Topic[T] | str, body: T, options: PublishOptions) -> Record:
        """Return the record that carries `body`.

        Raises `EncodeError`, `MessageTooLarge`, `CapabilityError` for a key or headers that the
        layer has no place for, or `ConfigurationError` for what is over its bound, or a name that
        the layer cannot carry.
        """
        encoding = self._encodings.get(topic) or self._new_encoding(topic)
        if options:
            return self._record_with(options, encoding, body)
        name, kind, encoded = encoding.name, encoding.content_type, self._encoded(encoding, body)
        return Record(name, encoded, _ids.next(), None, NO_HEADERS, kind, time.time())

    def _record_with(self, options: PublishOptions, encoding: _Encoding, body: object) -> Record:
        if not options.keys() <= _KNOWN:
            strange = min(options.keys() - _KNOWN)
            known = ", ".join(sorted(_KNOWN))
            raise CapabilityError(f"publish has no option {strange}=; it has {known}")
        headers = options.get("headers")
        record = Record(
            encoding.name,
            self._encoded(encoding, body),
            _checked_id(options.get("id")) or _ids.next(),
            self._checked_key(options.get("key")),
            self._checked_headers(headers) if headers else NO_HEADERS,
            encoding.content_type,
            time.time(),
        )
        if not PLACING.isdisjoint(options):
            record = placed(record, options, self._capabilities)
        if record.headers is not NO_HEADERS or record.key is not None:
            _check_bounds(record)
        return record

    def records(self, topic: Topic[T] | str, bodies: Iterable[T]) -> list[Record]:
        """Return the records of one request: without key and headers, and of one time.

        Raises `EncodeError` or `MessageTooLarge` for the first body that cannot be sent, and as
        `record` does for the name.
        """
        encoding = self._encodings.get(topic) or self._new_encoding(topic)
        name, now, next_id, encoded = encoding.name, time.time(), _ids.next, self._encoded
        kind = encoding.content_type
        return [
            Record(name, encoded(encoding, body), next_id(), None, NO_HEADERS, kind, now)
            for body in bodies
        ]

    def _encoded(self, encoding: _Encoding, body: object) -> bytes:
        topic, encode, decode = encoding.topic, encoding.encode, encoding.decode
        if type(body) is not encoding.payload:
            _check_type(topic, body)
        failed: Exception | None = None
        encoded, arrives = b"", False
        try:
            encoded = encode(body)
            arrives = decode is None or arrives_equal(body, encoded, encode, decode)
        except Exception as error:  # noqa: BLE001 - whatever a codec raises
            failed = error
        if failed is not None:  # raised out here: the error as it was is not its context
            raise EncodeError(
                f"a body of type {type(body).__name__} cannot be published to {topic!r}: "
                f"{type(failed).__name__} in the codec; give the topic another type or codec"
            ) from without_values(failed)
        if not arrives:
            raise EncodeError(
                f"a body of type {type(body).__name__} would not arrive equal at a subscriber of "
                f"{topic!r}: it has a value that the codec writes as another one (a NaN or an "
                "infinity in JSON, a field of another type, a key that is no str)"
            )
        limit = self._most
        if limit is not None and len(encoded) > limit:
            raise MessageTooLarge(topic.name, len(encoded), limit)
        return encoded

    def check_topic(self, name: str) -> None:
        """Raise `ConfigurationError` for a name that this layer cannot carry."""
        pattern = self._topic_pattern
        if pattern is not None and not pattern.fullmatch(name):
            raise ConfigurationError(
                f"topic {name!r} has characters this layer cannot carry; it must match "
                f"{pattern.pattern}"
            )

    def checked(self, topic: Topic[Any] | str) -> Topic[Any]:
        """Return `topic`, or the untyped one of that name, if `check_topic` lets it pass."""
        found = as_topic(topic)
        self.check_topic(found.name)
        return found

    def _new_encoding(self, given: Topic[Any] | str) -> _Encoding:
        topic = self.checked(given)
        codec = topic.codec or self._codec
        kind = codec.content_type
        _check_bounds(Record(topic.name, b"", "", content_type=kind))
        encode = _built(topic, codec, codec.encoder)
        decode = _built(topic, codec, codec.decoder) if self._verify else None
        if len(self._encodings) >= MAX_TOPICS_REMEMBERED:
            self._encodings.clear()
        found = _Encoding(topic, topic.payload, topic.name, encode, decode, kind)
        self._encodings[given] = found
        return found

    def _checked_key(self, key: str | None) -> str | None:
        if key is not None:
            if not self._capabilities.keys:
                raise CapabilityError("this layer carries no keys; publish without key=")
            _check_text("the key", key)
        return key

    def _checked_headers(self, headers: Mapping[str, str]) -> Mapping[str, str]:
        if not self._capabilities.headers:
            raise CapabilityError("this layer carries no headers; publish without headers=")
        for name, text in headers.items():
            _check_text("a header's name", name)
            _check_text(f"the header {name!r}", text)
        return dict(headers)


def decoders(topics: tuple[Topic[Any], ...], codec: Codec) -> Decoders:
    """Return a decoder for each topic's name; raise `ConfigurationError` for one given twice."""
    built: Decoders = {}
    for topic in topics:
        if topic.name in built:
            raise ConfigurationError(f"topic {topic.name!r} is given twice in one subscription")
        chosen = topic.codec or codec
        built[topic.name] = _built(topic, chosen, chosen.decoder)
    return built


def is_named(name: str) -> Callable[[str], bool]:
    """Return the function that says whether a topic is called `name`: what is no pattern."""
    return name.__eq__


def _built(
    topic: Topic[Any], codec: Codec, build: Callable[[type[Any]], Callable[[Any], Any]]
) -> Callable[[Any], Any]:
    """Return the encoder or decoder; whatever a codec says against the type is a wrong topic."""
    try:
        return build(topic.payload)
    except Exception as error:
        why = str(error) if isinstance(error, ConfigurationError) else f"{type(error).__name__}"
        raise ConfigurationError(f"{topic!r} cannot be used with {codec!r}: {why}") from error


def pattern_decoders(
    patterns: tuple[Topic[Any], ...],
    codec: Codec,
    matcher: Callable[[str], Callable[[str], bool]] = glob,
) -> Decoders:
    """Return decoders for the topics that match `patterns`: of several, the first that matches."""
    return _PatternDecoders(decoders(patterns, codec), matcher)


class _PatternDecoders(Decoders):
    """Has the patterns' own decoders, and finds a topic's when its first record arrives."""

    def __init__(self, patterns: Decoders, matcher: Callable[[str], Callable[[str], bool]]) -> None:
        super().__init__()
        self._choices = [(matcher(pattern), decode) for pattern, decode in patterns.items()]

    def __missing__(self, topic: str) -> Callable[[bytes], Any]:
        if len(self) >= MAX_TOPICS_REMEMBERED:
            self.clear()
        for matches, decode in self._choices:
            if matches(topic):
                self[topic] = decode
                return decode
        raise LookupError(f"the layer delivered topic {topic!r}, which no pattern matches")


def _check_type(topic: Topic[Any], body: object) -> None:
    """Refuse a body of another class: published, it would poison every consumer."""
    payload = cast("object", topic.payload)
    if not isinstance(payload, type):
        return
    try:
        if isinstance(body, payload):
            return
    except TypeError:  # a TypedDict, Any, a Protocol: decoding it again decides
        return
    if payload is float and isinstance(body, int):  # as typing has it
        return
    raise EncodeError(
        f"{topic!r} carries {payload.__name__}, not {type(body).__name__}; nothing was sent"
    )


def _checked_id(given: str | None) -> str | None:
    """Return the id that a publisher chose; the same rules as for a topic's name, but its words."""
    if given is None:
        return None
    _check_text("id=", given)
    if not 0 < len(given) <= MAX_ID:
        raise ConfigurationError(f"id= needs 1 to {MAX_ID} characters, not {len(given)}")
    return given


def _check_bounds(record: Record) -> None:
    for beyond in beyond_bounds(record):
        raise ConfigurationError(f"nothing was sent to {record.topic!r}: {beyond}")


def _check_text(what: str, text: object) -> None:
    if not isinstance(text, str):
        raise EncodeError(f"{what} must be a str, not {type(text).__name__}")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise EncodeError(f"{what} has a lone surrogate: it cannot be encoded as UTF-8") from None

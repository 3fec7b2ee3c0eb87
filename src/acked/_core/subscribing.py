"""From what `subscribe` was given to a subscription: all is checked before anything opens."""

from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from typing import Any, cast

from acked._core.ack.subscription import AckSubscription
from acked._core.observer import Observer
from acked._core.options import AckSettings, FireAndForgetSettings, checked_options
from acked._core.publishing import Encoders, as_topic, decoders, is_named, pattern_decoders
from acked._core.stream.subscription import FireAndForgetSubscription
from acked._core.subscription import Subscription
from acked.abc import AckLayer, AckPatternLayer, Clock, FireAndForgetLayer
from acked.errors import ConfigurationError
from acked.types import Codec, Topic

__all__ = ("SubscriptionMaker",)


class SubscriptionMaker:
    """Makes the subscriptions of one channel."""

    def __init__(
        self,
        encoders: Encoders,
        codec: Codec,
        clock: Clock,
        observer: Observer | None,
        on_opened: Callable[[Subscription[Any]], None],
        on_closed: Callable[[Subscription[Any]], None],
    ) -> None:
        self._encoders = encoders
        self._codec = codec
        self._clock = clock
        self._observer = observer
        self._opened = on_opened
        self._closed = on_closed
        self._decoders = lru_cache(partial(decoders, codec=codec))  # thousands may share a topic

    def acks(
        self, layer: AckLayer, topics: Sequence[Topic[Any] | str], given: dict[str, Any]
    ) -> AckSubscription[Any]:
        """Return a subscription to an ack-capable layer."""
        if "group" not in given and len(topics) > 1 and isinstance(topics[-1], str):
            raise ConfigurationError(
                f"an ack-capable layer needs group=; if {topics[-1]!r} is the group, write "
                f"group={topics[-1]!r}"
            )
        options = checked_options(AckSettings, "an ack-capable", given)
        options.check(layer.capabilities)
        checked = self.named(topics, by_pattern=options.patterns)
        matcher = cast("AckPatternLayer", layer).matcher if options.patterns else is_named
        letters = options.redelivery.dead_letter
        if letters is not None:
            self._encoders.check_topic(letters)
            options.check_dead_letter(matcher(topic.name) for topic in checked)
        if options.patterns:
            decoding = pattern_decoders(checked, self._codec, matcher)
        else:
            decoding = self._decoders(checked)
        return AckSubscription(
            layer,
            tuple(topic.name for topic in checked),
            decoding,
            options,
            self._clock,
            self._observer,
            self._opened,
            self._closed,
        )

    def stream(
        self, layer: FireAndForgetLayer, topics: Sequence[Topic[Any] | str], given: dict[str, Any]
    ) -> FireAndForgetSubscription[Any]:
        """Return a subscription to a fire-and-forget layer."""
        options = checked_options(FireAndForgetSettings, "a fire-and-forget", given)
        options.check(layer.capabilities)
        by_pattern = options.patterns
        checked = self.named(topics, by_pattern=by_pattern)
        decoding = pattern_decoders(checked, self._codec) if by_pattern else self._decoders(checked)
        names = tuple(topic.name for topic in checked)
        return FireAndForgetSubscription(
            layer, names, decoding, options, self._observer, self._opened, self._closed
        )

    def named(
        self, topics: Sequence[Topic[Any] | str], *, by_pattern: bool
    ) -> tuple[Topic[Any], ...]:
        """Return topics, of which those that are no patterns have legal names."""
        # A pattern need not be a legal topic name, only a possible one.
        return tuple(as_topic(one) if by_pattern else self._encoders.checked(one) for one in topics)

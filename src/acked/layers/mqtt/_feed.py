"""One consumer on MQTT: its session at the broker, over as many connections as it takes."""

import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, TypeAlias

import anyio
from paho.mqtt.client import MQTTMessage

from acked.errors import CapabilityError, NoSubscribers
from acked.layers.mqtt._connection import MQTTConnection
from acked.layers.mqtt._ownership import Ownership
from acked.layers.mqtt._publisher import PublishResults
from acked.layers.mqtt._receiver import MQTTReceiver, Place
from acked.types import Leased, Outcome, Record, Settlement, Token, Verb

__all__ = ("LinkFactory", "MQTTFeed")

LinkFactory: TypeAlias = Callable[
    [Callable[[MQTTMessage], None], Callable[[], None]], MQTTConnection
]
"""Makes a connection out of what to call with a message, and what when it broke."""

logger = logging.getLogger("acked.layers.mqtt")


class MQTTFeed:
    """Receives by one session, PUBACKs in the order of arrival, and nacks within itself."""

    def __init__(
        self,
        make_link: LinkFactory,
        publish: Callable[[Sequence[Record]], Awaitable[PublishResults]],
        filters: Sequence[str],
        *,
        name: str,
        limit: int,
        on_dropped: Callable[[int], None],
    ) -> None:
        self._make_link = make_link
        self._publish = publish
        self._filters: Final = filters
        self._name: Final = name
        self._on_dropped = on_dropped
        self._intake = MQTTReceiver(limit)
        self._seat = Ownership()
        self._link: MQTTConnection | None = None
        self._is_known = False
        self._changed = anyio.Event()

    async def join(self) -> None:
        """Connect and subscribe, so that what is published from now on is owed to the session."""
        link = self._make_link(self._arrived, self._broken)
        self._intake.forget_connection()
        # Before a message can arrive: the link is where its PUBACK goes.
        self._link = link
        try:
            await link.open()
            if not link.session_present:
                self._intake.forget_session()
                if self._is_known:
                    logger.warning(
                        "the MQTT broker at %s has forgotten the session of %s; what it owed is "
                        "lost",
                        link.where,
                        self._name,
                    )
            await self._seat.take(link, self._filters)
            self._is_known = True
        except BaseException:
            self._link = None
            await link.close(gently=False)
            raise

    async def leave(self) -> None:
        """Disconnect; the broker keeps for the session what is not settled."""
        link, self._link = self._link, None
        if link is not None:
            await link.close()
        self._intake.forget_connection()

    async def receive(self, limit: int) -> Sequence[Leased]:
        """Wait for messages and return up to `limit`; connect again where it broke before."""
        while True:
            link = self._link
            if link is None:
                await self.join()
                continue
            if link.broken is not None:
                self._link = None
                await link.close(gently=False)
                raise link.broken
            leased = self._intake.take(limit, anyio.current_time())
            if leased:
                return leased
            with anyio.CancelScope(deadline=self._intake.due()):
                await self._changed.wait()

    async def settle(self, batch: Sequence[Settlement]) -> Sequence[Outcome]:
        """Settle; SENT means handed to the socket, or noted to be when those before it are."""
        buried = await self._bury(batch)
        outcomes = [self._carry_out(one, is_buried=one.token in buried) for one in batch]
        if self._link is not None:
            self._link.send_rest()
        return outcomes

    async def extend(self, tokens: Sequence[Token], seconds: float) -> Sequence[Outcome]:
        """Refuse: a lease lasts as long as the connection."""
        del tokens, seconds
        raise CapabilityError("MQTT has no lease to extend: it lasts as long as the connection")

    async def release(self, tokens: Sequence[Token]) -> None:
        """Refuse: what is delivered again after leaving is marked as such by the broker."""
        del tokens
        raise CapabilityError("MQTT cannot give back one message; leaving gives back all of them")

    def _carry_out(self, one: Settlement, *, is_buried: bool) -> Outcome:
        place = self._intake.place_of(one.token)
        if place is None:
            return Outcome.LOST
        if one.verb is Verb.NACK:
            self._intake.requeue(place, anyio.current_time() + one.delay)
            self._wake()
            return Outcome.SENT
        if one.dead_letter is not None and not is_buried:
            return Outcome.UNKNOWN
        return self._done(place)

    def _done(self, place: Place) -> Outcome:
        link = self._link
        mids = self._intake.settle(place)
        if link is None or not _acknowledge(link, mids):
            return Outcome.UNKNOWN
        return Outcome.SENT

    async def _bury(self, batch: Sequence[Settlement]) -> frozenset[Token]:
        """Publish the dead letters of `batch`; return the tokens of those that somebody keeps."""
        found = [
            (one.token, one.dead_letter)
            for one in batch
            if one.dead_letter is not None and self._intake.place_of(one.token) is not None
        ]
        if not found:
            return frozenset()
        answers = await self._publish([letter for _, letter in found])
        if any(isinstance(why, NoSubscribers) for why in answers.failures.values()):
            logger.warning(
                "no session subscribes to the dead letters of %s, so the broker kept none; the "
                "messages stay owed",
                self._name,
            )
        return frozenset(t for at, (t, _) in enumerate(found) if at not in answers.failures)

    def _arrived(self, message: MQTTMessage) -> None:
        dropped = self._intake.dropped
        mids = self._intake.arrive(message)
        if mids and self._link is not None:
            _acknowledge(self._link, mids)
        if self._intake.dropped > dropped:
            self._on_dropped(self._intake.dropped - dropped)
        self._wake()

    def _broken(self) -> None:
        self._intake.forget_connection()
        self._wake()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = anyio.Event()


def _acknowledge(link: MQTTConnection, mids: Sequence[int]) -> bool:
    """PUBACK `mids`, in their order; False if the connection broke over it."""
    for mid in mids:
        if link.broken is not None:
            return False
        link.client.ack(mid, 1)
    return link.broken is None

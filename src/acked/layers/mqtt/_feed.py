"""One consumer on MQTT: its session at the broker, over as many connections as it takes."""

import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Final, TypeAlias

import anyio
from paho.mqtt.subscribeoptions import SubscribeOptions

from acked.errors import CapabilityError, LayerError, NoSubscribers
from acked.layers.mqtt._connection import MQTTConnection
from acked.layers.mqtt._expectations import Expectations
from acked.layers.mqtt._filters import matches_any
from acked.layers.mqtt._ownership import Ownership
from acked.layers.mqtt._packets import Arrival
from acked.layers.mqtt._publisher import PublishResults
from acked.layers.mqtt._receiver import MQTTReceiver
from acked.layers.mqtt._records import fitted_letter
from acked.types import Leased, Outcome, Record, Reply, Settlement, Token, Verb

__all__ = ("ConnectionFactory", "MQTTFeed")

ConnectionFactory: TypeAlias = Callable[
    [Callable[[Arrival], None], Callable[[], None], Callable[[], bool]], MQTTConnection
]
"""Makes a connection out of what to call with a message, what when it broke, and what says that no
more is to be read."""

logger = logging.getLogger("acked.layers.mqtt")


class MQTTFeed:
    """Receives by one session, PUBACKs in the order of arrival, and nacks within itself."""

    def __init__(
        self,
        make_connection: ConnectionFactory,
        publish: Callable[[Sequence[Record]], Awaitable[PublishResults]],
        filters: Sequence[str],
        *,
        share: str,
        name: str,
        limit: int,
        with_retained: bool,
        patience: float,
        on_dropped: Callable[[int], None],
    ) -> None:
        self._make_connection = make_connection
        self._publish = publish
        self._filters: Final = [share + one for one in filters]
        self._name: Final = name
        self._retained = SubscribeOptions.RETAIN_SEND_IF_NEW_SUB if with_retained else None
        self._on_dropped = on_dropped
        self._is_subscribed = matches_any(filters)
        self._receiver = MQTTReceiver(limit, self._is_subscribed)
        self._expectations = None if share else Expectations(patience)
        self.unheard: set[str] = set()
        """Topics that this process publishes to and hears nothing of."""
        self._ownership = Ownership()
        self._connection: MQTTConnection | None = None
        self._is_joined = False
        """Whether the session is known to be ours, and subscribed."""
        self._is_known = False
        self._changed: anyio.Event | None = None
        """Set for whoever waits in `receive`."""

    async def join(self) -> None:
        """Connect and subscribe, so that what is published from now on is owed to the session."""
        connection = self._make_connection(
            self._arrived, self._broken, lambda: self._receiver.is_full
        )
        self._is_joined = False
        self._receiver.forget_connection()
        if self._expectations:
            self._expectations.postpone(anyio.current_time())
        # Before a message can arrive: the connection is where its PUBACK goes.
        self._connection = connection
        try:
            await connection.open()
            if not connection.session_present:
                self._receiver.forget_session()
                if self._is_known:
                    logger.warning(
                        "the MQTT broker at %s has forgotten the session of %s; what it owed is "
                        "lost",
                        connection.where,
                        self._name,
                    )
            await self._take_session(connection)
            self._is_known = True
        except BaseException:
            self._connection = None
            await connection.close(gently=False)
            raise

    async def leave(self) -> None:
        """Disconnect; the broker keeps for the session what is not settled."""
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()
        self._receiver.forget_connection()

    async def receive(self, limit: int) -> Sequence[Leased]:
        """Wait for messages and return up to `limit`; connect again where it broke before."""
        while True:
            connection = self._connection
            if connection is None:
                await self.join()
                continue
            if connection.broken is not None:
                self._connection = None
                await connection.close(gently=False)
                raise connection.broken
            if not self._is_joined and not self._receiver.is_full:
                await self._take_session(connection)
            leased = self._receiver.take(limit, anyio.current_time())
            if leased:
                connection.go_on()
                return leased
            due = self._receiver.due()
            if self._expectations:
                if self._expectations.due() <= anyio.current_time():
                    await self._look_for_unheard(connection, self._expectations)
                    continue  # something may have arrived meanwhile
                due = min(due, self._expectations.due())
            self._changed = anyio.Event()
            with anyio.CancelScope(deadline=due):
                await self._changed.wait()
            self._changed = None

    async def settle(self, batch: Sequence[Settlement]) -> Sequence[Reply]:
        """Settle; SENT means handed to the socket, or noted to be when those before it are."""
        failures = await self._publish_dead_letters(batch)
        mids: list[int] = []
        replies = [self._carry_out(one, failures.get(one.token), mids) for one in batch]
        broken = self._connection.acknowledge(mids) if mids and self._connection else None
        if broken is None:
            return replies
        pairs = zip(batch, replies, strict=True)
        return [self._doubtful(one, reply, broken) for one, reply in pairs]

    def published(self, topics: Iterable[str]) -> None:
        """Expect what the broker accepted for those of `topics` that are of this group.

        Not where consumers share: another one may get it.
        """
        expectations = self._expectations
        if expectations is None:
            return
        now = anyio.current_time()
        for topic in topics:
            if self._is_subscribed(topic) and expectations.publish(topic, now):
                self._wake()  # so that it is waited for

    async def extend(self, tokens: Sequence[Token], seconds: float) -> Sequence[Reply]:
        """Refuse: a lease lasts as long as the connection."""
        del tokens, seconds
        raise CapabilityError("MQTT has no lease to extend: it lasts as long as the connection")

    async def release(self, tokens: Sequence[Token]) -> None:
        """Refuse: what is delivered again after leaving is marked as such by the broker."""
        del tokens
        raise CapabilityError("MQTT cannot give back one message; leaving gives back all of them")

    def _carry_out(self, one: Settlement, failure: LayerError | None, mids: list[int]) -> Reply:
        """Settle `one`, and add to `mids` what may be PUBACKed now."""
        place = self._receiver.place_of(one.token)
        if place is None:
            is_settled = one.verb is not Verb.NACK and self._receiver.is_doubtful(one.token)
            return Outcome.SENT if is_settled else Outcome.LOST
        if one.verb is Verb.NACK:
            self._receiver.requeue(place, anyio.current_time() + one.delay)
            self._wake()
            return Outcome.SENT
        if failure is not None:
            return failure
        mids += self._receiver.settle(place)
        return Outcome.SENT

    def _doubtful(self, one: Settlement, reply: Reply, broken: LayerError) -> Reply:
        """Return `broken`, which leaves it unknown, for what was settled while that happened."""
        if reply is not Outcome.SENT or one.verb is Verb.NACK:
            return reply
        self._receiver.doubt(one.token)
        return broken

    async def _publish_dead_letters(
        self, batch: Sequence[Settlement]
    ) -> Mapping[Token, LayerError]:
        """Publish the dead letters of `batch`; return why some of them are kept by nobody."""
        largest = None if self._connection is None else self._connection.largest_packet
        found = [
            (one.token, fitted_letter(one.dead_letter, largest))
            for one in batch
            if one.dead_letter is not None and self._receiver.place_of(one.token) is not None
        ]
        if not found:
            return {}
        results = await self._publish([letter for _, letter in found])
        return {
            found[at][0]: self._unburied(found[at][1], why) for at, why in results.failures.items()
        }

    def _unburied(self, letter: Record, why: LayerError) -> LayerError:
        if not isinstance(why, NoSubscribers):
            return why
        error = LayerError(
            f"no session subscribes to the dead letters {letter.topic!r} of {self._name}, so the "
            "MQTT broker would keep none; subscribe to them once, the message stays owed until then"
        )
        error.__cause__ = why
        return error

    def _arrived(self, arrival: Arrival) -> None:
        receiver = self._receiver
        dropped, set_aside = receiver.dropped, receiver.set_aside
        mids = receiver.arrive(arrival)
        if self._expectations is not None:
            self._expectations.arrive(arrival.topic)
        if mids and self._connection is not None:
            self._connection.acknowledge(mids)
        if receiver.dropped > dropped:
            self._on_dropped(receiver.dropped - dropped)
        if receiver.set_aside > set_aside == 0:
            logger.warning(
                "somebody publishes to %r, to which %s does not subscribe; what comes that way is "
                "set aside, and this is said once",
                *(arrival.topic, self._name),
            )
        self._wake()

    async def _take_session(self, connection: MQTTConnection) -> None:
        """Make the session ours, as far as that is possible now.

        What it is owed comes before the broker's answers, and where there is no room for it, it is
        handed out first: an older subscription is there then, so nothing is missed meanwhile.
        """
        self._is_joined = await self._ownership.take(
            connection, self._filters, retained=self._retained
        )

    async def _look_for_unheard(
        self, connection: MQTTConnection, expectations: Expectations
    ) -> None:
        now = anyio.current_time()
        if self._receiver.is_holding:
            expectations.postpone(now)  # it may wait behind what is held
            return
        if not await connection.barrier():  # then whatever the broker has sent has arrived
            expectations.postpone(now)
            return
        for topic in expectations.take_overdue(now):
            self.unheard.add(topic)
            logger.warning(
                "what this process publishes to %r is accepted by the MQTT broker at %s, and not "
                "delivered to %s: check whether this user may read that topic",
                *(topic, connection.where, self._name),
            )

    def _broken(self) -> None:
        self._receiver.forget_connection()
        self._wake()

    def _wake(self) -> None:
        if self._changed is not None:
            self._changed.set()

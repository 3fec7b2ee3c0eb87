"""A layer that fails as brokers and networks do, on purpose and repeatably: for your own tests.

```python
plan = FaultPlan([Fault("settle", 0, "unanswered")])      # the first settlement gets no answer
channel = Channel(FaultLayer(MemoryQueueLayer(clock=clock), plan), clock=clock)
```

Whatever it does a correct broker may do: what your code makes of it, it will have to make of it in
production. The faults:

| operation | fault | what happens |
|---|---|---|
| `publish` | `refused` | `PublishFailed`, nothing was accepted |
| | `unsent` | `PublishFailed`, indeterminate; nothing was accepted |
| | `unanswered` | `PublishFailed`, indeterminate; everything was accepted |
| `receive` | `disconnected` | `ConnectionLost`; the engine tries again |
| | `lease_ended` | one of what arrives comes again, and settling it the first time is `LeaseLost` |
| `settle` | `unsent` | `AckUnconfirmed`; nothing was settled |
| | `unanswered` | `AckUnconfirmed`; everything was settled |
| | `lease_ended` | `LeaseLost`; the messages come again |
| | `refused` | `LayerError`; nothing was settled, and everything is still owed |
| `extend` | `disconnected` | the renewal fails; the engine tries again at its next turn |
| | `refused` | `LayerError`; no lease was changed, and the engine tries again likewise |
| `deliver` | `dropped` | a message of a fire-and-forget layer is missed, and told by a gap |
| | `reconnected` | the same, with a gap of unknown size |
| any but `deliver` | `delayed` | the operation takes the plan's `delay` longer |

Operations are counted from 0, each kind by itself, over the life of the layer object.
"""

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Final, Generic, Self, TypeVar, cast, overload

from acked.abc import AckFeed, AckLayer, Clock, FireAndForgetLayer, KeyOrderedLayer, Layer, Sink
from acked.clocks import SystemClock
from acked.conformance.fault_plan import Failure, FaultPlan
from acked.errors import ConnectionLost, LayerError, PublishFailed
from acked.types import (
    Capabilities,
    Gap,
    GapCause,
    Leased,
    Outcome,
    Receipt,
    Record,
    Reply,
    Settlement,
    Start,
    Token,
    Verb,
)

__all__ = ("FaultLayer", "FaultyAckLayer", "FaultyFireAndForgetLayer")

L_co = TypeVar("L_co", bound=Layer, covariant=True)


class _Faulty(Generic[L_co]):
    """What both kinds have in common."""

    def __init__(self, inner: L_co, plan: FaultPlan, clock: Clock | None) -> None:
        self.inner: Final[L_co] = inner
        self.plan: Final = plan
        self.capabilities: Final[Capabilities] = inner.capabilities
        self._clock: Final[Clock] = clock or SystemClock()

    def __repr__(self) -> str:
        return f"<FaultLayer over {self.inner!r}, {self.plan!r}>"

    async def __aenter__(self) -> Self:
        """Enter the layer within."""
        await self.inner.__aenter__()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Leave the layer within."""
        await self.inner.__aexit__(exc_type, exc, traceback)

    async def _before_publish(self, records: Sequence[Record]) -> Failure | None:
        """Raise what is raised before anything is sent; return what is to happen afterwards."""
        if not records:
            return None
        failure = self.plan.next("publish")
        if failure in {"refused", "unsent"}:
            raise _failed(records, indeterminate=failure == "unsent")
        if failure == "delayed":
            await self._delay()
        return failure

    async def _delay(self) -> None:
        await self._clock.sleep_until(self._clock.time() + self.plan.delay)


class FaultyAckLayer(_Faulty[AckLayer]):
    """What `FaultLayer` makes of an ack-capable layer."""

    def __getattr__(self, name: str) -> object:
        # What a layer may have beyond the contract, as its flags claim: `browse`, `remove_group`.
        return getattr(self.inner, name)

    async def publish(self, records: Sequence[Record]) -> Sequence[Receipt]:
        """Publish, unless the plan has a fault for it."""
        failure = await self._before_publish(records)
        receipts = await self.inner.publish(records)
        if failure == "unanswered":
            raise _failed(records, indeterminate=True)
        return receipts

    @asynccontextmanager
    async def consume(
        self, topics: Sequence[str], group: str, *, in_flight: int, lease: float, start: Start
    ) -> AsyncGenerator[AckFeed]:
        """Join the group, with a feed that fails as planned."""
        joined = self.inner.consume(topics, group, in_flight=in_flight, lease=lease, start=start)
        async with joined as feed:
            yield _FaultyFeed(feed, self.plan, self._clock)

    @asynccontextmanager
    async def consume_in_key_order(
        self, topics: Sequence[str], group: str, /, *, in_flight: int, lease: float, start: Start
    ) -> AsyncGenerator[AckFeed]:
        """Join the group likewise; called only where the layer within can."""
        consume = cast("KeyOrderedLayer", self.inner).consume_in_key_order
        async with consume(topics, group, in_flight=in_flight, lease=lease, start=start) as feed:
            yield _FaultyFeed(feed, self.plan, self._clock)


class FaultyFireAndForgetLayer(_Faulty[FireAndForgetLayer]):
    """What `FaultLayer` makes of a fire-and-forget layer."""

    async def publish(self, records: Sequence[Record]) -> None:
        """Publish, unless the plan has a fault for it."""
        failure = await self._before_publish(records)
        await self.inner.publish(records)
        if failure == "unanswered":
            raise _failed(records, indeterminate=True)

    @asynccontextmanager
    async def listen(self, topics: Sequence[str], sink: Sink) -> AsyncGenerator[None]:
        """Listen, with a sink that misses what the plan says."""
        async with self.inner.listen(topics, _FaultySink(sink, self.plan)):
            yield


@overload
def FaultLayer(
    inner: AckLayer, plan: FaultPlan, *, clock: Clock | None = None
) -> FaultyAckLayer: ...
@overload
def FaultLayer(
    inner: FireAndForgetLayer, plan: FaultPlan, *, clock: Clock | None = None
) -> FaultyFireAndForgetLayer: ...
def FaultLayer(  # noqa: N802 - reads as the class it returns: which one depends on `inner`
    inner: AckLayer | FireAndForgetLayer, plan: FaultPlan, *, clock: Clock | None = None
) -> FaultyAckLayer | FaultyFireAndForgetLayer:
    """Return a layer that does what `inner` does and fails as `plan` says.

    `clock` is what delays wait for; give the one that the channel has.
    """
    if isinstance(inner, AckLayer):
        return FaultyAckLayer(inner, plan, clock)
    return FaultyFireAndForgetLayer(inner, plan, clock)


class _FaultyFeed:
    """A feed that fails as planned; `_ended` are tokens whose lease it has ended."""

    def __init__(self, inner: AckFeed, plan: FaultPlan, clock: Clock) -> None:
        self._inner = inner
        self._plan = plan
        self._clock = clock
        self._ended: set[Token] = set()

    def __getattr__(self, name: str) -> object:
        # What a feed may have beyond the verbs, as its layer claims: `lag`, `leased_at`, `failing`.
        return getattr(self._inner, name)

    async def receive(self, limit: int) -> Sequence[Leased]:
        failure = self._plan.next("receive")
        if failure == "disconnected":
            raise ConnectionLost("the connection broke, as planned")
        if failure == "delayed":
            await self._delay()
        batch = await self._inner.receive(limit)
        if failure == "lease_ended":
            # Not shielded: cancelled here, it is as if the batch had been on its way.
            await self._end([batch[0].token])
        return batch

    async def settle(self, batch: Sequence[Settlement]) -> Sequence[Reply]:
        failure = self._plan.next("settle")
        if failure == "unsent":
            return [Outcome.UNKNOWN] * len(batch)
        if failure == "refused":
            return [_refusal("settlement")] * len(batch)
        if failure == "lease_ended":
            await self._end([one.token for one in batch if one.token not in self._ended])
        if failure == "delayed":
            await self._delay()
        valid = [one for one in batch if one.token not in self._ended]
        outcomes = iter(await self._inner.settle(valid) if valid else ())
        merged = [Outcome.LOST if one.token in self._ended else next(outcomes) for one in batch]
        return [Outcome.UNKNOWN] * len(batch) if failure == "unanswered" else merged

    async def extend(self, tokens: Sequence[Token], seconds: float) -> Sequence[Reply]:
        failure = self._plan.next("extend")
        if failure == "disconnected":
            raise ConnectionLost("the connection broke, as planned")
        if failure == "refused":
            return [_refusal("extension")] * len(tokens)
        if failure == "delayed":
            await self._delay()
        valid = [token for token in tokens if token not in self._ended]
        outcomes = iter(await self._inner.extend(valid, seconds) if valid else ())
        return [Outcome.LOST if token in self._ended else next(outcomes) for token in tokens]

    async def release(self, tokens: Sequence[Token]) -> None:
        await self._inner.release([token for token in tokens if token not in self._ended])

    async def _end(self, tokens: Sequence[Token]) -> None:
        """End leases before their time: the messages are free, and charged."""
        if tokens:
            await self._inner.settle([Settlement(token, Verb.NACK) for token in tokens])
            self._ended.update(tokens)

    async def _delay(self) -> None:
        await self._clock.sleep_until(self._clock.time() + self._plan.delay)


class _FaultySink:
    """A sink that misses records as planned, and says so."""

    def __init__(self, inner: Sink, plan: FaultPlan) -> None:
        self._inner = inner
        self._plan = plan
        self._refused: Record | None = None

    def offer(self, record: Record) -> bool:
        if record is not self._refused and self._misses():
            return True
        taken = self._inner.offer(record)
        # One that has no room comes again, by `send`: it is the same operation.
        self._refused = None if taken else record
        return taken

    async def send(self, record: Record) -> None:
        if record is self._refused or not self._misses():
            self._refused = None
            await self._inner.send(record)

    def gap(self, gap: Gap) -> None:
        self._inner.gap(gap)

    def fail(self, error: LayerError) -> None:
        self._inner.fail(error)

    def _misses(self) -> bool:
        failure = self._plan.next("deliver")
        if failure == "dropped":
            self._inner.gap(Gap(1, frozenset({GapCause.BROKER})))
        elif failure == "reconnected":
            self._inner.gap(Gap(None, frozenset({GapCause.RECONNECT})))
        return failure is not None


def _refusal(what: str) -> LayerError:
    return LayerError(f"the broker refused the {what}, as planned: it is busy", may_pass=True)


def _failed(records: Sequence[Record], *, indeterminate: bool) -> PublishFailed:
    cause = ConnectionLost("the connection broke, as planned")
    words = "no answer to" if indeterminate else "refused"
    return PublishFailed(
        f"{words} {len(records)} record(s), as planned",
        dict.fromkeys(range(len(records)), cause),
        indeterminate=indeterminate,
    )

"""All consumers and schedules of a program over one layer: opened together, drained together."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, nullcontext
from typing import Final

import anyio

from acked._app.router import Router
from acked._app.scheduler import Scheduler, schedulers
from acked._core.channel import Channel
from acked._core.worker.making import worker
from acked._core.worker.worker import Worker
from acked.abc import AckLayer
from acked.codecs import JSON
from acked.errors import AckedError, ConfigurationError
from acked.types import Codec

__all__ = ("App",)

Lifespan = Callable[[Channel[AckLayer]], AbstractAsyncContextManager[object]]


class App(Router):
    """A program that consumes: `acked run shop:app`, or `await app.run()`.

    ```python
    app = App("sqlite-queue:///shop.db")

    @app.consumer(ORDERS, group="billing")
    async def charge(order: Order) -> None: ...
    ```

    `layer` is a URL, or a function that makes a layer: each process opens its own. `lifespan` is
    given the open channel, and surrounds the consumers: it is left once they have drained.
    """

    def __init__(
        self,
        layer: str | Callable[[], AckLayer],
        *,
        codec: Codec = JSON,
        lifespan: Lifespan | None = None,
    ) -> None:
        super().__init__()
        self._layer = layer
        self._codec = codec
        self._lifespan: Final = lifespan or _no_lifespan
        self._parts: list[Worker | Scheduler] = []
        self._is_running = False
        self._is_stopped = False
        self._failure: AckedError | None = None

    async def run(self) -> None:
        """Consume until `stop` is called or this is cancelled; raise what ended a consumer.

        Then all others drain, too. Raises `ConfigurationError` and `CapabilityError` for a consumer
        that cannot be, before any of them begins.
        """
        if not self._consumers and not self._scheduled:
            raise ConfigurationError("this app has no consumers: @app.consumer(TOPIC, group=...)")
        if self._is_running:
            raise ConfigurationError("this app is running")
        self._is_running, self._is_stopped, self._failure = True, False, None
        try:
            await self._run()
        finally:
            self._is_running = False
        if self._failure is not None:
            raise self._failure

    async def _run(self) -> None:
        async with self._channel() as channel, self._lifespan(channel):
            self._parts = [
                *(worker(channel, one.topic, one.handler, one.options) for one in self._consumers),
                *schedulers(self._scheduled, channel.layer, self._codec),
            ]
            try:
                if self._is_stopped:  # before there was any
                    return
                async with anyio.create_task_group() as tasks:
                    for one in self._parts:
                        tasks.start_soon(self._work, one)
            finally:
                self._parts = []

    def stop(self) -> None:
        """Let every consumer drain, each within its `drain`; `run` returns then."""
        self._is_stopped = True
        for one in self._parts:
            one.stop()

    @property
    def is_live(self) -> bool:
        """Whether it runs, or drains, and no consumer has given up. If not, a restart may help."""
        return self._is_running and self._failure is None

    @property
    def is_ready(self) -> bool:
        """Whether every consumer has its subscription and the broker answers."""
        return bool(self._parts) and all(one.is_receiving for one in self._parts)

    def _channel(self) -> Channel[AckLayer]:
        if isinstance(self._layer, str):
            return Channel.from_url(self._layer, codec=self._codec)
        return Channel(self._layer(), codec=self._codec)

    async def _work(self, one: Worker | Scheduler) -> None:
        try:
            await one.run()
        except AckedError as error:
            self._failure = self._failure or error
            self.stop()


def _no_lifespan(_: Channel[AckLayer]) -> AbstractAsyncContextManager[None]:
    return nullcontext()

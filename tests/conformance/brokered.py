"""A real broker behind a proxy, as harnesses of the layers that have one use it."""

from collections.abc import Callable

import anyio
from anyio.to_thread import run_sync

from acked.abc import Layer
from acked.conformance.harness import Direction, Harness
from compose.lifecycle import Broker
from tests.fix_proxy import Proxy


class BrokerHarness(Harness):
    """A broker that this harness may do anything to, reached through a proxy of its own."""

    def __init__(
        self, broker: Broker, proxy: Proxy, url: str, make: Callable[[str], Layer]
    ) -> None:
        self.broker = broker
        self.proxy = proxy
        self.url = url
        self._make = make

    def layer(self) -> Layer:
        assert self.url is not None
        return self._make(self.url)

    async def restart_broker(self) -> None:
        await run_sync(self.broker.restart)

    async def kill_broker(self) -> None:
        await run_sync(self.broker.kill)
        await run_sync(self.broker.start)

    async def cut(self) -> None:
        self.proxy.cut()

    async def cut_after(self, count: int, direction: Direction) -> None:
        self.proxy.cut_after_bytes(count, direction)

    async def black_hole(self, seconds: float) -> None:
        self.proxy.black_hole()
        try:
            await anyio.sleep(seconds)
        finally:
            self.proxy.heal()

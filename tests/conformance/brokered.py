"""A real broker behind a proxy, as harnesses of the layers that have one use it."""

from collections.abc import Callable

from anyio.to_thread import run_sync

from acked.abc import Layer
from acked.conformance.proxied import ProxiedHarness
from acked.conformance.proxy import Proxy
from compose.lifecycle import Broker


class BrokerHarness(ProxiedHarness):
    """A broker that this harness may do anything to, reached through a proxy of its own."""

    def __init__(
        self, broker: Broker, proxy: Proxy, url: str, make: Callable[[str], Layer]
    ) -> None:
        super().__init__(proxy)
        self.broker = broker
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

"""A real broker behind a proxy, as harnesses of the layers that have one use it."""

import shutil
import subprocess
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from anyio.to_thread import run_sync

from acked.abc import Layer
from acked.conformance.proxied import ProxiedHarness
from acked.conformance.proxy import Proxy
from compose.lifecycle import Broker
from compose.native.server import NativeBroker


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


class StoringHarness(BrokerHarness):
    """One whose broker can be given back the files that it had."""

    @asynccontextmanager
    async def fall_back(self) -> AsyncGenerator[None]:
        assert isinstance(self.broker, NativeBroker)
        folder = self.broker.folder
        assert folder is not None
        copy = folder.with_name(f"{folder.name}.before")
        await run_sync(self.broker.stop)
        await run_sync(copied, folder, copy)
        await run_sync(self.broker.start)
        try:
            yield
            await run_sync(self.broker.kill)
            await run_sync(copied, copy, folder)
            await run_sync(self.broker.start)
        finally:
            await run_sync(shutil.rmtree, copy)


def copied(source: Path, target: Path) -> None:
    """Let `target` be as `source` is, whoever owns what is in it."""
    shutil.rmtree(target, ignore_errors=True)
    subprocess.run(["cp", "-a", source, target], check=True)

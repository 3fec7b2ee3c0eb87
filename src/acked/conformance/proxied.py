"""The hooks of a bad network, for whoever has a broker at an address."""

from collections.abc import Callable, Coroutine
from typing import Any, Final

import anyio

from acked.conformance.harness import Direction, Harness
from acked.conformance.proxy import Proxy

__all__ = ("ProxiedHarness",)


class ProxiedHarness(Harness):
    """A harness whose layers reach their broker through a proxy: the hooks of a bad network.

    ```python
    class FolderHarness(ProxiedHarness):
        def layer(self) -> FolderLayer:
            return FolderLayer(port=self.proxy.port)

    with Proxy(6379) as proxy:
        harness = FolderHarness(proxy)
    ```
    """

    def __init__(self, proxy: Proxy) -> None:
        self.proxy: Final[Proxy] = proxy
        self.cut: Callable[[], Coroutine[Any, Any, None]] | None = self._cut
        self.cut_after: Callable[[int, Direction], Coroutine[Any, Any, None]] | None = (
            self._cut_after
        )
        self.black_hole: Callable[[float], Coroutine[Any, Any, None]] | None = self._black_hole

    async def _cut(self) -> None:
        """Reset every connection through the proxy."""
        self.proxy.cut()

    async def _cut_after(self, count: int, direction: Direction) -> None:
        """Reset every connection, once, when so many more bytes have passed."""
        self.proxy.cut_after_bytes(count, direction)

    async def _black_hole(self, seconds: float) -> None:
        """Let nothing pass for so many seconds."""
        self.proxy.black_hole()
        try:
            await anyio.sleep(seconds)
        finally:
            self.proxy.heal()

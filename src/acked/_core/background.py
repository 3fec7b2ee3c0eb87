"""A background task of a subscription that ends when we say so, and not before."""

from collections.abc import Awaitable, Callable

import anyio

__all__ = ("BackgroundTask",)


class BackgroundTask:
    """Runs one function shielded from the caller's cancellation, until `end` or `stop`.

    Shielded, because what the user cancels is the reading: settlements queued before it must
    still be sent, and leases kept, while the subscription is being left.
    """

    def __init__(self, run: Callable[[], Awaitable[None]]) -> None:
        self._run = run
        self._scope = anyio.CancelScope(shield=True)
        self._ended = anyio.Event()

    async def __call__(self) -> None:
        """Run until done or stopped."""
        try:
            with self._scope:
                await self._run()
        finally:
            self._ended.set()

    def end(self) -> None:
        """Cancel it, if it still runs."""
        self._scope.cancel()

    async def ended(self) -> None:
        """Wait until it has ended, by itself or cancelled."""
        await self._ended.wait()

    async def stop(self) -> None:
        """Cancel it and wait until it has ended."""
        self.end()
        await self.ended()

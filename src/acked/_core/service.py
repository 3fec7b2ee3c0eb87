"""A background task of a subscription that ends when we say so, and not before."""

from collections.abc import Awaitable, Callable

import anyio

__all__ = ("Service",)


class Service:
    """Runs one function shielded from the caller's cancellation, until `stop` or a deadline.

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

    def end_by(self, deadline: float) -> None:
        """Cancel it at `deadline`, on anyio's clock, if it still runs then."""
        self._scope.deadline = deadline

    async def ended(self) -> None:
        """Wait until it has ended by itself, or by its deadline."""
        await self._ended.wait()

    async def stop(self) -> None:
        """Cancel it and wait until it has ended."""
        self._scope.cancel()
        await self._ended.wait()

"""One layer object in several channels: opened by the first of them, closed by the last."""

from weakref import WeakValueDictionary

import anyio

from acked._core.home import Home
from acked.abc import Layer
from acked.errors import LayerError, without_frames

__all__ = ("LayerLife", "life_of")

_lives: WeakValueDictionary[int, "LayerLife"] = WeakValueDictionary()
"""By the layer's id, which is nobody else's as long as its life refers to it."""


class LayerLife:
    """How many channels use a layer, and where it was opened."""

    def __init__(self, layer: Layer) -> None:
        self.home = Home()
        self._layer = layer
        self._turn = anyio.Lock()
        self._users = 0

    async def enter(self) -> None:
        """Open the layer, unless another channel has; raise `ConfigurationError` elsewhere."""
        self.home.check()
        async with self._turn:
            if not self._users:
                await self._open()
            self._users += 1

    async def _open(self) -> None:
        try:
            await self._layer.__aenter__()
        except LayerError as error:
            failed = without_frames(error)  # of a client that was just told the password
        else:
            return
        raise failed

    async def leave(self) -> None:
        """Close the layer, unless another channel uses it."""
        async with self._turn:
            self._users -= 1
            if not self._users:
                await self._layer.__aexit__(None, None, None)


def life_of(layer: Layer) -> LayerLife:
    """Return the life that `layer` has now, or a new one that begins here."""
    life = _lives.get(id(layer))
    if life is None:
        life = _lives[id(layer)] = LayerLife(layer)
    return life

"""The other names that modules of ours go by: one table, and the finder that reads it."""

import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Final

__all__ = ("SHIMS", "Aliases", "install")

SHIMS: Final = Path(__file__).with_name("shims")
"""The folder that is put first on the path for applications whose imports cannot be changed."""
ALIASES: Final = {
    "acked.compat.broadcaster._backends": "acked.compat.broadcaster.backends",
    "broadcaster": "acked.compat.broadcaster",
    "starlette_web": "acked.compat.starlette_web",
}
"""Each with all that is below it."""
OVERLAID: Final = "starlette_web"
"""What is installed under this name stays as it is, but for these and all that is below them."""
OURS: Final = (
    "starlette_web.common.channels",
    "starlette_web.contrib.mqtt",
    "starlette_web.contrib.postgres.channel_layers",
    "starlette_web.contrib.redis.channel_layers",
)


class Aliases(MetaPathFinder, Loader):
    """Finds one name of the table and what is below it: the very modules, not copies of them."""

    def __init__(self, root: str, shims: Path = SHIMS) -> None:
        self._root = root
        # Where nothing is the original's; resolved, as a path may lead there by a link.
        self._ours = {SHIMS.parent.resolve(), shims.resolve()}

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return how to find `fullname`; None for what is no alias or has nothing behind it."""
        if not _is_below(fullname, self._root):
            return None
        if self._root == OVERLAID and not any(_is_below(fullname, one) for one in OURS):
            elsewhere = [one for one in path or sys.path if not self._has(one)]
            theirs = PathFinder.find_spec(fullname, elsewhere, target)
            if theirs is not None:
                return theirs
        return ModuleSpec(fullname, self) if find_spec(self._real(fullname)) else None

    def exec_module(self, module: ModuleType) -> None:
        """Put the module that is meant in the place of the empty `module`."""
        sys.modules[module.__name__] = import_module(self._real(module.__name__))

    def _has(self, entry: str) -> bool:
        folder = Path(entry).resolve()
        return not self._ours.isdisjoint((folder, *folder.parents))

    def _real(self, name: str) -> str:
        return ALIASES[self._root] + name.removeprefix(self._root)


def install(name: str) -> None:
    """Let `name` be what the table says; called by a module of that name while it is imported."""
    if name in ALIASES:  # not so when a shim is imported as a module of ours
        shim = sys.modules.pop(name)
        sys.meta_path.insert(0, Aliases(name, Path(shim.__file__ or SHIMS).parent))
        import_module(name)


def _is_below(name: str, root: str) -> bool:
    return f"{name}.".startswith(f"{root}.")

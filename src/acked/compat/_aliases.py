"""The other names that modules of ours go by, and the finder that knows them."""

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
OVERLAID: Final = "starlette_web"
"""What is installed under this name stays as it is, but for these and all that is below them."""
OURS: Final = (
    "starlette_web.common.channels",
    "starlette_web.contrib.mqtt",
    "starlette_web.contrib.postgres.channel_layers",
    "starlette_web.contrib.redis.channel_layers",
)


class Aliases(MetaPathFinder, Loader):
    """Finds the name `root` and what is below it: the very modules of `real`, no copies of them."""

    def __init__(self, root: str, real: str, shims: Path = SHIMS) -> None:
        self._root, self._real = root, real
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
        real = self._real + fullname.removeprefix(self._root)
        return ModuleSpec(fullname, self, origin=real) if find_spec(real) else None

    def exec_module(self, module: ModuleType) -> None:
        """Put the module that is meant in the place of the empty `module`."""
        name = module.__name__
        sys.modules[name] = import_module(self._real + name.removeprefix(self._root))

    def _has(self, entry: str) -> bool:
        folder = Path(entry).resolve()
        return not self._ours.isdisjoint((folder, *folder.parents))


def install(name: str) -> None:
    """Let a shim's `name` be ours; called by the module of that name while it is imported."""
    if "." not in name:  # there is one when a shim is imported as a module of ours
        shim = sys.modules.pop(name)
        folder = Path(shim.__file__ or SHIMS).parent
        sys.meta_path.insert(0, Aliases(name, f"acked.compat.{name}", folder))
        import_module(name)


def _is_below(name: str, root: str) -> bool:
    return f"{name}.".startswith(f"{root}.")

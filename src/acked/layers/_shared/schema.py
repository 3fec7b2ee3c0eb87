"""What tables of ours in somebody's database may be called."""

import re
from typing import Final

from acked.errors import ConfigurationError

__all__ = ("checked_schema",)

_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,39}")


def checked_schema(name: str) -> str:
    """Return `name` if a schema can be called so, else raise `ConfigurationError`."""
    if not _NAME.fullmatch(name):
        raise ConfigurationError(
            f"schema={name!r}: give a name of up to 40 letters, digits and _, as in acked"
        )
    return name

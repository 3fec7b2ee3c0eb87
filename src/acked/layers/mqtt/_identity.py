"""Who a connection says it is: client ids, and the names of shares."""

import hashlib
import itertools
import re
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import Final
from uuid import uuid4

from acked.errors import ConfigurationError, LayerError

__all__ = ("ClientIds", "share_name")

_UNFIT_FOR_AN_ID: Final = re.compile(r"[^A-Za-z0-9_.-]")


class ClientIds:
    """The client ids of one layer: the same for a group each time, and never two at once."""

    def __init__(self, prefix: str | None, *, is_shared: bool) -> None:
        if prefix is not None and (not prefix or _UNFIT_FOR_AN_ID.search(prefix)):
            raise ConfigurationError(
                f"client_id is {prefix!r}; use letters, digits, '.', '_' and '-' only"
            )
        if is_shared and prefix is None:
            raise ConfigurationError(
                "shared=True needs a client_id=, another one for each process and the same after "
                "its restart: the broker keeps what a member is owed under it"
            )
        self._prefix: Final = prefix or "acked"
        self._is_shared: Final = is_shared
        self._taken: set[str] = set()

    @contextmanager
    def taken(self, group: str, filters: Sequence[str]) -> Generator[str]:
        """Give the client id of a consumer of `group`; raise `LayerError` if it has one already."""
        client_id = self._free(group, filters)
        self._taken.add(client_id)
        try:
            yield client_id
        finally:
            self._taken.discard(client_id)

    def unique(self, purpose: str) -> str:
        """Return a client id that nobody has had."""
        return f"{self._prefix}-{purpose}-{uuid4().hex[:12]}"

    def _free(self, group: str, filters: Sequence[str]) -> str:
        digest = hashlib.sha256("\0".join([group, *sorted(filters)]).encode()).hexdigest()[:16]
        base = f"{self._prefix}-{_UNFIT_FOR_AN_ID.sub('_', group)[:40]}-{digest}"
        if self._is_shared:
            several = (f"{base}-{number}" for number in itertools.count())
            return next(one for one in several if one not in self._taken)
        if base in self._taken:
            raise LayerError(
                f"group {group!r} has a consumer already; a session has one connection: make the "
                "layer with shared=True to let several consumers share a group"
            )
        return base


def share_name(group: str) -> str:
    """Return `group` as the name of a share, which may not have `/`, `+` or `#` in it."""
    plain = _UNFIT_FOR_AN_ID.sub("_", group)
    if plain == group:
        return group
    return f"{plain}-{hashlib.sha256(group.encode()).hexdigest()[:16]}"

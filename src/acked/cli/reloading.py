"""Tells when the code of an app has changed, for `acked run --reload`."""

from pathlib import Path
from threading import Event, Thread
from types import TracebackType
from typing import Self

from watchfiles import PythonFilter, watch

__all__ = ("CodeChanges",)


class CodeChanges:
    """Watches the Python files below a folder, in a thread, until it is left."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._changed = ""
        self._is_left = Event()
        self._thread = Thread(target=self._watch, name="reloading", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._is_left.set()
        self._thread.join()

    def take(self) -> str:
        """Return a file that has changed since the last call, or nothing."""
        changed, self._changed = self._changed, ""
        return changed

    def _watch(self) -> None:
        for changes in watch(
            self._folder,
            watch_filter=PythonFilter(),
            stop_event=self._is_left,
            raise_interrupt=False,
        ):
            self._changed = min(path for _, path in changes)

"""What goes wrong again and again is logged when it begins and when it is over."""

import logging

__all__ = ("Episode",)


class Episode:
    """A trouble that lasts: one warning when it begins or changes, one line when it is over."""

    def __init__(self, logger: logging.Logger, over: str) -> None:
        self._logger = logger
        self._over = over
        self._trouble = ""

    def note(self, trouble: Exception | None) -> None:
        """Note what happened at this try; None is that all went well."""
        message = str(trouble) if trouble is not None else ""
        if message == self._trouble:
            return
        self._trouble = message
        self._logger.warning("%s", message or self._over)

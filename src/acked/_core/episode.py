"""What goes wrong again and again is logged when it begins and when it is over."""

import logging

__all__ = ("Episode",)


class Episode:
    """A trouble that lasts: one warning when it begins or changes, one line when it is over."""

    def __init__(self, logger: logging.Logger, over: str) -> None:
        self._logger = logger
        self._over = over
        self._trouble = ""

    def over(self) -> None:
        """Note that all went well at this try."""
        if self._trouble:
            self._trouble = ""
            self._logger.warning("%s", self._over)

    def note(self, trouble: Exception | None) -> None:
        """Note what went wrong at this try, if anything did."""
        if trouble is None:
            self.over()
        elif (message := str(trouble)) != self._trouble:
            self._trouble = message
            self._logger.warning("%s", message)

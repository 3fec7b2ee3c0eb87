"""What aiokafka writes to its log at DEBUG: all that goes over the wire, without its contents."""

import logging
from importlib import import_module
from typing import Any, Final, cast

__all__ = ("hide_contents",)

_MODULES: Final = ("aiokafka.conn", "aiokafka.producer.producer")
"""Whose loggers write requests and answers, and what is published."""
_WITH_CONTENTS: Final = ("Sasl", "Produce", "Fetch")
"""Of these requests and answers the contents are passwords, or what users send."""


class _Hidden:
    """Stands for a request or an answer, and says its kind."""

    def __init__(self, kind: str) -> None:
        self._kind = kind

    def __repr__(self) -> str:
        return f"<{self._kind}, contents hidden>"


class _ContentsFilter(logging.Filter):
    """Keeps the line, and puts a name for what may be secret in it."""

    def filter(self, record: logging.LogRecord) -> bool:
        if isinstance(record.args, tuple):
            record.args = tuple(map(_shown, record.args))
        return True


def _shown(argument: object) -> object:
    kind = type(argument).__name__
    is_hidden = isinstance(argument, bytes) or kind.startswith(_WITH_CONTENTS)
    return _Hidden(kind) if is_hidden else argument


_FILTER: Final = _ContentsFilter()


def hide_contents() -> None:
    """Keep passwords and payloads out of aiokafka's logs; doing so again changes nothing."""
    for name in _MODULES:
        cast("Any", import_module(name)).log.addFilter(_FILTER)

"""Texts as the tables have them, and back.

PostgreSQL's text has no NUL, and ids, keys and media types may: a backslash stands before a NUL,
written 0, and before a backslash. Headers are JSON, which writes both by itself.
"""

import re
from typing import Final

__all__ = ("as_it_was", "kept")

_ESCAPED: Final = re.compile(r"\\(.)", re.DOTALL)


def kept(text: str) -> str:
    """Return `text` as the table has it."""
    if "\\" not in text and "\0" not in text:
        return text
    return text.replace("\\", "\\\\").replace("\0", "\\0")


def as_it_was(text: str) -> str:
    """Return what the table has as `text`."""
    if "\\" not in text:
        return text
    return _ESCAPED.sub(lambda found: "\0" if found[1] == "0" else found[1], text)

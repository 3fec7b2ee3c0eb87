"""Where in the user's code something happened: kept cheaply, worked out when it is needed."""

import sys
from types import CodeType

__all__ = ("calling_frame", "line_of")

calling_frame = sys._getframe  # noqa: SLF001 # pyright: ignore[reportPrivateUsage]
"""Return the frame so many calls up. No public function does this at its speed: 50 ns."""


def line_of(code: CodeType, instruction: int) -> int:
    """Return the line of the byte code at the offset `instruction`."""
    lines = (line for start, end, line in code.co_lines() if start <= instruction < end)
    return next((line for line in lines if line is not None), code.co_firstlineno)

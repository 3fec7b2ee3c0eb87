"""Passwords that are easily found again, and all that an error says or shows."""

import string
import traceback
from urllib.parse import quote

from hypothesis import strategies as st

MARK = "QZX"
"""Stands at both ends of each password, and nowhere else."""

LEFT, RIGHT = "Tulip77", "Orchid99"
PASSWORDS = [LEFT + one + RIGHT for one in string.printable]
"""A hundred, with each printable character in one."""
assert len(PASSWORDS) == 100

passwords = st.text(st.sampled_from(string.printable), max_size=12).map(
    lambda middle: f"{MARK}{middle}{MARK}"
)


def said(error: BaseException | None) -> str:
    """Return all that a log would show of `error`, its causes and contexts too."""
    if error is None:
        return ""
    return "".join(traceback.format_exception(error, chain=False)[-1:]) + said(
        error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    )


def shown(error: BaseException) -> str:
    """Return all that can be seen of `error`: its chain, hidden or not, with variables."""
    parts: list[str] = []
    told: BaseException | None = error
    while told is not None:
        one = traceback.TracebackException.from_exception(told, capture_locals=True)
        ours = [frame for frame in one.stack if "/tests/" not in frame.filename]
        one.stack = traceback.StackSummary.from_list(ours)
        parts += [*one.format(chain=False), repr(told), *getattr(told, "__notes__", ())]
        told = told.__cause__ or told.__context__
    return "".join(parts)


def is_hidden(text: str, password: str) -> bool:
    quoted = quote(password, safe="")
    return not any(part in text for part in (LEFT, RIGHT, password, quoted))

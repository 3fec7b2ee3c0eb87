"""Passwords that are easily found again, and all that an error says."""

import string
import traceback

from hypothesis import strategies as st

MARK = "QZX"
"""Stands at both ends of each password, and nowhere else."""

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

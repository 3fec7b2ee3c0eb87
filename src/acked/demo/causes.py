"""What was wrong, out of whatever an exception was wrapped in on its way."""

from typing import cast

__all__ = ("first_cause",)


def first_cause(error: Exception) -> Exception:
    """Return the first of the errors that the tasks of a group met, or `error` itself."""
    while isinstance(error, ExceptionGroup):
        error = cast("ExceptionGroup[Exception]", error).exceptions[0]
    return error

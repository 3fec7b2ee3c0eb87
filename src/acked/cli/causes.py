"""What was wrong, out of whatever an exception was wrapped in on its way."""

from typing import cast

__all__ = ("first_cause", "one_line")


def first_cause(error: BaseException) -> BaseException:
    """Return the first of the errors that the tasks of a group met, or `error` itself."""
    while isinstance(error, BaseExceptionGroup):
        error = cast("BaseExceptionGroup[BaseException]", error).exceptions[0]
    return error


def one_line(error: BaseException) -> str:
    """Return the words of `error` without line breaks."""
    return " ".join(str(error).split())

"""How a command ends when it cannot do its work: one line of words, and an exit status."""

import signal
from collections.abc import Generator
from contextlib import contextmanager
from types import FrameType
from typing import ClassVar, Final

import click

from acked import AckedError, CapabilityError, ConfigurationError
from acked.cli.causes import first_cause, one_line

__all__ = ("Broken", "Refused", "ending_in_order")

INTERRUPTED: Final = 130
"""What a shell says of a program that Ctrl-C ended."""


class Refused(click.ClickException):
    """What was asked for cannot be done; nothing was published. The words say what to do."""

    exit_code: ClassVar[int] = 2


class Broken(click.ClickException):
    """The run broke off before there was a result."""

    exit_code: ClassVar[int] = 1


@contextmanager
def ending_in_order() -> Generator[None]:
    """Turn what ends the block into one line and an exit status, after the block has cleaned up.

    SIGTERM is treated as Ctrl-C is, so that it leaves nothing behind either.
    """
    before = signal.signal(signal.SIGTERM, _interrupt)
    try:
        yield
    except KeyboardInterrupt:
        click.echo("stopped", err=True)
        raise click.exceptions.Exit(INTERRUPTED) from None
    except Exception as error:
        raise _in_one_line(error) from error
    finally:
        signal.signal(signal.SIGTERM, before)


def _interrupt(_number: int, frame: FrameType | None) -> None:
    """Do what Ctrl-C does now: in an event loop that is a cancellation, between two steps.

    Where Ctrl-C is ignored, as in the background of a script, raise on the spot.
    """
    handler = signal.getsignal(signal.SIGINT)
    interrupt = handler if callable(handler) else signal.default_int_handler
    interrupt(signal.SIGINT, frame)


def _in_one_line(error: Exception) -> Exception:
    """Return what click prints as one line; a bug stays as it is."""
    first = first_cause(error)
    words = one_line(first)
    if isinstance(first, click.ClickException | click.exceptions.Exit):
        return first
    if isinstance(first, CapabilityError | ConfigurationError):
        return Refused(words)
    if isinstance(first, AckedError | OSError):
        return Broken(words)
    return error

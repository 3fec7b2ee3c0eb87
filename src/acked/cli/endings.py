"""How a command ends when it cannot do its work: one line of words, and an exit status."""

import signal
from collections.abc import Generator
from contextlib import contextmanager
from types import FrameType
from typing import ClassVar, Final

import click

from acked import AckedError, CapabilityError, ConfigurationError

__all__ = ("ending_in_order",)

INTERRUPTED: Final = 130
"""What a shell says of a program that Ctrl-C ended."""


class CannotBeDone(click.ClickException):
    """What was asked for is wrong, as a wrong option is."""

    exit_code: ClassVar[int] = 2


@contextmanager
def ending_in_order() -> Generator[None]:
    """Turn what ends the block into one line and an exit status, after the block has cleaned up.

    SIGTERM is treated as Ctrl-C is, so that it leaves nothing behind either. A bug stays as it is.
    """
    before = signal.signal(signal.SIGTERM, _interrupt)
    try:
        yield
    except KeyboardInterrupt:
        click.echo("stopped", err=True)
        raise click.exceptions.Exit(INTERRUPTED) from None
    except (CapabilityError, ConfigurationError) as error:
        raise CannotBeDone(_one_line(error)) from error
    except (AckedError, OSError) as error:
        raise click.ClickException(_one_line(error)) from error
    finally:
        signal.signal(signal.SIGTERM, before)


def _interrupt(_number: int, frame: FrameType | None) -> None:
    """Do what Ctrl-C does now: in an event loop that is a cancellation, between two steps.

    Where Ctrl-C is ignored, as in the background of a script, raise on the spot.
    """
    handler = signal.getsignal(signal.SIGINT)
    interrupt = handler if callable(handler) else signal.default_int_handler
    interrupt(signal.SIGINT, frame)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())

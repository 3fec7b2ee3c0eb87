"""How the demo ends when it cannot do its work."""

from typing import ClassVar

import click

__all__ = ("Broken", "Refused")


class Refused(click.ClickException):
    """What was asked for cannot be done; nothing was published. The words say what to do."""

    exit_code: ClassVar[int] = 2


class Broken(click.ClickException):
    """The run broke off before there was a result."""

    exit_code: ClassVar[int] = 1

"""What the demo publishes."""

from typing import TypeAlias

import msgspec

__all__ = ("Fields", "Order")

Fields: TypeAlias = dict[str, object]
"""A JSON object."""


class Order(msgspec.Struct):
    """What is published: a running number from 1, and the line of the file it came from."""

    number: int
    fields: Fields

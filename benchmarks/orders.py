"""What all contenders publish and receive: typed bodies of 100 bytes and something."""

from collections.abc import Sequence

import msgspec


class Order(msgspec.Struct):
    """A message of a shop."""

    id: int
    customer: str
    cents: int
    note: str


def orders(count: int) -> Sequence[Order]:
    """Return `count` bodies that all differ."""
    return [Order(number, f"customer-{number % 97}", 1999, "x" * 100) for number in range(count)]

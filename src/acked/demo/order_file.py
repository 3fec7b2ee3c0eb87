"""The file the orders come from: one JSON object on each line.

A file is read twice, line by line, so that it may be larger than memory: once to refuse what
cannot be published before anything is, once to publish.
"""

from collections.abc import Generator, Iterator
from contextlib import contextmanager
from importlib.resources import as_file, files
from itertools import chain, islice, repeat
from pathlib import Path
from typing import Final

import msgspec

from acked.demo.failures import Refused
from acked.demo.order import Fields, Order

__all__ = ("count_orders", "orders_of", "shipped_orders")

_BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"

_decode: Final = msgspec.json.Decoder(Fields).decode


@contextmanager
def shipped_orders() -> Generator[Path]:
    """Give the path of the file that comes with the package: 244 restaurant bills."""
    with as_file(files("acked.demo") / "orders.jsonl") as path:
        yield path


def count_orders(path: Path, wanted: int | None) -> int:
    """Return how many orders there will be: `wanted`, or as many as the file has.

    Reads every line that will be published. Raises `Refused` for a file that cannot be read, has
    no orders, or has a line among them that is not a JSON object.
    """
    found = sum(1 for _ in islice(_fields(path), wanted))
    if found == 0:
        raise Refused(f"{path}: no orders in it; give a file with one JSON object on each line")
    return wanted or found


def orders_of(path: Path, count: int) -> Iterator[Order]:
    """Yield `count` orders: the file's, repeated from its beginning as often as it takes."""
    again_and_again = chain.from_iterable(_fields(path) for _ in repeat(None))
    for number, fields in enumerate(islice(again_and_again, count), start=1):
        yield Order(number, fields)


def _fields(path: Path) -> Iterator[Fields]:
    """Yield the object on each line that is not empty."""
    for line_number, line in _lines(path):
        try:
            yield _decode(line)
        # Not JSON or not an object; not UTF-8 within a string; nested beyond all measure.
        except (msgspec.DecodeError, ValueError, RecursionError) as error:
            raise Refused(
                f"{path}, line {line_number}: not a JSON object ({error}); "
                "give one JSON object on each line"
            ) from error


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    if path.exists() and not path.is_file():
        raise Refused(f"{path}: not a regular file; it is read twice, so save it as a file first")
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                text = line.removeprefix(_BYTE_ORDER_MARK) if number == 1 else line
                if not text.isspace() and text:
                    yield number, text
    except OSError as error:
        raise Refused(
            f"{path}: cannot be read ({error.strerror}); give a readable file with --input"
        ) from error

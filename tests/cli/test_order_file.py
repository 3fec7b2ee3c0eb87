"""Any file of JSON lines is an input; any other is refused before anything is published."""

import errno
import os
from pathlib import Path

import msgspec
import pytest

from acked.demo.failures import Refused
from acked.demo.order import Order
from acked.demo.order_file import count_orders, orders_of, shipped_orders


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "orders.jsonl"


def test_the_shipped_file_is_244_bills() -> None:
    with shipped_orders() as path:
        assert count_orders(path, None) == 244
        first = next(orders_of(path, 1))
    assert first == Order(
        1, {"bill": 16.99, "tip": 1.01, "day": "Sun", "time": "Dinner", "party": 2}
    )


def test_the_shipped_file_names_its_source() -> None:
    with shipped_orders() as path:
        source = path.with_name("orders.source.txt").read_text()
    assert "Bryant" in source
    assert "MIT License" in source


def test_empty_lines_a_byte_order_mark_and_windows_line_ends_do_no_harm(file: Path) -> None:
    file.write_bytes(b'\xef\xbb\xbf{"a":1}\r\n\r\n  \n{"a":2}')
    assert count_orders(file, None) == 2
    assert [order.fields["a"] for order in orders_of(file, 2)] == [1, 2]


def test_a_file_is_repeated_or_cut_with_running_numbers(file: Path) -> None:
    file.write_text('{"a":1}\n{"a":2}\n')
    repeated = [(order.number, order.fields["a"]) for order in orders_of(file, 3)]
    assert repeated == [(1, 1), (2, 2), (3, 1)]
    assert count_orders(file, 3) == 3
    assert count_orders(file, 1) == 1


def test_what_is_cut_off_may_be_anything(file: Path) -> None:
    file.write_text('{"a":1}\nnot JSON\n')
    assert count_orders(file, 1) == 1


@pytest.mark.parametrize(
    "line",
    [
        b"not JSON",
        b"[1, 2]",
        b'"words"',
        b"17",
        b"null",
        b'{"a": NaN}',
        b'{"a": 1} {"b": 2}',
        b'{"a": "\xff"}',
        b'{"cut": ',
        b'{"a": ' + b"[" * 5000 + b"]" * 5000 + b"}",
        b'{"a": ' + b"1" * 5000 + b"}",
    ],
    ids=lambda line: repr(line[:12]),
)
def test_a_line_that_is_no_object_is_refused_by_its_number(file: Path, line: bytes) -> None:
    file.write_bytes(b'{"a": 1}\n\n' + line + b"\n")
    with pytest.raises(Refused) as caught:
        count_orders(file, None)
    words = str(caught.value)
    assert words.startswith(f"{file}, line 3: ")
    assert "give one JSON object on each line" in words
    assert "\n" not in words


@pytest.mark.parametrize("content", [b"", b"\n\n  \n"])
def test_a_file_without_orders_is_refused(file: Path, content: bytes) -> None:
    file.write_bytes(content)
    with pytest.raises(Refused, match="no orders in it"):
        count_orders(file, None)


def test_a_missing_file_is_refused(file: Path) -> None:
    with pytest.raises(Refused, match="No such file"):
        count_orders(file, None)


def test_a_folder_or_a_pipe_is_refused(tmp_path: Path, file: Path) -> None:
    os.mkfifo(file)
    for path in (tmp_path, file):
        with pytest.raises(Refused, match="not a regular file"):
            count_orders(path, None)


def test_an_unreadable_file_is_refused(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(*_: object, **__: object) -> None:  # root, who runs tests, may read every file
        raise PermissionError(errno.EACCES, "Permission denied")

    file.touch()
    monkeypatch.setattr(Path, "open", forbidden)
    with pytest.raises(Refused, match="Permission denied"):
        count_orders(file, None)


def test_an_order_travels_whole(file: Path) -> None:
    fields = (
        '{"big":123456789012345678901234567890,"none":null,"deep":[{"a":[true,1.5,"\\u00e9"]}]}'
    )
    file.write_text(fields)
    (order,) = orders_of(file, 1)
    assert msgspec.json.decode(msgspec.json.encode(order), type=Order) == order

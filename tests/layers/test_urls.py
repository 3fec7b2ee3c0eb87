"""No part of a password is ever shown, however it is written into a URL."""

import pytest
from hypothesis import given, settings

from acked.errors import ConfigurationError
from acked.layers._shared.findings import is_loopback
from acked.layers._shared.urls import split_server_url, switch, without_credentials
from acked.layers.memory import MemoryLayer
from acked.layers.memory_queue import MemoryQueueLayer
from tests.layers.secrets_kit import MARK, passwords, said


@given(password=passwords)
@settings(max_examples=300, deadline=None)
def test_an_address_shows_no_part_of_a_password(password: str) -> None:
    for url in (
        f"x://user:{password}@host:1/path?a=b",
        f"x://{password}@host",
        f"x://:{password}@h",
    ):
        assert MARK not in without_credentials(url)
        shown = ""
        try:
            split_server_url(url)
        except ConfigurationError as error:
            shown = said(error)
        assert MARK not in shown


@pytest.mark.parametrize("kind", [MemoryLayer, MemoryQueueLayer])
@pytest.mark.parametrize("password", ["QZX", "QZX/x", "x?QZX", "x#QZX", "[QZX"])
def test_a_password_for_nobody_is_not_shown_either(
    kind: type[MemoryLayer | MemoryQueueLayer], password: str
) -> None:
    for url in (f"memory://u:{password}@host/path?a=1", f"memory://u:{password}@host/path"):
        with pytest.raises(ConfigurationError) as caught:
            kind.from_url(url)
        assert MARK not in said(caught.value)


def test_a_url_that_has_no_password_is_shown_without_its_query() -> None:
    assert without_credentials("x://host:1/a/b?c=d#e") == "x://host:1/a/b"
    assert without_credentials("x://u:p%40@host:1/a") == "x://host:1/a"
    assert without_credentials("user:secret@host") == "..."


@pytest.mark.parametrize(
    ("address", "expected"),
    [("127.0.0.1", True), ("::1", True), ("fe80::1%eth0", False), ("10.1.2.3", False), ("", True)],
)
def test_a_loopback_is_told_from_the_network(address: str, expected: bool) -> None:
    assert is_loopback(address) is expected


@pytest.mark.parametrize(
    ("text", "expected"), [("true", True), ("1", True), ("false", False), ("0", False)]
)
def test_a_switch_is_on_or_off(text: str, expected: bool) -> None:
    assert switch("tls", text) is expected


def test_a_switch_that_is_neither_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="'tls' must be true or false, not 'maybe'"):
        switch("tls", "maybe")

"""No part of a password is ever shown, however it is written into a URL."""

import logging
import string
import traceback

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from acked.errors import AckedError, ConfigurationError
from acked.layers._shared.findings import is_loopback
from acked.layers._shared.urls import split_server_url, switch, without_credentials
from acked.layers.memory import MemoryLayer
from acked.layers.memory_queue import MemoryQueueLayer
from acked.layers.postgres_notify import PostgresNotifyLayer

pytestmark = pytest.mark.anyio

MARK = "QZX"
"""Stands at both ends of each password, and nowhere else."""

passwords = st.text(st.sampled_from(string.printable), max_size=12).map(
    lambda middle: f"{MARK}{middle}{MARK}"
)


def said(error: BaseException | None) -> str:
    """Return all that a log would show of `error`, its causes and contexts too."""
    if error is None:
        return ""
    return "".join(traceback.format_exception(error, chain=False)[-1:]) + said(
        error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    )


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


@given(password=passwords)
@settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
async def test_no_error_repr_or_log_of_postgres_shows_a_part_of_a_password(
    password: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    for url in (
        f"postgres-notify://user:{password}@127.0.0.1:1/db?timeout=1",
        f"postgres-notify://{password}@127.0.0.1:1/db",
        f"postgres-notify://user:{password}@127.0.0.1:1/db?timeout=soon",
        f"postgres-notify://user:{password}@127.0.0.1:1/db?unknown=1",
    ):
        shown = ""
        try:
            layer = PostgresNotifyLayer.from_url(url)
            shown = repr(layer)
            await layer.__aenter__()
        except AckedError as error:
            shown += said(error)
        assert shown
        assert MARK not in shown
    assert MARK not in caplog.text


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

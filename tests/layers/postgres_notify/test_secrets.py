"""No part of a password for PostgreSQL is ever shown, however it is written into a URL."""

import logging

import pytest
from hypothesis import HealthCheck, given, settings

from acked.errors import AckedError
from acked.layers.postgres_notify import PostgresNotifyLayer
from tests.layers.secrets_kit import MARK, passwords, said

pytestmark = pytest.mark.anyio


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

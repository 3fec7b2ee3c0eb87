"""No part of a password for PostgreSQL is ever shown, however it is written into a URL."""

import logging
import traceback

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


@pytest.mark.parametrize("wrong", [{"timeout": 0}, {"pool_size": 0}, {"on_loss": "never"}])
def test_a_layer_that_was_not_made_can_be_shown_and_shows_no_password(wrong) -> None:
    with pytest.raises(AckedError) as caught:
        PostgresNotifyLayer(f"postgresql://user:{MARK}@127.0.0.1/db", **wrong)
    told = traceback.TracebackException.from_exception(caught.value, capture_locals=True)
    ours = [frame for frame in told.stack if "/tests/" not in frame.filename]
    shown = "".join(traceback.StackSummary.from_list(ours).format())
    assert MARK not in shown
    assert all("PostgresNotifyLayer" not in frame.name for frame in ours)

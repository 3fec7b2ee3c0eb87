"""`python -m tests.crash.rolling` in small: no handler's work is done twice for a restart."""

import pytest

from tests.crash.rolling import ACKED, run
from tests.fix_brokers import or_skip

pytestmark = [pytest.mark.crash, pytest.mark.timeout(120)]


def test_a_rolling_restart_on_kafka_has_nothing_handled_twice() -> None:
    report = or_skip("kafka", lambda: run(ACKED, 24, 2.0))
    assert report["acked"] == report["handlings"] == 24, f"{report}"

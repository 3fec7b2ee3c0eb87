"""An outbox and an inbox around Redis, in short; the full size: `python -m tests.crash.outbox`."""

import pytest

from tests.crash import outbox
from tests.fix_brokers import or_skip


@pytest.mark.crash
@pytest.mark.postgres
@pytest.mark.redis
@pytest.mark.timeout(300)
def test_published_is_committed_although_relays_are_killed_and_the_broker_too() -> None:
    def play() -> dict[str, object]:
        return or_skip("redis", lambda: outbox.run(900, kills=3, restarts=1))

    report = or_skip("postgres", play)
    assert outbox.held(report), f"{report}"
    assert report["committed"] == 600

"""The laws of news on PostgreSQL's LISTEN and NOTIFY, on a real server."""

import pytest

from acked.conformance.laws.fire_and_forget import FireAndForgetLaws
from acked.layers.postgres_notify import PostgresNotifyLayer
from tests.conformance.brokered import BrokerHarness


class TestPostgresNotify(FireAndForgetLaws):
    @pytest.fixture
    def harness(self, module_broker, proxy) -> BrokerHarness:
        broker = module_broker("postgres")
        between = proxy(broker)
        url = "postgres-notify://" + between.url.partition("://")[2] + "?heartbeat=2"
        return BrokerHarness(broker, between, url, PostgresNotifyLayer.from_url)

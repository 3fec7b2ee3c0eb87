"""The options of the Kafka layer: named when wrong, never shown when secret."""

import anyio
import pytest

from acked import (
    CapabilityError,
    ConfigurationError,
    LayerError,
)
from acked.layers.kafka import KafkaLayer
from tests.layers.kafka_kit import record

pytestmark = pytest.mark.anyio


class TestOptions:
    @pytest.mark.parametrize(
        ("url", "words"),
        [
            ("kafka://h:1?colour=red", "unknown option 'colour'"),
            ("kafka://h", "host:port"),
            ("kafka://h:1?timeout=soon", "'timeout' must be a number"),
            ("kafka://h:1?timeout=0", "timeout is 0.0"),
            ("kafka://h:1?create_topics=x", "'create_topics' must be a whole number"),
            ("kafka://h:1?read_committed=maybe", "'read_committed' must be true or false"),
            ("kafka://u:p@h:1?sasl_mechanism=NONE", "sasl_mechanism is 'NONE'"),
            ("kafka://h:1?ssl_ca_certs=/no/such/file", "TLS options"),
        ],
    )
    def test_a_wrong_option_is_named(self, url: str, words: str) -> None:
        with pytest.raises(ConfigurationError, match=words):
            KafkaLayer.from_url(url)

    def test_the_address_is_shown_and_the_password_is_not(self) -> None:
        layer = KafkaLayer.from_url("kafka://me:p%40ss@one:9092,two:9093?tls=true")
        assert repr(layer) == "<KafkaLayer kafka://one:9092,two:9093, closed>"

    def test_trio_is_refused_with_what_to_do(self) -> None:
        async def main() -> None:
            async with KafkaLayer("localhost:1"):
                pass

        with pytest.raises(CapabilityError, match="asyncio"):
            anyio.run(main, backend="trio")

    async def test_a_closed_layer_says_so(self) -> None:
        with pytest.raises(LayerError, match="not open"):
            await KafkaLayer("localhost:1").publish([record("t", 1)])

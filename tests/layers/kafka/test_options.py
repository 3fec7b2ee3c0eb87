"""The options of the Kafka layer: named when wrong, never shown when secret."""

import re
import traceback

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from acked import (
    CapabilityError,
    ConfigurationError,
    LayerError,
)
from acked.layers.kafka import KafkaLayer, KafkaTail
from tests.layers.kafka_kit import record

pytestmark = pytest.mark.anyio

OPTIONS = "create_topics group_instance_id handover_timeout read_committed sasl_mechanism"
OPTIONS += " session_timeout ssl_ca_certs ssl_certfile ssl_keyfile max_payload"
"""Words of an error, which a password may be by chance."""


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
            ("kafka://h:1?tls=false&ssl_ca_certs=/no/such/file", "leave out one of them"),
            ("kafka://h:1?ssl_keyfile=/no/such/file", "without ssl_certfile"),
            ("kafka://h:1?handover_timeout=inf", "handover_timeout is inf"),
            ("kafka://h:1?timeout=nan", "timeout is nan"),
            ("kafka://h:1?max_payload=0", "max_payload is 0"),
        ],
    )
    def test_a_wrong_option_is_named(self, url: str, words: str) -> None:
        for kind in (KafkaLayer, KafkaTail):
            with pytest.raises(ConfigurationError, match=words):
                kind.from_url(url)

    def test_the_address_is_shown_and_the_password_is_not(self) -> None:
        layer = KafkaLayer.from_url("kafka://me:p%40ss@one:9092,two:9093?tls=true")
        assert repr(layer) == "<KafkaLayer kafka://one:9092,two:9093, closed>"

    @given(st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=6))
    def test_no_part_of_a_password_in_a_url_is_told(self, password: str) -> None:
        """Issue 12, 6: in whatever is raised, with its causes, and in what it becomes."""
        for url in (f"kafka://me:{password}@127.0.0.1:1", f"kafka://me:{password}@h?x=1"):
            try:
                told = repr(KafkaLayer.from_url(url))
            except ValueError as error:
                told = "".join(traceback.format_exception(error))
            told = told.replace(__file__, "").replace("kafka://127.0.0.1:1", "")
            parts = {password, *re.split("[/?#@%:&=,]", password)}
            lines = [line for line in told.splitlines() if "KafkaLayer.from_url" not in line]
            telling = {part for part in parts if len(part) >= 6 and part not in OPTIONS}
            assert not {part for part in telling if part in "\n".join(lines)}

    def test_a_password_that_must_be_written_otherwise_is_said_so(self) -> None:
        with pytest.raises(ConfigurationError, match="%2F for /, %3F") as caught:
            KafkaLayer.from_url("kafka://me:geheim/wort@127.0.0.1:1")
        assert "geheim" not in str(caught.value)
        assert "wort" not in str(caught.value)

    def test_an_async_function_for_a_password_is_refused(self) -> None:
        async def secret() -> str:
            return "x"

        with pytest.raises(ConfigurationError, match="not an async one"):
            KafkaLayer("h:1", user="me", password=secret)

    def test_trio_is_refused_with_what_to_do(self) -> None:
        async def main() -> None:
            async with KafkaLayer("localhost:1"):
                pass

        with pytest.raises(CapabilityError, match="asyncio"):
            anyio.run(main, backend="trio")

    async def test_a_closed_layer_says_so(self) -> None:
        with pytest.raises(LayerError, match="not open"):
            await KafkaLayer("localhost:1").publish([record("t", 1)])

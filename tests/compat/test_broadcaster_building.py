"""Building a broadcast: which backend a URL chooses, and what is refused in whose words."""

from typing import Any

import pytest

from acked import ConfigurationError
from acked.compat.broadcaster import Broadcast, BroadcastBackend
from acked.compat.broadcaster.backends.kafka import KafkaBackend
from acked.compat.broadcaster.backends.memory import MemoryBackend
from acked.compat.broadcaster.backends.postgres import PostgresBackend
from acked.compat.broadcaster.backends.redis import RedisBackend, RedisStreamBackend

# Built


@pytest.mark.parametrize(
    ("url", "kind"),
    [
        ("memory://", MemoryBackend),
        ("redis://localhost", RedisBackend),
        ("rediss://user:secret@localhost:6380/1?ssl_cert_reqs=none", RedisBackend),
        ("redis-stream://localhost", RedisStreamBackend),
        ("rediss-stream://:secret@localhost?ssl_ca_certs=/ca.pem", RedisStreamBackend),
        ("postgres://localhost/db", PostgresBackend),
        ("postgresql://user:secret@localhost/db?sslmode=require", PostgresBackend),
        ("kafka://localhost:9092", KafkaBackend),
        ("kafka://user:secret@one:9092,two:9092?sasl_mechanism=PLAIN", KafkaBackend),
    ],
)
def test_the_scheme_of_a_url_chooses_the_backend_outside_any_loop(
    url: str, kind: type[object]
) -> None:
    assert type(Broadcast(url)._backend) is kind
    assert type(Broadcast(url=url)._backend) is kind


def test_neither_url_nor_backend_is_an_assertion_error_in_the_originals_words() -> None:
    with pytest.raises(AssertionError) as caught:
        Broadcast()
    assert str(caught.value) == "Either `url` or `backend` must be provided."


def test_an_unknown_scheme_is_a_value_error_in_the_originals_words() -> None:
    with pytest.raises(ValueError) as caught:
        Broadcast(url="unknown://")
    assert str(caught.value) == "Unsupported backend: unknown"


def test_a_redis_backend_without_anything_is_an_assertion_error_in_the_originals_words() -> None:
    with pytest.raises(AssertionError) as caught:
        RedisBackend()
    assert str(caught.value) == "conn must be provided if url is not"


@pytest.mark.parametrize("options", [{"on_loss": "panic"}, {"capacity": 0}])
def test_an_option_that_cannot_be_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError):
        Broadcast("memory://", **options)


def test_the_base_of_backends_does_nothing_by_itself() -> None:
    with pytest.raises(NotImplementedError):
        BroadcastBackend("anything://")


def test_a_broadcast_shows_no_secret() -> None:
    shown = repr(Broadcast("redis://:hush@localhost"))
    assert shown == "<Broadcast over RedisBackend, not connected>"

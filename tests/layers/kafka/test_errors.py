"""What aiokafka raises, in words of ours: each kind says what to do, and none shows a secret."""

import logging
import ssl

import pytest
from aiokafka import errors

from acked import ConfigurationError, ConnectionLost, LayerError
from acked.layers.kafka import KafkaLayer
from acked.layers.kafka._errors import lost_position, translated

OPTIONS = KafkaLayer("one:9092,two:9093", user="me", password="hidden")._options


@pytest.mark.parametrize(
    ("error", "is_lost", "may_pass", "words"),
    [
        (errors.UnsupportedCodecError("no zstd"), False, False, r"no zstd; install acked\[kafka\]"),
        (errors.SaslAuthenticationFailed("x"), False, True, r"user or password \(or token\)"),
        (errors.TopicAuthorizationFailedError("t"), False, True, "check the rights"),
        (errors.InvalidTopicError("t"), False, False, "check names, limits and the topic"),
        (errors.CorruptRecordException("t"), False, False, "check names, limits and the topic"),
        (errors.NotLeaderForPartitionError(), True, True, "check that the brokers run"),
        (errors.KafkaConnectionError("x"), True, True, "check that the brokers run"),
        (AssertionError("no nodes"), True, True, "check that the brokers run"),
        (ssl.SSLError("wrong"), False, False, "check the TLS options"),
        (KeyError("x"), False, False, "not an answer of Kafka, please report it"),
    ],
)
def test_an_error_of_the_client_says_what_to_do(error, is_lost, may_pass, words) -> None:
    with pytest.raises(LayerError, match=f"^Kafka at kafka://one:9092,two:9093: .*{words}") as told:
        raise translated(error, OPTIONS, "reading")
    assert isinstance(told.value, ConnectionLost) is is_lost
    assert told.value.may_pass is may_pass
    assert told.value.__cause__ is error


def test_what_is_of_ours_already_stays_it() -> None:
    """Also where aiokafka had to be told something else instead."""
    ours, theirs = LayerError("ours"), errors.KafkaConnectionError("theirs")
    theirs.__cause__ = ours
    assert translated(ours, OPTIONS, "reading") is ours
    assert translated(theirs, OPTIONS, "reading") is ours


def test_a_position_is_lost_where_the_log_has_it_not_and_otherwise_not() -> None:
    assert lost_position(errors.NoOffsetForPartitionError()) == {}
    assert lost_position(errors.OffsetOutOfRangeError({("t", 0): 7})) == {("t", 0): 7}
    assert lost_position(errors.KafkaConnectionError()) is None


def test_options_show_where_and_no_secret() -> None:
    assert repr(OPTIONS) == "<KafkaOptions of kafka://one:9092,two:9093>"


@pytest.mark.parametrize("servers", ["", " , "])
def test_no_server_at_all_is_an_error(servers: str) -> None:
    with pytest.raises(ConfigurationError, match="no server of Kafka was named"):
        KafkaLayer(servers)


def test_a_line_of_aiokafkas_log_says_kinds_and_no_contents(caplog) -> None:
    logger = logging.getLogger("aiokafka.conn")
    with caplog.at_level(logging.DEBUG, "aiokafka.conn"):
        logger.debug("sent %s, %s", b"secret", 7)
        logger.debug("sent %(what)s", {"what": 7})
        logger.debug("sent")
    assert caplog.messages == ["sent <bytes, contents hidden>, 7", "sent 7", "sent"]

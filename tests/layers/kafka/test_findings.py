"""What `check()` says of settings: each verdict by what it is about, without a broker."""

import ssl

import pytest

from acked.layers.kafka import KafkaLayer
from acked.layers.kafka._admin import Settings
from acked.layers.kafka._findings import findings, retention_of
from acked.layers.kafka._transport import transport
from acked.types import Finding, Severity

OK, NOTICE, WARNING = Severity.OK, Severity.NOTICE, Severity.WARNING
HOSTED = {
    "default.replication.factor": "3",
    "min.insync.replicas": "2",
    "unclean.leader.election.enable": "false",
    "log.retention.hours": "168",
    "message.max.bytes": "2000000",
    "offsets.topic.replication.factor": "3",
    "offsets.retention.minutes": "10080",
    "offset.metadata.max.bytes": "4096",
    "auto.create.topics.enable": "false",
}


def found(broker: dict[str, str], *, brokers: int = 3, **fields) -> dict[str, Finding]:
    settings = Settings(brokers, broker, fields.get("topics", {}), fields.get("replicas", {}))
    told = findings(settings, overdue=0, trimmed=0, max_request=1_048_000)
    return {one.name: one for one in told}


UNVERIFIED = ssl._create_unverified_context()
VERIFIED = ssl.create_default_context()


@pytest.mark.parametrize(
    ("servers", "hosts", "more", "tls", "is_exposed"),
    [
        ("far.example:9092", ["far.example"], {"password": "p"}, ("off", NOTICE), True),
        ("far.example:9092", ["far.example"], {"password": str}, ("off", NOTICE), True),
        ("far.example:9092", ["far.example"], {}, ("off", NOTICE), False),
        ("localhost:9092,[::1]:9092", ["127.0.0.1"], {"password": "p"}, ("off", OK), False),
        # A tunnel, to brokers that then send us elsewhere.
        ("localhost:9092", ["far.example"], {"password": "p"}, ("off", NOTICE), True),
        ("far:1", [], {"password": "p", "tls": VERIFIED}, ("verified", OK), False),
        ("far:1", [], {"password": "p", "tls": UNVERIFIED}, ("unverified", WARNING), True),
        ("far:1", [], {"tls": UNVERIFIED}, ("unverified", WARNING), False),
        # It is proved, not sent.
        ("far:1", [], {"password": "p", "sasl_mechanism": "SCRAM-SHA-256"}, ("off", NOTICE), False),
        ("far:1", [], {"password": "p", "sasl_mechanism": "OAUTHBEARER"}, ("off", NOTICE), True),
    ],
)
def test_a_password_in_clear_is_a_warning(servers, hosts, more, tls, is_exposed) -> None:
    """Issue 12, 5."""
    user = {"user": "me"} if "password" in more else {}
    options = KafkaLayer(servers, **user, **more)._options
    found = {one.name: one for one in transport(options, hosts)}
    assert (found["tls"].value, found["tls"].severity) == tls
    assert found["password_in_clear"].value is is_exposed
    assert (found["password_in_clear"].severity is WARNING) == is_exposed


def test_a_well_kept_cluster_has_no_warning() -> None:
    told = found(HOSTED)
    assert max(one.severity for one in told.values()) is NOTICE
    assert {name for name, one in told.items() if one.severity is NOTICE} == {
        *("retention", "offsets_retention")
    }


def test_who_may_not_ask_is_told_so_of_each_fact() -> None:
    """One that is not known is never called well."""
    known = {"brokers", "overdue", "trimmed"}
    for name, one in found({}, topics={"t": {}}).items():
        assert (one.value is None) == (name not in known)
        if name not in known:
            assert one.severity is NOTICE
            assert "would not tell" in one.message


@pytest.mark.parametrize(
    ("name", "change", "severity", "words"),
    [
        ("min_insync_replicas", {"min.insync.replicas": "1"}, WARNING, "the leader alone"),
        ("min_insync_replicas", {"min.insync.replicas": "3"}, NOTICE, "nothing is accepted"),
        ("min_insync_replicas", {"min.insync.replicas": "4"}, WARNING, "settle for those"),
        ("unclean_leader_election", {"unclean.leader.election.enable": "true"}, WARNING, "lost"),
        ("replication_factor", {"default.replication.factor": "1"}, WARNING, "one copy"),
        ("offsets_replication_factor", {"offsets.topic.replication.factor": "1"}, WARNING, "anew"),
        ("auto_create_topics", {"auto.create.topics.enable": "true"}, NOTICE, "mistyped"),
        ("max_message_bytes", {"message.max.bytes": "1000"}, WARNING, "1000 bytes"),
        ("offset_metadata_max_bytes", {"offset.metadata.max.bytes": "100"}, NOTICE, "for more"),
        ("retention", {"log.retention.bytes": "5000"}, NOTICE, "beyond 5000 bytes"),
        ("retention", {"log.retention.bytes": "0"}, NOTICE, "beyond 0 bytes"),
        ("retention", {"log.retention.ms": "60000"}, NOTICE, "after 60 s"),
        ("retention", {"log.retention.ms": "0"}, NOTICE, "after 0 s"),
    ],
)
def test_a_setting_that_matters_is_told(
    name: str, change: dict[str, str], severity: Severity, words: str
) -> None:
    one = found(HOSTED | change)[name]
    assert (one.severity, words in one.message) == (severity, True)


def test_of_several_topics_the_worst_is_named() -> None:
    topics = {
        "good": {"min.insync.replicas": "2", "cleanup.policy": "delete"},
        "bad": {"min.insync.replicas": "1", "cleanup.policy": "compact,delete"},
    }
    told = found(HOSTED, topics=topics, replicas={"good": 3, "bad": 2})
    assert "bad" in told["min_insync_replicas"].message
    assert "bad" in told["replication_factor"].message
    assert (
        told["cleanup_policy"].severity,
        "bad is compacted" in told["cleanup_policy"].message,
    ) == (
        WARNING,
        True,
    )


def test_what_is_kept_for_ever_is_not_deleted() -> None:
    kept = {"keeps": {"retention.ms": "-1", "retention.bytes": "-1"}}
    assert found(HOSTED, topics=kept)["retention"].severity is OK
    assert retention_of(Settings(1, {}, kept, {})) == {}


def test_a_single_broker_is_worth_knowing() -> None:
    single = found(HOSTED | {"offsets.topic.replication.factor": "1"}, brokers=1)
    assert single["brokers"].severity is NOTICE
    assert single["offsets_replication_factor"].severity is NOTICE
